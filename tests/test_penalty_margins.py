"""The two-response penalty in closed form: γ*, the fold and the margin, to 50 digits."""

from __future__ import annotations

import math
from functools import cache

import mpmath as mp
import numpy as np
import pytest
from array_oracle import LIBRARIES, floats, library, require_close, require_kind

from prefeq import margins
from prefeq.errors import ProblemError

STARS = (-800.0, -40.0, -4.0, -2.0, -0.1, -1e-9, 0.0, 1e-9, 1.0, 3.0, 40.0, 300.0, 800.0)
BETAS = (1e-6, 1.0, 1e6)
INF = math.inf


@pytest.fixture(params=LIBRARIES)
def make(request):
    return library(request.param)


@cache
def fold(star: float) -> tuple[mp.mpf, mp.mpf]:
    """The top of g = (δ − δ*)/(2 + 2 cosh δ) = γm/β, where its derivative changes sign."""
    with mp.workdps(60 + int(max(star, 0))):
        star = mp.mpf(star)

        def slope(delta):  # of log γ
            return 1 / (delta - star) - mp.tanh(delta / 2)

        low, high = max(star, mp.mpf(0)), star + 1 + mp.sqrt(star * star + 8) + 1
        for _ in range(mp.mp.prec):  # bisection: `slope` falls
            middle = (low + high) / 2
            low, high = (middle, high) if slope(middle) > 0 else (low, middle)
        d = (low + high) / 2
        return d, (d - star) / (2 + 2 * mp.cosh(d))


def test_critical_gamma(make):
    got = margins.penalty_critical_gamma(make(STARS), 0.3, 0.7)
    require_kind(got, make(STARS))
    want = [-mp.mpf(0.3) * mp.mpf(s) / 4 / mp.mpf(0.7) for s in STARS]
    require_close(floats(got), want, [4e-16 * abs(w) for w in want])
    # the balance β(δ − δ*) = γ m (2 + 2 cosh δ) at δ = 0, to the last digit of δ*
    at_zero = floats(margins.penalty_margin(make(STARS[:6]), 0.3, got[:6], 0.7))
    require_close(at_zero, [0] * 6, [1e-15 * max(1, abs(s)) for s in STARS[:6]])


def test_the_fold(make):
    for beta in BETAS:
        d, gamma = margins.penalty_fold(make(STARS), beta, 0.7)
        require_kind(d, make(STARS))
        require_kind(gamma, make(STARS))
        want = [(d, g * mp.mpf(beta) / mp.mpf(0.7)) for d, g in map(fold, STARS)]
        require_close(floats(d), [w for w, _ in want], [1e-15 * w for w, _ in want])
        bound = [2e-13 * g for _, g in want]  # e^−800 to the last digit of 800
        require_close(floats(gamma), [g for _, g in want], bound)


def test_the_margin_solves_its_equation(make):
    for beta in BETAS:
        d, end = margins.penalty_fold(make(STARS), beta, 0.7)
        for share in (1e-300, 1e-9, 0.1, 0.5, 0.9, 0.999, 1 - 1e-9, 1.0):
            gamma = share * end
            got = floats(margins.penalty_margin(make(STARS), beta, gamma, 0.7))
            for delta, star, top, g in zip(got, STARS, floats(d), floats(gamma), strict=True):
                with mp.workdps(60):
                    lift = mp.mpf(g) * mp.mpf(0.7) / mp.mpf(beta) * (2 + 2 * mp.cosh(mp.mpf(delta)))
                    gap = mp.mpf(delta) - mp.mpf(star) - lift
                # one rounding of δ shifts the gap by 1 + |lift| of it
                assert abs(gap) <= 2e-15 * max(1.0, abs(star)) * (1 + abs(lift))
                assert star <= delta <= top * (1 + 1e-15)


def test_the_margin_rises_with_gamma_and_is_gone_beyond_the_fold(make):
    star = -3.0
    _, end = margins.penalty_fold(star, 2.0)
    gamma = np.linspace(0.0, float(end), 50)
    got = floats(margins.penalty_margin(star, 2.0, make(gamma)))
    assert got[0] == star
    assert np.all(np.diff(got) > 0)
    beyond = margins.penalty_margin(make([star, 5.0]), 2.0, make([float(end) * (1 + 1e-12), 1.0]))
    assert floats(beyond) == [INF, INF]


def test_the_window_is_narrow():
    """γ_fold − γ* < β/(4m|δ*|) for δ* < 0."""
    star = -np.geomspace(1e-3, 800, 200)
    for beta in BETAS:
        _, end = margins.penalty_fold(star, beta, 3.0)
        width = end - margins.penalty_critical_gamma(star, beta, 3.0)
        assert np.all(width > 0)
        assert np.all(width < beta / (12 * np.abs(star)))


def test_everything_scales_with_the_mass():
    star = np.array([-5.0, 0.0, 2.0])
    d, end = margins.penalty_fold(star, 1.0)
    other, tenfold = margins.penalty_fold(star, 1.0, 0.1)
    np.testing.assert_array_equal(d, other)
    np.testing.assert_allclose(tenfold, 10 * end, rtol=1e-15)
    np.testing.assert_allclose(
        margins.penalty_margin(star, 1.0, 0.4 * end),
        margins.penalty_margin(star, 1.0, 4 * end, 0.1),
    )


def test_the_ends():
    d, end = margins.penalty_fold([INF, -INF, 1e300, -1e300], 1.0)
    assert d.tolist()[:3] == [INF, 0, 1e300]
    assert d[3] == pytest.approx(2e-300)
    assert end.tolist() == [0, INF, 0, pytest.approx(2.5e299)]
    assert margins.penalty_margin([INF, -INF], 1.0, 0.0).tolist() == [INF, -INF]
    assert margins.penalty_margin([INF, -INF], 1.0, 0.5).tolist() == [INF, -INF]
    assert margins.penalty_critical_gamma(-INF, 1.0) == INF
    assert isinstance(margins.penalty_margin(-1.0, 1.0, 0.1), float)
    shapes = margins.penalty_fold(np.zeros((3, 1)), np.ones(2))
    assert shapes[0].shape == shapes[1].shape == (3, 2)
    assert margins.penalty_margin(np.zeros((3, 1)), np.ones(2), 0.1).shape == (3, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: margins.penalty_margin(-1.0, 1.0, -0.1), r"gamma = -0.1: must be finite and >= 0"),
        (lambda: margins.penalty_margin(-1.0, 1.0, INF), r"gamma = inf"),
        (lambda: margins.penalty_margin(-1.0, 0.0, 0.1), r"beta = 0.0: must be positive"),
        (lambda: margins.penalty_fold(-1.0, 1.0, 0.0), r"mass = 0.0: must be positive"),
        (lambda: margins.penalty_fold(math.nan, 1.0), r"optimal_margin = nan"),
        (lambda: margins.penalty_critical_gamma(-1.0, -1.0), r"beta = -1.0"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ProblemError, match=message):
        call()
