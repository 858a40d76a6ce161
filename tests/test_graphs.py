"""Graph facts against brute force over all small graphs' paths, trees and cycles."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations, pairwise, permutations

import numpy as np
import pytest

from prefeq import graphs


def random_edges(rng, n: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return distinct directed edges."""
    every = [(a, b) for a in range(n) for b in range(n) if a != b]
    chosen = rng.permutation(len(every))[:count]
    tail, head = np.array([every[i] for i in chosen], dtype=np.int64).reshape(-1, 2).T
    return tail, head


def simple_cycles(n: int, tail: np.ndarray, head: np.ndarray) -> list[list[int]]:
    """Return every simple directed cycle as its list of edges, by trying all vertex orders."""
    index = {(int(a), int(b)): e for e, (a, b) in enumerate(zip(tail, head, strict=True))}
    found = []
    for size in range(2, n + 1):
        for first, *others in combinations(range(n), size):
            for order in permutations(others):
                ring = [first, *order]
                steps = list(zip(ring, [*ring[1:], first], strict=True))
                if all(step in index for step in steps):
                    found.append([index[step] for step in steps])
    return found


@pytest.mark.parametrize("seed", range(30))
def test_components_join_what_edges_join(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 8))
    tail, head = random_edges(rng, n, int(rng.integers(0, n + 2)))
    label = graphs.components(n, tail, head)
    linked = np.eye(n, dtype=bool)
    linked[tail, head] = linked[head, tail] = True
    for _ in range(n):
        linked = linked @ linked
    assert np.array_equal(label[:, None] == label, linked)
    assert list(dict.fromkeys(label.tolist())) == list(range(label.max() + 1))


@pytest.mark.parametrize("seed", range(30))
def test_strong_components_are_mutual_reachability(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 8))
    tail, head = random_edges(rng, n, int(rng.integers(0, 3 * n)))
    label = graphs.strong_components(n, tail, head)
    way = np.eye(n, dtype=bool)
    way[tail, head] = True
    for _ in range(n):
        way = way @ way
    assert np.array_equal(label[:, None] == label, way & way.T)


@pytest.mark.parametrize("seed", range(20))
def test_the_spanning_forest_is_the_heaviest(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 6))
    tail, head = random_edges(rng, n, int(rng.integers(1, 9)))
    weight = rng.integers(-3, 9, tail.size).astype(float)
    chosen = graphs.spanning_forest(n, tail, head, weight)
    rank = n - 1 - int(graphs.components(n, tail, head).max())
    assert len(chosen) == rank
    trees = [
        edges
        for edges in map(list, combinations(range(tail.size), rank))
        if graphs.components(n, tail[edges], head[edges]).max() == n - 1 - rank
    ]
    assert weight[chosen].sum() == max(weight[edges].sum() for edges in trees)


@pytest.mark.parametrize("seed", range(20))
def test_longest_paths_of_acyclic_graphs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 7))
    tail, head = random_edges(rng, n, int(rng.integers(1, 3 * n)))
    tail, head = np.minimum(tail, head), np.maximum(tail, head)
    length = rng.integers(-5, 6, tail.size).astype(float)
    best = {(v, v): 0.0 for v in range(n)}
    for start in range(n):  # vertices are in topological order
        for end in range(start + 1, n):
            into = [
                best[start, int(a)] + x
                for a, b, x in zip(tail, head, length, strict=True)
                if b == end and (start, int(a)) in best
            ]
            if into:
                best[start, end] = max(into)
    found = graphs.longest_paths(n, tail, head, length)
    for a in range(n):
        for b in range(n):
            assert found[a, b] == best.get((a, b), -np.inf)


