"""The real bandit's runs: against a descent written out here, and what the texts say of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import prefeq as pq


@pytest.fixture(scope="module")
def data() -> dict[str, Any]:
    return pq.figures.sydney.data()


README = Path(__file__).resolve().parents[2] / "README.md"


def naive(steps: int, clip: bool) -> tuple[list[float], list[float]]:
    """Return margin and loss of Canberra over Sydney: softmax policies, step by step, β = 1."""
    table = pq.capitals_table()
    rows = [i for i, c in enumerate(table["country"]) if c == "Australia"]
    theta = np.array([table["ref_logp"][i] for i in rows])
    win = next(i for i, row in enumerate(rows) if table["reward"][row] == 1)
    sydney = next(i for i, row in enumerate(rows) if table["response"][row] == "Sydney")
    losers = [i for i in range(len(rows)) if i != win]
    ref = theta[win] - theta[losers]
    target = np.maximum(ref, 0) if clip else ref
    pull = np.zeros((len(losers), len(rows)))
    for k, loser in enumerate(losers):
        pull[k, win], pull[k, loser] = 1, -1
    lipschitz = np.linalg.eigvalsh(pull.T @ pull / len(losers))[-1] / 4
    margin, loss = [], []
    for _ in range(steps + 1):
        policy = theta - np.log(np.sum(np.exp(theta)))
        delta = policy[win] - policy[losers]
        values = np.log1p(np.exp(-(delta - target)))
        margin.append(float(delta[losers.index(sydney)]))
        loss.append(float(values[losers.index(sydney)]))
        slope = -1 / (1 + np.exp(delta - target)) / len(losers)
        theta = theta - pull.T @ slope / lipschitz
    return margin, loss


@pytest.mark.parametrize(("name", "clip"), [("dpo", False), ("hypo", True)])
def test_the_runs_are_plain_gradient_descent(data: dict[str, Any], name: str, clip: bool) -> None:
    step = data["step"]
    early = step <= 700
    margin, loss = naive(700, clip)
    np.testing.assert_allclose(
        data[f"{name}_margin"][early], np.array(margin)[step[early]], atol=1e-9
    )
    np.testing.assert_allclose(data[f"{name}_loss"][early], np.array(loss)[step[early]], rtol=1e-9)


def test_dpo_is_the_solver_s_own_run(data: dict[str, Any]) -> None:
    batch = pq.load_capitals(1.0)
    bandit = batch[batch.prompts.index("What is the capital of Australia?")]
    ordered = pq.Preferences.ordered(bandit)
    run = pq.solve_dpo(bandit, ordered, "gradient-descent", max_steps=5000).trajectory
    np.testing.assert_array_equal(data["step"], run.step)
    pair = np.argmin(np.abs(ordered.ref_margin(bandit) - data["ref_margin"]))
    np.testing.assert_allclose(data["dpo_margin"], run.margin[:, pair], atol=1e-12)


def test_the_curves_tell_what_the_texts_say(data: dict[str, Any]) -> None:
    table = pq.capitals_table()
    logp = dict(zip(table["response"], table["ref_logp"], strict=True))
    assert data["ref_margin"] == pytest.approx(logp["Canberra"] - logp["Sydney"])
    assert data["rlhf"] == pytest.approx(data["ref_margin"] + 1)
    assert data["cpo"] == pytest.approx(0.1)
    assert [f"{data[name]:.1f}" for name in ("ref_margin", "rlhf", "cpo")] == [
        "-7.9",
        "-6.9",
        "0.1",
    ]
    assert data["dpo_loss"][0] == pytest.approx(np.log(2))
    for name, exit_step in (("dpo", 660), ("hypo", 3)):
        loss, margin = data[f"{name}_loss"], data[f"{name}_margin"]
        assert np.all(np.diff(loss) < 0)
        assert data["step"][data[f"{name}_exit"]] == exit_step
        assert f"step {exit_step}" in pq.figures.sydney.CAPTION
        assert np.all(margin[: data[f"{name}_exit"]] < 0)
        assert np.all(margin[data[f"{name}_exit"] :] >= 0)
    assert np.all(data["dpo_loss"][1:] < np.log(2))
    np.testing.assert_array_equal(data["hypo_loss"] <= np.log(2), data["hypo_margin"] >= 0)
    assert data["dpo_loss"][-1] == pytest.approx(5e-5, rel=0.01)
    assert "some 660 steps" in README.read_text(encoding="utf-8")


def test_the_artists_carry_the_data(data: dict[str, Any]) -> None:
    artists: dict[str, Any] = pq.figures.draw("sydney")
    for name in ("dpo", "hypo"):
        for what in ("loss", "margin"):
            line = artists[f"{name} {what}"]
            np.testing.assert_array_equal(line.get_xdata(), data["step"] + 1)
            np.testing.assert_array_equal(line.get_ydata(), data[f"{name}_{what}"])
    assert set(artists["rlhf"].get_ydata()) == {data["rlhf"]}
    assert set(artists["cpo"].get_ydata()) == {data["cpo"]}
    box = artists["U"].get_bbox()
    assert (box.y0, box.y1) == (data["ref_margin"], 0)
