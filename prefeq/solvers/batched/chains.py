"""Disjoint chains in lanes: weighted isotonic regression by the min-max formula.

Along a chain with offsets s the means of f − s must not rise. Where they may not, the solution at a
place is the least, over starts before it, of the greatest, over ends after it, weighted mean
between them (Robertson, Wright & Dykstra 1988): K(K + 1)/2 means, and no loop that waits for lanes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from prefeq._namespace import Array
from prefeq.lanes import device_of, flat_index, pick, select
from prefeq.solvers.batched.problem import Fit, Problem, number

NARROW = 600.0
"""Spread of log weights, in nats, up to which they are summed as they are."""

BARRIER = 1e300
"""Further down than any mean: what keeps a run from crossing into the next chain."""


@dataclass(frozen=True)
class Order:
    """The responses of each lane in an order (K, n) in which chains run winner to loser.

    `pair` (K, n) joins a place to the one before it; P where a new chain begins. `found` (n,) says
    which lanes are disjoint chains: no response wins twice or loses twice, and there is no cycle.
    """

    vertex: Array
    pair: Array
    found: Array

    def lanes(self, keep: Array) -> Order:
        """Return the orders of the lanes at the positions `keep`, rising."""
        if keep.shape[0] == self.found.shape[0]:
            return self
        return Order(*(select(x, keep) for x in (self.vertex, self.pair, self.found)))


def order(problem: Problem) -> Order:
    """Walk along the chains of each lane, one after the other."""
    xp, (k, _, n) = problem.xp, problem.shape
    where = device_of(problem.goal)
    lane = xp.arange(n, dtype=xp.int64, device=where)
    onward, loses, found = _links(problem)
    head = xp.full((k + 2, n), k, dtype=xp.int64, device=where)  # the first at or after a row
    for v in range(k - 1, -1, -1):
        head[v, :] = xp.where(loses[v, :], head[v + 1, :], v)
    none = xp.full((1, n), k, dtype=xp.int64, device=where)
    beyond = xp.reshape(xp.concat([problem.loser, none], axis=0), (-1,))
    onward, head = (xp.reshape(x, (-1,)) for x in (onward, head))
    vertex, pair = (xp.zeros((k, n), dtype=xp.int64, device=where) for _ in range(2))
    here, after = xp.full_like(lane, k), xp.zeros_like(lane)
    for place in range(k):
        via = xp.take(onward, here * n + lane)
        here, start = xp.take(beyond, via * n + lane), xp.take(head, after * n + lane)
        fresh = here == k
        here = xp.where(fresh, start, here)
        after = xp.where(fresh, start + 1, after)
        vertex[place, :], pair[place, :] = here, via
    found = found & xp.all(vertex < k, axis=0)  # else a cycle: responses are left, but no head
    return Order(vertex, pair, found)


def _links(problem: Problem) -> tuple[Array, Array, Array]:
    """Return the pair that each response wins, (K + 1, n), P for none; who loses; who forks not.

    Row K of the first two is no response. A lane forks if a response wins twice, or loses twice.
    """
    xp, (k, p, n), kept = problem.xp, problem.shape, problem.kept
    where = device_of(problem.goal)
    none = xp.full_like(problem.winner, k)
    winner, loser = (
        xp.reshape(flat_index(xp, xp.where(kept, x, none)), (-1,))
        for x in (problem.winner, problem.loser)
    )
    rows = xp.arange(p, dtype=xp.int64, device=where)[:, None] + xp.zeros_like(none)
    onward = xp.full(((k + 1) * n,), p, dtype=xp.int64, device=where)
    loses = xp.zeros(((k + 1) * n,), dtype=xp.bool, device=where)
    onward[winner], loses[loser] = xp.reshape(rows, (-1,)), True
    onward[k * n :] = p
    onward, loses = (xp.reshape(x, (k + 1, n)) for x in (onward, loses))
    pairs, wins, losses = (
        xp.sum(xp.astype(x, xp.int64), axis=0) for x in (kept, onward[:k, :] < p, loses[:k, :])
    )
    return onward, loses, (wins == pairs) & (losses == pairs)  # fewer: some write the same place


def solve(problem: Problem, order: Order, route: int) -> Fit:
    """Solve the chains of every lane (all of them `found`)."""
    xp, (k, p, n) = problem.xp, problem.shape
    vertex = flat_index(xp, order.vertex)
    link = flat_index(xp, order.pair)
    linked = order.pair < p
    nothing = xp.zeros((1, n), dtype=xp.float64, device=device_of(problem.goal))
    fall = pick(xp, xp.concat([problem.margin, nothing], axis=0), link)
    offset = xp.zeros_like(problem.goal)
    for place in range(1, k):
        below = offset[place - 1, :] - fall[place, :]
        offset[place, :] = xp.where(linked[place, :], below, nothing[0, :])
    weight = problem.tilt * offset
    if problem.log_weight is not None:
        weight = weight + pick(xp, problem.log_weight, vertex)
    goal = pick(xp, problem.goal, vertex) - offset
    mean = isotonic(xp, weight, goal, linked)
    tight = xp.zeros_like(linked)
    tight[1:, :] = linked[1:, :] & (mean[:-1, :] <= mean[1:, :])
    log_multiplier = multipliers(xp, weight, mean - goal, tight)
    fit = Fit.blank(problem, route)
    xp.reshape(fit.f, (-1,))[xp.reshape(vertex, (-1,))] = xp.reshape(mean + offset, (-1,))
    for rows, values in ((fit.forest, tight), (fit.log_multiplier, log_multiplier)):
        spare = xp.concat([rows, rows[:1, :]], axis=0)  # row p takes what has no pair
        xp.reshape(spare, (-1,))[xp.reshape(link, (-1,))] = xp.reshape(values, (-1,))
        rows[...] = spare[:p, :]
    fit.steps[...] = xp.sum(xp.astype(tight, xp.int64), axis=0)
    fit.found[...] = True
    return fit


def isotonic(xp: Any, weight: Array, goal: Array, linked: Array) -> Array:
    """Return, (K, n), the means that fit `goal` best and do not rise from a place to a linked one.

    `weight` are log weights. min over starts a ≤ i of max over ends b ≥ i of the mean of a … b.
    """
    top = xp.max(weight, axis=0)
    narrow = bool(xp.all(xp.min(weight, axis=0) > top - NARROW))
    barrier = (number(xp, linked) - 1.0) * BARRIER
    runs = (_sums if narrow else _joins)(xp, weight - top, goal, barrier)
    fitted, greatest = xp.empty_like(goal), xp.full_like(goal, -xp.inf)
    for place in range(goal.shape[0] - 1, -1, -1):
        greatest = xp.maximum(greatest[: place + 1, :], runs[place])
        inside = xp.where(greatest > -(BARRIER**0.5), greatest, xp.full_like(greatest, xp.inf))
        fitted[place, :] = xp.min(inside, axis=0)
    return fitted


def _sums(xp: Any, weight: Array, goal: Array, barrier: Array) -> list[Array]:
    """Return, by end, the means (starts, n) of the runs; far below zero if a barrier is inside."""
    weight = xp.exp(weight)
    share = weight * goal
    held = share + barrier
    total, moment = xp.empty_like(goal), xp.empty_like(goal)
    runs = []
    for place in range(goal.shape[0]):
        total[:place, :] += weight[place, :]
        moment[:place, :] += held[place, :]
        total[place, :], moment[place, :] = weight[place, :], share[place, :]
        runs.append(moment[: place + 1, :] / total[: place + 1, :])
    return runs


def _joins(xp: Any, weight: Array, goal: Array, barrier: Array) -> list[Array]:
    """Do the same for any weights, of which the light ones would vanish from sums."""
    total, mean = xp.empty_like(goal), xp.empty_like(goal)
    runs = []
    for place in range(goal.shape[0]):
        before, here = total[:place, :], weight[place, :]
        share = 1.0 / (1.0 + xp.exp(here - before))  # of the run so far
        rest = 1.0 - share
        mean[:place, :] = share * mean[:place, :] + rest * goal[place, :] + barrier[place, :]
        grown = xp.maximum(before, here) - xp.log(xp.maximum(share, rest))
        total[:place, :] = grown - barrier[place, :]  # then nothing that follows moves it
        total[place, :], mean[place, :] = here, goal[place, :]
        runs.append(xp.asarray(mean[: place + 1, :], copy=True))
    return runs


def multipliers(xp: Any, weight: Array, pull: Array, tight: Array) -> Array:
    """Return log λ of the pair between each place and the one before it, −inf where it is slack.

    λ is the sum of weight·pull over the pool's places above the pair, or minus that below it: of
    the lighter side. Relative to the winner's weight if above, to the loser's, then turned, below.
    """
    k, joined = pull.shape[0], number(xp, tight[1:, :])
    step = joined * (weight[:-1, :] - weight[1:, :])  # log of the winner's over the loser's
    grow, shrink = joined * xp.exp(step), joined * xp.exp(-step)
    above, below = (xp.asarray(pull, copy=True) for _ in range(2))
    over, under = xp.ones_like(pull), xp.ones_like(pull)
    for i in range(1, k):
        above[i, :] += above[i - 1, :] * grow[i - 1, :]
        over[i, :] += over[i - 1, :] * grow[i - 1, :]
    for i in range(k - 2, -1, -1):
        below[i, :] += below[i + 1, :] * shrink[i, :]
        under[i, :] += under[i + 1, :] * shrink[i, :]
    lighter = under[1:, :] * shrink < over[:-1, :]
    push = xp.where(lighter, -below[1:, :], above[:-1, :])
    log_push = xp.log(xp.maximum(push, xp.zeros_like(push)))
    log_push = log_push - number(xp, lighter) * step
    log_multiplier = xp.full_like(pull, -xp.inf)
    log_multiplier[1:, :] = xp.where(tight[1:, :], log_push, log_multiplier[1:, :])
    return log_multiplier
