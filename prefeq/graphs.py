"""Facts about one comparison graph: components, spanning trees, longest paths, cycles.

Everything here works on plain integer edge lists of one prompt. Graphs are tiny (K responses), so
the code favours exactness and readable failure over asymptotics.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from prefeq.arrays import FloatArray, IntArray


def components(n: int, tail: IntArray, head: IntArray) -> IntArray:
    """Label the connected components of an undirected graph, each by its smallest vertex's rank."""
    parent = list(range(n))

    def root(v: int) -> int:
        while parent[v] != v:
            parent[v] = parent[parent[v]]
            v = parent[v]
        return v

    for a, b in zip(tail.tolist(), head.tolist(), strict=True):
        low, high = sorted((root(a), root(b)))
        parent[high] = low
    return _rank([root(v) for v in range(n)])


def strong_components(n: int, tail: IntArray, head: IntArray) -> IntArray:
    """Label the strongly connected components of a directed graph (edges tail → head)."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    matrix = csr_array((np.ones(tail.size, dtype=np.int8), (tail, head)), shape=(n, n))
    _, labels = connected_components(matrix, directed=True, connection="strong")
    return _rank(labels.tolist())


def _rank(labels: list[int]) -> IntArray:
    names = {label: i for i, label in enumerate(dict.fromkeys(labels))}
    return np.array([names[label] for label in labels], dtype=np.int64)


def spanning_forest(n: int, tail: IntArray, head: IntArray, weight: FloatArray) -> list[int]:
    """Return the edges of a maximum-weight spanning forest (Kruskal; ties: the lower index)."""
    label = list(range(n))
    chosen = []
    for edge in np.argsort(-weight, kind="stable").tolist():
        a, b = label[int(tail[edge])], label[int(head[edge])]
        if a != b:
            chosen.append(edge)
            label = [a if x == b else x for x in label]
    return chosen


def longest_paths(n: int, tail: IntArray, head: IntArray, length: FloatArray) -> FloatArray:
    """Return the (n, n) matrix of longest path lengths (max-plus closure), 0 on the diagonal.

    -inf where no path exists. The graph must have no cycle of positive length.
    """
    best = np.full((n, n), -np.inf)
    np.maximum.at(best, (tail, head), length)
    np.fill_diagonal(best, np.maximum(np.diag(best), 0.0))
    for via in range(n):
        best = np.maximum(best, best[:, via, None] + best[None, via, :])
    return best


def positive_cycle(
    n: int, tail: IntArray, head: IntArray, length: FloatArray, tolerance: float
) -> tuple[list[int], float] | None:
    """Return a directed cycle (its vertices in order) whose lengths sum above `tolerance`.

    Bellman-Ford on lengths lowered by tolerance / n: such a cycle keeps a positive sum, and a
    cycle that rounding lifted off zero loses it.
    """
    lowered = length - tolerance / max(n, 1)
    distance, previous = np.zeros(n), np.full(n, -1)
    for _ in range(n):
        changed = -1
        for edge in range(tail.size):
            a, b = int(tail[edge]), int(head[edge])
            if distance[a] + lowered[edge] > distance[b]:
                distance[b], previous[b], changed = distance[a] + lowered[edge], edge, b
        if changed < 0:
            return None
    vertex = changed
    for _ in range(n):
        vertex = int(tail[previous[vertex]])
    edges: list[int] = []
    start = vertex
    while not edges or vertex != start:
        edges.append(int(previous[vertex]))
        vertex = int(tail[edges[-1]])
    edges.reverse()
    total = float(np.sum(length[edges]))
    return ([int(tail[e]) for e in edges], total) if total > tolerance else None


def directed_path(
    tail: IntArray, head: IntArray, edges: Iterable[int], start: int, goal: int
) -> list[int]:
    """Return the edges of a directed path start → goal that uses only `edges` (breadth first)."""
    allowed = list(edges)
    came: dict[int, int] = {start: -1}
    frontier = [start]
    while goal not in came and frontier:
        found = []
        for edge in allowed:
            a, b = int(tail[edge]), int(head[edge])
            if a in frontier and b not in came:
                came[b] = edge
                found.append(b)
        frontier = found
    path: list[int] = []
    while came.get(goal, -1) >= 0:
        path.append(came[goal])
        goal = int(tail[path[-1]])
    return path[::-1]
