"""Everything that is counted, added up or ranked on one chunk of pairs, in one go.

The chunk is small enough to stay in a cache; each array is used while it is there. The same lines
run on NumPy and torch: only operators, methods and functions that both have.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import array_api_compat
import numpy as np

from prefeq import margins
from prefeq._namespace import Array, quiet
from prefeq.llm import family
from prefeq.llm.chunking import Chunk
from prefeq.llm.columns import POLICY, REFERENCE, REWARDS, TOKENS
from prefeq.llm.plan import Level, Plan
from prefeq.llm.sketch import Counts, count

Name = TypeVar("Name")

SHOWN = frozenset({"undesirable", "displaced", "violated 0", "reward below zero"})
"""Shares that examples are drawn from."""

SAMPLED = 4096, 7
"""Of a chunk of so many pairs every seventh is enough to see how columns go together: 7 keeps out
of step with batches of 8, 16, ... rows."""

_MODELS = tuple(zip(POLICY, REFERENCE, strict=True))

SMALLEST = 1e-3
"""Nats: smaller log-probs of whole answers count as this, where logarithms are taken."""


@dataclass(eq=False)
class Margins:
    """Log-probs of one normalisation, and their margins; the policy's only where there is one."""

    ref_chosen: Array
    ref_rejected: Array
    ref: Array
    chosen: Any = None
    rejected: Any = None
    policy: Any = None

    @classmethod
    def of(cls, data: Mapping[str, Array], per_token: bool) -> Margins:
        """Return the margins of sums over tokens, or of means."""

        def both(names: tuple[str, str]) -> tuple[Array, Array]:
            pair = zip(names, TOKENS, strict=True)
            first, second = (data[n] / data[t] if per_token else data[n] for n, t in pair)
            return first, second

        c, d = both(REFERENCE)
        if POLICY[0] not in data:
            return cls(c, d, c - d)
        a, b = both(POLICY)
        return cls(c, d, c - d, a, b, a - b)


@dataclass(eq=False)
class Measures:
    """What a chunk adds to an audit. Arrays are on the chunk's device, numbers on the host.

    Attributes
    ----------
    pairs
        How many pairs were looked at.
    counts, sums, lows, highs
        Numbers by name: of pairs, of float64 values, least and largest values.
    levels
        How many pairs have a reference margin of at most each level of the plan.
    sketches
        Bucket counts by name.
    arrays, shown
        The arrays that examples are ranked by, and the masks they are drawn from.
    masks
        Share by share, which pairs count; None unless asked for.
    """

    xp: Any
    pairs: int
    counts: dict[str, Any] = field(default_factory=dict)
    sums: dict[str, Any] = field(default_factory=dict)
    lows: dict[str, Any] = field(default_factory=dict)
    highs: dict[str, Any] = field(default_factory=dict)
    levels: list[int] = field(default_factory=list)
    sketches: dict[str, Counts] = field(default_factory=dict)
    arrays: dict[str, Array] = field(default_factory=dict)
    shown: dict[str, Array] = field(default_factory=dict)
    masks: dict[str | Level, Array] | None = None

    def mark(self, name: str, mask: Array) -> None:
        """Count the pairs of a share."""
        self.counts[name] = self.xp.count_nonzero(mask)
        if name in SHOWN:
            self.shown[name] = mask
        if self.masks is not None:
            self.masks[name] = mask

    def span(self, name: str, values: Array, sketched: bool = False) -> None:
        """Keep values that examples are ranked by, and their ends; count them in buckets."""
        self.arrays[name] = values
        self.lows[name], self.highs[name] = values.min(), values.max()
        if sketched:
            low, high = float(self.lows[name]), float(self.highs[name])
            self.sketches[name] = count(self.xp, values, low, high)

    def add_loss(self, name: str, value: Array) -> None:
        """Add up a loss and its square; the array is used up."""
        self.sums[name] = value.sum()
        value *= value
        self.sums[f"{name}²"] = value.sum()

    def fetch(self) -> None:
        """Bring all numbers to the host: from an accelerator in one transfer a kind."""
        self.counts, self.sums = _fetched(self.counts), _fetched(self.sums)
        self.lows, self.highs = _fetched(self.lows), _fetched(self.highs)

    @property
    def finite(self) -> bool:
        """Whether all log-probs and rewards were; if not, nothing here is worth keeping."""
        telling = [name for name in ("ref", "x", "rewards") if name in self.lows]
        ends = [(self.lows[name], self.highs[name]) for name in telling]
        return all(math.isfinite(low) and math.isfinite(high) for low, high in ends)


