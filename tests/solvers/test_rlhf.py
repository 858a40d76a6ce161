"""RLHF against 50 digits, its identities for every policy, its invariances."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from solvers import checks

import prefeq as pq
from prefeq import strategies
from prefeq.solvers import rlhf

NATS = (-800.0, -37.5, -1e-9, 0.0, 1.0, 800.0)
BETAS = (1e-6, 1e-3, 0.1, 1.0, 10.0, 1e6)


@pytest.mark.parametrize("beta", BETAS)
def test_two_responses_on_a_grid(beta: float) -> None:
    for ref, gap in product(NATS, NATS):
        reward, ref_logp = [beta * gap, 0.0], [ref, 0.0]
        checks.rlhf(pq.Bandit(reward, ref_logp, beta), reward, ref_logp)


@pytest.mark.parametrize("seed", range(10))
def test_random_bandits(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(60):
        k, beta = int(rng.integers(1, 9)), 10.0 ** rng.uniform(-6, 6)
        size = 10.0 ** rng.uniform(-3, np.log10(800), 2)
        reward, ref_logp = beta * size[0] * rng.random(k), size[1] * rng.random(k)
        ref_logp = np.where(rng.random(k) < 0.1, -np.inf, ref_logp)
        ref_logp[0] = 0.0
        bandit = pq.Bandit(reward, ref_logp, beta)
        checks.rlhf(bandit, bandit.reward, ref_logp)


def test_rewards_far_from_zero() -> None:
    reward = [1e6 + 0.25, 1e6, 1e6 - 0.5]
    checks.rlhf(pq.Bandit(reward, [0, -800, 3], 1e-3), reward, [0, -800, 3])


def kl(p: np.ndarray, q: np.ndarray) -> float:
    """Return KL(e^p ‖ e^q) of log-policies on one support."""
    on = np.isfinite(p)
    return float(np.sum(np.exp(p[on]) * (p[on] - q[on])))


@given(strategies.bandits(limit=30.0), st.integers(0, 2**32 - 1))
def test_the_shortfall_of_any_policy_is_beta_times_its_divergence(bandit, seed) -> None:
    best = pq.solve_rlhf(bandit)
    logits = np.random.default_rng(seed).normal(0, 5, bandit.K)
    logits = np.where(bandit.support, logits, -np.inf)
    policy = logits - np.log(np.sum(np.exp(logits)))
    shortfall = best.value - float(rlhf.objective(bandit, policy))
    assert shortfall == pytest.approx(
        bandit.beta * kl(policy, best.logp), rel=1e-9, abs=1e-11 * bandit.beta * 100
    )
    assert shortfall >= -1e-10 * bandit.beta


@given(strategies.bandits(limit=30.0))
def test_the_gain_in_reward_is_beta_times_both_divergences(bandit) -> None:
    best, ref = pq.solve_rlhf(bandit).logp, bandit.ref_logp
    gain = np.sum((np.exp(best) - np.exp(ref)) * bandit.reward)
    size = bandit.beta * checks.nats_of(best, ref, bandit.reward / bandit.beta)
    assert gain == pytest.approx(bandit.beta * (kl(best, ref) + kl(ref, best)), abs=1e-10 * size)


@given(strategies.bandits())
def test_the_value_is_the_objective_of_the_policy(bandit) -> None:
    best = pq.solve_rlhf(bandit)
    size = bandit.beta * checks.nats_of(bandit.ref_logp, bandit.reward / bandit.beta)
    assert float(rlhf.objective(bandit, best.logp)) == pytest.approx(best.value, abs=1e-12 * size)


@given(strategies.problems(min_responses=2))
def test_the_margin_is_the_references_plus_the_gap_over_beta(problem) -> None:
    bandit, pairs = problem
    margin = pq.solve_rlhf(bandit).margin(pairs)
    want = pairs.ref_margin(bandit) + pairs.reward_gap(bandit) / bandit.beta
    size = checks.nats_of(bandit.ref_logp, bandit.tilt)
    np.testing.assert_allclose(margin, want, rtol=0, atol=1e-14 * size)


@given(strategies.bandits(), st.integers(-5, 5), st.sampled_from([0.5, 2.0, 1024.0]))
def test_invariances(bandit, shift, scale) -> None:
    base, size = pq.solve_rlhf(bandit).logp, checks.nats_of(bandit.tilt, bandit.ref_logp)
    shifted = pq.Bandit(bandit.reward + shift * bandit.beta, bandit.ref_logp, bandit.beta)
    scaled = pq.Bandit(bandit.reward * scale, bandit.ref_logp, bandit.beta * scale)
    turned = pq.Bandit(bandit.reward[::-1], bandit.ref_logp[::-1], bandit.beta)
    for other in (shifted, scaled):
        np.testing.assert_allclose(pq.solve_rlhf(other).logp, base, rtol=0, atol=1e-12 * size)
    np.testing.assert_allclose(pq.solve_rlhf(turned).logp[::-1], base, rtol=0, atol=1e-13 * size)


@given(strategies.bandits(batch_shape=(2, 3)))
def test_batches_equal_their_rows(bandit) -> None:
    batch = pq.solve_rlhf(bandit)
    assert batch.status.shape == (2, 3)
    for index in np.ndindex(2, 3):
        single = pq.solve_rlhf(bandit[index])
        np.testing.assert_array_equal(batch.logp[index], single.logp)
        assert batch.value[index] == single.value
        assert batch.residual[index] == single.residual


@pytest.mark.parametrize("wrong", ["sign of beta", "reference forgotten", "not normalised"])
def test_the_residual_sees_a_wrong_policy(wrong: str) -> None:
    bandit = pq.Bandit([1.0, 0.0, 0.5], [0.0, -1.0, -2.0], 0.5)
    good = pq.solve_rlhf(bandit).logp
    bad = {
        "sign of beta": rlhf.log_normalise(bandit.ref_logp - bandit.tilt),
        "reference forgotten": rlhf.log_normalise(bandit.tilt),
        "not normalised": good + 1e-6,
    }[wrong]
    tilted = (bandit.ref_logp + bandit.tilt)[:, None]
    found = [rlhf.residual(np, None, tilted, bandit.tilt[:, None], x[:, None]) for x in (good, bad)]
    assert found[0] < 1e-15
    assert found[1] > 1e-7
