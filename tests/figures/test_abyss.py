"""The penalty's objective and stationary points against formulas of two responses."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

import prefeq as pq

SETTINGS = [{}, {"ref_margin": -5.0, "reward_gap": 2.0, "beta": 0.5}]
"""The figure's own, and δ* = −1 at β = ½."""


def numbers(settings: dict[str, float]) -> tuple[float, float, float, float]:
    ref, gap, beta = (
        settings.get(name, default)
        for name, default in (("ref_margin", -3.0), ("reward_gap", 1.0), ("beta", 1.0))
    )
    return ref, gap, beta, ref + gap / beta


@pytest.mark.parametrize("settings", SETTINGS)
def test_critical_gamma_and_fold(settings: dict[str, float]) -> None:
    _, _, beta, star = numbers(settings)
    data = pq.figures.abyss.data(**settings)
    assert data["star"] == star
    assert data["critical"] == pytest.approx(-beta * star / 4, rel=1e-15)
    d = mpmath.findroot(lambda x: x - mpmath.coth(x / 2) - star, 0.8)
    assert data["fold_margin"] == pytest.approx(float(d), rel=1e-12)
    assert data["fold"] == pytest.approx(float(beta / (2 * mpmath.sinh(d))), rel=1e-12)
    assert data["critical"] < data["fold"] < data["critical"] + beta / (4 * abs(star))
    np.testing.assert_allclose(data["gamma"], data["critical"] * np.array([0, 0.5, 1, 1.45]))


@pytest.mark.parametrize("settings", SETTINGS)
def test_the_objective(settings: dict[str, float]) -> None:
    ref, gap, beta, star = numbers(settings)
    data = pq.figures.abyss.data(**settings)

    def objective(delta: float, gamma: float) -> mpmath.mpf:
        p, q = (1 / (1 + mpmath.exp(-mpmath.mpf(x))) for x in (delta, ref))
        kl = p * mpmath.log(p / q) + (1 - p) * mpmath.log((1 - p) / (1 - q))
        return gap * p - beta * kl + gamma * delta

    for gamma, values in zip(data["gamma"], data["objective"], strict=True):
        for i in range(0, values.size, 20):
            expected = objective(data["delta"][i], gamma) - objective(star, gamma)
            assert values[i] == pytest.approx(float(expected), abs=1e-12)
    # a slope of γ on the right: the way to +∞
    rise = np.diff(data["objective"][:, -20:]).mean(axis=1) / np.diff(data["delta"])[0]
    assert np.all(np.abs(rise - data["gamma"]) < 0.02)


@pytest.mark.parametrize("settings", SETTINGS)
def test_stationary_points(settings: dict[str, float]) -> None:
    _, _, beta, star = numbers(settings)
    data = pq.figures.abyss.data(**settings)

    def gap(delta: np.ndarray, gamma: np.ndarray) -> np.ndarray:
        return beta * (delta - star) - gamma * (2 + 2 * np.cosh(delta))

    for kind in ("maximum", "minimum"):
        gamma, delta = data[f"{kind}_gamma"], data[f"{kind}_margin"]
        np.testing.assert_allclose(gap(delta, gamma), 0, atol=1e-8)
        bend = beta - 2 * gamma * np.sinh(delta)  # of the same sign as minus F″
        assert np.all(bend[:-1] > 0 if kind == "maximum" else bend[:-1] < 0)
        assert np.all(np.diff(gamma) > 0)
        assert (gamma[-1], delta[-1]) == pytest.approx((data["fold"], data["fold_margin"]))
    assert data["maximum_margin"][0] == pytest.approx(star)
    below = data["maximum_gamma"] < data["critical"] * (1 - 1e-9)
    above = data["maximum_gamma"] > data["critical"] * (1 + 1e-9)
    assert np.all(data["maximum_margin"][below] < 0)
    assert np.all(data["maximum_margin"][above] > 0)
    marks = data["marks"]
    np.testing.assert_allclose(
        gap(marks[:, 1], data["gamma"][marks[:, 0].astype(int)]), 0, atol=1e-8
    )
    at_critical = marks[(marks[:, 0] == 2) & (marks[:, 3] == 1)]
    assert at_critical[:, 1] == pytest.approx([0], abs=1e-12)


def test_the_caption_s_numbers() -> None:
    data, caption = pq.figures.abyss.data(), pq.figures.abyss.CAPTION
    assert (data["star"], data["critical"], f"{data['fold']:.3f}") == (-2, 0.5, "0.599")
    assert "δ* = −2" in caption
    assert "0.5 < γ < 0.599" in caption
    assert [int(i) for i in data["marks"][:, 0]] == [0, 1, 1, 2, 2]  # none beyond the fold


def test_the_artists_carry_the_data() -> None:
    data, artists = pq.figures.abyss.data(), pq.figures.draw("abyss")
    for i in range(4):
        np.testing.assert_array_equal(artists[f"objective {i}"].get_ydata(), data["objective"][i])
        np.testing.assert_array_equal(artists[f"objective {i}"].get_xdata(), data["delta"])
    for kind in ("maximum", "minimum"):
        line = artists[f"{kind} branch"]
        np.testing.assert_array_equal(line.get_xdata(), data[f"{kind}_gamma"])
        np.testing.assert_array_equal(line.get_ydata(), data[f"{kind}_margin"])
    for i, delta, value, is_maximum in data["marks"]:
        dot = artists[f"{'maximum' if is_maximum else 'minimum'} {int(i)}"]
        assert dot.get_xydata().tolist() == [[delta, value]]
    assert artists["critical"].get_xydata().tolist() == [[data["critical"], 0]]
    assert artists["fold"].get_xydata().tolist() == [[data["fold"], data["fold_margin"]]]