@pytest.mark.parametrize("seed", range(60))
def test_slopes_find_a_positive_cycle_or_all_edges_of_zero_cycles(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 6))
    tail, head = random_edges(rng, n, int(rng.integers(1, 2 * n + 1)))
    height = rng.integers(-4, 5, n)
    length = (height[tail] - height[head] - rng.integers(0, 2, tail.size)).astype(float)
    if seed % 3 == 0:
        length += rng.integers(-1, 2, tail.size)
    sums = [(float(length[c].sum()), c) for c in simple_cycles(n, tail, head)]
    found = graphs.slopes(n, tail, head, length)
    if any(total > 0 for total, _ in sums):
        ring = [*found.cycle, found.cycle[0]]
        steps = list(pairwise(ring))
        lengths = dict(zip(zip(tail.tolist(), head.tolist(), strict=True), length, strict=True))
        assert found.total == sum(lengths[step] for step in steps) > 0
    else:
        assert found.cycle == ()
        zero = {e for total, c in sums if total == 0 for e in c}
        assert set(np.flatnonzero(found.rigid).tolist()) == zero


def both_ways(n: int, first: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the path 0, 1, ..., n−1 with edges there and back of lengths ±, and 0 > 1 at first."""
    a = np.arange(n - 1)
    tail, head = np.concatenate([a, a + 1]), np.concatenate([a + 1, a])
    length = np.concatenate([np.full(n - 1, 800.1), np.full(n - 1, -800.1)])
    length[0] += first
    return tail, head, length


def test_a_rounding_cycle_does_not_hide_a_real_one() -> None:
    tail, head = np.array([0, 1, 2, 3]), np.array([1, 0, 3, 2])
    found = graphs.slopes(4, tail, head, np.array([1.0, 0.0, 9e-13, 0.0]))
    assert set(found.cycle) == {0, 1}
    assert found.total == 1.0


def test_a_slope_of_1e_9_is_seen_on_paths_of_1e5_nats() -> None:
    assert graphs.slopes(200, *both_ways(200, 0.0)).rigid.all()
    found = graphs.slopes(200, *both_ways(200, 1e-8))
    assert set(found.cycle) == {0, 1}
    assert found.total == pytest.approx(1e-8, rel=1e-4)
    slack = graphs.slopes(200, *both_ways(200, -1e-8))
    assert slack.cycle == ()
    assert slack.rigid.tolist() == [False, *[True] * 198] * 2


@pytest.mark.parametrize(("excess", "rigid"), [(0.0, True), (-1.9e-12, True), (-1e-10, False)])
def test_zero_means_up_to_rounding(excess: float, rigid: bool) -> None:
    found = graphs.slopes(2, np.array([0, 1]), np.array([1, 0]), np.array([0.5, -0.5 + excess]))
    assert found.cycle == ()
    assert found.rigid.tolist() == [rigid, rigid]


def test_sums_are_exact_at_every_scale() -> None:
    length = np.array([1e-300, 1e16, -1e16, 800.0, -800.0])
    tail, head = np.array([0, 1, 2, 3, 4]), np.array([1, 2, 3, 4, 0])
    found = graphs.slopes(5, tail, head, length)
    assert found.cycle == ()
    assert found.rigid.all()
    length[0] = 1e7
    total = sum(map(Fraction, length.tolist()))
    assert Fraction(graphs.slopes(5, tail, head, length).total) == total


def test_rounded_cycles_of_a_whole_clique_are_all_rigid() -> None:
    rng = np.random.default_rng(0)
    n = 40
    height = rng.normal(0, 300, n)
    tail, head = np.nonzero(~np.eye(n, dtype=bool))
    assert graphs.slopes(n, tail, head, height[tail] - height[head]).rigid.all()


def test_directed_paths() -> None:
    tail, head = np.array([0, 1, 2, 0]), np.array([1, 2, 3, 3])
    assert graphs.directed_path(tail, head, [0, 1, 2], 0, 3) == [0, 1, 2]
    assert graphs.directed_path(tail, head, range(4), 0, 3) == [3]
    assert graphs.directed_path(tail, head, range(4), 3, 0) == []
    assert graphs.directed_path(tail, head, range(4), 2, 2) == []


def test_graphs_without_edges() -> None:
    none = np.zeros(0, dtype=np.int64)
    assert graphs.components(3, none, none).tolist() == [0, 1, 2]
    assert graphs.strong_components(2, none, none).tolist() == [0, 1]
    found = graphs.slopes(3, none, none, np.zeros(0))
    assert found.cycle == ()
    assert found.rigid.size == 0
