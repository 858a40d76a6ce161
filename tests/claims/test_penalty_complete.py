"""Newton from many starts finds all stationary points of Eq. 10, and notices a missing one."""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq

from prefeq import bandit, preferences, solvers
from prefeq.claims import penalty_complete


def pairs(*rows):
    winner, loser = np.array(rows).T
    return preferences.Preferences(winner, loser)


def test_two_responses_have_the_two_roots_of_the_scalar_equation():
    made = bandit.Bandit(np.array([0.0, 2.0]), np.zeros(2), 1.0)
    found = penalty_complete.newton(made, pairs((0, 1)), 0.5)
    margins = sorted(float(row[0] - row[1]) for row in found)
    saddle = brentq(lambda d: d + 2 - 0.5 * (2 + 2 * np.cosh(d)), 1.0, 3.0)
    np.testing.assert_allclose(margins, [0.0, saddle], atol=1e-9)
    assert penalty_complete.newton(made, pairs((0, 1)), 0.7) == []


def test_four_equal_responses_have_four_points():
    made = bandit.Bandit(np.zeros(4), np.zeros(4), 1.0)
    found = penalty_complete.newton(made, pairs((0, 1), (2, 3)), 0.02)
    assert len(found) == 4
    for row in found:
        slopes = -row + 0.01 * np.array([1, -1, 1, -1]) * np.exp(-row)
        assert np.ptp(slopes) < 1e-10
        assert np.isclose(np.exp(row).sum(), 1.0)
    assert sorted(sum(row[[1, 3]] < -3) for row in found) == [0, 1, 1, 2]  # losers that are sunk


def test_a_point_that_is_left_out_is_missed(monkeypatch):
    assert penalty_complete.complete().holds
    points = solvers.stationary_points
    monkeypatch.setattr(solvers, "stationary_points", lambda *args: points(*args)[1:])
    assert penalty_complete.complete().outcome == "fails"
