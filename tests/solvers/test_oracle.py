"""The oracles themselves: they satisfy their own equations, and refuse wrong answers."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
from scipy.optimize import LinearConstraint, minimize
from solvers import checks, instances, oracle, planted

import prefeq as pq


def test_the_dpo_oracle_has_no_gradient_left_whatever_its_start() -> None:
    labels = [oracle.Label(0, 1, 2.0, 0.5), oracle.Label(1, 2, -1.0, 2.0), oracle.Label(2, 0, 3, 1)]
    one, two = (oracle.dpo(3, labels, start) for start in ([0, 0, 0], [30, -20, 5]))
    with mp.workdps(50):
        for vertex in range(3):
            force = mp.mpf(0)
            for w, lo, odds, mass in labels:
                pull = mass * (1 / (1 + mp.exp(-odds)) - 1 / (1 + mp.exp(one[lo] - one[w])))
                force += pull * ((w == vertex) - (lo == vertex))
            assert abs(force) < mp.mpf(10) ** -45
        assert max(abs(a - b) for a, b in zip(one, two, strict=True)) < mp.mpf(10) ** -45


def test_the_dpo_oracle_does_not_pretend() -> None:
    ordered = [oracle.Label(0, 1, float("inf"), 1.0)]  # the infimum is not attained
    with pytest.raises(AssertionError, match="did not converge"):
        oracle.dpo(2, ordered, [0.0, 0.0], dps=20, steps=50)


def test_the_brute_force_agrees_with_a_general_optimiser() -> None:
    rng = np.random.default_rng(0)
    for _ in range(6):
        bandit, pairs, margin = instances.acyclic(rng, 4, 4, 1.0)
        target = pq.solve_rlhf(bandit).logp
        rows = np.zeros((pairs.P, 4))
        rows[np.arange(pairs.P), pairs.winner] = 1
        rows[np.arange(pairs.P), pairs.loser] = -np.exp(margin)
        found = minimize(
            lambda p, target=target: np.sum(p * (np.log(np.maximum(p, 1e-300)) - target)),
            np.full(4, 0.25),
            method="SLSQP",
            bounds=[(1e-12, 1)] * 4,
            constraints=[LinearConstraint(np.ones(4), 1, 1), LinearConstraint(rows, 0, np.inf)],
            options={"ftol": 1e-14, "maxiter": 500},
        )
        truth = oracle.cpo(target, checks.constraints_of(pairs, margin))
        np.testing.assert_allclose([float(mp.exp(v)) for v in truth], found.x, atol=2e-5)


def test_a_wrong_active_set_is_refused() -> None:
    pairs = [oracle.Pair(0, 1, 1.0), oracle.Pair(1, 2, -3.0)]
    target = [-1.0, 0.0, -2.0]
    with mp.workdps(50):
        assert oracle.kkt(target, pairs, []) is None  # violates 0 > 1 by a margin of 1
        assert oracle.kkt(target, pairs, pairs) is None  # 1 > 2 would have to push back
        assert oracle.kkt(target, pairs, pairs[:1]) is not None
        assert oracle.kkt(target, pairs, [pairs[0], pairs[0]]) is None  # no forest
    with pytest.raises(AssertionError, match="is not optimal"):
        oracle.polish(target, pairs, pairs)
    with pytest.raises(AssertionError, match="infeasible"):
        oracle.cpo(target, [oracle.Pair(0, 1, 1.0), oracle.Pair(1, 0, 0.0)])


@pytest.mark.parametrize("nats", [1.0, 300.0])
def test_planted_optima_are_optima_by_brute_force(nats: float) -> None:
    rng = np.random.default_rng(1)
    for _ in range(6):
        plant = planted.constrained(rng, 4, 4, nats=nats)
        rows = checks.constraints_of(plant.preferences, plant.margin)
        truth = oracle.cpo(pq.solve_rlhf(plant.bandit).logp, rows)
        assert checks.error_of(plant.logp, truth) <= 1e-13 * checks.nats_of(
            plant.logp, plant.bandit.tilt
        )
        bandit, pairs, s = planted.likelihood(rng, 4, 3, nats=min(nats, 50.0))
        exact = oracle.dpo(4, checks.labels_of(pairs), s)
        assert checks.error_of(s, exact) <= 1e-13 * checks.nats_of(s)
        assert pairs.has_ford_condition(bandit)


def test_comparisons_raise_on_wrong_answers() -> None:
    truth = [mp.mpf(-1), -mp.inf]
    assert checks.error_of(np.array([-1.0, -np.inf]), truth) == 0
    assert checks.error_of(np.array([-1.5, -np.inf]), truth) == 0.5
    with pytest.raises(AssertionError):
        checks.error_of(np.array([-1.0, -2.0]), truth)
    with pytest.raises(AssertionError):
        checks.distance(np.array([0.0, -np.inf]), np.array([0.0, -1.0]))
    assert checks.distance(np.array([0.0, -np.inf]), np.array([0.25, -np.inf])) == 0.25
    with pytest.raises(ValueError, match="zip"):
        checks.error_of(np.array([-1.0]), truth)
