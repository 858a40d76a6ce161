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
from prefeq.solvers.bodies import Body, Travel
from prefeq.solvers.isotonic import project_chains, project_pair

NO_EDGES = np.zeros(0, dtype=np.int64)

# (target, (winner, loser, margin) rows): two tight constraints let go at once, up to rounding, as
# the weights of their blocks lie e^800 apart
FAR_APART = [
    (
        [289, -507, 215, -215, 248, 42, 142],
        "0 5 -186, 1 2 -156, 1 6 484, 2 0 -283, 3 0 139, 3 6 -330, 6 0 -287",
    ),
    ([290, -127, -606, -366, 703, 0], "0 2 -31, 3 1 54, 3 4 197, 4 0 -360, 5 0 24, 5 2 -156"),
]


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


def test_a_winner_lets_go_where_the_upper_body_sinks_again() -> None:
    """Past its peak the upper body falls; one random graph in 500 gets there at all."""
    target = [7, -19, 9, 33, 9, 17]
    listed = "0 1 25, 0 2 -2, 0 3 11, 0 5 6, 1 2 4, 1 3 2, 2 3 3, 2 5 -8, 4 5 31"
    rows = np.array([row.split() for row in listed.split(", ")], dtype=np.int64)
    margin = rows[:, 2].astype(float)
    found = project(np.array(target, dtype=float), np.zeros(6), rows[:, 0], rows[:, 1], margin)
    pairs = [oracle.Pair(*row) for row in rows.tolist()]
    exact = oracle.polish(target, pairs, [pairs[e] for e in found.forest])
    logp = planted.log_normalise(found.f)
    np.testing.assert_allclose(logp, np.array([float(v) for v in exact]), rtol=0, atol=1e-12)


# --- weights e^800 apart -------------------------------------------------------------------------


@pytest.mark.parametrize(("target", "listed"), FAR_APART)
def test_ties_of_far_apart_weights_are_broken(target, listed: str, monkeypatch) -> None:
    tied: list[int] = []
    right = blocks._break_tie

    def spy(state, edges, *rest):
        tied.append(len(edges))
        return right(state, edges, *rest)

    monkeypatch.setattr(blocks, "_break_tie", spy)
    rows = np.array([row.split() for row in listed.split(", ")], dtype=np.int64)
    tail, head, margin = rows[:, 0], rows[:, 1], rows[:, 2].astype(float)
    k = len(target)
    found = project(np.array(target, dtype=float), np.zeros(k), tail, head, margin)
    assert max(tied) > 1
    assert found.converged
    assert found.steps < 30
    pairs = [oracle.Pair(*row) for row in rows.tolist()]
    exact = oracle.polish(target, pairs, [pairs[e] for e in found.forest])
    logp = planted.log_normalise(found.f)
    np.testing.assert_allclose(logp, np.array([float(v) for v in exact]), rtol=0, atol=1e-11)


def test_far_apart_weights_end_in_few_steps(rng) -> None:
    for _ in range(100):
        target, tail, head, margin = instance(rng, 14, 40, nats=800.0)
        found = project(target, np.zeros(14), tail, head, margin)
        assert found.converged
        assert found.steps < 30
        assert np.all(found.f[tail] - found.f[head] >= margin - 1e-10)


# --- the two bodies ------------------------------------------------------------------------------


def test_joined_bodies_have_the_weighted_mean_pull(rng) -> None:
    for reach in (1.0, 800.0):
        weight, pull = rng.normal(0, reach, 3), rng.normal(size=3)
        one, two, three = (Body(*row) for row in zip(weight, pull, strict=True))
        both = one.join(two).join(three)
        share = np.exp(planted.log_normalise(weight))
        assert both.pull == pytest.approx(np.sum(share * pull), abs=1e-14)
        assert both.log_weight == pytest.approx(np.logaddexp.reduce(weight), rel=1e-14)


@pytest.mark.parametrize("tilt", [0.0, 1.0])
def test_travelling_bodies_keep_their_balance(rng, tilt: float) -> None:
    """Weight times displaced pull sums to zero over the two bodies, at every widening."""
    for _ in range(20):
        upper, lower = (Body(*rng.normal(0, 2, 2)) for _ in range(2))
        travel = Travel(upper, lower, tilt, 5.0)
        for y in np.linspace(0.0, 5.0, 11):
            up, down = travel.high(y), travel.low(y)
            assert up - down == pytest.approx(y, abs=1e-12)
            push = np.exp(upper.log_weight + tilt * up) * (upper.pull + up)
            pull = np.exp(lower.log_weight + tilt * down) * (lower.pull + down)
            assert push + pull == pytest.approx(0.0, abs=1e-12 * max(1.0, abs(push)))
        heights = [travel.high(y) for y in np.linspace(0.0, 5.0, 501)]
        assert travel.high(travel.peak()) >= max(heights) - 1e-12
