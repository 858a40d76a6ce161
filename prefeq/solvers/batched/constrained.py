"""Constrained PO over lanes: every problem by the cheapest exact route, every answer certified."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from prefeq._namespace import Array, quiet
from prefeq.lanes import select
from prefeq.solvers.batched import graphs, proof, ties
from prefeq.solvers.batched.problem import Fit, Problem, positions, softplus
from prefeq.solvers.batched.projection import ROUTES, project

TOLERANCE = 1e-11
"""Largest violation, relative to max(1, |log π|), of an answer that is called done."""


@dataclass(frozen=True)
class Answer:
    """Answers of n problems: the policies, their multipliers, and what certifies them.

    ``logp`` (K, n), −inf off the support; ``log_multiplier`` (P, n), log λ/β of the rows scaled by
    σ, −inf where slack; ``violation`` (n,) of the certificate in nats; ``steps`` (n,); ``route``
    (n,), an index of `ROUTES`; ``done`` (n,): only these are answers.
    """

    logp: Array
    log_multiplier: Array
    violation: Array
    steps: Array
    route: Array
    done: Array


@quiet
def solve_lanes(
    xp: Any,
    target: Array,
    winner: Array,
    loser: Array,
    margin: Array,
    present: Array,
    *,
    log_weight: Array | None = None,
    tilt: float = 1.0,
    centre: float | None = None,
) -> Answer:
    """Project the policies `target` (K, n), log π*, on δ ≥ margin for the present pairs (P, n).

    With ``tilt=0, centre=0`` the least-squares projection of `target` in the weights e^log_weight
    instead, of which nothing is normalised: `logp` holds it. Off the support `target` is −inf.
    """
    on = target > -xp.inf
    full = bool(xp.all(on))
    goal = target if full else xp.where(on, target, xp.zeros_like(target))
    kept = graphs.distinct(xp, winner, loser, margin, present, target.shape[0])
    if log_weight is not None and not full:
        log_weight = xp.where(on, log_weight, xp.zeros_like(log_weight))
    problem = Problem(xp, goal, log_weight, tilt, winner, loser, margin, kept)
    fit = project(problem)
    centred = centre is not None
    f = fit.f if centred else _normalised(xp, fit.f, on, full)
    size = xp.max(xp.abs(f) if full else xp.where(on, xp.abs(f), xp.zeros_like(f)), axis=0)
    limit = TOLERANCE * xp.maximum(size, xp.ones_like(size))
    violation, log_multiplier = _certify(problem, fit, f, present, limit, centred)
    done = fit.found & (violation <= limit)
    if tilt:  # the rows scaled by σ
        log_multiplier = log_multiplier + softplus(xp, margin)
    blank = xp.full_like(violation, xp.inf)
    return Answer(
        logp=f if full or centred else xp.where(on, f, target),
        log_multiplier=xp.where(done, log_multiplier, -blank),
        violation=xp.where(done, violation, blank),
        steps=fit.steps,
        route=fit.route,
        done=done,
    )


def _normalised(xp: Any, f: Array, on: Array, full: bool) -> Array:
    """Return f − logsumexp(f) over the support, in two steps so that large shifts cancel."""
    inside = f if full else xp.where(on, f, xp.full_like(f, -xp.inf))
    top = xp.max(inside, axis=0)
    return (f - top) - xp.log(xp.sum(xp.exp(inside - top), axis=0))


def _certify(
    problem: Problem, fit: Fit, f: Array, present: Array, limit: Array, centred: bool
) -> tuple[Array, Array]:
    """Return the violation (n,) and log λ: by the textbook, and where that is blunt, by sides.

    It is blunt where rigid pairs have no multipliers yet, and where flows are too large for it.
    """
    xp, log_multiplier = problem.xp, fit.log_multiplier
    violation = proof.textbook(problem, f, present, log_multiplier, centred)
    blunt = ~(violation <= 0.1 * limit) | xp.any(fit.rigid, axis=0)
    lanes = positions(xp, fit.found & blunt)
    if lanes.shape[0]:
        f, present = select(f, lanes), select(present, lanes)
        forest, rigid = select(fit.forest, lanes), select(fit.rigid, lanes)
        answer = _by_sides(problem.lanes(lanes), f, present, forest, rigid, centred)
        violation[lanes], log_multiplier[:, lanes] = answer
    return violation, log_multiplier


def _by_sides(
    problem: Problem, f: Array, present: Array, forest: Array, rigid: Array, centred: bool
) -> tuple[Array, Array]:
    """Return the violation (n,) and log λ, both from the forest; no λ of an equality below 0."""
    xp = problem.xp
    tied = bool(xp.any(rigid))
    if tied:
        ways = ties.trees(problem, rigid)
        forest = forest | ties.members(problem, ways[0])
    violation, push, unit = proof.eliminate(problem, f, present, forest, rigid, centred)
    if tied:
        violation = xp.where(ties.joined(problem, ways), violation, xp.full_like(violation, xp.inf))
    size, none = xp.log(xp.abs(push)) + unit, xp.full_like(push, -xp.inf)
    log_multiplier = xp.where(push > 0, size, none)
    if tied:
        ties.turn(problem, ways, xp.where(rigid & (push < 0), size, none), log_multiplier)
    return violation, log_multiplier


__all__ = ["ROUTES", "TOLERANCE", "Answer", "solve_lanes"]
