"""Where floats hurt: vast rewards, near-zero cycles, ill-scaled masses, long chains, odd shapes."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from solvers import checks, instances, oracle

import prefeq as pq
from prefeq import strategies
from prefeq.errors import InfeasibleError


@pytest.mark.parametrize("nats", [1e4, 1e7, 1e10, 1e12])
def test_margins_are_not_swallowed_by_vast_rewards(nats: float) -> None:
    rng = np.random.default_rng(0)
    for _ in range(25):
        k = int(rng.integers(2, 6))
        bandit, pairs, margin = instances.acyclic(rng, k, int(rng.integers(1, 7)), 2.0)
        vast = pq.Bandit(bandit.reward * nats, bandit.ref_logp, 1.0)
        found = pq.solve_cpo(vast, pairs, margin=margin)
        checks.residual_small(found)
        truth = oracle.cpo(pq.solve_rlhf(vast).logp, checks.constraints_of(pairs, margin), 60)
        assert checks.error_of(found.logp, truth) <= 1e-14 * nats * 100


def test_a_reward_of_1e100() -> None:
    bandit = pq.Bandit([1e100, 0.0, -0.0], [0, -5, -9], 1.0)
    for found in (
        pq.solve_rlhf(bandit),
        pq.solve_dpo(bandit, pq.Preferences.bradley_terry(bandit)),
        pq.solve_cpo(bandit, pq.Preferences.ordered(bandit)),
    ):
        assert found.status is pq.Status.OPTIMAL
        assert found.logp.tolist() == [0.0, -1e100, -1e100]
        assert found.value == 1e100


@pytest.mark.parametrize("off", [0.0, 1e-15, -1e-15, 1e-13, -1e-13, -1e-11, -1e-9])
def test_cycles_that_nearly_sum_to_zero_are_solved(off: float) -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        margin = np.array([0.3, 0.4, -0.7 + off, 0.1])
        bandit = pq.Bandit(rng.normal(0, 3, 4), rng.normal(0, 3, 4), 1.0)
        found = pq.solve_cpo(bandit, pq.Preferences([0, 1, 2, 2], [1, 2, 0, 3]), margin=margin)
        checks.residual_small(found)
        assert np.all(found.margin(pq.Preferences([0, 1, 2], [1, 2, 0])) >= margin[:3] - 1e-12)


@pytest.mark.parametrize("off", [1e-11, 1e-9, 1e-3])
def test_cycles_that_sum_to_slightly_more_are_infeasible(off: float) -> None:
    bandit, pairs = pq.Bandit([0, 0, 0], [0, 0, 0], 1.0), pq.Preferences([0, 1, 2], [1, 2, 0])
    with pytest.raises(InfeasibleError) as caught:
        pq.solve_cpo(bandit, pairs, margin=[0.25, 0.5, -0.75 + off])
    assert caught.value.margin_sum == pytest.approx(off, rel=1e-4)


def test_slack_margins_elsewhere_do_not_blur_a_tie() -> None:
    """A margin of 1e-8 between two bounds stays one, however large the other margins are."""
    others = 40
    pairs = pq.Preferences([0, 1, *range(2, others)], [1, 0, *range(3, others), 2])
    margin = np.array([0.0, -1e-8, *[-800.0] * (others - 2)])
    bandit = pq.Bandit(np.r_[0.5e-8, np.zeros(others - 1)], np.zeros(others), 1.0)
    found = pq.solve_cpo(bandit, pairs, margin=margin)
    checks.residual_small(found)
    assert found.margin(pairs)[0] == pytest.approx(0.5e-8, rel=1e-6)


def test_a_rigid_clique_of_40_responses() -> None:
    rng = np.random.default_rng(0)
    height = rng.normal(0, 300, 40)
    winner, loser = np.nonzero(~np.eye(40, dtype=bool))
    bandit = pq.Bandit(rng.normal(0, 3, 40), rng.normal(0, 3, 40), 1.0)
    margin = height[winner] - height[loser]
    found = pq.solve_cpo(bandit, pq.Preferences(winner, loser), margin=margin)
    checks.residual_small(found)
    assert np.ptp(found.logp - height) <= 1e-11


@given(strategies.problems(max_responses=5, max_pairs=7), st.data())
@settings(max_examples=150)
def test_ugly_problems_are_solved_without_a_warning(problem, data) -> None:
    bandit, pairs = problem
    margin = data.draw(strategies.feasible_margins(pairs))
    found = pq.solve_cpo(bandit, pairs, margin=margin)
    checks.residual_small(found)
    assert np.all(np.isfinite(found.logp) == bandit.support)
    assert np.all(np.isfinite(found.multipliers) & (found.multipliers >= 0))
    assert np.all(found.multipliers[~pairs.present] == 0)
    shortfall = np.where(pairs.present, margin - found.margin(pairs), 0.0)
    size = checks.nats_of(found.logp, bandit.tilt, margin)
    assert np.max(shortfall, initial=0.0) <= 1e-11 * size
    assert abs(np.sum(np.exp(found.logp)) - 1) <= 1e-11
    assert found.value <= pq.solve_rlhf(bandit).value + 1e-9 * bandit.beta * size


@given(strategies.problems(batch_shape=(2, 3), max_responses=4, max_pairs=3))
@settings(max_examples=25)
def test_batches_of_any_shape(problem) -> None:
    bandit, pairs = problem
    for solution in (
        pq.solve_rlhf(bandit),
        pq.solve_dpo(bandit, pairs),
        pq.solve_dpo(bandit, pairs, "gradient-descent", max_steps=5),
        pq.solve_cpo(bandit, pairs, margin=-0.5),
    ):
        assert solution.logp.shape == (2, 3, bandit.K)
        assert solution.status.shape == solution.residual.shape == solution.value.shape == (2, 3)
        assert not np.any(np.isnan(solution.logp))
        assert not np.any(np.isnan(solution.value))
        assert solution.margin(pairs).shape == (2, 3, pairs.P)


@pytest.mark.parametrize("margin", ["zero", "random"])
@pytest.mark.parametrize("pairs", [199, 400, 2000])
def test_two_hundred_responses(pairs: int, margin: str) -> None:
    rng = np.random.default_rng(pairs)
    bandit, prefs, _ = instances.acyclic(rng, 200, pairs, 5.0)
    if pairs == 199:
        prefs = pq.Preferences(np.arange(199), np.arange(1, 200))
    m = 0.0 if margin == "zero" else rng.normal(0, 3, prefs.P)
    start = time.perf_counter()
    found = pq.solve_cpo(bandit, prefs, margin=m)
    checks.residual_small(found)
    assert time.perf_counter() - start < 30  # seconds; about 1 on the slowest of these


def test_broadcast_pairs_and_margins() -> None:
    rng = np.random.default_rng(4)
    batch = pq.Bandit(rng.normal(size=(2, 3, 4)), rng.normal(size=4), [[0.5], [2.0]])
    pairs = pq.Preferences([0, 1], [1, 2])
    margin = rng.normal(size=(3, 1))
    found = pq.solve_cpo(batch, pairs, margin=margin)
    for i, j in np.ndindex(2, 3):
        single = pq.solve_cpo(batch[i, j], pairs, margin=margin[j, 0])
        np.testing.assert_allclose(found.logp[i, j], single.logp, rtol=1e-14)
        np.testing.assert_allclose(found.multipliers[i, j], single.multipliers, atol=1e-13)


def test_sampled_preferences_with_undrawn_pairs() -> None:
    rng = np.random.default_rng(6)
    for seed in range(20):
        bandit = pq.Bandit(rng.normal(size=(3, 5)), rng.normal(size=(3, 5)), 1.0)
        drawn = pq.Preferences.sample(bandit, int(rng.integers(1, 30)), seed=seed)
        dpo, cpo = pq.solve_dpo(bandit, drawn), pq.solve_cpo(bandit, drawn)
        ford = drawn.has_ford_condition(bandit)
        diverges = np.array([s is pq.Status.DIVERGES for s in dpo.status])
        assert np.array_equal(diverges, ~ford)
        assert np.all(dpo.residual <= 1e-9)
        assert np.all(cpo.residual <= 1e-9)
