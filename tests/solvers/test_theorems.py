"""What makes an answer the answer: no feasible policy does better, prices, monotonicity."""

from __future__ import annotations

import numpy as np
import pytest
from solvers import checks, instances
from solvers.planted import log_normalise

import prefeq as pq
from prefeq.solvers import cpo
from prefeq.solvers.constraints import build
from prefeq.solvers.rlhf import objective


@pytest.mark.parametrize("nats", [1.0, 5.0])
def test_no_feasible_policy_has_a_higher_objective(nats: float) -> None:
    rng = np.random.default_rng(0)
    strict = 0
    for _ in range(60):
        bandit, pairs, margin = instances.constrained(rng, nats, max_responses=6, max_pairs=8)
        best = pq.solve_cpo(bandit, pairs, margin=margin)
        for spread in (0.01, 1.0, 10.0):
            reward = bandit.reward + bandit.beta * rng.normal(0, spread, bandit.K)
            other = pq.solve_cpo(pq.Bandit(reward, 0 * reward, bandit.beta), pairs, margin=margin)
            weight = rng.random()
            mixed = np.log(weight * np.exp(best.logp) + (1 - weight) * np.exp(other.logp))
            for policy in (other.logp, mixed):  # the feasible set is convex
                shortfall = best.value - float(objective(bandit, policy))
                assert shortfall >= -1e-11 * bandit.beta * checks.nats_of(bandit.tilt)
                strict += shortfall > 1e-6 * bandit.beta
    assert strict > 200


def test_no_policy_has_a_lower_loss() -> None:
    rng = np.random.default_rng(1)
    for kind in ("counts", "soft", "mixed") * 10:
        bandit, pairs = instances.contradictory(rng, kind)
        best = pq.solve_dpo(bandit, pairs)
        for spread in (1e-3, 1.0, 30.0):
            logp = log_normalise(best.logp + rng.normal(0, spread, bandit.K) / bandit.beta)
            x = bandit.beta * (pairs.margin_of(logp) - pairs.ref_margin(bandit))
            q = pairs.prob
            parts = q * np.logaddexp(0, -x) + (1 - q) * np.logaddexp(0, x)
            assert np.sum(pairs.mass * parts) >= best.loss * (1 - 1e-13)


def test_the_infimum_of_a_diverging_loss_is_approached_and_not_crossed() -> None:
    rng = np.random.default_rng(2)
    for _ in range(20):
        bandit, pairs = instances.diverging(rng)
        bandit = pq.Bandit(bandit.reward, bandit.ref_logp, 1.0)
        exact = pq.solve_dpo(bandit, pairs)
        run = pq.solve_dpo(bandit, pairs, "gradient-descent", max_steps=2000).trajectory
        assert np.all(run.loss > exact.loss)
        assert run.loss[-1] - exact.loss < 0.1 * (run.loss[0] - exact.loss)
        limit = exact.limit[0] + 60.0 * exact.direction  # far along the direction
        x = pairs.margin_of(limit) - pairs.ref_margin(bandit)
        q = pairs.prob
        parts = q * np.logaddexp(0, -x) + (1 - q) * np.logaddexp(0, x)
        assert np.sum(pairs.mass * parts) == pytest.approx(exact.loss, abs=1e-12)


def test_the_price_of_alignment_is_the_log_of_the_unnormalised_blocks() -> None:
    rng = np.random.default_rng(3)
    for nats in (1.0, 5.0, 50.0) * 15:
        bandit, pairs, margin = instances.constrained(rng, nats, max_responses=8, max_pairs=12)
        star, found = pq.solve_rlhf(bandit), pq.solve_cpo(bandit, pairs, margin=margin)
        rows = build(np.arange(bandit.K), pairs.winner, pairs.loser, margin)
        f = cpo._project(rows, star.logp)[0].f
        price = -bandit.beta * np.log(np.sum(np.exp(f)))
        size = bandit.beta * checks.nats_of(bandit.tilt, bandit.ref_logp)
        assert star.value - found.value == pytest.approx(price, abs=1e-12 * size)
        assert price >= -1e-14 * size


def test_ties_pool_at_the_geometric_mean() -> None:
    """At m = 0 the price is −β log Σ_B |B|·(geometric mean of π* over B)."""
    rng = np.random.default_rng(4)
    pooled = 0
    for _ in range(60):
        bandit, pairs, _ = instances.acyclic(rng, int(rng.integers(2, 9)), 10, 2.0)
        star, found = pq.solve_rlhf(bandit), pq.solve_cpo(bandit, pairs)
        tight = found.multipliers > 1e-9
        block = pq.Preferences(pairs.winner[tight], pairs.loser[tight]).components(bandit)
        means = np.array([star.logp[block == b].mean() for b in range(block.max() + 1)])
        sizes = np.bincount(block)
        np.testing.assert_allclose(found.logp, log_normalise(means[block]), atol=1e-13)
        price = -np.log(np.sum(sizes * np.exp(means)))
        assert star.value - found.value == pytest.approx(price, abs=1e-12)
        pooled += int(sizes.max() > 2)
    assert pooled > 20


def test_larger_margins_cost_more() -> None:
    rng = np.random.default_rng(5)
    for _ in range(40):
        bandit, pairs, margin = instances.acyclic(rng, 6, 9, 2.0)
        values = [pq.solve_cpo(bandit, pairs, margin=margin + up).value for up in (-50, 0, 0.5, 5)]
        assert values[0] == pytest.approx(pq.solve_rlhf(bandit).value, abs=1e-10)
        assert np.all(np.diff(values) <= 1e-12)


def test_margins_exactly_at_those_of_rlhf_change_nothing() -> None:
    rng = np.random.default_rng(6)
    for _ in range(40):
        bandit, pairs, _ = instances.constrained(rng, 5.0, max_responses=6, max_pairs=9)
        star = pq.solve_rlhf(bandit)
        found = pq.solve_cpo(bandit, pairs, margin=star.margin(pairs))
        size = checks.nats_of(star.logp, bandit.tilt)
        np.testing.assert_allclose(found.logp, star.logp, rtol=0, atol=1e-13 * size)
        raised = star.margin(pairs)
        raised[0] += 1e-3
        throw = pq.solve_cpo(bandit, pairs, margin=raised, throw=False)
        if throw.status is pq.Status.OPTIMAL:
            assert checks.distance(throw.logp, star.logp) > 1e-5
