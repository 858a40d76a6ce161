"""Facts about one comparison graph: components, spanning trees, longest paths, cycles.

Everything here works on plain integer edge lists of one prompt. Graphs are tiny (K responses), so
the code favours exactness and readable failure over asymptotics.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from prefeq.arrays import BoolArray, FloatArray, IntArray

SMALL = 64
"""Vertices up to which plain integers beat a sparse matrix."""


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
    if n <= SMALL:
        return _rank(_strong_labels(n, tail.tolist(), head.tolist()))
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    matrix = csr_array((np.ones(tail.size, dtype=np.int8), (tail, head)), shape=(n, n))
    _, labels = connected_components(matrix, directed=True, connection="strong")
    return _rank(labels.tolist())


def _strong_labels(n: int, tail: list[int], head: list[int]) -> list[int]:
    """Name every vertex by the first one that it reaches and that reaches it.

    Sets of vertices are the bits of integers: for a dozen responses fifty times quicker than
    building a sparse matrix.
    """
    reach = [1 << v for v in range(n)]
    for a, b in zip(tail, head, strict=True):
        reach[a] |= 1 << b
    for via in range(n):
        for v in range(n):
            if reach[v] >> via & 1:
                reach[v] |= reach[via]
    return [next(w for w in range(n) if reach[v] >> w & reach[w] >> v & 1) for v in range(n)]


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

    -inf where no path exists. Every cycle must be of negative length (see `slopes`): rounding that
    lifts one above zero would double at every turn.
    """
    best = np.full((n, n), -np.inf)
    np.maximum.at(best, (tail, head), length)
    np.fill_diagonal(best, 0.0)
    for via in range(n):
        best = np.maximum(best, best[:, via, None] + best[None, via, :])
    return best


@dataclass(frozen=True)
class Slopes:
    """What the margins around directed cycles add up to: a cycle above zero, or the tight edges.

    ``cycle`` lists the vertices of a cycle of positive length, ``total`` its length; if there is
    none, ``rigid`` marks the edges on cycles of zero length.
    """

    cycle: tuple[int, ...]
    total: float
    rigid: BoolArray


def slopes(n: int, tail: IntArray, head: IntArray, length: FloatArray) -> Slopes:
    """Find a cycle of positive length, or else all edges that lie on a cycle of length zero.

    Zero means up to a toll of 1e-12·max(1, |length|) an edge. The sums are exact, in integers: on
    paths of 1e5 nats rounding would exceed the toll. (Bellman-Ford on the lengths less their toll;
    its potentials then turn each edge into a shortfall ≥ 0, and shortfalls that are not negative
    add up without cancellation.)
    """
    unit = max((x.as_integer_ratio()[1] for x in length.tolist()), default=1) << 64
    exact = [p * (unit // q) for p, q in (x.as_integer_ratio() for x in length.tolist())]
    toll = [max(abs(x), unit) // 10**12 for x in exact]
    edges = list(zip(tail.tolist(), head.tolist(), exact, toll, strict=True))
    height, cycle = _bellman_ford(n, edges)
    if cycle:
        total = sum(exact[e] for e in cycle) / unit
        vertices = tuple(int(tail[e]) for e in cycle)
        return Slopes(vertices, total, np.zeros(tail.size, dtype=np.bool_))
    short = np.array([(height[b] - height[a] - x + t) / unit for a, b, x, t in edges])
    fee = np.array([t / unit for t in toll])
    return Slopes((), 0.0, _on_tight_cycles(n, tail, head, short, fee))


def _bellman_ford(n: int, edges: list[tuple[int, int, int, int]]) -> tuple[list[int], list[int]]:
    """Return the longest distances from anywhere, and the edges of a cycle if they never settle."""
    height, previous = [0] * n, [-1] * n
    changed = -1
    for _ in range(n):
        changed = -1
        for edge, (a, b, length, toll) in enumerate(edges):
            if height[a] + length - toll > height[b]:
                height[b], previous[b], changed = height[a] + length - toll, edge, b
        if changed < 0:
            return height, []
    vertex = changed
    for _ in range(n):
        vertex = edges[previous[vertex]][0]
    cycle: list[int] = []
    start = vertex
    while not cycle or vertex != start:
        cycle.append(previous[vertex])
        vertex = edges[cycle[-1]][0]
    return height, cycle[::-1]


def _on_tight_cycles(
    n: int, tail: IntArray, head: IntArray, short: FloatArray, toll: FloatArray
) -> BoolArray:
    """Mark the edges on cycles whose shortfalls add up to no more than twice their tolls.

    The shortfalls include one toll an edge, so that is a length within one toll of zero.
    """
    far, fee = np.full((n, n), np.inf), np.zeros((n, n))
    order = np.argsort(-short, kind="stable")
    far[tail[order], head[order]] = short[order]
    fee[tail[order], head[order]] = toll[order]
    np.fill_diagonal(far, 0.0)
    np.fill_diagonal(fee, 0.0)
    for via in range(n):
        through = far[:, via, None] + far[None, via, :]
        nearer = through < far
        far = np.where(nearer, through, far)
        fee = np.where(nearer, fee[:, via, None] + fee[None, via, :], fee)
    return np.asarray(short + far[head, tail] <= 2.0 * (toll + fee[head, tail]))


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