@quiet
def measure(chunk: Chunk, plan: Plan, keep: bool = False) -> Measures:
    """Measure a chunk of at least one pair; `keep` keeps the mask of every share."""
    xp, data = chunk.xp, chunk.data
    found = Measures(xp, len(chunk), masks={} if keep else None)
    main = Margins.of(data, plan.normalize == "mean")
    other = None if plan.other is None else Margins.of(data, plan.other == "mean")
    per_token = other if plan.other == "mean" and other else main

    found.span("ref", main.ref, sketched=True)
    found.sums["ref"] = main.ref.sum()
    if other:
        found.span("other", other.ref, sketched=True)
        found.sums["other"] = other.ref.sum()
    for name, levels in plan.level_counters.items():
        found.levels += levels.at_most(xp, found.arrays[name], found.sketches[name]).tolist()
    if found.masks is not None:
        found.masks |= {at: found.arrays[at[0]] <= at[1] for at in plan.distinct_levels}
    for name in (*POLICY, *REFERENCE):
        if name in data:
            found.highs[name] = data[name].max()
    targets = _targets(found, main, plan.beta)
    if plan.layout.tokens:
        _lengths(found, data)
    if plan.layout.policy:
        _policy(found, data, main, plan)
        _losses(found, main, per_token, targets, plan.beta)
    if plan.layout.gap:
        _gaps(found, data, plan, main, other)
    return found


def _targets(found: Measures, at: Margins, beta: float) -> tuple[Array, Array, Array]:
    """Return the targets of `hypo`, `smooth` and `easy`; the others are δ_ref or constant."""
    hypo = family.clipped(at.ref)
    smooth = family.smooth_target(found.xp, at.ref, hypo)
    easy = family.easy_target(at.ref_chosen, at.ref_rejected, at.ref, beta)
    for name, target in (("hypo", hypo), ("smooth", smooth), ("easy", easy)):
        found.sums[f"{name} target"] = target.sum()
    found.span("easy", easy, sketched=True)
    found.mark("easy negative", easy < 0)
    if float(found.lows["easy"]) == -math.inf:  # a certain response: a loss of 0, not inf − inf
        easy = found.xp.clip(easy, -1e200, None)
    return hypo, smooth, easy


def _policy(found: Measures, data: Mapping[str, Array], at: Margins, plan: Plan) -> None:
    """Measure what the policy does: accuracies, U, displacement, and its kinship to π_ref."""
    x = at.policy - at.ref
    found.span("margin", at.policy, sketched=True)
    found.span("x", x)
    found.sums["margin"] = at.policy.sum()
    better = x > 0
    found.mark("relative", better)
    found.mark("absolute", at.policy > 0)
    found.mark("undesirable", better & (at.policy < 0))
    rise, rise_of_loser = at.chosen - at.ref_chosen, at.rejected - at.ref_rejected
    found.mark("displaced", (rise < 0) & (rise_of_loser < 0))
    if plan.step0:
        ends = (abs(data[one] - data[other]).max() for one, other in _MODELS)
        found.highs["step0"] = max(map(float, ends))  # in nats, as given
    rise += rise_of_loser
    found.arrays["rise"], found.lows["rise"] = rise, rise.min()
    some = _some(found.pairs)
    policy, ref = at.policy[some], at.ref[some]
    found.sums |= {"some": float(len(ref)), "some margin": policy.sum(), "some ref": ref.sum()}
    found.sums["some margin²"] = (policy * policy).sum()
    found.sums["some ref²"] = (ref * ref).sum()
    found.sums["some margin·ref"] = (policy * ref).sum()


