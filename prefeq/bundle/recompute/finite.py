"""Finite arguments counted again: graphs by recurrences, their properties by brute force.

The checks label components by sweeps and relax heights; here components are flooded, ranks come
from elimination and heights from matrix powers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

from prefeq.bundle.registry import Item, finite

Edges = list[tuple[int, int]]


def connected_graphs(size: int) -> int:
    """Return the number of connected labelled graphs: all, less those with a smaller component.

    >>> [connected_graphs(n) for n in range(1, 6)]
    [1, 1, 4, 38, 728]
    """
    smaller = (
        math.comb(size - 1, k - 1) * connected_graphs(k) << math.comb(size - k, 2)
        for k in range(1, size)
    )
    return (1 << math.comb(size, 2)) - sum(smaller)


def acyclic_digraphs(size: int) -> int:
    """Return the number of acyclic labelled digraphs, by Robinson's recurrence (1973).

    >>> [acyclic_digraphs(n) for n in range(5)]
    [1, 1, 3, 25, 543]
    """
    if size == 0:
        return 1
    return sum(
        math.comb(size, k)
        * acyclic_digraphs(size - k)
        * (1 << k * (size - k))
        * (1 if k % 2 else -1)
        for k in range(1, size + 1)
    )


@finite("incidence-kernel")
def incidence_kernel(item: Item) -> tuple[dict[str, Any], bool]:
    """Rank = K − components: the nullity of the Laplacian, by integer elimination."""
    largest = item.inputs["largest_K"]
    numbers = {
        "count": sum(2 ** math.comb(n, 2) for n in range(1, largest + 1)),
        "connected": sum(map(connected_graphs, range(1, largest + 1))),
    }
    good = all(
        _rank(_laplacian(size, edges)) == size - _parts(size, edges)
        for size in range(1, largest + 1)
        for edges in _subsets(list(itertools.combinations(range(size), 2)))
    )
    return numbers, good


@finite("acyclic-heights")
def acyclic_heights(item: Item) -> tuple[dict[str, Any], bool]:
    """A graph without a directed cycle has a vanishing matrix power, and paths give heights."""
    largest = item.inputs["largest_K"]
    count, good = 0, True
    for size in range(2, largest + 1):
        for edges in _subsets(list(itertools.permutations(range(size), 2))):
            height = _path_lengths(size, edges)
            if height is not None:
                count += 1
                good &= all(height[w] >= height[lo] + 1 for w, lo in edges)
    total = sum(map(acyclic_digraphs, range(2, largest + 1)))
    return {"count": total}, good and count == total


@finite("feasible-iff-no-positive-cycle")
def feasible_margins(item: Item) -> tuple[dict[str, Any], bool]:
    """Small integer margins: try all integer heights that could meet them against all cycles."""
    largest, margins_tried = item.inputs["largest_K"], item.inputs["margins"]
    highest = (largest - 1) * max(margins_tried)  # the longest path, if heights start at zero
    count, good = 0, True
    for size in range(2, largest + 1):
        pairs = list(itertools.permutations(range(size), 2))
        heights = list(itertools.product(range(highest + 1), repeat=size))
        rises = [[f[w] - f[lo] for w, lo in pairs] for f in heights]
        for margins in itertools.product((None, *margins_tried), repeat=len(pairs)):
            count += 1
            met = any(
                all(m is None or rise >= m for m, rise in zip(margins, row, strict=True))
                for row in rises
            )
            good &= met != _positive_cycle(size, dict(zip(pairs, margins, strict=True)))
    choices = 1 + len(margins_tried)
    total = sum(choices ** (size * (size - 1)) for size in range(2, largest + 1))
    return {"count": total}, good and count == total


def _subsets(items: Edges) -> Iterator[Edges]:
    for length in range(len(items) + 1):
        for chosen in itertools.combinations(items, length):
            yield list(chosen)


def _laplacian(size: int, edges: Edges) -> list[list[int]]:
    matrix = [[0] * size for _ in range(size)]
    for a, b in edges:
        matrix[a][a] += 1
        matrix[b][b] += 1
        matrix[a][b] -= 1
        matrix[b][a] -= 1
    return matrix


def _rank(matrix: list[list[int]]) -> int:
    """Return the rank by elimination in integers."""
    rows, rank = [row[:] for row in matrix], 0
    for column in range(len(matrix)):
        pivot = next((r for r in range(rank, len(rows)) if rows[r][column]), None)
        if pivot is None:
            continue
        rows[rank], rows[pivot] = rows[pivot], rows[rank]
        lead = rows[rank]
        for r in range(rank + 1, len(rows)):
            factor = rows[r][column]
            if factor:
                rows[r] = [
                    lead[column] * x - factor * y for x, y in zip(rows[r], lead, strict=True)
                ]
        rank += 1
    return rank


def _parts(size: int, edges: Edges) -> int:
    """Count components by flooding bit masks."""
    near = [1 << v for v in range(size)]
    for a, b in edges:
        near[a] |= 1 << b
        near[b] |= 1 << a
    left, parts = (1 << size) - 1, 0
    while left:
        reached, parts = left & -left, parts + 1
        while (more := _after(near, reached)) != reached:
            reached = more
        left &= ~reached
    return parts


def _path_lengths(size: int, edges: Edges) -> list[int] | None:
    """Return the longest path out of every vertex, None if paths never end (there is a cycle)."""
    below = [0] * size
    for w, lo in edges:
        below[w] |= 1 << lo
    height, reach = [0] * size, below[:]  # row w of the k-th power of the adjacency matrix
    for k in range(1, size + 1):
        if not any(reach):
            return height
        height = [k if row else h for row, h in zip(reach, height, strict=True)]
        reach = [_after(below, row) for row in reach]
    return None if any(reach) else height


def _after(below: list[int], chosen: int) -> int:
    """Return everything one edge below some vertices."""
    found = 0
    for v, mask in enumerate(below):
        if chosen >> v & 1:
            found |= mask
    return found


def _positive_cycle(size: int, margins: dict[tuple[int, int], int | None]) -> bool:
    """Tell whether some closed walk has a positive sum, by max-plus products."""
    best: list[list[float]] = [
        [-math.inf if i == j or (m := margins[i, j]) is None else m for j in range(size)]
        for i in range(size)
    ]
    walk = best
    for _ in range(size):
        if any(walk[v][v] > 0 for v in range(size)):
            return True
        walk = [
            [max(walk[i][k] + best[k][j] for k in range(size)) for j in range(size)]
            for i in range(size)
        ]
    return False
