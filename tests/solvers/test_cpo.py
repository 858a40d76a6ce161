"""Constrained PO against independent truths: brute force, planted optima, cvxpy, closed forms."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.optimize import isotonic_regression, nnls
from solvers import planted
from solvers.feasible import kl, problem, scale, truth

import prefeq as pq
from prefeq import strategies
from prefeq.errors import InfeasibleError, UnsolvedError

TIGHT = {"tol_gap_abs": 1e-12, "tol_gap_rel": 1e-12, "tol_feas": 1e-12}


# --- against independent answers -----------------------------------------------------------------


@pytest.mark.parametrize(("nats", "count"), [(3.0, 300), (800.0, 200)])
def test_random_graphs_are_solved_to_1e_9(rng, nats: float, count: int) -> None:
    routes = set()
    for _ in range(count):
        bandit, pairs, margin = problem(rng, nats, k_max=14, p_max=30)
        found = pq.solve_cpo(bandit, pairs, margin=margin)
        assert found.status is pq.Status.OPTIMAL
        assert found.residual <= 1e-9
        assert np.all(found.margin(pairs) >= margin - 1e-9 * scale(found.logp))
        assert np.all(found.multipliers >= 0)
        routes.add(found.route)
    assert routes == {"one pair", "isotonic chain", "isotonic blocks", "active set"}


@pytest.mark.parametrize(("nats", "count"), [(3.0, 25), (800.0, 25)])
def test_equals_brute_force_in_mpmath(rng, nats: float, count: int) -> None:
    for _ in range(count):
        bandit, pairs, margin = problem(rng, nats, k_max=5, p_max=6)
        found = pq.solve_cpo(bandit, pairs, margin=margin).logp
        exact = truth(bandit, pairs, margin)
        np.testing.assert_allclose(found, exact, rtol=0, atol=1e-11 * scale(exact, bandit.tilt))


@pytest.mark.parametrize(("nats", "tol"), [(2.0, 1e-10), (800.0, 1e-10)])
def test_planted_optima_are_found(rng, nats: float, tol: float) -> None:
    for _ in range(60):
        k, count = int(rng.integers(2, 9)), int(rng.integers(1, 14))
        plant = planted.constrained(rng, k, count, nats=nats, beta=10.0 ** rng.uniform(-1, 1))
        found = pq.solve_cpo(plant.bandit, plant.preferences, margin=plant.margin)
        limit = tol * scale(plant.logp, plant.bandit.tilt)
        np.testing.assert_allclose(found.logp, plant.logp, rtol=0, atol=limit)


def test_planted_multipliers_are_found_where_they_are_unique(rng) -> None:
    compared = 0
    for _ in range(60):
        plant = planted.constrained(rng, int(rng.integers(3, 8)), 6, nats=1.0)
        tight = plant.multipliers > 0
        ends = plant.preferences.winner[tight], plant.preferences.loser[tight]
        trees = pq.Preferences(*ends).components(plant.bandit).max() + 1
        if trees != plant.bandit.K - tight.sum():
            continue  # tight pairs on a cycle: only AᵀΛ is unique
        found = pq.solve_cpo(plant.bandit, plant.preferences, margin=plant.margin)
        np.testing.assert_allclose(found.multipliers, plant.multipliers, rtol=1e-8, atol=1e-8)
        compared += 1
    assert compared > 20


def test_clarabel_agrees_in_probabilities(rng) -> None:
    trusted = 0
    for _ in range(25):
        bandit, pairs, margin = problem(rng, 2.0, k_max=6, p_max=8)
        conic = pq.solve_cpo(bandit, pairs, margin, "conic", throw=False, solver_options=TIGHT)
        if conic.status is not pq.Status.OPTIMAL:
            continue
        exact = pq.solve_cpo(bandit, pairs, margin=margin)
        np.testing.assert_allclose(np.exp(conic.logp), np.exp(exact.logp), rtol=0, atol=1e-5)
        assert (conic.route, conic.steps) == ("clarabel", None)
        trusted += 1
    assert trusted >= 12


def test_clarabel_does_not_call_its_failures_optimal() -> None:
    bandit, pairs = pq.Bandit([1, 0], [0, 0], 1.0), pq.Preferences([1], [0])
    beyond = pq.solve_cpo(bandit, pairs, 800.0, "conic")
    assert beyond.status is pq.Status.ITERATION_LIMIT
    assert beyond.residual > 1
    with pytest.raises(UnsolvedError, match="iteration-limit"):
        pq.solve_cpo(bandit, pairs, 0.0, "conic", throw=True, solver_options={"max_iter": 1})
    both = pq.Preferences([0, 1], [1, 0])
    with pytest.raises(InfeasibleError, match="sum to 1 nats"):
        pq.solve_cpo(bandit, both, 0.5, "conic")


# --- closed forms --------------------------------------------------------------------------------


@given(strategies.nats(800.0), strategies.nats(800.0), strategies.nats(800.0))
def test_two_responses_have_margin_max_of_star_and_m(gap: float, ref: float, m: float) -> None:
    found = pq.solve_cpo(pq.Bandit([gap, 0], [ref, 0], 1.0), pq.Preferences([0], [1]), margin=m)
    assert found.margin(pq.Preferences([0], [1]))[0] == pytest.approx(max(gap + ref, m), abs=1e-9)


def test_one_pair_among_many_responses(rng) -> None:
    for m in (-3.0, -0.5, 0.0, 1.0, 4.0):
        bandit, pair = pq.Bandit(rng.normal(size=5), rng.normal(size=5), 0.7), ([2], [4])
        pairs, star = pq.Preferences(*pair), pq.solve_rlhf(bandit)
        mu = 0.7 * max(m - star.margin(pairs)[0], 0.0) / (1 + np.exp(m))
        raised = star.logp + mu / 0.7 * np.array([0, 0, 1, 0, -np.exp(m)])
        found = pq.solve_cpo(bandit, pairs, margin=m)
        np.testing.assert_allclose(found.logp, planted.log_normalise(raised), atol=1e-13)
        np.testing.assert_allclose(found.multipliers, [mu * (1 + np.exp(m))], atol=1e-12)


@pytest.mark.parametrize("nats", [1.0, 800.0])
def test_zero_margins_are_isotonic_regression_of_rlhf(rng, nats: float) -> None:
    """Least squares in log π* by Lawson and Hanson's NNLS on the dual, then one normalisation."""
    for _ in range(60):
        k, p = int(rng.integers(2, 10)), int(rng.integers(1, 20))
        bandit = pq.Bandit(rng.normal(size=k) * nats, rng.normal(size=k), 1.0)
        winner = rng.integers(0, k, p)
        loser = (winner + rng.integers(1, k, p)) % k  # cycles of ties included
        rows, star = np.zeros((p, k)), pq.solve_rlhf(bandit).logp
        rows[np.arange(p), winner], rows[np.arange(p), loser] = 1, -1
        fitted = star + rows.T @ nnls(rows.T, -star)[0]
        found = pq.solve_cpo(bandit, pq.Preferences(winner, loser)).logp
        wanted = planted.log_normalise(fitted)
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-11 * scale(star))


