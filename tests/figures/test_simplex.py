"""Streamlines on the simplex: they end where the solvers say, and keep what the flow keeps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import prefeq as pq
from prefeq.figures import simplex

PANELS = tuple(simplex.PANELS)


@pytest.fixture(scope="module")
def data() -> dict[str, Any]:
    return simplex.data()


@pytest.fixture(scope="module")
def bandit() -> pq.Bandit:
    return pq.Bandit.from_probs(reward=[2, 1, 0], ref=[0.05, 0.7, 0.25], beta=1.0)


def kept(policies: Any) -> Any:
    """What the flow on the pair (0, 1) keeps: the logits' sum over it, against the third."""
    logp = np.log(policies)
    return logp[..., 0] + logp[..., 1] - 2 * logp[..., 2]


@pytest.mark.parametrize("panel", PANELS)
def test_every_point_is_a_policy(data: dict[str, Any], panel: str) -> None:
    for policies in (data[panel]["streams"], data[panel]["ends"], data[panel]["aligned"]):
        assert np.all(policies >= 0)
        np.testing.assert_allclose(policies.sum(axis=-1), 1.0, atol=1e-12)
    streams = data[panel]["streams"]
    np.testing.assert_allclose(streams[:, -1], data[panel]["ends"], atol=1e-12)
    np.testing.assert_allclose(streams[0, 0], data["ref"], atol=1e-12)
    assert len(streams) == 16


def check_connected(data: dict[str, Any]) -> None:
    """Raise unless every streamline of connected soft labels ends at RLHF, and so does DPO."""
    own = data["connected"]
    np.testing.assert_allclose(own["dpo"], data["rlhf"], atol=1e-9)
    np.testing.assert_allclose(own["ends"], np.tile(data["rlhf"], (16, 1)), atol=1e-6)


def test_connected_soft_labels_end_at_rlhf_though_the_assumption_fails(
    data: dict[str, Any], bandit: pq.Bandit
) -> None:
    check_connected(data)
    tilted = np.array([0.05, 0.7, 0.25]) * np.exp([2, 1, 0])
    np.testing.assert_allclose(data["rlhf"], tilted / tilted.sum(), atol=1e-12)
    assert data["rlhf"][1] > data["rlhf"][0]
    pairs = pq.Preferences.bradley_terry(bandit)
    assert not np.all(
        pq.margins.assumption_holds(pairs.ref_margin(bandit), pairs.reward_gap(bandit), 1.0)
    )


def test_one_pair_keeps_its_sum_of_logits_and_ends_on_the_line(data: dict[str, Any]) -> None:
    own = data["disconnected"]
    sums = kept(own["streams"])
    np.testing.assert_allclose(kept(own["ends"]), sums[:, 0], atol=1e-6)
    # between two points of the path a streamline is a chord
    np.testing.assert_allclose(sums, np.tile(sums[:, :1], 120), atol=5e-3)
    delta = np.log(0.05 / 0.7) + 1.0
    np.testing.assert_allclose(np.log(own["ends"][:, 0] / own["ends"][:, 1]), delta, atol=1e-6)
    np.testing.assert_allclose(own["ends"][0], own["dpo"], atol=1e-7)
    tilted = np.array([0.05, 0.7, 0.25]) * np.exp([0.5, -0.5, 0.0])
    np.testing.assert_allclose(own["dpo"], tilted / tilted.sum(), atol=1e-9)
    first, last = own["minimisers"]
    assert last.tolist() == [0, 0, 1]
    assert np.log(first[0] / first[1]) == pytest.approx(delta)
    assert np.abs(own["dpo"] - data["rlhf"]).max() > 0.1
    for panel in ("connected", "ordered"):
        assert data[panel]["minimisers"].size == 0


def test_an_ordered_chain_runs_to_the_corner(data: dict[str, Any], bandit: pq.Bandit) -> None:
    own = data["ordered"]
    chain = pq.Preferences.ordered(bandit, [(0, 1), (1, 2)])
    solved = pq.solve_dpo(bandit, chain)
    assert solved.status is pq.Status.DIVERGES
    np.testing.assert_allclose(solved.direction, [1, 0, -1], atol=1e-9)
    assert own["dpo"].tolist() == [1, 0, 0]
    logp = np.log(own["streams"][0])
    margins = logp[:, [0, 1]] - logp[:, [1, 2]]
    assert np.all(np.diff(margins, axis=0) > -1e-6)
    assert np.all(own["ends"][:, 0] > 0.98)
    assert np.all(own["ends"][:, 2] < 1e-4)


