"""The sheet of losses: targets, minimisers and traps against closed forms and brute force."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from prefeq.errors import ProblemError
from prefeq.figures import loss_zoo
from prefeq.losses import LOSSES

NAMES = tuple(loss_zoo.TITLES)
LOGISTIC = ("dpo", "hypo", "smooth", "easy", "eq17", "simpo")
BETAS = (0.5, 1.0, 2.0)


@pytest.fixture(scope="module", params=BETAS)
def data(request: pytest.FixtureRequest) -> dict[str, Any]:
    return loss_zoo.data(beta=request.param)


@pytest.fixture(scope="module")
def shown() -> dict[str, Any]:
    return loss_zoo.data()


def logp(ref: Any) -> tuple[Any, Any]:
    """Log-probabilities of two responses."""
    return -np.logaddexp(0, -ref), -np.logaddexp(0, ref)


def target(name: str, ref: Any, beta: float) -> Any:
    """Each target by its formula."""
    winner, loser = logp(ref)
    return {
        "hypo": np.maximum(ref, 0),
        "smooth": np.logaddexp(ref, 0),
        "easy": ref + 0.1 / beta * (1 / winner + 1 / loser),
        "eq17": ref + 0.1 / beta * (np.exp(-winner) + np.exp(-loser)),
        "simpo": 1 / beta + 0 * ref,
    }.get(name, ref)


def certain_edge(name: str, beta: float) -> list[float]:
    """Below which reference margin a certain label traps."""
    bounds = {"ipo": 1 / 2, "hinge": 1.0, "cdpo": math.log(0.9 / 0.1)}
    return [-bounds[name] / beta] if name in bounds else []


def check_certain(data: dict[str, Any]) -> None:
    """Raise unless certain labels trap exactly where the closed forms have it."""
    ref, beta = data["ref_margin"], data["beta"]
    for name in NAMES:
        expected = certain_edge(name, beta)
        assert data[name]["edges"] == pytest.approx(expected, abs=1e-9), name
        below = ref < (expected[0] if expected else -math.inf) - 1e-9
        np.testing.assert_array_equal(data[name]["traps"], below, err_msg=name)


def test_certain_labels_trap_where_the_closed_forms_say(data: dict[str, Any]) -> None:
    check_certain(data)


@pytest.mark.parametrize("name", ["ipo", "hinge", "cdpo", "dpo"])
def test_a_wrong_trap_is_noticed(shown: dict[str, Any], name: str) -> None:
    spoilt = {**shown[name], "traps": shown[name]["traps"] ^ (shown["ref_margin"] < -5.9)}
    with pytest.raises(AssertionError):
        check_certain({**shown, name: spoilt})
    late = {**shown[name], "edges": shown[name]["edges"] + 0.01}
    if name != "dpo":
        with pytest.raises(AssertionError):
            check_certain({**shown, name: late})


def test_soft_labels_trap_where_the_closed_forms_say(data: dict[str, Any]) -> None:
    beta, q = data["beta"], 1 / (1 + math.exp(-data["gap"]))
    smoothed = 0.1 + 0.8 * q
    expected = {
        "dpo": [-1 / beta],
        "ipo": [-(q - 0.5) / beta],
        "hinge": [-1 / beta],
        "cdpo": [-math.log(smoothed / (1 - smoothed)) / beta],
        "hypo": [],
        "smooth": [],
        "simpo": [],
    }
    for name, edges in expected.items():
        assert data[name]["soft_edges"] == pytest.approx(edges, abs=1e-9), name
    for name in ("easy", "eq17"):  # one end at delta = 0, the other there or at the reference
        for edge in data[name]["soft_edges"]:
            end = float(target(name, edge, beta)) + data["gap"] / beta
            assert min(abs(end), abs(end - edge)) < 1e-9, name
    assert data["easy"]["soft_edges"].size == 2


@pytest.mark.parametrize("name", NAMES)
def test_targets_are_those_of_the_formulas(data: dict[str, Any], name: str) -> None:
    formula = target(name, data["ref_margin"], data["beta"])
    np.testing.assert_allclose(data[name]["target"], formula, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", LOGISTIC)
def test_soft_minimisers_are_the_least_points_of_the_risk(shown: dict[str, Any], name: str) -> None:
    q = 1 / (1 + math.exp(-shown["gap"]))
    for i in range(0, 361, 60):
        ref = shown["ref_margin"][i]
        t, flipped = float(target(name, ref, 1.0)), float(target(name, -ref, 1.0))
        if name == "eq17" and t > 20:
            continue
        for reading, other in (("fixed", -t), ("per_label", flipped)):

            def risk(delta: float, t: float = t, other: float = other) -> float:
                softplus = np.logaddexp
                return float(q * softplus(0, t - delta) + (1 - q) * softplus(0, delta + other))

            least = minimize_scalar(risk, bounds=(-60, 60), method="bounded").x
            assert shown[name][reading][i] == pytest.approx(least, abs=1e-3), (ref, reading)


@pytest.mark.parametrize("name", NAMES)
def test_the_flow_ends_where_it_is_drawn(shown: dict[str, Any], name: str) -> None:
    """Descend from a few references on the ordered pair, with the loss's own gradient."""
    loss, at = LOSSES[name], np.arange(5, 361, 25)
    start = shown["ref_margin"][at]
    ref, delta = loss_zoo.reference(loss, start), start
    for _ in range(1500):
        delta = delta - 0.05 * loss.gradient(delta, ref, 1.0)
    stays = (start < delta) & (delta < 0) & np.isfinite(shown[name]["ordered"][at])
    np.testing.assert_array_equal(stays, shown[name]["traps"][at])
    finite = np.isfinite(shown[name]["ordered"][at])
    assert finite.all() == (name not in LOGISTIC)
    np.testing.assert_allclose(delta[finite], shown[name]["ordered"][at][finite], atol=0.051)


