"""Enclosed roots and stationary points: what they hold, and what they refuse."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from claims.penalty_by_hand import curvature, slopes
from flint import arb, ctx

from prefeq import solvers
from prefeq.claims import penalty_instances as at
from prefeq.claims import penalty_roots, stationary
from prefeq.claims.ball import DISPLAY_BITS, ball
from prefeq.claims.instance import Instance


def floats(point):
    return np.array([float(p.mid()) for p in point.probs])


def args_of(made, gamma):
    reward, ref = np.array(made.reward, dtype=float), np.log(np.array(made.ref, dtype=float))
    return reward, ref, float(made.beta), made.pairs, float(gamma)


class TestRoots:
    @pytest.mark.parametrize("function", [lambda x: x**3 - 2, lambda x: 2 - x**3])
    def test_a_cube_root(self, function):
        with ctx.workprec(DISPLAY_BITS):
            root = penalty_roots.enclose_root(function, arb(0), arb(2))
            assert root.contains(arb(2) ** (arb(1) / 3))
            assert root.rad() < 1e-60

    def test_a_root_that_is_exact(self):
        with ctx.workprec(DISPLAY_BITS):
            root = penalty_roots.enclose_root(lambda x: x - 1, arb(0), arb(4))
            assert root.contains(1)
            assert root.rad() < 1e-60

    def test_a_multiple_root_is_enclosed_as_far_as_it_goes(self):
        with ctx.workprec(DISPLAY_BITS):
            root = penalty_roots.enclose_root(lambda x: (x - 1) ** 3, arb(0), arb("3.3"))
            assert root.contains(1)

    def test_no_change_of_sign_no_root(self):
        with ctx.workprec(64):
            assert penalty_roots.enclose_root(lambda x: x * x + 1, arb(-1), arb(1)) is None
            assert penalty_roots.enclose_root(lambda x: x * 0, arb(-1), arb(1)) is None

    @pytest.mark.parametrize("star", [-800, -4, -1, 0, 1, 300])
    def test_the_fold_solves_its_equation(self, star):
        with ctx.workprec(DISPLAY_BITS):
            d, gamma = penalty_roots.fold(ball(star), ball(2), ball(Fraction(1, 2)))
            assert (d - 1 / (d / 2).tanh() - star).contains(0)
            assert gamma.overlaps(2 / (d.exp() - (-d).exp()) * 2)

    def test_beyond_the_fold_there_is_no_local_maximum(self):
        with ctx.workprec(DISPLAY_BITS):
            one = ball(1)
            assert penalty_roots.local_maximum(ball(-2), one, ball(Fraction(3, 5)), one) is None
            assert penalty_roots.local_maximum(ball(-2), one, ball(Fraction(29, 50)), one) < 0.7


@pytest.mark.parametrize(
    ("made", "gamma"),
    [
        (at.VIOLATED, at.FAINT),
        (at.VIOLATED, Fraction(11, 20)),
        (at.CHAIN, at.FAINTEST),
        (at.ALIGNED, at.FAINTEST),
        (at.FALLING, at.BEFORE_FOLD),
        (at.AMONG_FOUR, Fraction(1, 10)),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_a_local_maximum_is_one(made, gamma):
    with ctx.workprec(DISPLAY_BITS):
        point = stationary.local_maximum(made, gamma)
        assert point.is_local_maximum
        assert max(float(p.rad()) for p in point.probs) < 1e-40
        assert sum(point.probs[1:], point.probs[0]).contains(1)
    args, probs = args_of(made, gamma), floats(point)
    assert np.ptp(slopes(probs, *args)) < 1e-12
    assert np.all(curvature(np.log(probs), args) < 0)
    found = solvers.solve_penalty(made.bandit(), made.preferences(), float(gamma))
    np.testing.assert_allclose(np.exp(found.logp), probs, rtol=1e-9)


def test_the_lower_root_past_the_upper_sheet_is_found():
    """At γ* the two-response maximum of δ* = −2 is where a root turns lower; beyond, it is one."""
    made = Instance.of("two", reward=[0, 2], ref=["1/2"] * 2, pairs=[(0, 1)])
    with ctx.workprec(DISPLAY_BITS):
        point = stationary.local_maximum(made, Fraction(11, 20))
        assert sum(bool(h < 0) for h in point.curvatures()) == 1
        assert point.upward_directions == 0
        assert point.margin(0) > 0


def test_beyond_the_fold_none_is_found():
    with ctx.workprec(DISPLAY_BITS):
        assert stationary.local_maximum(at.VIOLATED, Fraction(3, 5)) is None


def test_a_saddle_is_no_local_maximum():
    with ctx.workprec(DISPLAY_BITS):
        sheet = stationary.Sheet(at.VIOLATED)
        saddle = sheet.between(at.FAINT, ball(-4), ball(Fraction(-1, 2**40)))
        assert saddle.upward_directions == 1
        assert saddle.is_local_maximum is False
    assert np.ptp(slopes(floats(saddle), *args_of(at.VIOLATED, at.FAINT))) < 1e-11


def test_every_sheet_of_a_fan_has_a_stationary_point():
    made = Instance.of("a star", reward=[0] * 3, ref=["1/2", "3/10", "1/5"], pairs=[(0, 1), (0, 2)])
    gamma, seen = Fraction(1, 20), set()
    with ctx.workprec(DISPLAY_BITS):
        for lowered in ((), (1,), (2,), (1, 2)):
            sheet = stationary.Sheet(made, lowered)
            if sheet.critical in lowered:
                continue
            for ends in ((Fraction(1, 2**40), 8), (Fraction(-6), Fraction(-1, 2**40))):
                point = sheet.between(gamma, *(ball(end) for end in ends))
                if point is not None:
                    assert np.ptp(slopes(floats(point), *args_of(made, gamma))) < 1e-9
                    seen.add(point.upward_directions)
    assert seen == {0, 1, 2}


def test_net_degrees_that_are_all_zero_have_no_curve():
    both = Instance.of("both", reward=[0, 0], ref=["1/2"] * 2, pairs=[(0, 1), (1, 0)])
    with pytest.raises(ValueError, match="every net degree is zero"):
        stationary.Sheet(both)
