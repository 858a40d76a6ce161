"""Bugs planted in the measurements themselves: what certifies a card sees them."""

from __future__ import annotations

import dataclasses
import importlib
from typing import Any

import numpy as np
import pytest

import prefeq as pq
from prefeq.loss_cards import analyse, curve, flow, minima, risk

# The package has functions of these names, too.
alignment = importlib.import_module("prefeq.loss_cards.alignment")
target = importlib.import_module("prefeq.loss_cards.target")


def test_labels_of_the_wrong_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    true = curve.label_weights
    monkeypatch.setattr(risk, "label_weights", lambda gap: true(gap)[::-1])
    card = pq.analyse_loss("hypo", beta=1.0)
    assert not card.fixed.certified
    assert not card.per_label.certified


def test_a_flipped_label_that_is_not_mirrored(monkeypatch: pytest.MonkeyPatch) -> None:
    made = alignment.Risk.of.__func__

    def wrong(cls: Any, field: Any, reading: Any, depends: Any, aim: Any) -> Any:
        found = made(cls, field, reading, depends, aim)
        return found and dataclasses.replace(found, flipped=-found.flipped)

    monkeypatch.setattr(alignment.Risk, "of", classmethod(wrong))
    assert not pq.analyse_loss("dpo", beta=1.0).fixed.certified


def test_a_fixed_target_for_per_label_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    made = alignment.Risk.of.__func__

    def wrong(cls: Any, field: Any, reading: Any, depends: Any, aim: Any) -> Any:
        return made(cls, field, "fixed", depends, aim)

    monkeypatch.setattr(alignment.Risk, "of", classmethod(wrong))
    card = pq.analyse_loss("hypo", beta=1.0)
    assert card.aligned_per_label  # wrong, and the closed form says so
    assert not card.per_label.certified


def test_traps_that_are_maxima(monkeypatch: pytest.MonkeyPatch) -> None:
    true = flow.traps
    monkeypatch.setattr(
        flow, "traps", lambda rows: true(dataclasses.replace(rows, slope=-rows.slope))
    )
    assert not pq.analyse_loss("cdpo", beta=1.0).trap_region.certified


def test_a_slope_of_the_wrong_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    true = curve.Curve.slope_and_floor

    def wrong(self: Any, delta: Any, ref: Any) -> Any:
        slope, floor = true(self, delta, ref)
        return -slope, floor

    monkeypatch.setattr(curve.Curve, "slope_and_floor", wrong)
    card = pq.analyse_loss("ipo", beta=1.0)
    assert card.first_step.direction == "down"
    assert not card.certified["minimisers"]
    assert not card.trap_region.certified


def test_a_slope_of_the_winner_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """π(l)·L_w without the loser's part is half of the slope at δ = 0."""

    def wrong(self: Any, margin: Any, ref_margin: Any) -> Any:
        delta, ref = np.broadcast_arrays(np.asarray(margin, float), np.asarray(ref_margin, float))
        chosen, _ = self.loss.gradient(curve.Pairs.two_responses(delta, ref))
        return (chosen / (1 + np.exp(np.minimum(delta.ravel(), 700)))).reshape(delta.shape)

    monkeypatch.setattr(curve.Curve, "slope", wrong)
    card = pq.analyse_loss("dpo", beta=1.0)
    assert card.exit_time_ratio != pytest.approx(1.0, rel=1e-3)


def test_an_exit_time_without_its_factor_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    true = flow.exit_time
    monkeypatch.setattr(analyse, "exit_time", lambda curve, ref: 2 * true(curve, ref))
    assert pq.analyse_loss("dpo", beta=1.0).exit_time_ratio == pytest.approx(2.0)


def test_minima_that_are_not_bisected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minima, "_crossing", lambda low, high, function: low)
    assert not pq.analyse_loss("cdpo", beta=0.7).certified["minimisers"]


def test_a_target_that_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    true = target._center
    monkeypatch.setattr(target, "_center", lambda *args: true(*args) - 1.0)
    card = pq.analyse_loss("hypo", beta=1.0)
    assert card.target is not None
    assert card.target.name == "other"
    assert card.aligned is False
    assert not card.fixed.certified