def test_every_loss_of_the_family_has_a_panel() -> None:
    assert {id(LOSSES[name]) for name in NAMES} == {id(loss) for loss in LOSSES.values()}
    assert loss_zoo.FIGURE.panels[0] * loss_zoo.FIGURE.panels[1] == len(NAMES)
    titles = {"easy": "gamma=0.1", "eq17": "gamma=0.1", "cdpo": "eps=0.1", "simpo": "gamma=1"}
    for name, parameter in titles.items():
        assert parameter in LOSSES[name].summary  # as the title of its panel has it
    assert "alpha=1, gamma=0, tau=1" in LOSSES["smooth"].summary


def test_the_artists_carry_the_data(shown: dict[str, Any]) -> None:
    from matplotlib.figure import Figure

    artists = loss_zoo.draw(tuple(Figure().subplots(3, 3).ravel()), shown)
    for name in NAMES:
        for key in loss_zoo.LINES:
            values = shown[name][key]
            line = artists[f"{name} {key}"]
            np.testing.assert_array_equal(line.get_xdata(), shown["ref_margin"])
            np.testing.assert_array_equal(
                line.get_ydata(), np.where(np.isfinite(values), values, np.nan)
            )
        for key in ("traps", "soft_traps"):
            shaded = bool(artists[f"{name} {key}"].get_paths())
            assert shaded == bool(shown[name][key].any()), (name, key)
        noted = artists[f"{name} note"].get_text()
        assert ("trap" in noted) == (name not in LOGISTIC)


def test_the_caption_tells_the_thresholds(shown: dict[str, Any]) -> None:
    caption = loss_zoo.FIGURE.caption
    edge = {name: shown[name]["edges"][0] for name in ("ipo", "hinge", "cdpo")}
    text = "trap below δ_ref = {ipo:.1f} (IPO), {hinge:.0f} (hinge) and {cdpo:.3f} (cDPO)"
    assert text.format(**edge).replace("-", "−") in caption
    assert shown["dpo"]["soft_edges"] == pytest.approx([-1.0], abs=1e-9)
    easy = f"Below δ_ref = {shown['easy']['soft_edges'][0]:.2f} the easy".replace("-", "−")
    assert easy in caption


@pytest.mark.parametrize("options", [{"low": 4.0}, {"points": 1}, {"beta": 0.0}])
def test_bad_options_are_named(options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(ProblemError, match=name):
        loss_zoo.data(**options)
