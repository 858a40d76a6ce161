"""Single pairs in `pathological-convergence` and `cpo-constrained`, and two enclosed functions."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from prefeq.bundle import bandits
from prefeq.bundle.recompute.instances import problem_of
from prefeq.bundle.registry import Item, Problem, boxed, number


@lru_cache(maxsize=8)
def _descent(problem: Problem, step_size: str, steps: int) -> tuple[Any, ...]:
    """Return the margin of the first pair along gradient descent on logits."""
    return tuple(m[0] for m in bandits.path(problem, bandits.real(step_size), steps))


@number("path", "pathological-convergence")
def path(item: Item) -> list[Any]:
    """Return the pair's margin at every step of the descent."""
    return list(_descent(problem_of(item), str(item.inputs["step_size"]), item.inputs["steps"]))


@number("steps_in_U", "pathological-convergence")
def steps_in_undesirable(item: Item) -> int:
    """Count the steps after the first with δ_ref < δ < 0."""
    found = path(item)
    return sum(bool(found[0] < delta < 0) for delta in found[1:])


@number("first_aligned_step", "pathological-convergence")
def first_aligned_step(item: Item) -> int | None:
    """Return the first step with δ > 0."""
    return next((k for k, delta in enumerate(path(item)) if delta > 0), None)


@number("cpo_margin", "cpo-constrained")
def cpo_margin(item: Item) -> list[Any]:
    """Return the margin of max J subject to δ ≥ m, one pair: an exact one where m binds.

    J's slope in δ has the sign of δ* − δ, so its best feasible point is δ* or the end of the range.
    """
    problem = problem_of(item)
    (pair,), (bound,) = problem.pairs, item.inputs["margins"]
    policy = bandits.rlhf_logp(problem)
    free = policy[pair[0]] - policy[pair[1]]
    return [free if free > bandits.real(bound) else bound]


@boxed("loss-below-ln-2")
def loss_below_ln_2(m: Any, z: Any) -> Any:
    """Return ln 2 − log(1 + e^−z), the loss that an ordered pair has lost at βx = z."""
    return m.log(2 / (1 + m.exp(-z)))


@boxed("hinge-gap-within-bounds")
def hinge_gap_within_bounds(m: Any, t: Any) -> Any:
    """Return the distance of log(1 + e^−t) from the nearer of 0 and ln 2."""
    small = m.exp(-t)
    return m.min(m.log1p(small), m.log(2 / (1 + small)))
