"""What an audit is asked to do, and the shares of pairs that it counts for that."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from prefeq import margins
from prefeq.arrays import BoolArray, FloatArray, IntArray
from prefeq.errors import ProblemError
from prefeq.llm.columns import Layout
from prefeq.llm.sketch import Levels
from prefeq.losses import LOSSES

Normalize = Literal["sum", "mean"]

FAMILY = ("dpo", "hypo", "smooth", "easy", "simpo", "ipo", "hinge", "cdpo")
"""The losses that are reported, with the default parameters of `prefeq.losses.LOSSES`."""

TRAPS = ("ipo", "hinge", "cdpo")
"""Those that can end in the undesirable space for ever on an ordered pair."""

LABELS = (0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 0.95, 0.99, 0.999)
"""Label probabilities at which violations are counted where no reward gap is known."""

FEW_LABELS = (0.6, 0.75, 0.9, 0.99)
"""The same at other β."""

FACTORS = (0.125, 0.25, 0.5, 2.0, 4.0, 8.0)
"""Other β that are looked at, as multiples of the one asked for."""


@dataclass(frozen=True)
class Plan:
    """What is asked: two audits can be merged if and only if their plans are equal.

    Attributes
    ----------
    beta
        KL strength, > 0.
    normalize
        "sum": log-probs as given; "mean": divided by their number of tokens first.
    step0
        Whether the policy is said to be the reference still.
    layout
        Which columns there are.
    betas
        Other β to look at; by default an eighth to eight times `beta`.
    level
        Confidence level of all intervals.
    """

    beta: float
    normalize: Normalize = "sum"
    step0: bool = False
    layout: Layout = field(default_factory=Layout)
    betas: Sequence[float] = ()
    level: float = 0.95

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta", float(self.beta))  # of NumPy, torch or argparse
        object.__setattr__(self, "betas", tuple(map(float, self.betas)))
        object.__setattr__(self, "step0", bool(self.step0))
        object.__setattr__(self, "level", float(self.level))
        if not self.betas:
            object.__setattr__(self, "betas", tuple(f * self.beta for f in FACTORS))
        for beta in (self.beta, *self.betas):
            if not 1e-300 < beta < math.inf:
                raise ProblemError(f"beta = {beta}: must be positive and finite")
        if not 0 < self.level < 1:
            raise ProblemError(f"level = {self.level}: a confidence level is in (0, 1)")
        if self.normalize not in ("sum", "mean"):
            raise ProblemError(f"normalize = {self.normalize!r}: pass 'sum' or 'mean'")
        if self.normalize == "mean" and not self.layout.tokens:
            raise ProblemError(
                "normalize = 'mean' needs the columns chosen_tokens and rejected_tokens"
            )
        if self.step0 and not self.layout.policy:
            raise ProblemError("step0 compares the policy with the reference: pass its log-probs")

    @property
    def all_betas(self) -> tuple[float, ...]:
        """β itself, then the others."""
        return (self.beta, *self.betas)

    @property
    def other(self) -> Normalize | None:
        """The normalisation that was not asked for, if the data allow it."""
        if not self.layout.tokens:
            return None
        return "mean" if self.normalize == "sum" else "sum"

    @property
    def per_token(self) -> str:
        """Which reference margin IPO sees, which is defined per token: "ref" or "other"."""
        return "other" if self.other == "mean" else "ref"

    def labels(self, beta: int) -> tuple[float, ...]:
        """Return the label probabilities looked at for β number `beta`."""
        if self.layout.gap is not None:
            return ()
        return LABELS if beta == 0 else FEW_LABELS

    @property
    def counted(self) -> tuple[str, ...]:
        """The shares that are counted pair by pair, in the order in which they are stored."""
        shares = ["easy negative"]
        if self.layout.policy:
            shares += ["relative", "absolute", "undesirable", "displaced"]
        if self.layout.gap:
            shares += ["reward below zero"]
            shares += [f"violated {i}" for i in range(len(self.all_betas))]
            shares += ["violated other"] if self.other else []
        return tuple(shares)

    @property
    def levels(self) -> dict[str, Level]:
        """The shares of pairs whose reference margin is at most some level."""
        return _levels(self)

    @property
    def distinct_levels(self) -> tuple[Level, ...]:
        """The levels, each once."""
        return self.stored[len(self.counted) :]  # type: ignore[return-value]

    @property
    def level_counters(self) -> dict[str, Levels]:
        """What counts the distinct levels, by margin, in their order."""
        return _counters(self)

    @property
    def stored(self) -> tuple[str | Level, ...]:
        """What is stored, in order: the shares that are counted, then the distinct levels."""
        return _stored(self)

    def place(self, share: str) -> int:
        """Return where a share is stored."""
        return _places(self)[share]


Level = tuple[str, float]
"""("ref", τ): the share of pairs with δ_ref ≤ τ; ("other", τ): in the other normalisation."""


@functools.lru_cache(maxsize=64)
def _levels(plan: Plan) -> dict[str, Level]:
    below = -math.ulp(0.0)
    levels = {"ref_below_zero": ("ref", below), "ipo negative": (plan.per_token, below)}
    if plan.other:
        levels["other below zero"] = ("other", below)
    wanted: list[tuple[str, str, float, float, bool]] = []
    for i, beta in enumerate(plan.all_betas):
        for prob in plan.labels(i):
            name, odds = f"violated {i} at {prob}", float(margins.logit(prob))
            wanted.append((name, "ref", beta, odds, False))
        for name in TRAPS:
            low, _ = LOSSES[name].link.minimisers(np, np.asarray(math.inf))
            margin = plan.per_token if name == "ipo" else "ref"
            wanted.append((f"{name} trap {i}", margin, beta, float(low), True))
    beta_, odds_ = (np.array([w[k] for w in wanted], np.float64) for k in (2, 3))
    strict = np.array([w[4] for w in wanted])

    def too_low(ref_margin: FloatArray) -> BoolArray:
        gap = -beta_ * ref_margin  # the critical gap, rounded as everywhere
        answer: BoolArray = np.where(strict, gap > odds_, gap >= odds_)
        return answer

    highest = highest_float(too_low, len(wanted)).tolist()
    for (name, margin, *_), level in zip(wanted, highest, strict=True):
        levels[name] = (margin, level)
    return levels


@functools.lru_cache(maxsize=64)
def _stored(plan: Plan) -> tuple[str | Level, ...]:
    return (*plan.counted, *sorted(set(plan.levels.values())))


@functools.lru_cache(maxsize=64)
def _counters(plan: Plan) -> dict[str, Levels]:
    names = sorted({name for name, _ in plan.distinct_levels})
    return {
        name: Levels([level for n, level in plan.distinct_levels if n == name]) for name in names
    }


@functools.lru_cache(maxsize=64)
def _places(plan: Plan) -> dict[str, int]:
    place = {stored: i for i, stored in enumerate(plan.stored)}
    named = {share: place[level] for share, level in plan.levels.items()}
    return named | {share: place[share] for share in plan.counted}


def highest_float(holds: Callable[[FloatArray], BoolArray], count: int) -> FloatArray:
    """Return the largest floats for which conditions hold that hold for all lower ones.

    −inf where a condition holds for no finite float. Found by bisection over the floats in order,
    so that `values <= highest` decides exactly as the condition does, without its arithmetic.

    >>> highest_float(lambda v: v * 0.1 <= 0.3, 1).tolist(), 2.9999999999999996 * 0.1 <= 0.3
    ([2.9999999999999996], True)
    """
    top = int(np.float64(np.finfo(np.float64).max).view(np.int64))
    low, high = np.full(count, -top - 1), np.full(count, top + 1)  # holds, does not
    with np.errstate(over="ignore"):
        while np.any(high - 1 > low):
            middle = (low >> 1) + (high >> 1) + (low & high & 1)
            found = holds(_float_of(middle))
            low, high = np.where(found, middle, low), np.where(found, high, middle)
    return _float_of(low)


def _float_of(order: IntArray) -> FloatArray:
    """Return the floats of places in the order of all floats; 0 is 0, −1 the one below."""
    size: Any = np.abs(order).view(np.float64)
    answer: FloatArray = np.copysign(size, order)
    return answer