def _losses(
    found: Measures, at: Margins, tokens: Margins, targets: Iterable[Array], beta: float
) -> None:
    """Add up the losses, and their squares."""
    xp, x = found.xp, found.arrays["x"]
    dpo = family.softplus_minus(xp, x, beta)
    found.add_loss("cdpo", family.cdpo(dpo, x, beta))
    found.add_loss("dpo", dpo)
    found.add_loss("hinge", family.hinge(x, beta))
    for name, target in zip(("hypo", "smooth", "easy"), targets, strict=True):
        found.add_loss(name, family.softplus_minus(xp, at.policy - target, beta))
    margin = tokens.policy - family.SIMPO_GAMMA / beta
    found.add_loss("simpo", family.softplus_minus(xp, margin, beta))
    relative = x if tokens is at else tokens.policy - tokens.ref
    found.add_loss("ipo", family.ipo(relative, beta))


def _gaps(
    found: Measures, data: Mapping[str, Array], plan: Plan, at: Margins, other: Margins | None
) -> None:
    """Compare the reward gap with the critical one, at every β."""
    if plan.layout.gap == "rewards":
        gap = data[REWARDS[0]] - data[REWARDS[1]]
        found.lows["rewards"], found.highs["rewards"] = gap.min(), gap.max()
    else:
        gap = margins.logit(data["label_prob"])
    found.arrays["gap"], found.lows["gap"] = gap, gap.min()
    found.mark("reward below zero", gap < 0)
    for i, beta in enumerate(plan.all_betas):
        critical = at.ref * -beta
        found.mark(f"violated {i}", gap <= critical)
        if i == 0:
            surplus = gap - critical
            found.arrays["surplus"], found.lows["surplus"] = surplus, surplus.min()
    if other:
        found.mark("violated other", gap <= other.ref * -plan.beta)


def _lengths(found: Measures, data: Mapping[str, Array]) -> None:
    """Add up how sizes of log-probs go with numbers of tokens, in logarithms."""
    xp, some = found.xp, _some(found.pairs)
    tokens = xp.concat([data[name][some] for name in TOKENS])
    log = xp.log(tokens)
    found.sums["some tokens"] = tokens.sum()
    found.sums["log tokens"], found.sums["log tokens²"] = log.sum(), (log * log).sum()
    for model, columns in (("policy", POLICY), ("reference", REFERENCE)):
        if columns[0] in data:
            size = abs(xp.concat([data[name][some] for name in columns]))
            found.sums[f"{model} size"] = size.sum()
            size = xp.log(xp.clip(size, SMALLEST, None))  # of 0, too
            found.sums[f"{model} log"] = size.sum()
            found.sums[f"{model} log·log tokens"] = (size * log).sum()
            size *= size
            found.sums[f"{model} log²"] = size.sum()
    found.sums["some answers"] = float(len(tokens))


def _some(pairs: int) -> slice:
    enough, step = SAMPLED
    return slice(None, None, step if pairs >= enough else 1)


def _fetched(values: dict[str, Any]) -> dict[str, Any]:
    """Return 0-d arrays as Python numbers."""
    arrays = [v for v in values.values() if array_api_compat.is_torch_array(v)]
    if not arrays:
        return {n: v.item() if isinstance(v, np.generic) else v for n, v in values.items()}
    xp = array_api_compat.array_namespace(arrays[0])
    numbers = iter(xp.stack(arrays).tolist())
    return {
        n: next(numbers) if array_api_compat.is_torch_array(v) else v for n, v in values.items()
    }
