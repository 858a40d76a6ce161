"""The block projection: least squares by cvxpy, brute force over active sets, ties, chains."""

from __future__ import annotations

from itertools import combinations

import cvxpy as cp
import numpy as np
import pytest
from solvers import oracle, planted

from prefeq import graphs
from prefeq.solvers import blocks
from prefeq.solvers.blocks import project
from prefeq.solvers.bodies import NOTHING, Body, Part, Travel
from prefeq.solvers.isotonic import project_chains, project_pair

NO_EDGES = np.zeros(0, dtype=np.int64)


def instance(rng, k: int, p: int, nats: float = 3.0):
    """Return (target, tail, head, margin): distinct pairs, feasible, no zero-sum cycle."""
    tail, head = planted.random_pairs(rng, k, p)
    target, height = rng.normal(0, nats, (2, k))
    margin = height[tail] - height[head] - rng.exponential(0.3 * nats, tail.size)
    return target, tail, head, margin


def by_brute_force(target, log_weight, tail, head, margin, tilt: float) -> np.ndarray:
    """Try every forest of tight constraints; the first that passes the conditions is the answer."""
    k = target.size
    for size in range(min(tail.size, k - 1) + 1):
        for forest in combinations(range(tail.size), size):
            f = stationary(target, log_weight, tail, head, margin, tilt, list(forest))
            if f is not None and np.all(f[tail] - f[head] >= margin - 1e-12):
                return f
    raise AssertionError("no active set satisfies the conditions")


def stationary(target, log_weight, tail, head, margin, tilt, forest) -> np.ndarray | None:
    """Return f with this forest tight, None if it is no forest or one edge pulls the wrong way."""
    k = target.size
    label = graphs.components(k, tail[forest], head[forest])
    if label.max() + 1 != k - len(forest):
        return None
    rows = np.zeros((len(forest) + int(label.max()) + 1, k))
    goal = np.zeros(rows.shape[0])
    rows[np.arange(len(forest)), tail[forest]] = 1
    rows[np.arange(len(forest)), head[forest]] = -1
    goal[: len(forest)] = margin[forest]
    first = np.array([np.flatnonzero(label == b)[0] for b in range(int(label.max()) + 1)])
    rows[len(forest) + np.arange(first.size), first] = 1
    offset = np.linalg.solve(rows, goal)  # each block's first vertex at 0
    weight = np.exp(log_weight + tilt * offset)
    f = offset.copy()
    for b in range(first.size):
        on = label == b
        f[on] += np.sum(weight[on] * (target - offset)[on]) / np.sum(weight[on])
    for edge in forest:
        rest = [e for e in forest if e != edge]
        side = graphs.components(k, tail[rest], head[rest])
        above = side == side[tail[edge]]
        if np.sum((weight * (f - target))[above]) < -1e-12:
            return None
    return f


# --- the projection ------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_without_tilt_it_is_weighted_least_squares(seed: int) -> None:
    rng = np.random.default_rng(seed)
    k = int(rng.integers(3, 9))
    target, tail, head, margin = instance(rng, k, int(rng.integers(2, 16)))
    log_weight = rng.normal(size=k)
    found = project(target, log_weight, tail, head, margin, tilt=0.0)
    f = cp.Variable(k)
    loss = cp.sum_squares(cp.multiply(np.exp(0.5 * log_weight), f - target))
    cp.Problem(cp.Minimize(loss), [f[tail] - f[head] >= margin]).solve(
        solver=cp.CLARABEL, tol_gap_abs=1e-12, tol_gap_rel=1e-12, tol_feas=1e-12
    )
    assert found.converged
    np.testing.assert_allclose(found.f, f.value, rtol=0, atol=1e-6)
    assert np.all(found.f[tail] - found.f[head] >= margin - 1e-12)


@pytest.mark.parametrize("tilt", [0.0, 0.5, 1.0])
def test_equals_brute_force_over_the_active_sets(rng, tilt: float) -> None:
    tight = 0
    for _ in range(40):
        k = int(rng.integers(2, 6))
        target, tail, head, margin = instance(rng, k, int(rng.integers(1, 8)), nats=1.5)
        log_weight = rng.normal(size=k)
        found = project(target, log_weight, tail, head, margin, tilt)
        exact = by_brute_force(target, log_weight, tail, head, margin, tilt)
        np.testing.assert_allclose(found.f, exact, rtol=0, atol=1e-12)
        gap = found.f[tail] - found.f[head] - margin
        np.testing.assert_allclose(gap[list(found.forest)], 0.0, rtol=0, atol=1e-12)
        assert found.converged
        tight += len(found.forest)
    assert tight > 40


def test_met_constraints_leave_the_target_alone(rng) -> None:
    target = rng.normal(size=4)
    for tail, head, margin in (
        (NO_EDGES, NO_EDGES, np.zeros(0)),
        (np.array([0, 2]), np.array([1, 3]), (target[[0, 2]] - target[[1, 3]])),
    ):
        found = project(target, np.zeros(4), tail, head, margin)
        np.testing.assert_array_equal(found.f, target)
        assert (found.forest, found.steps, found.converged) == ((), 0, True)


def test_infeasible_constraints_are_not_called_converged() -> None:
    ring, after = np.array([0, 1, 2]), np.array([1, 2, 0])
    found = project(np.zeros(3), np.zeros(3), ring, after, np.ones(3))
    assert not found.converged
    assert np.all(np.isfinite(found.f))


@pytest.mark.parametrize("tilt", [0.0, 1.0])
def test_agrees_with_pooling_on_chains(rng, tilt: float) -> None:
    for nats in (1.0, 10.0, 800.0) * 8:
        k = int(rng.integers(3, 12))
        order, cut = rng.permutation(k), int(rng.integers(0, k - 1))
        tail, head = (np.delete(a, cut) for a in (order[:-1], order[1:]))
        target, margin = rng.normal(0, nats, k), rng.normal(0, nats / 2, k - 2)
        log_weight = rng.normal(size=k)
        lists = [part for part in (list(range(cut)), list(range(cut, k - 2))) if part]
        pooled = project_chains(target, log_weight, tail, head, margin, lists, tilt)
        found = project(target, log_weight, tail, head, margin, tilt)
        assert found.converged
        np.testing.assert_allclose(found.f, pooled.f, rtol=0, atol=1e-11 * max(nats, 1))
        assert found.forest == pooled.forest


def test_agrees_with_the_closed_form_of_one_pair(rng) -> None:
    for nats in (1.0, 30.0, 800.0) * 5:
        target, margin = rng.normal(0, nats, 3), float(rng.normal(0, nats))
        edge = np.array([2]), np.array([0])
        found = project(target, np.zeros(3), *edge, np.array([margin]))
        closed = project_pair(target, 2, 0, margin)
        np.testing.assert_allclose(found.f, closed.f, rtol=0, atol=1e-13 * max(nats, 1))
        assert found.forest == closed.forest


def test_only_differences_matter(rng) -> None:
    """A shift of the target shifts f; a shift of all log-weights changes nothing."""
    for _ in range(20):
        target, tail, head, margin = instance(rng, 7, 12)
        log_weight = rng.normal(size=7)
        found = project(target, log_weight, tail, head, margin)
        moved = project(target + 64.0, log_weight + 900.0, tail, head, margin)
        np.testing.assert_allclose(moved.f - 64.0, found.f, rtol=0, atol=1e-11)
        assert moved.forest == found.forest
