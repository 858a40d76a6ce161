"""Solutions: statuses that help, tables that show, margins with limits, batches of anything."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
from hypothesis import given

import prefeq as pq
from prefeq import strategies
from prefeq.errors import InfeasibleError, ProblemError

INF = np.inf


def test_every_status_says_what_to_do() -> None:
    values = ["optimal", "not-unique", "diverges", "infeasible", "unbounded", "iteration-limit"]
    assert [s.value for s in pq.Status] == values
    for status in pq.Status:
        assert str(status) == status.value
        assert len(status.help) > 30
        assert status.help.endswith(".")
    assert "solve_cpo" in pq.Status.DIVERGES.help
    assert "Lower the margin" in pq.Status.INFEASIBLE.help
    assert "solve_cpo" in pq.Status.UNBOUNDED.help


def test_solutions_are_frozen() -> None:
    solution = pq.solve_rlhf(pq.Bandit([1, 0], [0, 0], 1.0))
    with pytest.raises(dataclasses.FrozenInstanceError):
        solution.logp = None


def test_a_solution_shows_itself() -> None:
    bandit = pq.Bandit([1, 0, 0], [0, 0, 0], 1.0)
    text = repr(pq.solve_cpo(bandit, pq.Preferences([0], [1]), margin=2.0))
    for line in ("status  optimal", "route  one pair", "multipliers  [", "residual  "):
        assert line in text
    diverging = pq.solve_dpo(bandit, pq.Preferences([0], [1]))
    assert "component  (0, 1)" in repr(diverging)
    assert "direction  [ 0.5 -0.5  0. ]" in repr(diverging)
    html = diverging._repr_html_()
    assert re.search(r"<tr><td[^>]*>status</td><td[^>]*>diverges</td></tr>", html)
    assert html.endswith("</table>")


def test_a_batch_shows_its_statuses_and_its_worst_residual() -> None:
    batch = pq.Bandit(np.zeros((3, 2)), np.zeros((3, 2)), 1.0)
    pairs = pq.Preferences([[0]] * 3, [[1]] * 3, prob=[[1.0], [0.6], [0.7]])
    text = repr(pq.solve_dpo(batch, pairs))
    assert "problems  3" in text
    assert "1 diverges, 2 optimal" in text
    assert "(worst)" in text


def test_margins_of_infeasible_problems() -> None:
    bandit, pairs = pq.Bandit([1, 0], [0, 0], 1.0), pq.Preferences([0, 1], [1, 0])
    failed = pq.solve_cpo(bandit, pairs, margin=1.0, throw=False)
    assert failed.status is pq.Status.INFEASIBLE
    assert failed.logp is None
    with pytest.raises(ProblemError, match="no policy exists"):
        failed.margin(pairs)


def test_margins_of_absent_pairs_and_off_support_responses_are_never_nan() -> None:
    bandit = pq.Bandit([1, 0, 0], [0, 0, -INF], 1.0)
    solution = pq.solve_rlhf(bandit)
    ghost = pq.Preferences([0, 7], [1, 8], mass=[1, 0])
    assert solution.margin(ghost).tolist() == [1.0, 0.0]
    assert solution.margin(pq.Preferences([0, 2], [2, 0])).tolist() == [INF, -INF]


def test_limits_of_a_diverging_problem() -> None:
    bandit = pq.Bandit([0] * 5, [0, -1, -2, -3, -4], 2.0)
    pairs = pq.Preferences([0, 1, 3], [1, 2, 4], log_odds=[3.0, INF, -INF])
    solution = pq.solve_dpo(bandit, pairs)
    assert solution.margin(pairs).tolist() == pytest.approx([1.0 + 3.0 / 2, INF, -INF])
    assert solution.margin(pq.Preferences([2, 4], [0, 3])).tolist() == [-INF, INF]


def test_a_limit_that_the_direction_does_not_settle_is_refused() -> None:
    bandit = pq.Bandit([0] * 4, [0, -1, -2, -3], 1.0)
    disjoint = pq.Preferences([0, 2], [1, 3])
    solution = pq.solve_dpo(bandit, disjoint)
    assert solution.margin(disjoint).tolist() == [INF, INF]
    with pytest.raises(
        ProblemError, match=r"pair \(1,\) joins two parts that diverge side by side"
    ):
        solution.margin(pq.Preferences([0, 0], [1, 2]))


MIXED = pq.Bandit(np.zeros((4, 3)), [[0, 0, 0], [0, -1, -2], [0, 0, -INF], [0, 0, 0]], 1.0)
MIXED_PAIRS = pq.Preferences(
    [[0, 1], [0, 1], [0, 1], [0, 9]],
    [[1, 2], [1, 0], [1, 0], [1, 9]],
    log_odds=[[1.0, -1.0], [INF, 0.5], [2.0, 1.0], [INF, INF]],
    mass=[[1, 1], [1, 1], [1, 1], [1, 0]],
)


def test_a_batch_of_mixed_statuses_equals_its_rows() -> None:
    batch = pq.solve_dpo(MIXED, MIXED_PAIRS)
    assert [s.value for s in batch.status] == ["optimal", "not-unique", "optimal", "diverges"]
    assert np.all(np.isneginf(batch.logp[3]))
    assert batch.value[3] == -INF
    for i in range(4):
        single = pq.solve_dpo(MIXED[i], MIXED_PAIRS[i])
        assert batch.status[i] is single.status
        assert batch.residual[i] < 1e-12
        assert batch.loss[i] == pytest.approx(single.loss, rel=1e-14)
        assert batch.dimension[i] == single.dimension
        assert batch.component[i] == single.component
        if single.logp is not None:
            np.testing.assert_allclose(batch.logp[i], single.logp, rtol=1e-14)
            assert batch.value[i] == pytest.approx(single.value, rel=1e-13)
        margins = batch.margin(MIXED_PAIRS)[i], single.margin(MIXED_PAIRS[i])
        np.testing.assert_allclose(*margins, rtol=1e-14, atol=1e-14)
    np.testing.assert_allclose(batch.direction[3], [0.5, -0.5, 0.0], atol=1e-15)
    assert batch.direction[:3].tolist() == [[0.0] * 3] * 3


def test_a_batch_with_infeasible_rows() -> None:
    margin = [[1.0, 1.0], [1.0, 1.0], [1.0, -1.0], [1.0, 1.0]]
    batch = pq.solve_cpo(MIXED, MIXED_PAIRS, margin=margin)
    assert [s.value for s in batch.status] == ["optimal", "infeasible", "optimal", "optimal"]
    assert set(batch.cycle[1]) == {0, 1}
    assert np.all(np.isneginf(batch.logp[1]))
    assert batch.margin(MIXED_PAIRS)[1].tolist() == [-INF, -INF]
    assert batch.residual[1] == INF
    assert batch.multipliers.shape == (4, 2)
    with pytest.raises(InfeasibleError, match=r"around the cycle"):
        pq.solve_cpo(MIXED, MIXED_PAIRS, margin=margin, throw=True)


def test_a_batch_of_nothing_but_infeasible_rows() -> None:
    batch = pq.Bandit(np.zeros((2, 2)), np.zeros((2, 2)), 1.0)
    solution = pq.solve_cpo(batch, pq.Preferences([0, 1], [1, 0]), margin=1.0)
    assert [s.value for s in solution.status] == ["infeasible"] * 2
    assert solution.logp.shape == (2, 2)
    assert "2 infeasible" in repr(solution)


@pytest.mark.parametrize("solve", [pq.solve_dpo, pq.solve_cpo, lambda b, _: pq.solve_rlhf(b)])
def test_an_empty_batch_has_empty_fields(solve) -> None:
    batch = pq.Bandit(np.zeros((0, 3)), np.zeros((0, 3)), 1.0)
    solution = solve(batch, pq.Preferences([0], [1]))
    assert solution.logp.shape == (0, 3)
    assert solution.status.shape == solution.residual.shape == solution.value.shape == (0,)
    assert solution.margin(pq.Preferences(np.zeros((0, 1), int), np.ones((0, 1), int))).size == 0
    assert "problems  0" in repr(solution)


@given(strategies.problems(batch_shape=(2, 2), max_pairs=4, max_responses=4))
def test_batches_of_ugly_problems_equal_their_rows(problem) -> None:
    bandit, pairs = problem
    for solve in (pq.solve_cpo, pq.solve_dpo):
        batch = solve(bandit, pairs)
        assert batch.status.shape == batch.residual.shape == (2, 2)
        for index in np.ndindex(2, 2):
            single = solve(bandit[index], pairs.at(index, (2, 2)), throw=False)
            assert batch.status[index] is single.status
            if single.logp is not None:
                size = max(1.0, np.max(np.abs(single.logp), where=bandit.support[index], initial=0))
                np.testing.assert_allclose(
                    batch.logp[index], single.logp, rtol=0, atol=1e-12 * size
                )
