"""What every method makes of a ladder: the least margin over its pairs, cell by cell.

Each function takes cells with the same K and returns the least δ, −inf where there is no policy to
speak of and NaN where it was not computed (the atlas turns both into verdicts of their own).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from prefeq import margins
from prefeq._namespace import quiet
from prefeq.arrays import FloatArray
from prefeq.atlas import descent, penalty
from prefeq.atlas.ladder import Cells
from prefeq.losses import DPO, Loss, Reference, easy, eq17, smooth
from prefeq.solution import Status
from prefeq.solvers import solve_cpo, solve_rlhf

Found = dict[str, FloatArray]
EPS = 2.0**-52

FURTHEST = 500.0
"""Nats from the top of a ladder to its foot up to which 1/π_ref and 1/log π_ref are formed."""


@dataclass(frozen=True)
class Method:
    """A panel: what it depends on besides K, and the layers that it computes.

    A method whose layer "least" is a least margin gets a verdict.
    """

    title: str
    needs: tuple[str, ...]
    layers: Callable[[Cells], Found]


def rlhf(cells: Cells) -> Found:
    """δ* = δ_ref + Δr/β, on every rung."""
    return {"least": margins.optimal_margin(cells.delta_ref, cells.gap, cells.beta)}


def _population(
    loss: Callable[[Cells, float], Loss], of: str = "gamma"
) -> Callable[[Cells], Found]:
    """Return the least margin of a loss's minimiser with Bradley-Terry labels, L = Δr.

    The pairs form a path, hence every margin is free of the others: each pair is at the minimiser
    of its own risk. `of` names the parameter of the loss, which takes one value at a time.
    """

    def layers(cells: Cells) -> Found:
        least = np.empty_like(cells.beta)
        values, index = np.unique(getattr(cells, of), return_inverse=True)
        order = np.argsort(index, kind="stable")
        ends = np.searchsorted(index[order], np.arange(values.size + 1))
        for value, first, last in zip(values, ends[:-1], ends[1:], strict=True):
            where = order[first:last]
            least[where] = _minimiser(loss(cells, float(value)), cells.part(where))
        return {"least": least}

    return layers


def _minimiser(loss: Loss, cells: Cells) -> FloatArray:
    """Return the least margin over the rungs; NaN where its target is beyond the floats."""
    if not loss.target_rule.needs_logps:
        return _own(loss, cells, cells.delta_ref)
    least = np.full_like(cells.beta, np.nan)
    where = np.flatnonzero(np.abs(cells.delta_ref) * (cells.k - 1) <= FURTHEST)
    cells = cells.part(where)
    logp = cells.ref_logp()
    rungs = (Reference(logp[:, i], logp[:, i + 1]) for i in range(cells.k - 1))
    found = np.stack([_own(loss, cells, ref) for ref in rungs])
    bounded = np.all(np.isfinite(found), axis=0)
    least[where] = np.where(bounded, np.min(found, axis=0), np.nan)
    return least


def _own(loss: Loss, cells: Cells, ref: FloatArray | Reference) -> FloatArray:
    """Return the minimiser of one pair's risk.

    With a target for each label it hangs on the difference of two; what is left of that where both
    are far below zero is their rounding: not computed.
    """
    found: FloatArray = loss.minimiser(ref, cells.beta, cells.gap, cells.flipped)
    if cells.flipped == "fixed":
        return found
    blurred = EPS * loss.target(ref, cells.beta) < -1e-10
    return np.where(blurred, np.nan, found)


def _dpo(cells: Cells, value: float) -> Loss:
    return DPO


def _smooth(cells: Cells, value: float) -> Loss:
    return smooth(cells.alpha, value, cells.tau)


def _eq17(cells: Cells, value: float) -> Loss:
    return eq17(value) if value else DPO  # γ = 0 is DPO


def _easy(cells: Cells, value: float) -> Loss:
    return easy(value) if value else DPO


def cpo(cells: Cells) -> Found:
    """Constrained PO with δ ≥ m, and its price J(π*) − J(π) = β KL(π‖π*)."""
    bandit, pairs = cells.bandit(), cells.pairs()
    solution = solve_cpo(bandit, pairs, cells.margin[:, None], throw=False)
    good = solution.status == Status.OPTIMAL
    price = cells.beta * _divergence(solution.logp, solve_rlhf(bandit).logp)
    least = np.min(solution.margin(pairs), axis=-1)
    return {"least": np.where(good, least, np.nan), "price": np.where(good, price, np.nan)}


@quiet
def _divergence(logp: FloatArray, other: FloatArray) -> FloatArray:
    """Return KL(π‖ρ) as Σ [π log(π/ρ) − π + ρ]: no term is negative, so nothing cancels.

    Exactly 0 where the policies differ by rounding alone.
    """
    size = np.max(np.abs(logp), axis=-1, keepdims=True)
    same = np.max(np.abs(logp - other), axis=-1, keepdims=True) <= 16 * EPS * np.maximum(size, 1)
    gap = np.where(same, 0.0, logp - other)
    near = np.exp(logp) * (np.expm1(-gap) + gap)
    far = np.exp(logp) * gap - np.exp(logp) + np.exp(other)
    total: FloatArray = np.sum(np.where(np.abs(gap) < 1, near, far), axis=-1)
    return total


def penalised(cells: Cells) -> Found:
    """Eq. 10's penalty of weight γ: the local maximum that starts at π*, −inf beyond its fold."""
    star = margins.optimal_margin(cells.delta_ref, cells.gap, cells.beta)
    if cells.k > 2:
        return {"least": penalty.least_margin(star, cells.beta, cells.gamma, cells.k)}
    found = margins.penalty_margin(star, cells.beta, cells.gamma)
    return {"least": np.where(np.isinf(found), -np.inf, found)}


def _ordered(cells: Cells) -> Found:
    return {"least": descent.ordered_least(cells)}


def _clipped(cells: Cells) -> Found:
    return {"least": descent.clipped_least(cells)}


def _exit(cells: Cells) -> Found:
    steps, time = descent.exits(cells)
    return {"exit_steps": steps, "exit_time": time}


_REF, _STAR = ("delta_ref", "beta"), ("delta_ref", "gap", "beta")

METHODS: Mapping[str, Method] = {
    "rlhf": Method("RLHF", _STAR, rlhf),
    "dpo": Method("DPO, Bradley-Terry", _STAR, _population(_dpo)),
    "dpo-ordered": Method("DPO, ordered, {steps} steps", _REF, _ordered),
    "hypo": Method("HyPO, ordered, {steps} steps", _REF, _clipped),
    "cpo": Method(r"CPO, $\delta \geq m$", (*_STAR, "margin"), cpo),
    "penalty": Method("CPO as penalty (Eq. 10)", (*_STAR, "gamma"), penalised),
    "eq17": Method("Eq. 17, Bradley-Terry", (*_STAR, "gamma"), _population(_eq17)),
    "smooth": Method("smooth branch", (*_STAR, "margin"), _population(_smooth, "margin")),
    "easy": Method("easy branch", (*_STAR, "gamma"), _population(_easy)),
    "exit": Method("exit of ordered DPO", _REF, _exit),
}
"""What an atlas can show, in the order of its panels; `cpo` brings the price of alignment."""
