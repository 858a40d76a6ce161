"""Losses and targets against their formulas, written out here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import prefeq as pq


@pytest.fixture(scope="module")
def data() -> dict[str, Any]:
    return pq.figures.targets.data()


def test_losses_are_softplus_and_tend_to_the_hinge(data: dict[str, Any]) -> None:
    delta = data["delta"]
    np.testing.assert_array_equal(data["betas"], [0.5, 1, 2, 5])
    hinge = np.where(delta < -3, -3 - delta, 0)
    np.testing.assert_array_equal(data["hinge"], hinge)
    corner = np.argmin(np.abs(delta + 3))
    assert delta[corner] == -3
    for beta, values in zip(data["betas"], data["loss"], strict=True):
        np.testing.assert_allclose(values, np.logaddexp(0, -beta * (delta + 3)) / beta, rtol=1e-13)
        gap = values - hinge
        assert np.all(gap > -1e-15)
        assert np.argmax(gap) == corner
        np.testing.assert_allclose(gap[corner], np.log(2) / beta, rtol=1e-14)  # Prop. 5.1, tight
        inside = (delta > -3) & (delta < 0)
        assert np.all(values[inside] < np.log(2) / beta)


def test_targets(data: dict[str, Any]) -> None:
    ref = data["ref"]
    np.testing.assert_array_equal(data["dpo"], ref)
    np.testing.assert_array_equal(data["hypo"], np.where(ref > 0, ref, 0))
    np.testing.assert_allclose(data["smooth"], np.log1p(np.exp(ref)), rtol=1e-12)
    np.testing.assert_allclose(data["ipo"], ref + 0.5, atol=1e-15)
    assert np.all(data["smooth"] > 0)
    trapped = (data["ipo"] < -1e-12) & (data["ipo"] > ref)
    np.testing.assert_array_equal(trapped, ref < -0.5 - 1e-12)


def test_the_artists_carry_the_data(data: dict[str, Any]) -> None:
    artists = pq.figures.draw("targets")
    for i, beta in enumerate(("0.5", "1", "2", "5")):
        np.testing.assert_array_equal(artists[f"beta {beta}"].get_ydata(), data["loss"][i])
        np.testing.assert_array_equal(artists[f"beta {beta}"].get_xdata(), data["delta"])
    np.testing.assert_array_equal(artists["hinge"].get_ydata(), data["hinge"])
    for name in ("dpo", "hypo", "smooth", "ipo"):
        np.testing.assert_array_equal(artists[name].get_xdata(), data["ref"])
        np.testing.assert_array_equal(artists[name].get_ydata(), data[name])
    box = artists["U left"].get_bbox()
    assert (box.x0, box.x1) == (-3, 0)


def test_other_settings_are_taken() -> None:
    data = pq.figures.targets.data(ref_margin=-1.0, beta=2.0)
    np.testing.assert_allclose(data["ipo"], data["ref"] + 0.25, atol=1e-15)
    assert data["hinge"][0] == 3.0
