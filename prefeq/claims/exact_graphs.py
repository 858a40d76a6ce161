"""Facts of small graphs in integers, written apart from `prefeq.graphs`, which they check."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

Edges = Sequence[tuple[int, int]]


def components(size: int, edges: Edges) -> tuple[int, ...]:
    """Label connected components by their first vertex in order 0, 1, … (a sweep to a fixpoint)."""
    label = list(range(size))
    for _ in range(size):
        for a, b in edges:
            label[a] = label[b] = min(label[a], label[b])
    names = {value: i for i, value in enumerate(dict.fromkeys(label))}
    return tuple(names[value] for value in label)


def heights(size: int, edges: Edges) -> tuple[int, ...] | None:
    """Return integers with height(w) − height(l) ≥ 1 on every edge, None if there is a cycle."""
    height = [0] * size
    for _ in range(size + 1):
        moved = False
        for winner, loser in edges:
            if height[winner] < height[loser] + 1:
                height[winner], moved = height[loser] + 1, True
        if not moved:
            return tuple(height)
    return None


def reachable(size: int, edges: Edges) -> list[list[bool]]:
    """Return the matrix "there is a directed path i → j" (every vertex reaches itself)."""
    reach = [[i == j or (i, j) in edges for j in range(size)] for i in range(size)]
    for via, i, j in itertools.product(range(size), repeat=3):
        reach[i][j] = reach[i][j] or (reach[i][via] and reach[via][j])
    return reach


def ford(size: int, edges: Edges) -> bool:
    """Tell whether every edge lies on a directed cycle: components are strongly connected."""
    reach = reachable(size, edges)
    return all(reach[loser][winner] for winner, loser in edges)


def graphs(size: int) -> Iterator[list[tuple[int, int]]]:
    """Yield every undirected graph on `size` labelled vertices, as edge lists with i < j."""
    yield from subsets(list(itertools.combinations(range(size), 2)))


def digraphs(size: int) -> Iterator[list[tuple[int, int]]]:
    """Yield every directed graph on `size` labelled vertices (both directions allowed)."""
    yield from subsets(list(itertools.permutations(range(size), 2)))


def subsets(items: list[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    """Yield every subset of a list."""
    for mask in range(1 << len(items)):
        yield [item for i, item in enumerate(items) if mask >> i & 1]


def incidence_rank(size: int, edges: Edges) -> int:
    """Return the rank of the edge-vertex incidence matrix, in exact integer arithmetic."""
    from flint import fmpz_mat

    if not edges:
        return 0
    rows = [[(v == a) - (v == b) for v in range(size)] for a, b in edges]
    return int(fmpz_mat(rows).rank())


def upper_sets(size: int, edges: Edges) -> list[frozenset[int]]:
    """Return every set of vertices that holds the winner of each edge whose loser it holds."""
    found = []
    for mask in range(1 << size):
        members = frozenset(v for v in range(size) if mask >> v & 1)
        if all(winner in members for winner, loser in edges if loser in members):
            found.append(members)
    return found
