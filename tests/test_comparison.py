"""compare: every number in the table against the solvers, one at a time."""

from __future__ import annotations

import numpy as np
import pytest

import prefeq as pq
from prefeq.comparison import Comparison
from prefeq.report import TableReport


@pytest.fixture
def bandit() -> pq.Bandit:
    return pq.Bandit.from_probs(reward=[2, 0, 1], ref=[0.05, 0.9, 0.05], beta=1.0)


def test_one_prompt_shows_what_the_solvers_answer(bandit: pq.Bandit) -> None:
    prefs = pq.Preferences.bradley_terry(bandit)
    table = pq.compare(bandit, prefs, margin=0.25)
    assert isinstance(table, Comparison)
    solved = {
        "rlhf": pq.solve_rlhf(bandit),
        "dpo": pq.solve_dpo(bandit, prefs),
        "cpo": pq.solve_cpo(bandit, prefs, margin=0.25),
    }
    for method, solution in solved.items():
        np.testing.assert_array_equal(table.prompt["logp"][method], solution.logp)
        assert table.prompt["objective"][method] == solution.value
        for k, row in enumerate(table.prompt["pairs"]):
            assert row[f"{method}_margin"] == solution.margin(prefs)[k]
    shares = [line.split()[3] for line in str(table).splitlines()[1:4]]
    np.testing.assert_allclose([float(s) for s in shares], np.exp(solved["rlhf"].logp), atol=5e-4)
    assert "<td>0.250</td><td>violated</td>" in table._repr_html_()


def test_margins_are_the_solvers_own_and_violations_follow_them(bandit: pq.Bandit) -> None:
    prefs = pq.Preferences.bradley_terry(bandit)
    rows = pq.compare(bandit, prefs).prompt["pairs"]
    expected = pq.solve_rlhf(bandit).margin(prefs) <= 0
    assert [row["violated"] for row in rows] == expected.tolist()
    assert any(expected)
    assert not all(expected)


def test_absent_pairs_are_not_shown_and_do_not_violate(bandit: pq.Bandit) -> None:
    prefs = pq.Preferences([0, 0], [1, 2], log_odds=[2.0, 1.0], mass=[0.0, 1.0])
    table = pq.compare(bandit, prefs)
    assert len(table.prompt["pairs"]) == 1
    assert table.prompt["assumption_holds"]


def test_a_diverging_dpo_has_no_policy_and_infinite_margins(bandit: pq.Bandit) -> None:
    table = pq.compare(bandit, pq.Preferences.ordered(bandit))
    assert table.prompt["status"]["dpo"] == "diverges"
    assert table.prompt["logp"]["dpo"] is None
    assert {row["dpo_margin"] for row in table.prompt["pairs"]} == {np.inf}
    assert "diverges" in str(table)


def test_a_batch_becomes_a_table_report_of_worst_pairs() -> None:
    bandit = pq.load_capitals(0.5)
    report = pq.compare(bandit, pq.Preferences.bradley_terry(bandit))
    assert isinstance(report, TableReport)
    gaps = bandit.ref_logp[:, :1] - bandit.ref_logp[:, 1:]
    assert report.summary["violated"] == int(np.sum(gaps <= -2.0))


def test_bad_arguments_are_named(bandit: pq.Bandit) -> None:
    prefs = pq.Preferences.bradley_terry(bandit)
    with pytest.raises(pq.ProblemError, match=r"margin has shape \(2,\)"):
        pq.compare(bandit, prefs, margin=[0.0, 1.0])  # type: ignore[arg-type]
    two = pq.Bandit([[1, 0], [1, 0]], np.zeros((2, 2)), [1.0, 2.0])
    with pytest.raises(pq.ProblemError, match="beta takes 2 values"):
        pq.compare(two, pq.Preferences.bradley_terry(two))