@pytest.mark.parametrize("panel", PANELS)
def test_the_flow_is_descent_in_small_steps(bandit: pq.Bandit, panel: str) -> None:
    pairs = {
        "connected": pq.Preferences.bradley_terry(bandit, [(0, 1), (0, 2), (1, 2)]),
        "disconnected": pq.Preferences.bradley_terry(bandit, [(0, 1)]),
        "ordered": pq.Preferences.ordered(bandit, [(0, 1), (1, 2)]),
    }[panel]
    flow = simplex.flow(bandit, pairs, bandit.ref_logp[None], 4.0)[0, -1]
    steps = pq.solve_dpo(bandit, pairs, "gradient-descent", step_size=0.002, max_steps=2000)
    np.testing.assert_allclose(np.log(flow), steps.logp, atol=2e-3)
    assert np.abs(np.log(flow) - bandit.ref_logp).max() > 0.2


@pytest.mark.parametrize("panel", PANELS)
def test_the_constrained_optimum_is_the_pooled_one(data: dict[str, Any], panel: str) -> None:
    star = data["rlhf"]
    pooled = np.array([np.sqrt(star[0] * star[1])] * 2 + [star[2]])
    np.testing.assert_allclose(data[panel]["cpo"], pooled / pooled.sum(), atol=1e-9)


def test_the_shaded_policies_are_the_aligned_ones(data: dict[str, Any]) -> None:
    for panel, share in (("connected", 1 / 6), ("disconnected", 1 / 2), ("ordered", 1 / 6)):
        x, y = simplex.flat(data[panel]["aligned"])
        area = abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))) / 2
        assert area == pytest.approx(share * np.sqrt(3) / 4)
        logp = np.log(np.maximum(data[panel]["aligned"], 1e-300))
        for winner, loser in data[panel]["pairs"]:
            assert np.all(logp[:, winner] >= logp[:, loser] - 1e-12)


def test_swapped_labels_are_noticed(bandit: pq.Bandit, data: dict[str, Any]) -> None:
    pairs = pq.Preferences.bradley_terry(bandit, [(0, 1), (0, 2), (1, 2)])
    swapped = replace(pairs, winner=pairs.loser, loser=pairs.winner)
    paths = simplex.flow(bandit, swapped, np.log(data["connected"]["streams"][:, 0]), 3000.0)
    with pytest.raises(AssertionError):
        check_connected({**data, "connected": {**data["connected"], "ends": paths[:, -1]}})


def test_the_triangle() -> None:
    x, y = simplex.flat(np.eye(3))
    np.testing.assert_allclose([x, y], [[0.5, 0, 1], [np.sqrt(0.75), 0, 0]])
    side = [np.hypot(x[i] - x[j], y[i] - y[j]) for i, j in ((0, 1), (1, 2), (2, 0))]
    np.testing.assert_allclose(side, 1.0)
    path = np.array([[1.0, 0, 0], [0.9, 0.1, 0], [0.0, 1, 0]])
    even = np.linalg.norm(np.diff(simplex.evenly(path, 11), axis=0), axis=-1)
    np.testing.assert_allclose(even, np.sqrt(2) / 10)
    assert len(simplex.interior(7)) == 15
    assert simplex.interior(7).min() > 0


def test_the_artists_carry_the_data(data: dict[str, Any]) -> None:
    from matplotlib.figure import Figure

    artists = simplex.draw(tuple(Figure().subplots(1, 3)), data)
    for panel in PANELS:
        own = data[panel]
        for line, stream in zip(artists[f"{panel} streams"], own["streams"], strict=True):
            np.testing.assert_array_equal(line.get_data(), simplex.flat(stream))
        for name in ("ref", "rlhf", "dpo", "cpo"):
            policy = data[name] if name in data else own[name]
            shown = np.ravel(artists[f"{panel} {name}"].get_data())
            np.testing.assert_array_equal(shown, simplex.flat(policy))
        corners = artists[f"{panel} aligned"].get_xy()[:-1]
        np.testing.assert_array_equal(corners, np.transpose(simplex.flat(own["aligned"])))


def test_the_caption_tells_where_they_end(data: dict[str, Any]) -> None:
    caption = simplex.FIGURE.caption
    shown = (data["rlhf"], data["connected"]["cpo"], data["disconnected"]["dpo"])
    for policy in shown:
        assert "({:.3f}, {:.3f}, {:.3f})".format(*policy) in caption


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reward": (1.0, 0.0)}, r"reward = \(1.0, 0.0\)"),
        ({"ref": (0.5, 0.5, 0.0)}, "positive probability"),
        ({"grid": 2}, "grid = 2"),
        ({"horizon": 0.0}, "horizon = 0.0"),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(pq.ProblemError, match=message):
        simplex.data(**options)
