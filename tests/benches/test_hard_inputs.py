"""The campaign of hard problems: a small one passes, goes on where it was, and sees what is bad."""

from __future__ import annotations

import copy
import dataclasses
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import prefeq as pq
from benchmarks import hard_inputs, hard_problems, problems
from benchmarks.recheck import cpo
from benchmarks.recheck.answers import Answers

WORK = [(solver, 0, 150) for solver in hard_inputs.SHARES]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    partial = tmp_path_factory.mktemp("campaign") / "partial.jsonl"
    result, left = hard_inputs.campaign(WORK, partial, workers=1)
    assert left == 0
    return result, partial


def test_a_small_campaign_keeps_its_promises(small: tuple[dict[str, Any], Path]) -> None:
    result, _ = small
    assert list(hard_inputs.broken(result)) == ["only 450 problems"]
    for found in result["solvers"].values():
        assert found["problems"] == sum(found["statuses"].values()) == 150
        assert found["worst"]["violation"] < 1e-10
    assert result["solvers"]["cpo"]["sampled"] == result["solvers"]["dpo"]["sampled"] == 3


def test_it_goes_on_where_it_was(
    small: tuple[dict[str, Any], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    result, partial = small
    partial.write_text(partial.read_text() + '{"sources": "torn')
    monkeypatch.setattr(hard_inputs, "run", None)  # nothing is left to run
    assert hard_inputs.campaign(WORK, partial, workers=1) == (result, 0)
    monkeypatch.setattr(hard_inputs, "fingerprint", lambda: "other sources")
    assert hard_inputs.campaign(WORK, partial, workers=1, seconds=-1)[1] == len(WORK)


def test_the_chunks_add_up_to_a_million() -> None:
    work = hard_inputs.jobs()
    assert sum(count for _, _, count in work) == 1_000_000
    assert len(set(work)) == len(work)
    assert {solver for solver, _, _ in work[:3]} == {"rlhf", "dpo", "cpo"}


def run_with(monkeypatch: pytest.MonkeyPatch, solver: str, solve: Any) -> dict[str, Any]:
    monkeypatch.setattr(problems, "solve", solve)
    return hard_inputs.run((solver, 0, 40))


def test_errors_are_counted_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    solve, bad = problems.solve, hard_problems.draw("rlhf", 40, 0).beta[[3, 17]]

    def failing(solver: str, batch: problems.Batch) -> pq.Solution:
        if np.isin(batch.beta, bad).any():
            raise np.linalg.LinAlgError("singular")
        return solve(solver, batch)

    found = run_with(monkeypatch, "rlhf", failing)
    assert found["counts"]["failures"] == 2
    assert [e[2] for e in found["examples"]] == [3, 17]
    assert found["examples"][0][3] == "LinAlgError: singular"
    assert sum(found["statuses"].values()) == 38


def test_warnings_are_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    solve = problems.solve

    def noisy(solver: str, batch: problems.Batch) -> pq.Solution:
        np.log(np.zeros(1))
        return solve(solver, batch)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the campaign does not run under pytest
        assert run_with(monkeypatch, "rlhf", noisy)["counts"]["failures"] == 40


@pytest.mark.parametrize("field", ["logp", "value", "residual", "multipliers"])
def test_holes_are_counted(monkeypatch: pytest.MonkeyPatch, field: str) -> None:
    solve = problems.solve

    def holed(solver: str, batch: problems.Batch) -> pq.Solution:
        right = solve(solver, batch)
        array = np.array(getattr(right, field))
        array[5] = np.nan
        return dataclasses.replace(right, **{field: array})

    found = run_with(monkeypatch, "cpo", holed)
    assert found["counts"]["failures"] == 1
    assert found["examples"][0] == ["cpo", 0, 5, "NaN"]


@pytest.mark.parametrize("solver", ["rlhf", "dpo", "cpo"])
def test_a_wrong_answer_without_a_flag_is_counted(
    monkeypatch: pytest.MonkeyPatch, solver: str
) -> None:
    solve = problems.solve

    def off(solver: str, batch: problems.Batch) -> pq.Solution:
        right = solve(solver, batch)
        wrong = np.where(np.isfinite(right.logp), 1.001 * right.logp - 0.001, right.logp)
        return dataclasses.replace(right, logp=wrong)

    found = run_with(monkeypatch, solver, off)
    policies = sum(found["statuses"].get(name, 0) for name in ("optimal", "not-unique"))
    assert found["counts"]["unflagged"] == policies > 20
    assert len(found["examples"]) == 10


def test_giving_up_is_counted_and_no_wrong_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    solve = problems.solve

    def tired(solver: str, batch: problems.Batch) -> pq.Solution:
        right = solve(solver, batch)
        status = right.status.copy()
        status[[2, 4]] = pq.Status.ITERATION_LIMIT
        return dataclasses.replace(right, status=status)

    found = run_with(monkeypatch, "rlhf", tired)
    assert found["counts"] == {"flagged": 2, "sampled": 0}


def test_a_residual_that_promises_too_much_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    solve = problems.solve

    def proud(solver: str, batch: problems.Batch) -> pq.Solution:
        right = solve(solver, batch)
        logp = right.logp + 1e-11 * np.maximum(1, np.abs(right.logp).min(axis=-1, keepdims=True))
        return dataclasses.replace(right, logp=logp, residual=np.zeros_like(right.residual))

    monkeypatch.setattr(hard_inputs, "SAMPLE", 1)
    monkeypatch.setattr(hard_problems, "draw", lambda solver, n, seed: problems.counted(n, seed))
    found = run_with(monkeypatch, "dpo", proud)
    assert found["counts"]["residual_too_small"] > 30
    assert "unflagged" not in found["counts"]


@pytest.mark.parametrize("name", ["failures", "unflagged"])
def test_a_broken_promise_is_named(small: tuple[dict[str, Any], Path], name: str) -> None:
    result = copy.deepcopy(small[0])
    result["problems"] = 1_000_000
    assert not list(hard_inputs.broken(result))
    result["solvers"]["cpo"][name] = 1
    (fault,) = hard_inputs.broken(result)
    assert fault.startswith(f"cpo: 1 {name}")


def test_the_problems_are_hard() -> None:
    batch = hard_problems.draw("cpo", 5000, 0)
    responses = np.sum(np.isfinite(batch.ref_logp), axis=-1)
    assert set(responses) == set(range(1, 9))
    assert batch.beta.min() < 2e-3
    assert batch.beta.max() > 5e2
    assert np.abs(batch.margin).max() == 800.0
    assert np.mean(~batch.present.any(axis=-1)) > 0.01
    with np.errstate(invalid="ignore"):
        excess = cpo.cycle_excess(batch).astype(np.float64)
    assert np.mean((excess > 0) & (excess < 1e-8)) > 0.01
    assert np.mean((excess <= 0) & (excess > -1e-8)) > 0.1
    assert np.mean(excess > 1e-8) > 0.01
    pairs = np.stack([batch.winner, batch.loser], axis=-1)
    turned = pairs[:, 1:] == pairs[:, :-1, ::-1]
    both = batch.present[:, 1:] & batch.present[:, :-1] & turned.all(axis=-1)
    assert np.mean(both.any(axis=-1)) > 0.2
    zero = both & (batch.margin[:, 1:] == 0) & (batch.margin[:, :-1] == 0)
    assert np.mean(zero.any(axis=-1)) > 0.02


def test_some_duals_are_degenerate() -> None:
    batch = hard_problems.draw("cpo", 300, 0)
    right = problems.solve("cpo", batch)
    answers = Answers.of(right)
    solved = answers.status == "optimal"
    slack = cpo.slacks(batch[solved], answers.logp[solved].astype(np.longdouble))
    tight = batch.present[solved] & (np.abs(slack) < 1e-12)
    assert np.mean(np.any(tight & (right.multipliers[solved] == 0), axis=-1)) > 0.1


def test_labels_are_hard() -> None:
    batch = hard_problems.draw("dpo", 5000, 0)
    odds = batch.log_odds[batch.present]
    assert np.isposinf(odds).any()
    assert np.isneginf(odds).any()
    assert np.abs(odds[np.isfinite(odds)]).max() > 700
    mass = batch.mass[batch.present]
    assert mass.min() < 1e-5
    assert mass.max() > 1e5
