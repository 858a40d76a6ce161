"""Graphs of pairs in lanes: duplicates, longest paths, rigid groups, what is implied by others.

All dense over (K, K) and sequential over K or P only: the counterparts, for many small problems at
once, of `prefeq.graphs` and `prefeq.solvers.constraints`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from prefeq._namespace import Array
from prefeq.lanes import device_of, flat_index, pick, put
from prefeq.solvers.batched.problem import EPS, Problem, positions

TOLL = 1e-12
"""What a cycle's sum may be off zero, per edge and nat, as in `prefeq.graphs.slopes`."""


def distinct(xp: Any, winner: Array, loser: Array, margin: Array, present: Array, k: int) -> Array:
    """Return which pairs state a constraint: of equal ones, the first with the largest margin."""
    kept, p = xp.asarray(present, copy=True), winner.shape[0]
    names = xp.arange(p, dtype=xp.int64, device=device_of(winner))[:, None]
    key = xp.where(present, winner * k + loser, -1 - names + xp.zeros_like(winner))
    for row in range(1, p):
        same = key[:row, :] == key[row, :]
        if bool(xp.any(same)):
            beaten = same & (margin[:row, :] >= margin[row, :])
            kept[:row, :] = kept[:row, :] & ~(same & ~beaten)
            kept[row, :] = kept[row, :] & ~xp.any(beaten, axis=0)
    return kept


def longest_paths(problem: Problem) -> Array:
    """Return the longest path lengths (K, K, n) from winner to loser: −inf without one, 0 at home.

    Cycles above zero count as zero: they show as pairs whose way back is longer than it may be.
    """
    xp, (k, p, n) = problem.xp, problem.shape
    best = xp.full((k, k, n), -xp.inf, dtype=xp.float64, device=device_of(problem.goal))
    margin = xp.where(problem.kept, problem.margin, xp.full_like(problem.margin, -xp.inf))
    place = flat_index(xp, problem.winner * k + problem.loser)
    for row in range(p):
        old = pick(xp, best, place[row, :])
        put(xp, best, place[row, :], xp.maximum(old, margin[row, :]))
    at_home = xp.reshape(best, (k * k, n))[:: k + 1, :]
    at_home[...] = 0.0
    for via in range(k):
        through = best[:, via, None, :] + best[None, via, :, :]
        best[...] = xp.maximum(best, through)
        at_home[...] = 0.0
    return best


def unimplied(problem: Problem, best: Array) -> Array:
    """Return which pairs (P, n) demand more than every path of others (transitive reduction).

    The graph must be free of cycles of sum zero. Writes −inf at home into `best`.
    """
    xp, (k, _, n) = problem.xp, problem.shape
    xp.reshape(best, (k * k, n))[:: k + 1, :] = -xp.inf
    from_winner = flat_index(xp, problem.winner * k)
    to_loser = flat_index(xp, problem.loser)
    through = xp.full_like(problem.margin, -xp.inf)
    for via in range(k):
        way = pick(xp, best, from_winner + via * n) + pick(xp, best, to_loser + via * (k * n))
        through = xp.maximum(through, way)
    return problem.kept & (problem.margin > through)


def cycles(problem: Problem, best: Array) -> tuple[Array, Array]:
    """Return which pairs (P, n) lie on cycles of sum zero, and which lanes (n,) are in doubt.

    Zero means within the toll of the shortest cycle, and rounding; below that, a cycle is slack,
    however little. In doubt is what is above: infeasible, or a cycle with a larger toll.
    """
    xp, k = problem.xp, problem.shape[0]
    back = pick(xp, best, flat_index(xp, problem.loser * k + problem.winner))
    cyclic = problem.kept & (back > -xp.inf)
    total = problem.margin + back
    toll = (2.0 * TOLL) * xp.maximum(xp.abs(problem.margin), xp.ones_like(total))
    above = total > 0.9 * toll
    rounding = (4.0 * EPS * k) * problem.size  # of sums along paths
    zero = cyclic & ~above & (total >= -(TOLL + rounding))
    return zero, xp.any(cyclic & above, axis=0)