def test_chains_are_weighted_isotonic_regression(rng) -> None:
    for _ in range(60):
        k = int(rng.integers(3, 12))
        bandit = pq.Bandit(rng.normal(size=k) * 3, rng.normal(size=k), 1.0)
        order, margin = rng.permutation(k), rng.normal(size=k - 1) * 2
        offset = np.concatenate([[0.0], -np.cumsum(margin)])
        star = pq.solve_rlhf(bandit).logp[order]
        fit = isotonic_regression(star - offset, weights=np.exp(offset), increasing=False).x
        found = pq.solve_cpo(bandit, pq.Preferences(order[:-1], order[1:]), margin=margin)
        assert found.route == "isotonic chain"
        wanted = planted.log_normalise(fit + offset)
        np.testing.assert_allclose(found.logp[order], wanted, rtol=0, atol=1e-12 * scale(star))


def test_pairs_that_a_chain_implies_leave_it_a_chain() -> None:
    bandit, margin = pq.Bandit([0, 1, 2], [0, 0, 0], 1.0), [0.5, 0.25, 0.75]
    chain = pq.solve_cpo(bandit, pq.Preferences([0, 1], [1, 2]), margin=margin[:2])
    found = pq.solve_cpo(bandit, pq.Preferences([0, 1, 0], [1, 2, 2]), margin=margin)
    assert found.route == "isotonic chain"
    np.testing.assert_array_equal(found.logp, chain.logp)


