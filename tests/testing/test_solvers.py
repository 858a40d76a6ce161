"""assert_matches_rlhf: exact solvers pass, wrong ones fail on the smallest bandit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

import prefeq as pq
from prefeq import strategies
from prefeq.errors import ProblemError
from prefeq.tabular import solve_table
from prefeq.testing import PropertyFailure, assert_matches_rlhf, connected_problems
from prefeq.testing.instances import Instance

Problem = tuple[pq.Bandit, pq.Preferences]


def closed_form(bandit: pq.Bandit, preferences: pq.Preferences) -> Any:
    return pq.solve_rlhf(bandit).logp


def test_exact_solvers_pass() -> None:
    assert_matches_rlhf(closed_form)
    assert_matches_rlhf(pq.solve_dpo)


def beta_forgotten(bandit: pq.Bandit, preferences: pq.Preferences) -> Any:
    return pq.solve_rlhf(pq.Bandit(bandit.reward, bandit.ref_logp, 1.0)).logp


def reference_forgotten(bandit: pq.Bandit, preferences: pq.Preferences) -> Any:
    flat = np.where(bandit.support, 0.0, -np.inf)
    return pq.solve_rlhf(pq.Bandit(bandit.reward, flat, bandit.beta)).logp


def labels_flipped(bandit: pq.Bandit, preferences: pq.Preferences) -> Any:
    odds = preferences.log_odds
    return pq.solve_dpo(
        bandit, pq.Preferences(preferences.loser, preferences.winner, log_odds=odds)
    )


def not_normalised(bandit: pq.Bandit, preferences: pq.Preferences) -> Any:
    return bandit.ref_logp + bandit.reward / bandit.beta


def leaks_off_support(bandit: pq.Bandit, preferences: pq.Preferences) -> Any:
    return np.maximum(closed_form(bandit, preferences), -1e6)


def third_response_lost(bandit: pq.Bandit, preferences: pq.Preferences) -> Any:
    logp = closed_form(bandit, preferences)
    return logp if bandit.K < 3 else logp[::-1]


def says_nan(bandit: pq.Bandit, preferences: pq.Preferences) -> Any:
    return np.full(bandit.K, np.nan)


def falls_over(bandit: pq.Bandit, preferences: pq.Preferences) -> Any:
    if preferences.P > 1:
        raise ZeroDivisionError("one pair only")
    return closed_form(bandit, preferences)


def wrong_shape(bandit: pq.Bandit, preferences: pq.Preferences) -> Any:
    return closed_form(bandit, preferences)[:-1]


WRONG = {
    beta_forgotten: 2,
    reference_forgotten: 2,
    labels_flipped: 2,
    not_normalised: 2,
    leaks_off_support: 3,  # two on the support, one off it
    third_response_lost: 3,
    says_nan: 2,
    falls_over: 3,
    wrong_shape: 2,
}


@pytest.mark.parametrize("solver", WRONG)
def test_a_wrong_solver_fails_on_a_small_bandit_that_prefeq_solve_reads(
    solver: Any, tmp_path: Path
) -> None:
    with pytest.raises(PropertyFailure) as caught:
        assert_matches_rlhf(solver, examples=150)
    instance = caught.value.instance
    assert instance is not None
    assert len(instance.rows) == WRONG[solver]
    paths = [str(path) for path in instance.write(tmp_path, "small")]
    report = solve_table(*paths, beta=instance.beta, labels=instance.labels)
    (prompt,) = report.prompts
    # The printed problem is one on which DPO is RLHF: only the solver is wrong.
    np.testing.assert_allclose(prompt["logp"]["dpo"], prompt["logp"]["rlhf"], rtol=1e-6)


def test_what_a_solver_raises_is_told() -> None:
    with pytest.raises(PropertyFailure, match="raises ZeroDivisionError: one pair only"):
        assert_matches_rlhf(falls_over)
    with pytest.raises(PropertyFailure, match="shape"):
        assert_matches_rlhf(wrong_shape)


def test_probabilities_forgive_tails() -> None:
    def rough(bandit: pq.Bandit, preferences: pq.Preferences) -> Any:
        return np.log(np.maximum(np.exp(closed_form(bandit, preferences)), 1e-9))

    with pytest.raises(PropertyFailure):
        assert_matches_rlhf(rough)
    assert_matches_rlhf(rough, measure="probabilities")


def test_disconnected_problems_are_told_apart() -> None:
    drawn = strategies.problems(min_responses=2, limit=20.0, labels="bradley-terry")
    with pytest.raises(PropertyFailure, match="disconnected graph") as caught:
        assert_matches_rlhf(pq.solve_dpo, problems=drawn)
    instance = caught.value.instance
    assert instance is not None
    assert instance.pairs[0]["mass"] == 0.0  # no pair at all, which a file says so


def test_ordered_labels_are_printed_as_such() -> None:
    drawn = strategies.problems(min_responses=2, max_responses=2, limit=5.0, labels="ordered")
    with pytest.raises(PropertyFailure) as caught:
        assert_matches_rlhf(
            pq.solve_dpo, problems=drawn.filter(lambda problem: bool(problem[1].present.any()))
        )
    instance = caught.value.instance
    assert instance is not None
    assert "--labels ordered" in instance.command()


def test_default_pairs_need_no_file_whichever_way_round() -> None:
    bandit = pq.Bandit([2, 0, 1], [0, 0, 0], beta=1.0)
    default = Instance.of_problem(bandit, pq.Preferences.bradley_terry(bandit))
    turned = Instance.of_problem(
        bandit, pq.Preferences.bradley_terry(bandit, [[1, 0], [0, 2], [1, 2]])
    )
    assert default.pairs == turned.pairs == ()
    assert turned.command() == "prefeq solve instance.csv --beta 1.0"
    some = Instance.of_problem(bandit, pq.Preferences.bradley_terry(bandit, [[1, 0]]))
    assert [(pair["winner"], pair["loser"]) for pair in some.pairs] == [("y0", "y1")]


def test_soft_labels_come_with_their_probability() -> None:
    bandit = pq.Bandit([1, 0], [0, 0], beta=1.0)
    instance = Instance.of_problem(bandit, pq.Preferences([0], [1], prob=0.25))
    assert instance.pairs == [
        {"prompt": "p", "winner": "y0", "loser": "y1", "prob": 0.25, "mass": 1.0}
    ]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"measure": "kl"}, "measure = 'kl'"),
        ({"examples": 0}, "examples = 0"),
        ({"problems": strategies.problems(batch_shape=(2,))}, "single prompts"),
    ],
)
def test_bad_options_are_refused(options: Any, words: str) -> None:
    with pytest.raises(ProblemError, match=words):
        assert_matches_rlhf(closed_form, **options)


def test_default_problems_are_connected() -> None:
    from hypothesis import given

    @given(connected_problems(), st.just(None))
    def connected(problem: Problem, _: None) -> None:
        bandit, preferences = problem
        assert bandit.support.sum() > 1
        assert preferences.is_connected(bandit)
        assert np.array_equal(preferences.log_odds, preferences.reward_gap(bandit))

    connected()
