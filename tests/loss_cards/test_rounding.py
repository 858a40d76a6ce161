"""Kinks, gradients that underflow, and what a grid steps over: no wrong verdict from them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from loss_cards import planted

import prefeq as pq
from prefeq.loss_cards import Curve, Field, Ranges, adapt, between, curve, ordered, rounding, trap
from prefeq.testing import PropertyFailure, assert_aligned, assert_no_trap


def margin(c: Any, r: Any, rc: Any, rr: Any) -> Any:
    return c - r - rc + rr


def field(loss: Any, **ranges: Any) -> Field:
    adapted = adapt(loss)
    return Field.of(Curve(adapted), Ranges.of(adapted, **ranges))


# Gradients that are 0 by rounding ---------------------------------------------------------------


def inverse(c: Any, r: Any, rc: Any, rr: Any, beta: float = 1.0) -> Any:
    """The slope of −log(1/(1 + e^−z)) is exactly 0 from z = 37 on."""
    return -np.log(1 / (1 + np.exp(-beta * margin(c, r, rc, rr))))


def inverse_mean(c: Any, r: Any, rc: Any, rr: Any, beta: float = 1.0) -> Any:
    return inverse(c, r, rc, rr, beta).mean()


def log_exp(c: Any, r: Any, rc: Any, rr: Any, beta: float = 1.0) -> Any:
    return np.log(1 + np.exp(-beta * margin(c, r, rc, rr)))


@pytest.mark.parametrize("loss", [inverse, inverse_mean, log_exp])
def test_a_gradient_that_was_rounded_away_is_no_flat(loss: Any) -> None:
    card = pq.analyse_loss(loss)
    assert card.trap is False
    assert all(row["minima"] == [] and row["infinite"] == ["+inf"] for row in card.ordered)
    assert card.shape.bounded_below
    far = trap(field(loss, ref_limit=50))
    assert (far.verdict, far.regions) == (None, ())
    assert max(far.undecided) <= -25  # up to there the slope inside U is a number
    assert_no_trap(loss, examples=20)
    with pytest.raises(PropertyFailure, match=r"cannot be decided.*too small for a float"):
        assert_no_trap(loss, ref_limit=50, examples=5)


def test_even_a_stable_loss_has_its_end() -> None:
    """The gradient of softplus(−z) is below the least float from z = 745 on."""
    torch = pytest.importorskip("torch")

    def stable(c: Any, r: Any, rc: Any, rr: Any, beta: float = 1.0) -> Any:
        return -torch.nn.functional.logsigmoid(beta * margin(c, r, rc, rr))

    far = trap(field(stable, ref_limit=1000))
    assert far.verdict is None
    assert max(far.undecided) < -745
    assert "a smaller ref_limit leaves it out" in str(pq.analyse_loss(stable, ref_limit=1000))
    assert trap(field(stable, ref_limit=700)).verdict is False
    assert pq.analyse_loss("dpo", beta=1.0, ref_limit=1000).trap is False  # its closed form knows


def square_hinge(c: Any, r: Any, rc: Any, rr: Any) -> Any:
    return np.maximum(1 - margin(c, r, rc, rr), 0) ** 2


def sixth_hinge(c: Any, r: Any, rc: Any, rr: Any) -> Any:
    return np.maximum(1 - margin(c, r, rc, rr), 0) ** 6


def plain_hinge(c: Any, r: Any, rc: Any, rr: Any) -> Any:
    return np.maximum(1 - margin(c, r, rc, rr), 0)


@pytest.mark.parametrize(
    ("loss", "off"), [(plain_hinge, 3e-6), (square_hinge, 1e-3), (sixth_hinge, 3e-3)]
)
def test_a_flat_by_formula_is_one(loss: Any, off: float) -> None:
    """Where the slope fades, its edge is known to the step of the differences, or to rounding."""
    found = trap(field(loss))
    assert found.verdict is True
    (region,) = found.regions
    assert region == pytest.approx((-10, -1), abs=off)


def test_zeros_between_two_tails_are_left_open() -> None:
    def valley(c: Any, r: Any, rc: Any, rr: Any) -> Any:
        x = c - r
        return log_exp(x + 60, 0 * x, 0 * x, 0 * x) + log_exp(60 - x, 0 * x, 0 * x, 0 * x)

    adapted = adapt(valley)
    grid = np.linspace(-80, 80, 161)[None]
    slope, _, lost = rounding.without_rounding(Curve(adapted), grid, np.zeros(1))
    inner = np.abs(grid) < 20
    assert lost[inner].all()
    assert (slope[inner] == 0).all()


def test_without_the_look_at_the_tail_the_card_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounding, "_decays", lambda *_: False)
    assert trap(field(log_exp, ref_limit=50)).verdict is True
    assert ordered(field(log_exp, ref_limit=50), -20.0).minima


# Kinks ------------------------------------------------------------------------------------------


def leaky(c: Any, r: Any, rc: Any, rr: Any, beta: float = 1.0) -> Any:
    z = beta * margin(c, r, rc, rr)
    return np.maximum(-z, 0) + 0.04 * planted.softplus(-z)


def vee(c: Any, r: Any, rc: Any, rr: Any, beta: float = 0.1) -> Any:
    x = beta * (margin(c, r, rc, rr) - 3.3)
    return np.maximum(-x, 0.7 * x)


def test_a_kink_has_no_slope_that_is_none_of_its_sides() -> None:
    assert pq.analyse_loss(leaky).trap is False
    assert_no_trap(leaky)
    x = np.linspace(-0.01, 0.01, 2001)
    slope = Curve(adapt(leaky)).slope(x, np.zeros(2001))
    assert (slope >= -1.04).all()
    assert (slope <= -0.019).all()


def test_a_minimum_at_a_kink_is_found_there() -> None:
    for ref in (-20.0, -1.0, 4.0):
        ((low, high),) = ordered(field(vee), ref).minima
        assert low == high == pytest.approx(ref + 3.3, abs=1e-5)


def test_the_plain_extrapolation_overshoots(monkeypatch: pytest.MonkeyPatch) -> None:
    def plain(far_up: Any, up: Any, down: Any, far_down: Any, h: float) -> Any:
        slope = (4 * (up - down) / h - (far_up - far_down) / (2 * h)) / 3
        return slope, np.zeros(slope.shape)

    monkeypatch.setattr(curve, "central_difference", plain)
    slope = Curve(adapt(leaky)).slope(np.linspace(-0.01, 0.01, 2001), np.zeros(2001))
    assert (slope > 0).any()


# Minima that do not move, and targets that dip --------------------------------------------------


def still(c: Any, r: Any, rc: Any, rr: Any, beta: float = 0.1) -> Any:
    return (beta * (c - r) + 1) ** 2  # least at δ = −10, whatever the reference


def test_the_threshold_of_a_minimum_that_does_not_move() -> None:
    (region,) = pq.analyse_loss(still).trap_region.regions
    assert region == pytest.approx((-100, -10), abs=1e-5)
    assert_no_trap(still, ref_margins=[-9.99, 3.0])
    for ref in (-10.05, -10.001):
        with pytest.raises(PropertyFailure) as caught:
            assert_no_trap(still, ref_margins=[ref, -1.0])
        assert caught.value.measured["delta_ref"] == ref
        assert caught.value.measured["delta at the end of the flow"] == pytest.approx(-10)


def test_a_loss_that_is_least_at_the_reference_is_no_trap() -> None:
    assert pq.analyse_loss(lambda *logps: (0.1 * margin(*logps)) ** 2).trap is False


DEEPEST = -3.37


def dipping(low: float) -> Any:
    def target(ref: Any) -> Any:
        return np.maximum(ref, 0) - (low * np.exp(-(((ref - DEEPEST) / 0.1) ** 2)))

    def loss(c: Any, r: Any, rc: Any, rr: Any, beta: float = 1.0) -> Any:
        return planted.softplus(-beta * (c - r - target(rc - rr)))

    return loss


def trapping(c: Any, r: Any, rc: Any, rr: Any) -> Any:
    return (c - r - 3 + 4 * np.exp(-(((rc - rr - DEEPEST) / 0.1) ** 2))) ** 2


def test_a_target_that_dips_between_the_points_of_the_grid() -> None:
    assert not np.any(np.abs(field(trapping).ranges.ref_margin - DEEPEST) < 0.3)
    card = pq.analyse_loss(dipping(0.8))
    assert card.aligned is False
    assert card.target is not None
    assert card.target.lowest == pytest.approx(-0.8, abs=1e-6)
    with pytest.raises(PropertyFailure):
        assert_aligned(dipping(0.8), examples=5)
    assert pq.analyse_loss(dipping(-0.8)).aligned is True  # a bump, no dip


def test_a_trap_between_the_points_of_the_grid() -> None:
    half = 0.1 * math.sqrt(math.log(4 / 3))
    (region,) = pq.analyse_loss(trapping).trap_region.regions
    assert region == pytest.approx((DEEPEST - half, DEEPEST + half), abs=1e-6)
    with pytest.raises(PropertyFailure):
        assert_no_trap(trapping, examples=5)
    with pytest.raises(PropertyFailure):
        assert_no_trap(trapping, ref_margins=[-3.4, -9.0])


def test_without_the_closer_look_the_dip_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(between, "vectorised", lambda _: False)
    assert pq.analyse_loss(dipping(0.8)).aligned is True
    assert pq.analyse_loss(trapping).trap is False


# Lengths and batches ----------------------------------------------------------------------------


def test_a_loss_per_token_is_none_of_ours() -> None:
    card = pq.analyse_loss(planted.per_token)
    assert (card.same_as, card.same_as_one_token) == ((), ("dpo",))
    assert "none of ours; for responses of one token, dpo" in str(card)
    assert card.to_dict()["same_as_one_token"] == ["dpo"]


def test_the_card_of_a_loss_of_batches_alone_says_nothing_of_a_curve() -> None:
    def normalised(c: Any, r: Any, rc: Any, rr: Any) -> Any:
        x = margin(c, r, rc, rr)
        return planted.softplus(-(x - x.mean()) / (x.std() + 1e-6))

    text = str(pq.analyse_loss(normalised))
    assert "depends on        the other pairs of the batch; a pair in a batch of its own" in text
    for line in ("shape", "minimisers", "exit from U"):
        assert f"\n{line}" not in text
