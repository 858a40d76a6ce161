"""How long pairs stay in U: every count within the law, and DPO's the solver's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import prefeq as pq
from prefeq.figures import escape
from prefeq.losses import DPO


@pytest.fixture(scope="module")
def data() -> dict[str, Any]:
    return escape.data()


def references(data: dict[str, Any]) -> Any:
    wrong = data["wrong"].tolist()
    return escape.references(data["beta"], data["ref_margin"].shape[-1], wrong, 10, 1.5)


def by_hand(data: dict[str, Any]) -> dict[str, Any]:
    """The target margins, each by its formula."""
    ref, beta = data["ref_margin"], data["beta"]
    logp = references(data).ref_logp
    return {
        "dpo": ref,
        "hypo": np.maximum(ref, 0.0),
        "smooth": np.logaddexp(ref, 0.0),
        "easy": ref + (1.0 / logp[..., 0::2] + 1.0 / logp[..., 1::2]) / beta,
    }


def check_law(data: dict[str, Any], exits: Any) -> None:
    """Raise unless every pair left U within the bounds of the flow's exit time."""
    ref, beta, eta = data["ref_margin"], data["beta"], data["step_size"]
    mass, wrong = 1.0 / ref.shape[-1], ref < 0
    for name, target in by_hand(data).items():
        u0, u1 = beta * (ref - target), -beta * target
        time = (np.exp(u1) + u1 - np.exp(u0) - u0) / (2 * beta**2 * mass)
        low = time / eta * np.exp(-2 * eta * mass * beta**2 / (1 + np.exp(u0)))
        high = np.ceil(time / eta * (1 + 1e-12))
        found = exits[data["losses"].index(name)]
        left = wrong & (found <= data["steps"])
        assert left.sum() > 0.99 * wrong.sum(), name
        assert np.all((low <= found)[left] & (found <= high)[left]), name
        assert np.all(high[wrong & ~left] > data["steps"]), name


def test_every_pair_leaves_within_the_law(data: dict[str, Any]) -> None:
    check_law(data, data["exit"])
    for name in by_hand(data):
        i, wrong = data["losses"].index(name), data["ref_margin"] < 0
        exits = data["exit"][i]
        inside = exits > data["steps"]
        assert np.all((data["low"][i] <= exits) | inside | ~wrong)
        assert np.all((exits <= data["high"][i]) | ~wrong)


@pytest.mark.parametrize("spoil", ["late", "early", "another loss"])
def test_the_law_is_sharp_enough_to_fail(data: dict[str, Any], spoil: str) -> None:
    exits = data["exit"].copy()
    if spoil == "another loss":
        exits[data["losses"].index("hypo")] = exits[data["losses"].index("dpo")]
    else:
        exits = exits * 11 // 10 if spoil == "late" else exits * 9 // 10
    with pytest.raises(AssertionError):
        check_law(data, exits)


def test_the_references_rank_as_many_pairs_wrongly_as_they_are_said_to(
    data: dict[str, Any],
) -> None:
    wrong = np.mean(data["ref_margin"] < 0, axis=-1)
    np.testing.assert_array_equal(wrong, np.broadcast_to(data["wrong"][:, None], wrong.shape))
    assert np.unique(data["ref_margin"][0].round(12)).size == data["ref_margin"][0].size
    bandits = references(data)
    pairs = pq.Preferences.ordered(bandits, escape.matched(100))
    np.testing.assert_array_equal(pairs.ref_margin(bandits), data["ref_margin"])
    assert np.all(pairs.reward_gap(bandits) == 1.0)


def test_dpo_is_what_the_solver_does() -> None:
    data = escape.data(pairs=10, wrong=(0.3, 0.5), seeds=2, steps=40, beta=0.5)
    bandits = escape.references(0.5, 10, (0.3, 0.5), 2, 1.5)
    run = pq.solve_dpo(
        bandits,
        pq.Preferences.ordered(bandits, escape.matched(10)),
        "gradient-descent",
        step_size=data["step_size"],
        max_steps=40,
        record_every=1,
    ).trajectory
    occupancy = np.moveaxis(run.occupancy, 0, -1)[..., data["step"]]
    np.testing.assert_array_equal(data["share"][data["losses"].index("dpo")], occupancy)
    assert 0 < occupancy[..., -1].max() < occupancy[..., 0].min()


