"""The penalty objective by hand: it has no maximiser."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from claims.penalty_by_hand import evidence, problem, rlhf, value

from prefeq.claims import cpo_penalty, penalty_paths
from prefeq.claims.ball import ball
from prefeq.claims.instance import Instance

CYCLE = Instance.of(
    "a cycle", reward=[1, 0, 2], ref=["1/2", "1/4", "1/4"], pairs=[(0, 1), (1, 2), (2, 0)]
)


def test_the_objective_exceeds_any_bound():
    (data,) = evidence("cpo-penalty", "has-optimum")
    reward, ref, beta, pairs, gamma = problem(data)
    best = np.log(rlhf(reward, ref, beta))
    got = value(best, reward, ref, beta, pairs, gamma)
    assert np.isclose(got, data["penalty_at_rlhf"], rtol=1e-12)
    for odds, want in zip(data["inputs"]["log_odds"], data["penalty_value"], strict=True):
        theta = np.array([float(odds), 0.0])  # the loser sinks
        assert np.isclose(value(theta, reward, ref, beta, pairs, gamma), want, rtol=1e-12)
    for odds in (1e3, 1e6, 1e9):
        assert value(np.array([odds, 0.0]), reward, ref, beta, pairs, gamma) > 0.09 * odds


def test_a_cycle_of_equal_masses_is_no_counterexample():
    found = cpo_penalty.against_optimum(CYCLE, Fraction(1, 10))
    assert found.outcome == "fails"
    assert not penalty_paths.sinking(CYCLE)


@pytest.mark.parametrize("gamma", [Fraction(1, 100), Fraction(1), Fraction(50)])
def test_it_rises_from_the_bound_on(gamma):
    made = cpo_penalty.at.CHAIN
    y = penalty_paths.sinking(made)
    start = penalty_paths.rising_from(made, y, gamma)
    reward, ref = np.array(made.reward, dtype=float), np.log(np.array(made.ref, dtype=float))
    best = np.log(rlhf(reward, ref, 1.0))
    own = best[y] - np.log1p(-np.exp(best[y]))
    rise = []
    for odds in np.linspace(float(start), 2 * float(start), 50):
        theta = best.copy()
        theta[y] -= odds + own
        rise.append(value(theta, reward, ref, 1.0, made.pairs, float(gamma)))
    assert np.all(np.diff(rise) > 0)


def test_the_path_is_a_policy_with_the_log_odds_asked_for():
    logp = penalty_paths.along(cpo_penalty.at.CHAIN, 1, Fraction(5, 2))
    probs = np.array([float(x.exp().mid()) for x in logp])
    assert np.isclose(probs.sum(), 1.0)
    assert np.isclose(np.log(probs[1] / (1 - probs[1])), -2.5)
    assert penalty_paths.objective(CYCLE, [ball(1) * 0] * 3, Fraction(1)).is_finite()
