"""Every cell of the phase diagram against formulas that the solvers do not use."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import prefeq as pq
from prefeq.figures.phase import ALIGNED, LEAVES, PRICES, STAYS, TIMES, verdicts


@pytest.fixture(scope="module")
def data() -> dict[str, Any]:
    """Return the figure's data, with δ_ref, Δr and δ* of every cell."""
    found: dict[str, Any] = pq.figures.phase.data()
    ref, gap = np.meshgrid(found["ref"], found["tilt"])
    return {**found, "REF": ref, "TILT": gap, "STAR": ref + gap}


def flow_time(ref: np.ndarray, gap: np.ndarray) -> np.ndarray:
    """Return the exit time of gradient flow at β = m = 1 with labels σ(Δr), where it is finite.

    dx/dt = 2(σ(Δr) − σ(x)) from 0 to u = −δ_ref; with a = e^{−Δr} the integral of dx/(dx/dt) is
    [x − (1 + 1/a) log(1 − a eˣ)]/(2σ(Δr)).
    """
    a, u = np.exp(-gap), -ref
    inner = u - (1 + 1 / a) * (np.log1p(-a * np.exp(u)) - np.log1p(-a))
    return (1 + a) * inner / 2


def test_the_margins(data: dict[str, Any]) -> None:
    np.testing.assert_allclose(data["rlhf"], data["STAR"], atol=1e-12)
    np.testing.assert_allclose(data["cpo"], np.maximum(data["STAR"], 0), atol=1e-12)
    assert np.min(np.abs(data["STAR"])) > 0.005  # no cell is on the line: signs are decided


def test_population_dpo_is_rlhf_everywhere_and_ordered_dpo_nowhere(data: dict[str, Any]) -> None:
    assert np.all(data["dpo_gap"] < 1e-9)
    assert np.all(data["ordered_diverges"])


def test_cpo_is_rlhf_exactly_above_the_line_and_its_price(data: dict[str, Any]) -> None:
    np.testing.assert_array_equal(data["cpo_gap"] <= 1e-9, data["STAR"] > 0)
    price = np.where(data["STAR"] < 0, np.log(np.cosh(data["STAR"] / 2)), 0)
    np.testing.assert_allclose(data["price"], price, atol=1e-12)


def test_the_time_with_soft_labels(data: dict[str, Any]) -> None:
    time, step = data["soft_time"], data["step_size"]
    np.testing.assert_array_equal(np.isinf(time), data["STAR"] < 0)
    assert np.all(time[data["REF"] > 0] == 0)
    finite = (data["REF"] < 0) & (data["STAR"] > 0)
    exact = flow_time(data["REF"][finite], data["TILT"][finite])
    error = np.abs(time[finite] - exact)
    assert np.all(error <= step + 0.02 * exact)  # a step at the end, and Euler's error on the way
    assert np.max(exact) > 800


def test_the_time_with_certain_labels(data: dict[str, Any]) -> None:
    inside = data["REF"] < 0
    u = -data["REF"][inside]
    exact = (np.exp(u) + u - 1) / 2
    steps = data["hard_time"][inside] / data["step_size"]
    # (T/η)e^{−ηmβ²} ≤ N ≤ ⌈T/η⌉
    assert np.all(steps <= np.ceil(exact / data["step_size"] + 1e-9) + 1e-6)
    assert np.all(steps >= exact / data["step_size"] * np.exp(-data["step_size"]) - 1e-6)
    assert np.all(data["hard_time"][~inside] == 0)
    assert np.all(data["hard_time"] == data["hard_time"][0])


def test_the_verdicts(data: dict[str, Any]) -> None:
    found = verdicts(data)
    expected = np.where(data["REF"] > 0, ALIGNED, np.where(data["STAR"] > 0, LEAVES, STAYS))
    np.testing.assert_array_equal(found["soft"], expected)
    np.testing.assert_array_equal(found["hard"], np.where(data["REF"] > 0, ALIGNED, LEAVES))
    np.testing.assert_array_equal(found["cpo"], np.where(data["STAR"] > 0, ALIGNED, LEAVES))


def test_the_artists_carry_the_data(data: dict[str, Any]) -> None:
    artists, found = pq.figures.draw("phase"), verdicts(data)
    for name in ("soft", "hard", "cpo"):
        shown = artists[f"{name} verdict"].get_array()
        np.testing.assert_array_equal(np.reshape(shown, found[name].shape), found[name])
        levels = PRICES if name == "cpo" else TIMES
        np.testing.assert_array_equal(artists[f"{name} contours"].levels, levels)
        assert [text.get_text() for text in artists[f"{name} labels"]] == [f"{v:g}" for v in levels]
        line = np.concatenate(artists[f"{name} line"].allsegs[0])
        np.testing.assert_allclose(line[:, 0] + line[:, 1], 0, atol=1e-9)  # δ* = 0


def test_contours_lie_where_the_flow_says() -> None:
    artists = pq.figures.draw("phase")
    for level, segments in zip(TIMES, artists["hard contours"].allsegs, strict=True):
        u = -np.concatenate(segments)[:, 0]
        assert (np.exp(u) + u - 1) / 2 == pytest.approx(level, rel=0.04, abs=0.05)
    for level, segments in zip(PRICES, artists["cpo contours"].allsegs, strict=True):
        star = np.concatenate(segments).sum(axis=1)
        assert np.log(np.cosh(star / 2)) == pytest.approx(level, rel=0.01)


def test_the_caption_s_numbers(data: dict[str, Any]) -> None:
    assert data["rlhf"].shape == (75, 80)
    assert data["step_size"] == 0.025
    assert all(part in pq.figures.phase.CAPTION for part in ("80 × 75", "0.025", "β = 1"))
