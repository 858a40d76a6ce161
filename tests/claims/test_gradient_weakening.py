"""`gradient-weakening` by hand: NumPy and mpmath, with none of the package's formulas."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest

from prefeq import margins
from prefeq.claims import exit_checks, exit_times, gradient_weakening, registry, run
from prefeq.claims.several_policies import Policies


def sigma(z):
    return 1 / (1 + np.exp(-z))


def counterexample(label):
    claim = registry.get_claim("gradient-weakening")
    (reading,) = [r for r in claim.readings if r.label == label]
    (item,) = [i for i in run.check_reading(reading).evidence if i.kind == "counterexample"]
    assert item.holds
    return item.data


def leave(size, delta_ref, beta, mass, pace):
    """Run gradient descent on softmax logits of `size` responses until δ ≥ 0; count the steps."""
    theta = np.linspace(0.0, 1.0, size)
    theta[0] = theta[-1] + delta_ref
    steps = 0
    while theta[0] < theta[-1]:
        push = pace * mass * beta * sigma(-beta * (theta[0] - theta[-1] - delta_ref))
        theta[0] += push
        theta[-1] -= push
        steps += 1
    return steps


def test_the_factor_does_not_vanish():
    data = counterexample("vanishes-at-boundary")
    assert data["instance"]["ref"] == [0.25, 0.75]
    assert data["boundary_factor"] == 0.25  # 1/(1 + e^(log 3))
    assert np.isclose(sigma(np.log(1 / 3)), 0.25)


def test_the_flow_leaves():
    data = counterexample("never-escapes")
    assert data["inputs"]["time"] == "2"
    delta_ref = delta = math.log(1 / 3)
    count = 20_000
    for _ in range(count):  # Euler's method, whose error is at most the first step's share
        delta += 2 * 2 / count * sigma(-(delta - delta_ref))
    assert delta > 0
    assert np.isclose(delta, data["flow_margin"], atol=1e-3)


def test_the_exit_time_by_quadrature():
    for delta_ref, beta, mass in ((-1.0, 1.0, 1.0), (-4.0, 0.5, 0.25), (-2.0, 3.0, 0.1)):
        time = mpmath.quad(
            lambda x, b=beta, m=mass: (1 + mpmath.exp(b * x)) / (2 * m * b), [0, -delta_ref]
        )
        assert np.isclose(float(margins.exit_time(delta_ref, beta, mass=mass)), float(time))


@pytest.mark.parametrize("size", [2, 3, 7])
def test_the_steps_by_descent(size):
    for delta_ref, beta, mass, eta in ((-3.0, 1.0, 1.0, 0.1), (-1.0, 2.0, 0.5, 3.0)):
        steps = leave(size, delta_ref, beta, mass, eta)
        u = -beta * delta_ref
        time = (math.exp(u) + u - 1) / (2 * beta**2 * mass)
        assert time / eta * math.exp(-eta * mass * beta**2) <= steps <= math.ceil(time / eta)


def test_the_bounds_on_steps_are_nearly_attained():
    """Tiny steps make the two bounds meet; huge ones leave in one step, the lower bound below 1."""
    steps = leave(2, -1.0, 1.0, 1.0, 1e-3)
    low, high = margins.exit_steps_bounds(-1.0, 1.0, 1e-3)
    assert high - low < 3
    assert low <= steps <= high
    low, high = margins.exit_steps_bounds(-1.0, 1.0, 40.0)
    assert leave(2, -1.0, 1.0, 1.0, 40.0) == 1 == high
    assert low < 1e-10


def test_the_path_by_lambert():
    for level in (0.1, 3.0, 50.0):
        c = mpmath.mpf(1 + level)
        z = c - mpmath.lambertw(mpmath.exp(c)).real
        assert np.isclose(exit_checks.path(level), float(z))
        assert np.isclose(float(z + mpmath.exp(z)), float(c))


def test_a_violated_soft_label_is_pushed_back():
    data = counterexample("soft-labels")
    ref, policies = data["instance"]["ref"], data["inputs"]["policies"]
    assert (ref, policies) == ([0.1, 0.9], [["1/4", "3/4"], ["2/5", "3/5"]])
    x = np.log([1 / 3, 2 / 3]) - np.log(1 / 9)
    slope = sigma(x) - sigma(1)  # beta = 1, gap = 1
    np.testing.assert_allclose(data["policy_gradient"], slope, rtol=1e-12)
    assert 0 < slope[0] < slope[1], "beyond delta* the loss rises: the slope points back"


def test_what_refutes_nothing_is_not_a_counterexample():
    aligned = exit_times.LOW_BAR.of("aligned", reward=[1, 0], ref=["3/4", "1/4"], pairs=[(0, 1)])
    assert gradient_weakening.vanishing(aligned).outcome == "fails"
    assert exit_times.escape(exit_times.LOW_BAR, exit_times.Fraction(1)).outcome == "fails"
    before = Policies.of(
        gradient_weakening.BEYOND_OPTIMUM.instance, [["1/6", "5/6"], ["1/5", "4/5"]]
    )
    assert gradient_weakening.turning(before).outcome == "fails"