def test_price_of_alignment_is_a_kl_divergence(rng) -> None:
    for _ in range(40):
        bandit, pairs, margin = problem(rng, 3.0)
        found, star = pq.solve_cpo(bandit, pairs, margin=margin), pq.solve_rlhf(bandit)
        price = bandit.beta * kl(found.logp, star.logp)
        assert star.value - found.value == pytest.approx(price, abs=1e-11 * scale(bandit.reward))


@pytest.mark.parametrize("star", [-0.3, -4.0, -40.0])
def test_price_of_a_tie_of_two_responses(star: float) -> None:
    bandit = pq.Bandit([1.4, 0], [star - 0.7, 0], 2.0)
    found = pq.solve_cpo(bandit, pq.Preferences([0], [1]))
    price = 2.0 * float(mp.log(mp.cosh(star / 2)))
    assert pq.solve_rlhf(bandit).value - found.value == pytest.approx(price, rel=1e-13)


# --- when it is RLHF ------------------------------------------------------------------------------


@given(strategies.problems(min_responses=2), st.data())
def test_is_rlhf_if_the_star_meets_every_margin(drawn, data) -> None:
    bandit, pairs = drawn
    star = pq.solve_rlhf(bandit)
    room = data.draw(st.lists(st.floats(0, 800), min_size=pairs.P, max_size=pairs.P))
    found = pq.solve_cpo(bandit, pairs, margin=star.margin(pairs) - np.array(room))
    on, size = bandit.support, scale(star.logp[bandit.support], bandit.tilt[bandit.support])
    np.testing.assert_allclose(found.logp[on], star.logp[on], rtol=0, atol=1e-10 * size)


@given(strategies.problems(min_responses=2, limit=20.0), st.data())
def test_is_not_rlhf_if_a_margin_is_violated(drawn, data) -> None:
    bandit, pairs = drawn
    margin = data.draw(strategies.feasible_margins(pairs, limit=20.0))
    star = pq.solve_rlhf(bandit)
    short = np.where(pairs.present, margin - star.margin(pairs), -np.inf)
    assume(short.max(initial=-np.inf) > 1e-3)
    found = pq.solve_cpo(bandit, pairs, margin=margin)
    assert np.max(np.abs(found.margin(pairs) - star.margin(pairs))) > 0.999 * short.max()


@pytest.mark.parametrize("size", [1e9, 1e12, 1e17])
def test_margins_are_met_to_the_last_digit_however_large_the_rewards(size: float) -> None:
    """The blocks sit at r/β, whose rounding must not blur the margins inside them."""
    bandit = pq.Bandit([0, size, 3 * size, 2 * size], [0, 0, 0, 0], 1.0)
    prefs, margin = pq.Preferences([0, 1, 1], [1, 2, 3]), [1.0, 2.0, 0.5]
    found = pq.solve_cpo(bandit, prefs, margin=margin)
    np.testing.assert_allclose(found.margin(prefs), margin, rtol=0, atol=1e-14)