@dataclass(frozen=True)
class Contraction:
    """Problems whose rigid groups are one vertex each, named by their first members.

    `group` (K, n) is each response's group, `offset` its position in it, `log_share` the log of its
    weight over the group's. `best` are the paths between groups, as `unimplied` wants them.
    """

    problem: Problem
    group: Array
    offset: Array
    log_share: Array
    best: Array

    def expand(self, f: Array) -> Array:
        """Return the positions of the responses, given those of the groups."""
        xp = self.problem.xp
        return pick(xp, f, flat_index(xp, self.group)) + self.offset


def contract(problem: Problem, rigid: Array, best: Array) -> Contraction:
    """Contract what cycles of sum zero hold together: groups' weighted mean goals and weights."""
    xp, k = problem.xp, problem.shape[0]
    names = xp.arange(k, dtype=xp.int64, device=device_of(problem.goal))
    group = groups(problem, rigid)
    offset = pick(xp, best, flat_index(xp, names[:, None] * k + group))
    weight = problem.tilt * offset
    if problem.log_weight is not None:
        weight = weight + problem.log_weight
    member = group[:, None, :] == names[None, :, None]
    inside = xp.where(member, weight[:, None, :], xp.full_like(best, -xp.inf))
    top = xp.max(inside, axis=0)
    head = top > -xp.inf
    share = xp.exp(inside - xp.where(head, top, xp.zeros_like(top)))
    total = xp.sum(share, axis=0)
    goal = xp.sum(share * (problem.goal - offset)[:, None, :], axis=0) / total
    nought = xp.zeros_like(goal)
    log_weight = xp.where(head, top + xp.log(total), nought)
    goal = xp.where(head, goal, nought)
    log_share = weight - pick(xp, log_weight, flat_index(xp, group))
    winner, loser = problem.ends
    margin = problem.margin - pick(xp, offset, winner) + pick(xp, offset, loser)
    winner, loser = pick(xp, group, winner), pick(xp, group, loser)
    kept = distinct(xp, winner, loser, margin, problem.kept & (winner != loser), k)
    rows = {"winner": winner, "loser": loser, "margin": margin, "kept": kept}
    merged = replace(problem, goal=goal, log_weight=log_weight, **rows)
    both = head[:, None, :] & head[None, :, :]
    return Contraction(
        merged, group, offset, log_share, xp.where(both, best, xp.full_like(best, -xp.inf))
    )


def groups(problem: Problem, rigid: Array) -> Array:
    """Name every response (K, n) by the first one that rigid pairs join it to."""
    xp, (k, p, n) = problem.xp, problem.shape
    names = xp.arange(k, dtype=xp.int64, device=device_of(problem.goal))
    group = names[:, None] + xp.zeros((k, n), dtype=xp.int64, device=device_of(problem.goal))
    winner, loser = problem.ends
    while True:
        settled = True
        for row in range(p):
            lanes = positions(xp, rigid[row, :])
            ends = [xp.take(x[row, :], lanes) for x in (winner, loser)]
            above, below = (pick(xp, group, end) for end in ends)
            settled = settled and bool(xp.all(above == below))
            for end in ends:
                put(xp, group, end, xp.minimum(above, below))
        if settled:
            return group


def packed(problem: Problem) -> tuple[Problem, Array]:
    """Return the problem with its kept rows moved up, and where each comes from (Q, n)."""
    xp, (_, p, n), kept = problem.xp, problem.shape, problem.kept
    where = device_of(problem.goal)
    count = xp.sum(xp.astype(kept, xp.int64), axis=0)
    q = int(xp.max(count))
    names = xp.arange(p, dtype=xp.int64, device=where)[:, None]
    source = names + xp.zeros_like(problem.winner)
    if 4 * q > 3 * p:
        return problem, source
    rank = xp.cumulative_sum(xp.astype(kept, xp.int64), axis=0) - 1
    lane = xp.arange(n, dtype=xp.int64, device=where)
    packed_source = xp.zeros((q + 1, n), dtype=xp.int64, device=where)
    for row in range(p):  # rows that are not kept write to the last one, which is dropped
        slot = xp.where(kept[row, :], rank[row, :], xp.full_like(lane, q))
        put(xp, packed_source, slot * n + lane, source[row, :])
    source = packed_source[:q, :]
    flat = source * n + lane
    rows = {x: pick(xp, getattr(problem, x), flat) for x in ("winner", "loser", "margin")}
    return replace(problem, kept=names[:q, :] < count, **rows), source
