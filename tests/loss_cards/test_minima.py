"""Local minima of curves whose minima are known, and targets and flows of made-up losses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from loss_cards import planted

import prefeq as pq
from prefeq.loss_cards import (
    Curve,
    Field,
    Ranges,
    adapt,
    exit_time,
    first_step,
    landscape,
    shape,
    target,
    trap,
)
from prefeq.margins import exit_time as closed_exit_time

GRID = np.linspace(-5, 5, 401)


def of(slope: Any) -> Any:
    return landscape(GRID, slope(GRID), slope)


def test_one_minimum_to_the_last_digits() -> None:
    found = of(lambda x: x - math.sqrt(2))
    assert found.minima[0][0] == pytest.approx(math.sqrt(2), abs=1e-13)
    assert (found.left, found.right) == ("rises", "rises")


def test_several_minima_and_no_maximum() -> None:
    found = of(lambda x: (x + 3.01) * (x - 1.01) * (x - 2.013))
    assert [m[0] for m in found.minima] == pytest.approx([-3.01, 2.013], abs=1e-12)
    assert of(lambda x: -x).minima == ()
    assert (of(lambda x: -x).left, of(lambda x: -x).right) == ("falls", "falls")


def test_kinks_and_flats() -> None:
    kink = of(lambda x: np.where(x < 0.3123, -1.0, 2.0))
    assert kink.minima[0] == pytest.approx((0.3123, 0.3123), abs=1e-12)
    basin = of(lambda x: np.where(x < -1.1, -1.0, np.where(x > 2.2, 1.0, 0.0)))
    assert basin.minima[0] == pytest.approx((-1.1, 2.2), abs=1e-12)
    shelf = of(lambda x: np.where((x > 0) & (x < 1), 0.0, -1.0))
    assert shelf.minima == ()  # a flow stops there, but the curve falls on
    tail = of(lambda x: np.minimum(x - 1.0, 0.0))
    assert tail.minima[0] == pytest.approx((1.0, math.inf), abs=1e-12)


def test_rounding_makes_no_minima() -> None:
    rng = np.random.default_rng(0)
    noise = 1e-17 * rng.standard_normal(GRID.size)
    slope = -1 / (1 + np.exp(12 * GRID)) + noise
    found = landscape(GRID, slope, floor=1e-15)
    assert found.minima == ()
    assert found.right == "falls"


def test_an_exponential_hides_no_minimum() -> None:
    found = of(lambda x: -np.exp(-10 * x) + 1e-3 * np.where(x > 3.3, 1.0, -1.0))
    assert found.minima[0][0] == pytest.approx(3.3, abs=1e-12)


def test_a_nan_is_no_minimum_and_no_verdict() -> None:
    slope = GRID.copy()
    slope[10] = math.nan
    assert landscape(GRID, slope).undecided


def double_well(c: Any, r: Any, rc: Any, rr: Any, beta: float = 1.0) -> Any:
    """Two minima: at δ − δ_ref = −1 and 2."""
    x = beta * ((c - r) - (rc - rr))
    return x**4 / 4 - x**3 / 3 - x**2 + x * 0.0


def test_all_local_minima_of_a_made_up_loss() -> None:
    card = pq.analyse_loss(double_well, beta=1.0)
    for row in card.ordered:
        lows = [m[0] - row["ref_margin"] for m in row["minima"]]
        assert lows == pytest.approx([-1.0, 2.0], abs=1e-6)
    assert card.trap is True
    (region,) = card.trap_region.regions
    assert region[1] == pytest.approx(-2.0, abs=1e-6)
    assert card.target is not None
    assert card.target.name == "delta_ref"


def bump(c: Any, r: Any, rc: Any, rr: Any) -> Any:
    """A target of its own, with another slope: t = 2 + δ_ref/2, and 3·softplus(−2z)."""
    return 3 * planted.softplus(-2 * ((c - r) - (2 + (rc - rr) / 2)))


def test_a_target_is_read_off_without_a_beta() -> None:
    loss = adapt(bump)
    found = target(Curve(loss), Ranges.of(loss))
    assert found is not None
    np.testing.assert_allclose(found.values, 2 + found.ref_margin / 2, atol=1e-6)
    assert found.link is not None
    assert (found.link.scale, found.link.for_winner) == pytest.approx((2.0, 3.0), rel=1e-5)
    assert found.tail == pytest.approx(0.5)
    card = pq.analyse_loss(bump)
    assert card.aligned is False  # t < 0 from δ_ref = −4 on
    assert card.fixed.needed[card.ranges.ref_margin > -3.9].max() == 0
    assert card.fixed.needed[card.ranges.ref_margin < -4.9].min() > 0


def test_a_loss_of_ratios_has_no_target() -> None:
    def bco(c: Any, r: Any, rc: Any, rr: Any, beta: float = 1.0) -> Any:
        return planted.softplus(-beta * (c - rc)) + planted.softplus(beta * (r - rr))

    card = pq.analyse_loss(bco)
    assert card.target is None
    assert card.to_dict()["target_margin"] is None
    assert card.dependence.kind == "log-ratios"
    assert card.aligned is not None  # a flipped label swaps whole responses, in either reading
    assert card.aligned == card.aligned_per_label


def brute(function: Any, ref: float, gap: float) -> list[float]:
    """Local minima of the per-label risk of a two-response bandit, from its values alone."""
    grid = np.linspace(-25.013, 25.017, 20011)
    one, two = (-np.logaddexp(0, -s * grid) for s in (1, -1))
    first, second = (-np.logaddexp(0, -s * ref) + 0 * grid for s in (1, -1))
    q = 1 / (1 + math.exp(-gap))
    risk = q * function(one, two, first, second) + (1 - q) * function(two, one, second, first)
    inner = (risk[1:-1] < risk[:-2]) & (risk[1:-1] < risk[2:])
    ends = [-math.inf] if risk[0] < risk[1] else []
    return ends + grid[1:-1][inner].tolist()


def bco(c: Any, r: Any, rc: Any, rr: Any, beta: float = 1.0) -> Any:
    return planted.softplus(-beta * (c - rc)) + planted.softplus(beta * (r - rr))


def apo_down(c: Any, r: Any, rc: Any, rr: Any, beta: float = 1.0) -> Any:
    def sigmoid(z: Any) -> Any:
        return np.exp(-np.logaddexp(0, -z))

    return sigmoid(beta * (c - rc)) + sigmoid(-beta * ((c - rc) - (r - rr)))


@pytest.mark.parametrize("function", [bco, apo_down, planted.released_clip, double_well])
def test_verdicts_are_those_of_brute_force(function: Any) -> None:
    """At every δ_ref, the largest gap with a minimum at δ ≤ 0; those by values are on a grid."""
    card = pq.analyse_loss(function, beta=1.0)
    bound = planted_with_beta(function)
    for ref, needed in zip(card.ranges.ref_margin[::3], card.per_label.needed[::3], strict=True):
        bad = [g for g in card.ranges.gaps if min(brute(bound, ref, g), default=1.0) < -3e-3]
        near = [g for g in card.ranges.gaps if min(brute(bound, ref, g), default=1.0) < 3e-3]
        assert max(bad, default=0.0) <= needed <= max(near, default=0.0)


def planted_with_beta(function: Any) -> Any:
    return lambda *logps: function(*logps, beta=1.0)


def test_neither_ratios_nor_a_target_leave_the_fixed_reading_open() -> None:
    def odd(c: Any, r: Any, rc: Any, rr: Any) -> Any:
        return (1 + 0.1 * rc**2 / (1 + rc**2)) * planted.softplus(-(c - r)) + 0.1 * (c - r) ** 2 * (
            rr / (1 - rr)
        ) ** 2

    card = pq.analyse_loss(odd)
    assert card.aligned is None
    assert card.aligned_per_label is not None
    assert "no target" in card.fixed.reason


@pytest.mark.parametrize("beta", [0.05, 1.0, 20.0])
@pytest.mark.parametrize("name", ["dpo", "hypo", "smooth"])
def test_exit_times_are_those_of_the_closed_form(name: str, beta: float) -> None:
    loss = adapt(name, beta=beta)
    own = loss.own
    assert own is not None
    for u in (-0.5, -3.0, -10.0):
        ref = u / beta
        exact = float(closed_exit_time(ref, beta, target=float(own.target(ref, beta))))
        assert exit_time(Curve(loss), ref) == pytest.approx(exact, rel=1e-9)
    assert exit_time(Curve(loss), 1.0) == 0.0


def test_the_exit_time_counts_steps_of_descent() -> None:
    """Steps of size η of the solver's own descent: N·η → T."""
    ref, eta = -2.0, 0.01
    bandit = pq.Bandit([1.0, 0.0], [ref, 0.0], 1.0)
    prefs = pq.Preferences.ordered(bandit)
    run = pq.solve_dpo(bandit, prefs, method="gradient-descent", max_steps=800, step_size=eta)
    margins = np.asarray(run.trajectory.margin)[:, 0]
    steps = np.asarray(run.trajectory.step)
    after = steps[np.argmax(margins >= 0)]
    assert after * eta == pytest.approx(exit_time(Curve(adapt("dpo", beta=1.0)), ref), rel=0.03)


def test_a_finite_target_never_lets_go() -> None:
    assert exit_time(Curve(adapt("ipo", beta=1.0)), -3.0) == math.inf


def test_the_first_step_of_a_loss_that_depends_on_the_reference() -> None:
    def turning(c: Any, r: Any, rc: Any, rr: Any) -> Any:
        return planted.softplus(-(c - r) * np.sign(rc - rr + 0.001))

    loss = adapt(turning)
    field = Field.of(Curve(loss), Ranges.of(loss))
    assert first_step(field).direction == "mixed"
    assert shape(field).monotone == "neither"
    assert trap(field).verdict is False
