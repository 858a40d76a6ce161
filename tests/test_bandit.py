"""Bandits: what is accepted, what is refused and how the refusal reads."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given

import prefeq as pq
from prefeq import strategies
from prefeq.errors import ProblemError

NAN, INF = np.nan, np.inf

REFUSED = {
    "NaN reward": (([1, NAN, 0], [0, 0, 0], 1.0), r"reward\[1\] = nan"),
    "infinite reward": (([[0, 1], [INF, 0]], [0, 0], 1.0), r"reward\[1, 0\] = inf"),
    "beta of 0": (([1, 0], [0, 0], 0), r"beta = 0\.0: beta must be positive"),
    "negative beta": (([[1, 0]] * 2, [0, 0], [1, -2]), r"beta\[1\] = -2\.0"),
    "infinite beta": (([1, 0], [0, 0], INF), r"beta = inf"),
    "NaN beta": (([1, 0], [0, 0], NAN), r"beta = nan"),
    "beta beyond the floats' squares": (([1, 0], [0, 0], 1e200), r"beta = 1e\+200: is outside"),
    "NaN reference": (([1, 0], [0, NAN], 1.0), r"ref_logp\[1\] = nan"),
    "reference of +inf": (([1, 0], [INF, 0], 1.0), r"ref_logp\[0\] = inf"),
    "no support": (([[1, 0]] * 2, [[0, 0], [-INF, -INF]], 1.0), r"ref_logp row\[1\].*support"),
    "different K": (([1, 0, 0], [0, 0], 1.0), r"shape mismatch: reward is \(3,\).*\(2,\)"),
    "batches that do not broadcast": (
        (np.zeros((2, 3)), np.zeros((4, 3)), 1.0),
        r"shape mismatch: .*\(2, 3\).*\(4, 3\)",
    ),
    "beta of another batch": ((np.zeros((2, 3)), np.zeros(3), [1, 1, 1]), r"beta \(3,\)"),
    "scalar reward": ((1.0, [0, 0], 1.0), "shape mismatch"),
    "no responses": (([], [], 1.0), "K = 0"),
    "ragged rewards": (([[1, 2], [3]], [0, 0], 1.0), "reward is not a rectangular array"),
    "complex reward": (([1j, 0], [0, 0], 1.0), "reward has dtype complex128"),
    "object reward": (([None, 0], [0, 0], 1.0), "reward has dtype object"),
    "text reference": (([1, 0], ["0", "1"], 1.0), "ref_logp has dtype <U1"),
    "complex beta": (([1, 0], [0, 0], 1 + 0j), "beta has dtype complex128"),
    "rewards too far apart": (([1e308, -1e308], [0, 0], 1.0), r"spread of reward / beta = inf"),
    "rewards too far apart for beta": (([1e50, 0], [0, 0], 1e-60), r"reward / beta = 1e\+110"),
    "reference too far apart": (([1, 0], [0, -1e101], 1.0), r"spread of ref_logp = 1e\+101"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_refused_by_name_index_and_value(case: str) -> None:
    arguments, message = REFUSED[case]
    with pytest.raises(ProblemError, match=message) as caught:
        pq.Bandit(*arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        ([0.5, -0.1], r"ref\[1\] = -0\.1: must be a probability"),
        ([0.5, NAN], r"ref\[1\] = nan"),
        ([INF, 0.5], r"ref\[0\] = inf"),
        ([0.0, 0.0], "support"),
        ([0.5j, 0.5], "ref has dtype complex"),
    ],
)
def test_bad_probabilities_are_refused(ref: list, message: str) -> None:
    with pytest.raises(ProblemError, match=message):
        pq.Bandit.from_probs(reward=[1, 0], ref=ref, beta=1.0)


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int64, np.float16, np.float32, np.bool_])
def test_narrow_dtypes_are_computed_in_float64(dtype: type) -> None:
    reward, ref = np.array([1, 0, 1], dtype=dtype), np.array([0, 1, 1], dtype=dtype)
    bandit = pq.Bandit(reward, ref, np.float32(0.5))
    assert bandit.reward.dtype == bandit.ref_logp.dtype == np.float64
    same = pq.Bandit(reward.astype(float), ref.astype(float), 0.5)
    np.testing.assert_array_equal(bandit.ref_logp, same.ref_logp)


def test_int8_rewards_do_not_overflow() -> None:
    bandit = pq.Bandit(np.array([127, -128], dtype=np.int8), [0, 0], 1.0)
    pairs = pq.Preferences.bradley_terry(bandit)
    assert pairs.log_odds.tolist() == pairs.reward_gap(bandit).tolist() == [255.0]
    assert pq.solve_rlhf(bandit).margin(pairs).tolist() == [255.0]


def test_input_is_copied_and_output_is_read_only() -> None:
    reward, ref = np.array([1.0, 0.0]), np.array([-1.0, -2.0])
    bandit = pq.Bandit(reward, ref, 1.0)
    reward[0] = ref[0] = 99.0
    assert bandit.reward[0] == 1.0
    assert bandit.ref_logp[0] < 0
    for array in (bandit.reward, bandit.ref_logp):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        bandit.beta = 2.0
    reward.setflags(write=False)
    assert pq.Bandit(reward, ref, 1.0).reward[0] == 99.0


@given(strategies.bandits())
def test_the_reference_is_normalised_and_keeps_its_margins(bandit: pq.Bandit) -> None:
    assert abs(np.sum(np.exp(bandit.ref_logp)) - 1) <= 1e-12
    assert np.all(np.isfinite(bandit.ref_logp) == bandit.support)
    again = pq.Bandit(bandit.reward, bandit.ref_logp + 5.0, bandit.beta)
    np.testing.assert_allclose(again.ref_logp, bandit.ref_logp, rtol=1e-13, atol=1e-13)


@given(strategies.bandits())
def test_the_tilt_is_the_reward_over_beta_from_its_top(bandit: pq.Bandit) -> None:
    on = bandit.support
    assert np.max(bandit.tilt[on]) == 0.0
    assert np.all(np.isneginf(bandit.tilt[~on]))
    gap = (bandit.reward[on] - np.max(bandit.reward[on])) / bandit.beta
    np.testing.assert_allclose(bandit.tilt[on], gap, rtol=1e-14)


def test_probabilities_and_log_probabilities_agree() -> None:
    probs = np.array([0.2, 0.0, 1e-300, 0.8])
    with np.errstate(divide="ignore"):
        logs = np.log(probs)
    one = pq.Bandit.from_probs(reward=[1, 2, 3, 4], ref=probs, beta=1.0)
    np.testing.assert_array_equal(one.ref_logp, pq.Bandit([1, 2, 3, 4], logs, 1.0).ref_logp)
    assert one.support.tolist() == [True, False, True, True]
    assert one.reward[1] == 0.0  # an absent response has no reward


def test_leading_axes_broadcast_and_index() -> None:
    reward = np.arange(12.0).reshape(2, 2, 3)
    batch = pq.Bandit(reward, [0, -1, -INF], [[1.0], [2.0]])
    assert (batch.batch_shape, batch.K, len(batch)) == ((2, 2), 3, 2)
    assert batch.beta.tolist() == [[1.0, 1.0], [2.0, 2.0]]
    one = batch[1, 0]
    assert one.batch_shape == ()
    assert one.beta == 2.0
    assert isinstance(one.beta, float)
    assert one.reward.tolist() == [6.0, 7.0, 0.0]
    assert batch[0].batch_shape == (2,)
    with pytest.raises(ProblemError, match="single prompt"):
        one[0]
    with pytest.raises(TypeError, match="no length"):
        len(one)


def test_tables_become_ragged_batches() -> None:
    columns = {
        "prompt": ["a", "b", "a", "b", "b"],
        "response": ["x", "p", "y", "q", "r"],
        "ref_logp": [-1.0, -1.0, -3.0, -2.0, -3.0],
        "reward": [1, 0, 0, 2, 1],
    }
    batch = pq.Bandit.from_table(columns, beta=0.5)
    assert batch.prompts == ("a", "b")
    assert batch.responses == (("x", "y"), ("p", "q", "r"))
    assert batch.support.tolist() == [[True, True, False], [True, True, True]]
    assert batch.reward.tolist() == [[1, 0, 0], [0, 2, 1]]
    assert batch[1].prompts == ("b",)
    assert batch[0:1].responses == (("x", "y"),)


def test_it_shows_itself() -> None:
    assert repr(pq.Bandit([1, 0], [0, 0], 0.5)) == "Bandit(K=2, beta=0.5)"
    assert repr(pq.Bandit(np.zeros((3, 2)), [0, 0], 1)) == "Bandit(batch_shape=(3,), K=2, beta=1.0)"
    varied = repr(pq.Bandit(np.zeros((2, 2)), [0, 0], [1, 2]))
    assert "batch_shape=(2,)" in varied
    assert "1" in varied
    assert "2" in varied
    assert "K=2" in repr(pq.Bandit(np.zeros((0, 2)), np.zeros((0, 2)), 1.0))


def test_an_index_never_reaches_the_responses() -> None:
    bandit = pq.Bandit(np.zeros((2, 3, 4)), np.zeros((2, 3, 4)), 1.0)
    assert bandit[..., 0].reward.shape == (2, 4)
    assert bandit[0, ...].reward.shape == (3, 4)
    assert bandit[np.ones((2, 3), dtype=bool)].reward.shape == (6, 4)
    assert bandit[1, 2].reward.shape == (4,)
    pairs = pq.Preferences(np.zeros((2, 3, 5), int), np.ones((2, 3, 5), int))
    assert pairs[..., 0].winner.shape == (2, 5)
    for bad in ((0, 0, 0), (..., 0, 0, 0), (np.ones((2, 3), dtype=bool), 0)):
        with pytest.raises(pq.ProblemError, match="2 axes to index"):
            bandit[bad]
        with pytest.raises(pq.ProblemError, match="2 axes to index"):
            pairs[bad]
