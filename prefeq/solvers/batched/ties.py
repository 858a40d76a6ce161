"""Multipliers of equalities in lanes: the pairs on cycles of sum zero, which hold a group rigid."""

from __future__ import annotations

from prefeq._namespace import Array
from prefeq.lanes import device_of, pick, put
from prefeq.solvers.batched.graphs import groups
from prefeq.solvers.batched.problem import Problem, positions

Tree = tuple[Array, Array]
"""The number of rigid pairs between each response (K, n) and its group's head, and the last one."""


def trees(problem: Problem, rigid: Array) -> tuple[Tree, Tree]:
    """Return shortest ways along `rigid` pairs (P, n), winner to loser: to the heads, from them.

    The head of a group is its first response. Each way exists, as the pairs lie on cycles.
    """
    group, (winner, loser) = groups(problem, rigid), problem.ends
    return _tree(problem, rigid, group, winner, loser), _tree(problem, rigid, group, loser, winner)


def _tree(problem: Problem, rigid: Array, group: Array, near: Array, far: Array) -> Tree:
    xp, (k, p, _) = problem.xp, problem.shape
    names = xp.arange(k, dtype=xp.int64, device=device_of(problem.goal))[:, None]
    hops = xp.where(group == names, xp.zeros_like(group), xp.full_like(group, k))
    pair = xp.full_like(hops, -1)
    settled = False
    while not settled:
        settled = True
        for row in range(p):
            here, there = near[row, :], far[row, :]
            reach, old = pick(xp, hops, there) + 1, pick(xp, hops, here)
            lanes = positions(xp, rigid[row, :] & (reach < old))
            if lanes.shape[0]:
                settled = False
                put(xp, hops, xp.take(here, lanes), xp.take(reach, lanes))
                put(xp, pair, xp.take(here, lanes), row)
    return hops, pair


def joined(problem: Problem, ways: tuple[Tree, Tree]) -> Array:
    """Return in which lanes (n,) every response has both ways: else rounding tore a cycle."""
    xp, k = problem.xp, problem.shape[0]
    (inward, _), (outward, _) = ways
    return xp.all((inward < k) & (outward < k), axis=0)


def members(problem: Problem, tree: Tree) -> Array:
    """Return which pairs (P, n) a tree consists of."""
    xp, (k, _, n) = problem.xp, problem.shape
    found, (_, pair) = xp.zeros_like(problem.kept), tree
    for v in range(k):
        lanes = positions(xp, pair[v, :] >= 0)
        put(xp, found, xp.take(pair[v, :], lanes) * n + lanes, True)
    return found


def turn(problem: Problem, ways: tuple[Tree, Tree], against: Array, log_multiplier: Array) -> None:
    """Send the multipliers e^against (P, n) of equalities that push backwards round, in place.

    A pair that pulls its winner down is replaced by the way from its loser back to its winner,
    through the head: round a cycle of sum zero all cancels. Adds to `log_multiplier`, log λ.
    """
    xp, (winner, loser), ratio = problem.xp, problem.ends, problem.log_ratio
    (_, inward), (_, outward) = ways
    n = against.shape[1]
    for row in range(against.shape[0]):
        lane = positions(xp, against[row, :] > -xp.inf)
        amount, step = (xp.take(x[row, :], lane) for x in (against, ratio))
        for pair, far, here, flow in (
            (inward, loser, xp.take(loser[row, :], lane), amount + step),
            (outward, winner, xp.take(winner[row, :], lane), amount),
        ):  # log flows over the weight of the response `here`
            at = lane
            while at.shape[0]:
                edge = pick(xp, pair, here)
                onward = positions(xp, edge >= 0)
                at, flow, edge = (xp.take(x, onward) for x in (at, flow, edge))
                place = edge * n + at
                if pair is outward:  # from the weight of the loser to that of the winner
                    flow = flow - pick(xp, ratio, place)
                old = pick(xp, log_multiplier, place)
                put(xp, log_multiplier, place, xp.logaddexp(old, flow))
                if pair is inward:
                    flow = flow + pick(xp, ratio, place)
                here = pick(xp, far, place)