def test_finite_targets_hold_the_pairs_that_they_trap(data: dict[str, Any]) -> None:
    ref, steps = data["ref_margin"], data["steps"]
    hinge, ipo = (data["losses"].index(name) for name in ("hinge", "ipo"))
    wrong = ref < 0
    # A step of the hinge is 1/8 nat, eight of them in all; one of IPO a quarter of the way to 1/2.
    counted = np.where(ref > -1, np.ceil(-8 * ref), steps + 1)
    clear = wrong & (np.abs(ref + 1) > 1 / 8) & (np.abs(8 * ref % 1 - 0.5) < 0.499)
    np.testing.assert_array_equal(data["exit"][hinge][clear], counted[clear])
    left = wrong & (ref > -0.5 + 1e-9)
    exits = np.ceil(np.log1p(2 * ref[left]) / np.log(0.75))
    np.testing.assert_array_equal(data["exit"][ipo][left], exits)
    assert np.all(data["exit"][ipo][wrong & (ref < -0.5)] == steps + 1)
    np.testing.assert_array_equal(data["traps"][ipo], ref < -0.5)
    np.testing.assert_array_equal(data["traps"][hinge], ref < -1)
    logistic = [data["losses"].index(name) for name in by_hand(data)]
    assert not np.any(data["traps"][logistic])


def test_the_curves_count_the_exits(data: dict[str, Any]) -> None:
    wrong, step = data["ref_margin"] < 0, data["step"]
    for i in range(len(data["losses"])):
        for k in (0, step.size // 2, step.size - 1):
            inside = wrong & (data["exit"][i] > step[k])
            np.testing.assert_allclose(data["share"][i, ..., k], inside.mean(axis=-1), rtol=1e-12)
    assert np.isfinite(data["law"]).all(axis=(1, 2)).tolist() == [
        name in by_hand(data) for name in data["losses"]
    ]
    np.testing.assert_allclose(
        data["law"][0], data["share"][0].mean(axis=1), atol=0.011
    )  # DPO's curve is the law's, to a pair in a hundred


def test_a_target_that_is_never_negative_is_the_faster(data: dict[str, Any]) -> None:
    last = [data["exit"][data["losses"].index(name)].max() for name in ("hypo", "smooth")]
    assert max(last) < 100  # linear in the reference margin
    dpo, easy = (data["exit"][data["losses"].index(name)] for name in ("dpo", "easy"))
    assert np.all(easy >= dpo)
    assert dpo.max() > 20 * max(last)


def test_exit_steps_follow_the_gradient_they_are_given() -> None:
    ref = pq.losses.Reference(np.array([-1.0, -3.0]), np.array([-3.0, -1.0]))
    exits = escape.exit_steps(DPO, ref, 1.0, 0.25, 1000)
    assert exits[0] == 0
    delta, count = -2.0, 0
    while delta < 0:
        delta, count = delta + 0.5 / (1 + np.exp(delta + 2.0)), count + 1
    assert exits[1] == count


def test_the_artists_carry_the_data(data: dict[str, Any]) -> None:
    from matplotlib.figure import Figure

    figure = Figure()
    artists = escape.draw(tuple(figure.subplots(1, 3)), data)
    for i, name in enumerate(data["losses"]):
        for panel in range(3):
            line = artists[f"{name} {panel}"]
            np.testing.assert_array_equal(line.get_xdata(), data["step"])
            mean = (100 * data["share"][i, panel]).mean(axis=0)
            np.testing.assert_array_equal(line.get_ydata(), mean)
            assert (f"{name} law {panel}" in artists) == (name in by_hand(data))
    for panel in range(3):
        rings = artists[f"dpo law {panel}"]
        at = np.searchsorted(data["step"], rings.get_xdata())
        np.testing.assert_array_equal(rings.get_ydata(), 100 * data["law"][0, panel][at])
    assert {artists[f"{name} note 0"].get_text() for name in ("ipo", "hinge")} == {"IPO", "hinge"}


def test_the_caption_tells_the_setting(data: dict[str, Any]) -> None:
    caption = escape.FIGURE.caption
    pairs = data["ref_margin"].shape[-1]
    assert data["ref_margin"].shape == (3, 10, 100)
    assert f"K = {2 * pairs} responses in {pairs} disjoint ordered pairs" in caption
    assert f"β = {data['beta']:g}" in caption
    assert data["step_size"] == pytest.approx(pairs / 16)
    assert "20, 30 and 40 %" in caption
    assert data["wrong"].tolist() == [0.2, 0.3, 0.4]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pairs": 0}, "pairs = 0"),
        ({"steps": 0}, "steps = 0"),
        ({"wrong": (0.2, 1.5)}, r"wrong\[1\] = 1.5"),
        ({"beta": -1.0}, "beta = -1"),
        ({"beta": 0.1}, "below beta\\*\\*2/2 = 0.005"),
        ({"spread": np.nan}, "spread = nan"),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(pq.ProblemError, match=message):
        escape.data(**options)


def test_too_few_shares_for_the_panels_are_refused() -> None:
    with pytest.raises(pq.ProblemError, match="1 shares for 3 panels"):
        pq.figures.draw("escape", wrong=(0.2,), pairs=5, seeds=2, steps=5)
