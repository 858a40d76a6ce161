"""The constraints of one prompt: distinct pairs with margins, feasibility, rigid groups, chains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from prefeq import graphs
from prefeq.arrays import FloatArray, IntArray
from prefeq.errors import InfeasibleError


@dataclass(frozen=True)
class Constraints:
    """δ(winner, loser) ≥ margin on n vertices, each ordered pair once.

    ``rigid`` marks the edges that lie on a zero-sum cycle (equalities); ``group`` labels the
    vertices that such edges join, ``offset`` their positions inside the group.
    """

    n: int
    winner: IntArray
    loser: IntArray
    margin: FloatArray
    rigid: Any
    group: IntArray
    offset: FloatArray

    @property
    def groups(self) -> int:
        """Number of rigid groups (vertices on no zero-sum cycle are groups of one)."""
        return int(self.group.max(initial=-1)) + 1

    def between(self) -> tuple[IntArray, IntArray, IntArray, FloatArray]:
        """Return (edge, winner group, loser group, margin between the groups' origins)."""
        edges = np.flatnonzero(self.group[self.winner] != self.group[self.loser])
        winner, loser = self.winner[edges], self.loser[edges]
        margin = self.margin[edges] - self.offset[winner] + self.offset[loser]
        return edges, self.group[winner], self.group[loser], margin


def build(names: IntArray, winner: IntArray, loser: IntArray, margin: FloatArray) -> Constraints:
    """Merge duplicates (the larger margin counts), refuse positive cycles, find zero-sum ones.

    Vertices are 0..n−1; `names` (n,) are the responses that they stand for in an error.

    Raises
    ------
    InfeasibleError
        Naming a directed cycle whose margins sum above zero, by more than 1e-12·Σ max(1, |m|).
    """
    n = names.size
    key, inverse = np.unique(winner * n + loser, return_inverse=True)
    largest = np.full(key.size, -np.inf)
    np.maximum.at(largest, inverse, margin)
    winner, loser = key // n, key % n
    found = graphs.slopes(n, winner, loser, largest)
    if found.cycle:
        raise _infeasible([int(names[v]) for v in found.cycle], found.total)
    rigid = found.rigid
    group = graphs.components(n, winner[rigid], loser[rigid])
    offset = offsets(n, winner[rigid], loser[rigid], largest[rigid])
    return Constraints(n, winner, loser, largest, rigid, group, offset)


def offsets(n: int, winner: IntArray, loser: IntArray, margin: FloatArray) -> FloatArray:
    """Return positions with f_winner − f_loser = margin, 0 at the first vertex of each group."""
    links: list[list[tuple[int, float]]] = [[] for _ in range(n)]
    for w, lo, m in zip(winner.tolist(), loser.tolist(), margin.tolist(), strict=True):
        links[w].append((lo, -m))
        links[lo].append((w, m))
    offset: dict[int, float] = {}
    for origin in range(n):
        if origin in offset:
            continue
        offset[origin] = 0.0
        order = [origin]
        for vertex in order:
            for other, step in links[vertex]:
                if other not in offset:
                    offset[other] = offset[vertex] + step
                    order.append(other)
    return np.array([offset[v] for v in range(n)])


def distinct(constraints: Constraints, winner: IntArray, loser: IntArray) -> IntArray:
    """Return the index of each given pair among the constraints."""
    lookup = {
        pair: i
        for i, pair in enumerate(
            zip(constraints.winner.tolist(), constraints.loser.tolist(), strict=True)
        )
    }
    pairs = zip(winner.tolist(), loser.tolist(), strict=True)
    return np.array([lookup[pair] for pair in pairs], dtype=np.int64)


def chains(n: int, tail: IntArray, head: IntArray, margin: FloatArray) -> list[list[int]] | None:
    """Return edge lists of disjoint chains that imply all constraints, None if there are none.

    The transitive reduction: a constraint is dropped if a path of others demands as much.
    """
    if tail.size == 0:
        return []
    best = graphs.longest_paths(n, tail, head, margin)
    np.fill_diagonal(best, -np.inf)
    through = np.max(best[tail, :] + best[:, head].T, axis=1)
    keep = np.flatnonzero(margin > through)
    out, into = np.bincount(tail[keep], minlength=n), np.bincount(head[keep], minlength=n)
    if out.max() > 1 or into.max() > 1:
        return None
    following = {int(tail[e]): int(e) for e in keep}
    found = []
    for start in np.flatnonzero((out == 1) & (into == 0)).tolist():
        chain = []
        while start in following:
            chain.append(following[start])
            start = int(head[chain[-1]])
        found.append(chain)
    return found if sum(map(len, found)) == keep.size else None


def _infeasible(cycle: list[int], total: float) -> InfeasibleError:
    listed = " > ".join(str(v) for v in [*cycle, cycle[0]])
    return InfeasibleError(
        f"infeasible margins: around the cycle {listed} they sum to {total:g} nats, above 0; "
        "lower one of them or drop a pair of the cycle",
        tuple(cycle),
        total,
    )
