"""Eqs. 13–17 by hand."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import numpy as np
import pytest
from claims.penalty_by_hand import climb, curvature, evidence, margins, problem, rlhf, slopes
from scipy.optimize import brentq

from prefeq.claims import penalty_certified
from prefeq.claims import penalty_instances as at
from prefeq.claims import penalty_refutations as refutations
from prefeq.claims.instance import Instance
from prefeq.claims.penalty_cases import PenaltyCase


def test_several_pairs_do_not_follow_the_printed_equation():
    (data,) = evidence("cpo-margin", "several-pairs")
    args = reward, ref, beta, pairs, gamma = problem(data)
    probs = climb(*args)
    np.testing.assert_allclose(probs, data["stationary_probs"], atol=1e-6)
    exact = np.array(data["stationary_probs"])
    assert np.ptp(slopes(exact, *args)) < 1e-13
    x = margins(exact, pairs) - np.array([ref[w] - ref[lo] for w, lo in pairs])
    gap = np.array([reward[w] - reward[lo] for w, lo in pairs])
    printed = gap + gamma / 2 * np.array([1 / exact[w] + 1 / exact[lo] for w, lo in pairs])
    np.testing.assert_allclose(beta * x, data["implicit_gap"], rtol=1e-12)
    np.testing.assert_allclose(printed, data["printed_gap"], rtol=1e-12)
    assert np.all(np.abs(printed - beta * x) > 0.1)


def test_the_certified_points_are_stationary_and_of_their_kind():
    for data in evidence("cpo-margin", "certified-points", "ball"):
        args = reward, ref, beta, pairs, gamma = problem(data)
        probs = np.array(data["stationary_probs"])
        assert np.isclose(probs.sum(), 1.0, rtol=1e-14)
        assert np.ptp(slopes(probs, *args)) < 1e-12
        ((w, lo),) = pairs
        x = np.log(probs[w] / probs[lo]) - (ref[w] - ref[lo])
        push = gamma * (1 / probs[w] + 1 / probs[lo])
        assert np.isclose(beta * x, reward[w] - reward[lo] + push, rtol=1e-12)
        bends = curvature(np.log(probs), args)
        assert np.sum(bends > 0) == data["upward_directions"]


@pytest.mark.parametrize(
    ("star", "d", "fold"), [(-2, 0.7593129, 0.5992260), (-4, 0.45655, 1.05804)]
)
def test_the_fold(star, d, fold):
    grid = np.linspace(star, 8, 400_001)
    height = (grid - star) / (2 + 2 * np.cosh(grid))
    assert np.isclose(grid[np.argmax(height)], d, atol=1e-3)
    assert np.isclose(height.max(), fold, atol=1e-5)
    (data,) = evidence("cpo-margin", "fold", "ball")
    k = data["inputs"]["optimal_margin"].index(str(star))
    assert np.isclose(data["fold_gamma"][k], height.max(), atol=1e-9)
    assert np.isclose(data["critical_gamma"][k], -star / 4)


def test_nothing_is_left_beyond_the_fold():
    (data,) = evidence("cpo-margin", "aligned-for-all-larger-gamma")
    _, _, _, _, gamma = problem(data)
    star = np.log(1 / 19) + 1
    assert np.isclose(data["rlhf_margin"][0], star)
    grid = np.linspace(star, 50, 200_001)
    height = (grid - star) / (2 + 2 * np.cosh(grid))
    assert height.max() < gamma
    assert np.isclose(height.max(), data["fold_gamma"][0], atol=1e-8)
    assert gamma > -star / 4


@pytest.mark.parametrize("label", ["eq17-exact", "eq17-sign (if)"])
def test_eq17_says_aligned_where_the_local_maximum_is_not(label):
    (data,) = evidence("cpo-margin", label)
    args = reward, ref, beta, pairs, gamma = problem(data)
    surrogate = ref[0] - ref[1] + 1 + gamma * (20 + 20 / 19)
    assert np.isclose(surrogate, data["eq17_margin"][0], rtol=1e-12)
    star = margins(rlhf(reward, ref, beta), pairs)[0]
    delta = brentq(lambda t: t - star - gamma * (2 + 2 * np.cosh(t)), star, 0)
    assert np.isclose(delta, data["stationary_margin"][0], rtol=1e-12)
    assert np.isclose(margins(climb(*args), pairs)[0], delta, atol=1e-5)
    assert surrogate > 0 > delta


def test_eq17_is_exact_only_where_its_margin_mirrors_the_reference():
    # delta_ref = -log 19; gamma such that Eq. 17's margin is +log 19: a stationary point
    ref = -np.log(19)
    gamma = -(2 * ref + 1) / (2 + 2 * np.cosh(ref))
    surrogate = ref + 1 + gamma * (2 + 2 * np.cosh(ref))
    assert np.isclose(surrogate, -ref)
    assert np.isclose(surrogate - (ref + 1), gamma * (2 + 2 * np.cosh(surrogate)))


@pytest.mark.parametrize("delta_ref", [-3.0, -0.5, 1.0])
def test_eq17_has_its_threshold_below_gamma_star_only_where_rlhf_is_misaligned(delta_ref):
    for gap in (-2.0, 0.4, 1.0):
        star, push = delta_ref + gap, 2 + 2 * np.cosh(delta_ref)
        threshold = -star / push
        assert np.isclose(star + threshold * push, 0.0)
        assert (threshold <= -star / 4) == (star <= 0)
        if star >= 0:
            assert threshold <= 0


class TestTheDeciders:
    """They say no to what is no counterexample."""

    def test_one_pair_satisfies_the_printed_equation(self):
        case = PenaltyCase(at.VIOLATED, at.FAINT)
        assert not refutations.stationarity_per_pair(case).holds

    def test_below_the_fold_there_is_a_local_maximum(self):
        assert refutations.beyond_fold(PenaltyCase(at.VIOLATED, at.FAINT)).outcome == "fails"
        assert refutations.beyond_fold(PenaltyCase(at.CHAIN, at.STRONG)).outcome == "fails"

    def test_eq17_with_a_gamma_too_small_to_claim_anything(self):
        case = PenaltyCase(at.VIOLATED, Fraction(1, 100))
        assert refutations.eq17_margin(case, sign=True).outcome == "fails"
        assert refutations.eq17_margin(case, sign=False).holds

    def test_a_wrong_point_is_not_certified(self):
        case = PenaltyCase(at.VIOLATED, at.FAINT)
        assert penalty_certified.stationary_point(case, case.point, ["1/5", "4/5"]).holds
        moved = dataclasses.replace(case.point, probs=case.point.probs[::-1])
        found = penalty_certified.stationary_point(case, moved, ["4/5", "1/5"])
        assert found.outcome == "fails"

    def test_all_degrees_zero(self):
        both = Instance.of("both", reward=[1, 0], ref=["1/2"] * 2, pairs=[(0, 1), (1, 0)])
        assert PenaltyCase(both, at.FAINT).point is None
