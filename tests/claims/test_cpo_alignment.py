"""Thm 4.9 by hand."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from claims.penalty_by_hand import climb, curvature, evidence, margins, problem, rlhf, slopes

from prefeq.claims import penalty_instances as at
from prefeq.claims import penalty_refutations as refutations
from prefeq.claims.instance import Instance
from prefeq.claims.penalty_cases import PenaltyCase


def critical(data):
    reward, ref, beta, pairs, _ = problem(data)
    return -beta * margins(rlhf(reward, ref, beta), pairs) * len(pairs) / 4


def test_at_gamma_star_the_margin_is_exactly_zero():
    (data,) = evidence("cpo-alignment", "strict")
    assert (data["instance"]["reward"], data["instance"]["ref"]) == ([0, 1], [0.5, 0.5])
    args = problem(data)
    assert args[-1] == 0.25
    assert np.isclose(critical(data)[0], 0.25, rtol=1e-14)
    half = np.array([0.5, 0.5])
    assert np.ptp(slopes(half, *args)) == 0.0
    assert np.all(curvature(np.log(half), args) < 0)


def test_beyond_the_fold_nothing_is_stationary():
    (data,) = evidence("cpo-alignment", "existence")
    reward, ref, beta, pairs, gamma = problem(data)
    win = 1 / (1 + np.exp(-np.linspace(-30, 30, 20_001)))
    args = reward, ref, beta, pairs, gamma
    rise = [np.subtract(*slopes(np.array([p, 1 - p]), *args)) for p in win]
    assert min(rise) > 0, "F rises with delta everywhere"
    assert gamma > critical(data)[0]


def test_no_gamma_serves_both_prompts():
    (data,) = evidence("cpo-alignment", "one-gamma-for-all-prompts")
    served = []
    for odds in (19, 99):
        star = 1 - np.log(odds)
        grid = np.linspace(0, 20, 200_001)
        height = ((grid - star) / (2 + 2 * np.cosh(grid))).max()
        served.append((-star / 4, height))
    np.testing.assert_allclose(data["critical_gamma"], [low for low, _ in served], rtol=1e-12)
    np.testing.assert_allclose(data["fold_gamma"], [high for _, high in served], atol=1e-8)
    assert served[0][1] < served[1][0]


@pytest.mark.parametrize(("label", "pair"), [("chain", 0), ("overlapping", 3)])
def test_a_local_maximum_beyond_gamma_star_is_misaligned(label, pair):
    (data,) = evidence("cpo-alignment", label)
    args = problem(data)
    assert args[-1] > critical(data).max()
    probs = np.array(data["stationary_probs"])
    assert np.ptp(slopes(probs, *args)) < 1e-12
    assert np.all(curvature(np.log(probs), args) < 0)
    np.testing.assert_allclose(climb(*args), probs, atol=1e-5)
    assert margins(probs, args[3])[pair] < -0.045


def test_the_overlapping_instance_is_aligned_before_the_penalty():
    (data,) = evidence("cpo-alignment", "overlapping")
    reward, ref, beta, pairs, _ = problem(data)
    assert np.all(margins(rlhf(reward, ref, beta), pairs) > 0)


def test_the_inner_pair_of_a_chain_of_four_does_not_move():
    (data,) = evidence("cpo-alignment", "some-gamma")
    reward, ref, beta, pairs, _ = problem(data)
    assert pairs == [[0, 1], [1, 2], [2, 3]]
    for gamma in (0.02, 0.05, 0.15):
        probs = climb(reward, ref, beta, pairs, gamma)
        assert np.isclose(margins(probs, pairs)[1], 0.1 - np.log(3), atol=1e-4)


def test_more_gamma_lowers_a_margin():
    (data,) = evidence("cpo-alignment", "more-gamma-is-better")
    reward, ref, beta, pairs, gamma = problem(data)
    probs = np.array([0.3 * np.e, 0.3 * np.e, 0.05 * np.exp(0.5), 0.35])
    probs /= probs.sum()
    np.testing.assert_allclose(rlhf(reward, ref, beta), probs)
    slope = -1 / 3 / probs[2] + 1 / 3 / probs[3]  # net degrees of b and c: -1/3 each
    assert np.isclose(data["initial_slope"][2], slope)
    assert slope < 0
    path = [
        margins(climb(reward, ref, beta, pairs, g, stages=5), pairs)[2] for g in (0.01, 0.02, gamma)
    ]
    assert 0.5 - np.log(7) > path[0] > path[1] > path[2]
    assert np.isclose(path[2], data["stationary_margin"][2], atol=1e-4)


def test_the_criterion_with_net_degrees_is_sharp_for_two_responses():
    # a/p + b/(1 - p) >= (sqrt a + sqrt b)^2, with equality at p = sqrt a/(sqrt a + sqrt b)
    a, b = 0.5, 0.2
    p = np.linspace(1e-4, 1 - 1e-4, 100_001)
    least = (a / p + b / (1 - p)).min()
    assert np.isclose(least, (np.sqrt(a) + np.sqrt(b)) ** 2, rtol=1e-8)


@pytest.mark.parametrize("label", ["existence", "chain", "overlapping", "some-gamma"])
def test_the_preferred_response_is_the_better_one(label):
    (data,) = evidence("cpo-alignment", label)
    reward, _, _, pairs, _ = problem(data)
    assert all(reward[w] > reward[lo] for w, lo in pairs)


class TestTheDeciders:
    """They say no to what is no counterexample."""

    def test_two_responses_above_gamma_star(self):
        case = PenaltyCase(at.TIED, Fraction(26, 100))
        assert refutations.tied_at_critical(case).outcome == "fails"
        assert refutations.misaligned_beyond_critical(case).outcome == "fails"

    def test_near_prompts_share_a_gamma(self):
        near = Instance.of("near", reward=[1, 0], ref=["1/21", "20/21"], pairs=[(0, 1)])
        assert refutations.no_common_gamma(at.VIOLATED, near).outcome == "fails"

    def test_a_chain_that_gamma_aligns(self):
        assert (
            refutations.misaligned_beyond_critical(
                PenaltyCase(at.SHORT_CHAIN, Fraction(3, 20))
            ).outcome
            == "fails"
        )

    def test_a_chain_of_three_has_no_idle_pair(self):
        assert refutations.idle_pair(at.SHORT_CHAIN).outcome == "fails"

    def test_the_margin_of_one_pair_does_not_fall(self):
        case = PenaltyCase(at.VIOLATED, at.FAINT)
        assert refutations.falling_margin(case).outcome == "fails"

    def test_what_is_a_chain(self):
        assert refutations.is_chain(at.LONG_CHAIN)
        assert not refutations.is_chain(at.FALLING)
        star = Instance.of("star", reward=[0] * 3, ref=["1/3"] * 3, pairs=[(0, 1), (0, 2)])
        assert not refutations.is_chain(star)
