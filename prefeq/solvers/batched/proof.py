"""Certificates in lanes, from the answers alone: no step of a kernel is trusted.

First the textbook conditions, with the multipliers that are to be reported. They are sharp unless
flows of e^{hundreds} pass through a light response; there the multipliers are eliminated along the
forest of tight pairs, as `prefeq.solvers.certificate` does for one problem.
"""

from __future__ import annotations

from typing import Any

from prefeq._namespace import Array
from prefeq.lanes import add_at, device_of, pick, put
from prefeq.solvers.batched.problem import EPS, Problem, number, positions


def balance(problem: Problem, pull: Array, log_multiplier: Array) -> tuple[Array, Array]:
    """Return pull − Aᵀλ (K, n), and a bound (n,) on its rounding.

    Row k of A is [winner] − ρ [loser] with ρ the weight of the winner over that of the loser.
    """
    xp, (winner, loser) = problem.xp, problem.ends
    up, down = xp.exp(log_multiplier), xp.exp(log_multiplier + problem.log_ratio)
    rest = xp.asarray(pull, copy=True)
    add_at(xp, rest, winner, -up)
    add_at(xp, rest, loser, down)
    return rest, 4.0 * EPS * xp.sum(up + down, axis=0)


def slackness(problem: Problem, f: Array, present: Array, tight: Array) -> Array:
    """Return by how much (n,) a margin of any present pair is missed, or a tight one exceeded."""
    xp, (winner, loser) = problem.xp, problem.ends
    if not problem.shape[1]:
        return xp.zeros_like(f[0, :])
    short = problem.margin - pick(xp, f, winner) + pick(xp, f, loser)
    short = xp.where(tight, xp.abs(short), short)
    return xp.max(xp.where(present, short, xp.zeros_like(short)), axis=0)


def textbook(
    problem: Problem, f: Array, present: Array, log_multiplier: Array, centred: bool
) -> Array:
    """Return the largest violation (n,) of the Karush-Kuhn-Tucker conditions, in nats.

    f − goal − Aᵀλ is zero, or (unless `centred`) one constant: log π is f normalised. Rounding is
    counted as a violation, so none of it can hide one.
    """
    xp = problem.xp
    rest, noise = balance(problem, f - problem.goal, log_multiplier)
    top, bottom = xp.max(rest, axis=0), xp.min(rest, axis=0)
    off = xp.maximum(top, -bottom) if centred else 0.5 * (top - bottom)
    return xp.maximum(slackness(problem, f, present, log_multiplier > -xp.inf), off + noise)


def eliminate(
    problem: Problem, f: Array, present: Array, forest: Array, rigid: Array, centred: bool
) -> tuple[Array, Array, Array]:
    """Return the violation (n,) by blocks and sides, and the push on each tight pair.

    Feasible; tight on the forest (P, n) and on `rigid` pairs, equalities that bind no sign; one
    mean of f − goal for all blocks; no negative push on the winner's side of the other pairs. The
    pushes, (P, n), are λ = push·e^unit, of the forest's pairs alone. What is no forest proves
    nothing: inf.
    """
    xp, k = problem.xp, problem.shape[0]
    hops, weight = _walks(problem, forest)
    pull = f - problem.goal
    mean, _ = _mean(xp, weight, pull[:, None, :])
    top, bottom = xp.max(mean, axis=0), xp.min(mean, axis=0)
    off = xp.maximum(top, -bottom) if centred else 0.5 * (top - bottom)
    push, unit = _pushes(problem, hops, weight, pull - mean)
    push = xp.where(forest, push, xp.zeros_like(push))
    wrong = xp.max(xp.where(rigid, xp.zeros_like(push), -push), axis=0)
    missed = slackness(problem, f, present, forest | rigid)
    violation = xp.maximum(xp.maximum(off, wrong), missed)
    blocks = xp.sum(1.0 / xp.sum(number(xp, hops < xp.inf), axis=0), axis=0)
    pairs = xp.sum(number(xp, forest), axis=0)
    sound = xp.abs(pairs + blocks - k) < 0.5  # K − 1 pairs in a tree of K responses
    return xp.where(sound, violation, xp.full_like(violation, xp.inf)), push, unit


def _pushes(problem: Problem, hops: Array, weight: Array, pull: Array) -> tuple[Array, Array]:
    """Return push and unit (P, n): the mean of pull over a side, signed, and its log weight.

    The side is the one without the heaviest response of the block: light, and the same for all
    pairs, so that what the pairs of a response add up to is its own pull, however light it is.
    """
    xp, (k, p, n), (winner, loser) = problem.xp, problem.shape, problem.ends

    def rows(dense: Array, ends: Array) -> Array:
        taken = xp.take(xp.reshape(dense, (k, -1)), xp.reshape(ends, (-1,)), axis=1)
        return xp.reshape(taken, (k, p, n))

    side = rows(hops, winner) - rows(hops, loser)  # −1 on the winner's
    names = xp.arange(k, dtype=xp.int64, device=device_of(hops))[:, None, None]
    heaviest = pick(xp, xp.argmax(weight, axis=0), winner) == names
    root = xp.sum(xp.where(heaviest, side, xp.zeros_like(side)), axis=0)
    away = rows(weight, winner)
    away = xp.where(side * root < 0, away, xp.full_like(away, -xp.inf))
    push, unit = _mean(xp, away, pull[:, None, :])
    if problem.log_weight is not None:
        unit = unit - pick(xp, problem.log_weight, winner)
    return xp.where(root > 0, push, -push), unit


def _walks(problem: Problem, forest: Array) -> tuple[Array, Array]:
    """Return how many tight pairs lead from v to y, inf if none, and y's log weight less v's."""
    xp, (k, p, n) = problem.xp, problem.shape
    hops = xp.full((k, k, n), xp.inf, dtype=xp.float64, device=device_of(problem.goal))
    level = -hops
    xp.reshape(hops, (k * k, n))[:: k + 1, :] = 0.0
    xp.reshape(level, (k * k, n))[:: k + 1, :] = 0.0
    for row in range(p):
        lanes = positions(xp, forest[row, :])
        w, lo, margin = (
            xp.take(x[row, :], lanes) for x in (problem.winner, problem.loser, problem.margin)
        )
        for y, v, step in ((w, lo, margin), (lo, w, -margin)):
            put(xp, hops, (y * k + v) * n + lanes, 1.0)
            put(xp, level, (y * k + v) * n + lanes, step)
    for via in range(k):  # all ways between two responses add up to the same
        hops = xp.minimum(hops, hops[:, via, None, :] + hops[None, via, :, :])
        level = xp.maximum(level, level[:, via, None, :] + level[None, via, :, :])
    weight = level if problem.tilt == 1 else xp.where(hops < xp.inf, problem.tilt * level, level)
    if problem.log_weight is not None:
        weight = weight + problem.log_weight[:, None, :]
    return hops, weight


def _mean(xp: Any, weight: Array, pull: Array) -> tuple[Array, Array]:
    """Return the mean of pull under weights e^weight over axis 0, and the log of their sum."""
    top = xp.max(weight, axis=0)
    share = xp.exp(weight - xp.where(top > -xp.inf, top, xp.zeros_like(top)))
    total = xp.sum(share, axis=0)
    some = xp.where(total > 0, total, xp.ones_like(total))
    return xp.sum(share * pull, axis=0) / some, top + xp.log(total)
