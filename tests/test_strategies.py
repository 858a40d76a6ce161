"""The public strategies do draw what they promise: each kind of ugly input is found."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

import prefeq as pq
from prefeq import strategies

UNSHRUNK = settings(max_examples=2000, phases=[Phase.generate], derandomize=True, database=None)

UGLY_BANDITS = {
    "one response": lambda b: b.K == 1,
    "ties": lambda b: b.K > 2 and len(set(b.reward.tolist())) < b.K,
    "off-support": lambda b: not b.support.all(),
    "probability 1e-300": lambda b: np.any(b.ref_logp[b.support] < -600),
    "800 nats of reward": lambda b: np.ptp(b.reward[b.support]) / b.beta >= 800,
    "tiny beta": lambda b: b.beta == 1e-6,
    "huge beta": lambda b: b.beta == 1e6,
}

UGLY_PAIRS = {
    "no pairs": lambda p: p.P == 0,
    "zero mass": lambda p: not p.present.all(),
    "duplicates": lambda p: len(set(zip(p.winner, p.loser, strict=True))) < p.P - 1,
    "both orders": lambda p: (
        {(a, b) for a, b in zip(p.winner, p.loser, strict=True)}
        & {(b, a) for a, b in zip(p.winner, p.loser, strict=True) if a != b}
    ),
    "certain loser": lambda p: np.any(np.isneginf(p.log_odds[p.present])),
    "ordered": lambda p: np.any(np.isposinf(p.log_odds[p.present])),
    "tie": lambda p: np.any(p.log_odds[p.present] == 0),
}


@pytest.mark.parametrize("kind", UGLY_BANDITS)
def test_every_ugly_bandit_is_drawn(kind: str) -> None:
    assert UGLY_BANDITS[kind](find(strategies.bandits(), UGLY_BANDITS[kind], settings=UNSHRUNK))


@pytest.mark.parametrize("kind", UGLY_PAIRS)
def test_every_ugly_preference_is_drawn(kind: str) -> None:
    pairs = strategies.problems(min_responses=2).map(lambda problem: problem[1])
    assert UGLY_PAIRS[kind](find(pairs, UGLY_PAIRS[kind], settings=UNSHRUNK))


def test_masses_reach_both_ends() -> None:
    drawn = strategies.problems(min_responses=2, ill_scaled=True).map(lambda p: p[1].mass)
    assert find(drawn, lambda m: np.any((m > 0) & (m < 1e-200)), settings=UNSHRUNK) is not None
    assert find(drawn, lambda m: np.any(m > 1e200), settings=UNSHRUNK) is not None


@given(strategies.problems(min_responses=2), st.data())
def test_feasible_margins_are_met_by_some_policy(problem, data) -> None:
    bandit, pairs = problem
    margin = data.draw(strategies.feasible_margins(pairs))
    assert margin.shape == pairs.winner.shape
    assert pq.solve_cpo(bandit, pairs, margin=margin, throw=False).logp is not None


@given(strategies.problems(batch_shape=(2, 3), max_pairs=3))
def test_batches_have_their_shape(problem) -> None:
    bandit, pairs = problem
    assert bandit.batch_shape == pairs.batch_shape == (2, 3)
    pairs.check(bandit)


@given(strategies.problems(labels="bradley-terry"))
def test_bradley_terry_labels_are_the_reward_gaps(problem) -> None:
    bandit, pairs = problem
    on = pairs.present
    np.testing.assert_array_equal(pairs.log_odds[on], pairs.reward_gap(bandit)[on])


def test_unknown_labels_are_refused() -> None:
    bandit = pq.Bandit([1, 0], [0, 0], 1.0)
    with pytest.raises(ValueError, match="labels = 'hard'"):
        find(strategies.preferences(bandit, labels="hard"), lambda _: True)


def test_importing_prefeq_leaves_hypothesis_alone() -> None:
    code = "import prefeq, sys; print('hypothesis' in sys.modules, 'scipy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


@given(strategies.exact_instances(labels="ordered", by_reward=True, max_responses=4))
def test_exact_instances_are_as_asked(made) -> None:
    assert made.labels == "ordered"
    assert 2 <= made.size <= 4
    assert sum(made.ref) == 1
    assert min(made.ref) > 0
    assert all(made.gap(k) >= 0 for k in range(len(made.pairs)))
    made.preferences().check(made.bandit())


@pytest.mark.parametrize(
    "kind",
    {
        "tie": lambda made: made.gap(0) == 0,
        "aligned": lambda made: made.gap(0) > 0 and made.ref_ratio(0) > 1,
        "both orders": lambda made: len({frozenset(p) for p in made.pairs}) < len(set(made.pairs)),
        "skewed to 1e-6": lambda made: min(made.ref) < 1e-6,
    }.items(),
    ids=lambda kind: kind[0],
)
def test_every_kind_of_exact_instance_is_drawn(kind) -> None:
    assert kind[1](find(strategies.exact_instances(), kind[1], settings=UNSHRUNK))
