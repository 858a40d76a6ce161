"""Preferences: labels, masses, samples, refusals, and the facts of the comparison graph."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given

import prefeq as pq
from prefeq import strategies
from prefeq.errors import ProblemError

NAN, INF = np.nan, np.inf
BANDIT = pq.Bandit([2.0, 1.0, 1.0, 0.0], [0.0, -1.0, -2.0, -INF], 1.0)

REFUSED = {
    "own loser": ({"winner": [0, 2], "loser": [1, 2]}, r"winner\[1\] = 2: is its own loser"),
    "negative winner": ({"winner": [-1], "loser": [1]}, r"winner\[0\] = -1: .*>= 0"),
    "negative loser": ({"winner": [0, 0], "loser": [1, -3]}, r"loser\[1\] = -3"),
    "float indices": ({"winner": [0.0], "loser": [1]}, "winner has dtype float64"),
    "boolean indices": ({"winner": [True], "loser": [0]}, "winner has dtype bool"),
    "object indices": ({"winner": [0], "loser": [None]}, "loser has dtype object"),
    "complex prob": ({"winner": [0], "loser": [1], "prob": [0.5j]}, "prob has dtype complex"),
    "prob above 1": ({"winner": [0], "loser": [1], "prob": 1.5}, r"prob = 1\.5: .*\[0, 1\]"),
    "negative prob": (
        {"winner": [0] * 2, "loser": [1] * 2, "prob": [0.5, -0.1]},
        r"prob\[1\] = -0\.1",
    ),
    "NaN prob": ({"winner": [0], "loser": [1], "prob": [NAN]}, r"prob\[0\] = nan"),
    "NaN log-odds": ({"winner": [0], "loser": [1], "log_odds": [NAN]}, r"log_odds\[0\] = nan"),
    "vast log-odds": (
        {"winner": [0], "loser": [1], "log_odds": [1e101]},
        r"log_odds\[0\] = 1e\+101",
    ),
    "two labels": ({"winner": [0], "loser": [1], "prob": 0.6, "log_odds": 0.0}, "pass one of them"),
    "negative mass": ({"winner": [0], "loser": [1], "mass": [-1.0]}, r"mass\[0\] = -1\.0"),
    "NaN mass": ({"winner": [0], "loser": [1], "mass": [NAN]}, r"mass\[0\] = nan"),
    "infinite mass": ({"winner": [0], "loser": [1], "mass": [INF]}, r"mass\[0\] = inf"),
    "vast mass": (
        {"winner": [0], "loser": [1], "mass": [1e305]},
        r"mass\[0\] = 1e\+305: .*rescale",
    ),
    "shape mismatch": ({"winner": [0, 1], "loser": [1, 2, 0]}, r"shape mismatch: winner \(2,\)"),
    "mass mismatch": ({"winner": [0, 1], "loser": [1, 0], "mass": [1, 1, 1]}, "shape mismatch"),
    "text prob": ({"winner": [0], "loser": [1], "prob": "a", "log_odds": 0.0}, "prob has dtype"),
    "vast index": ({"winner": np.array([2**63], np.uint64), "loser": [0]}, r"winner\[0\] = 92"),
    "no pair axis": ({"winner": 0, "loser": 1}, "need a pair axis"),
    "ragged": ({"winner": [[0], [1, 2]], "loser": [1]}, "winner is not a rectangular array"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_pairs_are_refused_by_name_index_and_value(case: str) -> None:
    arguments, message = REFUSED[case]
    with pytest.raises(ProblemError, match=message) as caught:
        pq.Preferences(**arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (pq.Preferences([0, 4], [1, 0]), r"winner\[1\] = 4: is out of range: .*K = 4"),
        (pq.Preferences([0], [9]), r"loser\[0\] = 9: is out of range"),
        (pq.Preferences([0], [3]), r"loser\[0\] = 3: is off the support"),
        (pq.Preferences([3], [0]), r"winner\[0\] = 3: is off the support"),
        (pq.Preferences([[0], [0]], [[1], [2]]), r"batch shape \(2,\), the bandit \(\)"),
    ],
)
def test_pairs_that_do_not_fit_are_refused_everywhere(pairs: pq.Preferences, message: str) -> None:
    for use in (
        lambda: pq.solve_dpo(BANDIT, pairs),
        lambda: pq.solve_cpo(BANDIT, pairs),
        lambda: pairs.reward_gap(BANDIT),
        lambda: pairs.ref_margin(BANDIT),
        lambda: pairs.components(BANDIT),
    ):
        with pytest.raises(ProblemError, match=message):
            use()


def test_labels_keep_what_probabilities_round_away() -> None:
    pairs = pq.Preferences([0, 0, 0, 0], [1, 1, 1, 1], log_odds=[40.0, 800.0, -800.0, INF])
    assert pairs.log_odds.tolist() == [40.0, 800.0, -800.0, INF]
    assert pairs.prob.tolist() == [1 / (1 + math.exp(-40)), 1.0, 0.0, 1.0]
    prob = pq.Preferences([0, 0, 0], [1, 1, 1], prob=[0.0, 0.25, 1.0])
    np.testing.assert_allclose(prob.log_odds, [-INF, -math.log(3), INF])
    assert pq.Preferences([0], [1]).log_odds.tolist() == [INF]


def test_masses_default_to_equal_shares_and_are_used_as_given() -> None:
    assert pq.Preferences([0, 1, 2, 0], [1, 2, 0, 2]).mass.tolist() == [0.25] * 4
    assert pq.Preferences([0, 1], [1, 2], mass=[3, 7]).mass.tolist() == [3.0, 7.0]
    assert pq.Preferences([0, 1], [1, 2], mass=5).mass.tolist() == [5.0, 5.0]
    assert pq.Preferences([], []).P == 0


def test_pairs_of_zero_mass_are_absent() -> None:
    ghost = pq.Preferences([0, 77, -5, 3], [1, 77, 0, 0], mass=[1, 0, 0, 0])
    ghost.check(BANDIT)
    assert ghost.present.tolist() == [True, False, False, False]
    assert ghost.reward_gap(BANDIT).tolist() == [1.0, 0.0, 0.0, 0.0]
    assert ghost.ref_margin(BANDIT).tolist() == [1.0, 0.0, 0.0, 0.0]
    assert ghost.components(BANDIT).tolist() == [0, 0, 1, -1]
    assert repr(ghost) == "Preferences(P=4: 0>1)"


def test_arrays_are_copied_and_read_only() -> None:
    winner = np.array([0, 1], dtype=np.int32)
    pairs = pq.Preferences(winner, [1, 2])
    winner[0] = 9
    assert pairs.winner.tolist() == [0, 1]
    assert pairs.winner.dtype == np.int64
    for name in ("winner", "loser", "log_odds", "mass"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(pairs, name)[0] = 1


def test_fields_can_be_replaced() -> None:
    pairs = pq.Preferences([0, 1], [1, 2], prob=[0.7, 1.0])
    heavier = dataclasses.replace(pairs, mass=[2.0, 3.0])
    assert heavier.mass.tolist() == [2.0, 3.0]
    np.testing.assert_array_equal(heavier.log_odds, pairs.log_odds)
    with pytest.raises(ProblemError, match="two spellings"):
        dataclasses.replace(pairs, prob=0.5)


def test_a_policy_of_another_size_is_refused() -> None:
    with pytest.raises(ProblemError, match=r"loser\[1\] = 2: is out of range: .* K = 2"):
        pq.Preferences([0, 1], [1, 2]).margin_of([0.0, 0.0])


def test_default_pairs_are_all_with_different_rewards_the_higher_winning() -> None:
    for build in (pq.Preferences.bradley_terry, pq.Preferences.ordered):
        pairs = build(BANDIT)
        assert list(zip(pairs.winner.tolist(), pairs.loser.tolist(), strict=True)) == [
            (0, 1),
            (0, 2),
        ]
        assert pairs.mass.tolist() == [0.5, 0.5]
    upside_down = pq.Preferences.bradley_terry(pq.Bandit([0, 3], [0, 0], 0.1))
    assert (upside_down.winner[0], upside_down.log_odds[0]) == (1, 3.0)  # not divided by beta
    assert pq.Preferences.ordered(pq.Bandit([1, 1], [0, 0], 1.0)).P == 0


def test_default_pairs_of_a_batch_are_padded_with_absent_ones() -> None:
    batch = pq.Bandit([[2, 1, 0], [1, 1, 0], [1, 1, 1]], np.zeros((3, 3)), 1.0)
    pairs = pq.Preferences.bradley_terry(batch)
    assert pairs.present.sum(axis=-1).tolist() == [3, 2, 0]
    np.testing.assert_allclose(pairs.mass.sum(axis=-1), [1, 1, 0])
    assert pairs[1].reward_gap(batch[1])[:2].tolist() == [1.0, 1.0]


def test_given_pairs_keep_their_nominal_order() -> None:
    pairs = pq.Preferences.bradley_terry(BANDIT, [[1, 0], [2, 1]])
    assert pairs.log_odds.tolist() == [-1.0, 0.0]
    assert pairs.mass.tolist() == [0.5, 0.5]
    assert pq.Preferences.ordered(BANDIT, []).P == 0
    with pytest.raises(ProblemError, match=r"pairs has shape \(2,\): expected"):
        pq.Preferences.ordered(BANDIT, [0, 1])
    with pytest.raises(ProblemError, match="off the support"):
        pq.Preferences.bradley_terry(BANDIT, [[0, 3]])


def test_samples_are_reproducible_counts() -> None:
    one, two = (pq.Preferences.sample(BANDIT, 50, seed=3) for _ in range(2))
    for name in ("winner", "loser", "log_odds", "mass"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    assert one.mass.sum() == pytest.approx(1.0, abs=1e-15)
    counts = one.mass * 50
    np.testing.assert_allclose(counts, np.round(counts), atol=1e-12)
    np.testing.assert_allclose(one.prob * counts, np.round(one.prob * counts), atol=1e-9)


def test_samples_approach_the_population() -> None:
    bandit = pq.Bandit([1.0, 0.0, -0.5], [0, 0, 0], 1.0)
    drawn, population = (
        pq.Preferences.sample(bandit, 400_000, seed=1),
        pq.Preferences.bradley_terry(bandit),
    )
    sigma = np.sqrt(population.prob * (1 - population.prob) / (400_000 * population.mass))
    assert np.all(np.abs(drawn.prob - population.prob) < 5 * sigma)
    np.testing.assert_allclose(drawn.mass, population.mass, atol=0.005)


def test_undrawn_and_unanimous_pairs() -> None:
    bandit = pq.Bandit([30.0, 20.0, 10.0, 0.0], [0] * 4, 1.0)
    drawn = pq.Preferences.sample(bandit, 3, seed=0)
    assert (~drawn.present).sum() >= 3  # three draws, six pairs
    assert np.all(np.isposinf(drawn.log_odds[drawn.present]))
    assert pq.solve_dpo(bandit, drawn).status is pq.Status.DIVERGES
    assert pq.Preferences.sample(pq.Bandit([1.0], [0.0], 1.0), 5, seed=0).P == 0


@pytest.mark.parametrize("n", [0, -1, 2.5, "3"])
def test_sample_sizes_that_make_no_sense_are_refused(n: object) -> None:
    with pytest.raises(ProblemError, match=r"n = .*positive integer"):
        pq.Preferences.sample(BANDIT, n, seed=0)


def test_samples_of_a_batch() -> None:
    batch = pq.Bandit([[2, 1, 0], [1, 1, 1]], np.zeros((2, 3)), 1.0)
    drawn = pq.Preferences.sample(batch, 10, seed=0)
    np.testing.assert_allclose(drawn.mass.sum(axis=-1), [1.0, 0.0])


@given(strategies.problems())
def test_margins_are_differences_and_never_nan(problem) -> None:
    bandit, pairs = problem
    gap, ref = pairs.reward_gap(bandit), pairs.ref_margin(bandit)
    for k in range(pairs.P):
        w, lo = pairs.winner[k], pairs.loser[k]
        on = pairs.present[k]
        assert gap[k] == (bandit.reward[w] - bandit.reward[lo] if on else 0.0)
        assert ref[k] == (bandit.ref_logp[w] - bandit.ref_logp[lo] if on else 0.0)
    off = np.full(bandit.K, -INF)
    assert np.all(pairs.margin_of(off) == 0.0)


def reachable(k: int, edges: list[tuple[int, int]]) -> np.ndarray:
    """Return who can be reached from whom, by following every path (Floyd-Warshall)."""
    reach = np.eye(k, dtype=bool)
    for a, b in edges:
        reach[a, b] = True
    for via in range(k):
        reach |= reach[:, [via]] & reach[[via], :]
    return reach


@given(strategies.problems())
def test_graph_facts_agree_with_path_search(problem) -> None:
    bandit, pairs = problem
    present = np.flatnonzero(pairs.present)
    ends = [(int(pairs.winner[k]), int(pairs.loser[k]), pairs.log_odds[k]) for k in present]
    beats = [(w, lo) for w, lo, odds in ends if odds > -INF]
    beats += [(lo, w) for w, lo, odds in ends if odds < INF]
    way = reachable(bandit.K, beats)
    linked = reachable(bandit.K, beats + [(b, a) for a, b in beats])
    component, strong = pairs.components(bandit), pairs.strong_components(bandit)
    on = bandit.support
    assert np.all(component[~on] == -1)
    assert np.all(strong[~on] == -1)
    both = np.ix_(on, on)
    assert np.array_equal(component[on][:, None] == component[on], linked[both])
    assert np.array_equal(strong[on][:, None] == strong[on], (way & way.T)[both])
    assert bool(pairs.is_connected(bandit)) == bool(linked[both].all())
    assert bool(pairs.has_ford_condition(bandit)) == bool(np.array_equal(way, linked))


def test_pairs_broadcast_over_a_batch_and_rows_equal_singles(rng) -> None:
    batch = pq.Bandit(rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 3, 4)), 1.0)
    pairs = pq.Preferences([0, 1], [1, 2], prob=[1.0, 0.7])
    wide = pairs.components(batch)
    assert wide.shape == (2, 3, 4)
    assert pairs.has_ford_condition(batch).shape == (2, 3)
    assert pairs.reward_gap(batch).shape == (2, 3, 2)
    for index in np.ndindex(2, 3):
        np.testing.assert_array_equal(
            pairs.reward_gap(batch)[index], pairs.reward_gap(batch[index])
        )
        np.testing.assert_array_equal(wide[index], pairs.components(batch[index]))


def test_indexing_a_batch_of_pairs() -> None:
    pairs = pq.Preferences([[0, 1], [1, 2]], [[1, 2], [0, 0]], prob=[[1, 0.5], [0.2, 0.3]])
    assert pairs.batch_shape == (2,)
    assert pairs[1].winner.tolist() == [1, 2]
    assert pairs[1].prob.tolist() == pytest.approx([0.2, 0.3])
    assert repr(pairs) == "Preferences(batch_shape=(2,), P=2)"
    with pytest.raises(ProblemError, match="single prompt"):
        pairs[0][0]


def test_it_shows_itself() -> None:
    assert repr(pq.Preferences([0], [1])) == "Preferences(P=1: 0>1)"
    many = pq.Preferences([0] * 8, [1] * 8, prob=0.25)
    assert repr(many).endswith("0>1 with q=0.25, ...)")
    assert repr(pq.Preferences([], [])) == "Preferences(P=0)"
