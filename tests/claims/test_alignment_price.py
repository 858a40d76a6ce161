"""The price of alignment by hand: two responses, a chain, and blocks with offsets."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

import prefeq as pq
from prefeq import margins
from prefeq.claims import price_theorems as price


def test_two_responses_pay_log_cosh():
    ref, beta = np.array([0.05, 0.95]), 0.5
    weight = ref * np.exp(np.array([1.0, 0.0]) / beta)
    star = np.log(weight[0] / weight[1])
    best = beta * np.log(weight.sum())
    half = np.array([0.5, 0.5])
    there = half @ (np.array([1.0, 0.0]) - beta * np.log(half / ref))
    assert star < 0
    assert best - there == pytest.approx(beta * np.log(np.cosh(star / 2)), rel=1e-12)
    assert float(margins.price_of_alignment(star, beta)) == pytest.approx(best - there, rel=1e-12)


def solved(reward, ref, beta, pairs, m):
    bandit = pq.Bandit.from_probs(reward=reward, ref=ref, beta=beta)
    prefs = pq.Preferences.ordered(bandit, pairs)
    m = np.asarray(m, dtype=float)
    return bandit, prefs, m, pq.solve_cpo(bandit, prefs, margin=m), pq.solve_rlhf(bandit)


def test_a_pooled_chain_pays_by_its_geometric_mean():
    _, prefs, m, cpo, rlhf = solved(
        [0, 1, 2, 0], [0.1, 0.2, 0.3, 0.4], 1.0, [[0, 1], [1, 2]], [0, 0]
    )
    policy = np.exp(rlhf.logp)
    pooled = 3 * np.prod(policy[:3]) ** (1 / 3) + policy[3]
    assert rlhf.value - cpo.value == pytest.approx(-np.log(pooled), rel=1e-12)
    assert [b for b, _ in price.blocks(cpo, prefs, m)] == [[0, 1, 2], [3]]


def test_a_block_with_offsets_is_the_minimum_of_kl():
    bandit, prefs, m, cpo, rlhf = solved(
        [0, 0.3, 2, 0], [0.1, 0.2, 0.3, 0.4], 0.7, [[0, 1], [1, 2]], [0.5, -0.2]
    )
    star = price.log_optimum(bandit)

    def kl(z):  # the chain met with equality, the last response free
        f = np.array([z[0] + 0.5, z[0], z[0] + 0.2, z[1]])
        f = f - np.logaddexp.reduce(f)
        return np.exp(f) @ (f - star)

    best = minimize(kl, [0.0, 0.0], options={"gtol": 1e-10})
    assert rlhf.value - cpo.value == pytest.approx(0.7 * best.fun, abs=1e-9)
    f = price.block_solution(cpo, bandit, prefs, m)
    assert -0.7 * np.logaddexp.reduce(f) == pytest.approx(0.7 * best.fun, abs=1e-9)


def test_the_theorems_notice_a_wrong_answer(monkeypatch):
    from prefeq.claims import samples

    problem = next(samples.acyclic(1))
    checks = (price.is_divergence, price.is_block_form, price.is_price_of_blocks)
    assert all(check(*problem) for check in (*checks, price.is_price_of_means))
    honest = price.log_optimum
    monkeypatch.setattr(price, "log_optimum", lambda bandit: honest(bandit) + 1e-3)
    assert not any(check(*problem) for check in (*checks[::2], price.is_price_of_means))
