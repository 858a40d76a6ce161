"""The recheck of the benchmarks: it passes right answers, and sees every kind of wrong one."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from scipy.optimize import linprog

import prefeq as pq
from benchmarks import hard_problems, problems
from benchmarks.problems import Batch
from benchmarks.recheck import Judgement, cpo, dpo, judge, subsets
from benchmarks.recheck.answers import TOLERANCE, Answers
from benchmarks.recheck.exact import true_error

COUNT = 60


def solved(solver: str, count: int = COUNT) -> tuple[Batch, pq.Solution]:
    batch = hard_problems.draw(solver, count, 3)
    return batch, problems.solve(solver, batch)


def changed(solution: pq.Solution, **fields: Any) -> pq.Solution:
    return dataclasses.replace(solution, **fields)


def statuses(names: Any) -> Any:
    return np.array([pq.Status(str(name)) for name in names], dtype=object)


@pytest.mark.parametrize("name", problems.DRAWS)
def test_right_answers_pass(name: str) -> None:
    solver = name.split()[0]
    batch = problems.DRAWS[name](COUNT, 1)
    judgement = judge(solver, batch, problems.solve(solver, batch))
    assert judgement.claimed.all()
    assert judgement.violation.max() < 1e-13
    assert not judgement.doubtful.any()
    assert set(judgement.reason) == {""}


@pytest.mark.parametrize("solver", ["rlhf", "dpo", "cpo"])
def test_right_answers_to_hard_problems_pass(solver: str) -> None:
    batch, solution = solved(solver)
    assert judge(solver, batch, solution).violation.max() < 1e-10


@pytest.mark.parametrize("name", problems.DRAWS)
@pytest.mark.parametrize("size", [1e-7, 1e-3])
def test_a_policy_that_is_off_is_seen(name: str, size: float, rng: np.random.Generator) -> None:
    solver = name.split()[0]
    batch = problems.DRAWS[name](COUNT, 1)
    right = problems.solve(solver, batch)
    logp = right.logp + size * rng.choice([-1, 1], size=right.logp.shape)
    logp -= np.log(np.sum(np.exp(logp), axis=-1, keepdims=True))
    moved = np.max(np.abs(logp - right.logp), axis=-1) > size / 2
    judgement = judge(solver, batch, changed(right, logp=logp))
    assert moved.sum() > COUNT // 2
    assert judgement.doubtful[moved].all()
    assert judgement.besides.max() <= judgement.violation.max()


@pytest.mark.parametrize("solver", ["rlhf", "dpo", "cpo"])
@pytest.mark.parametrize("field", ["logp", "value"])
def test_holes_are_seen(solver: str, field: str) -> None:
    batch, right = solved(solver)
    array = getattr(right, field).copy()
    array[7] = np.nan
    judgement = judge(solver, batch, changed(right, **{field: array}))
    assert judgement.violation[7] == np.inf
    assert judgement.doubtful.sum() == 1


@pytest.mark.parametrize("solver", ["rlhf", "dpo", "cpo"])
def test_a_value_that_is_off_is_seen(solver: str) -> None:
    batch, right = solved(solver)
    policies = np.isfinite(right.value)
    size = np.where(policies, np.abs(right.value), 0.0)
    judgement = judge(solver, batch, changed(right, value=right.value + 1e-3 * (1 + size)))
    assert judgement.doubtful[policies].all()
    assert set(judgement.reason[policies]) == {"value"}


@pytest.mark.parametrize("solver", ["rlhf", "dpo", "cpo"])
def test_a_wrong_status_is_seen(solver: str) -> None:
    batch, right = solved(solver, 200)
    for other in ("optimal", "not-unique", "diverges", "infeasible"):
        claimed = statuses([other] * len(batch))
        judgement = judge(solver, batch, changed(right, status=claimed))
        wrong = claimed != right.status
        assert np.isinf(judgement.violation[wrong]).all(), other
        assert not judgement.doubtful[~wrong].any(), other


def test_giving_up_claims_nothing() -> None:
    batch, right = solved("cpo")
    given_up = changed(right, status=statuses(["iteration-limit"] * len(batch)))
    assert not judge("cpo", batch, given_up).doubtful.any()


def test_rlhf_for_cpo_is_seen() -> None:
    batch = problems.acyclic(COUNT, 1)
    right, free = problems.solve("cpo", batch), problems.solve("rlhf", batch)
    broken = cpo.slacks(batch, free.logp.astype(np.longdouble)).min(axis=-1) < -1e-6
    assert broken.sum() > COUNT // 2
    judgement = judge("cpo", batch, changed(right, logp=free.logp, value=free.value))
    np.testing.assert_array_equal(judgement.doubtful, broken)
    assert set(judgement.reason[broken]) == {"slack"}


def test_margins_that_are_larger_than_asked_are_seen() -> None:
    batch = problems.acyclic(COUNT, 1)
    more = dataclasses.replace(batch, margin=batch.margin + 0.01)
    right, other = problems.solve("cpo", batch), problems.solve("cpo", more)
    bound = np.any(right.multipliers > 1e-3, axis=-1)
    judgement = judge("cpo", batch, changed(right, logp=other.logp, value=other.value))
    assert bound.sum() > COUNT // 2
    assert judgement.doubtful[bound].all()
    assert "optimality" in judgement.reason


def test_a_cycle_that_does_not_clash_is_seen() -> None:
    batch, right = solved("cpo", 400)
    (row,) = np.flatnonzero(right.status == pq.Status.INFEASIBLE)[:1]
    assert cpo.cycle_sum(batch, int(row), np.array(right.cycle[row])) > 0
    for named in (tuple(reversed(right.cycle[row] + (99,))), (), None):
        cycles = right.cycle.copy()
        cycles[row] = named
        judgement = judge("cpo", batch, changed(right, cycle=cycles))
        assert np.flatnonzero(judgement.doubtful).tolist() == [row]


def cycle_sums(length: dict[tuple[int, int], float]) -> list[float]:
    """List what the edges add up to around every cycle, by walking them all."""
    found = []

    def walk(path: list[int], total: float) -> None:
        for (tail, head), x in length.items():
            if tail == path[-1] and head == path[0]:
                found.append(total + x)
            elif tail == path[-1] and head > path[0] and head not in path:
                walk([*path, head], total + x)

    for start in range(8):
        walk([start], 0.0)
    return found


def test_the_worst_cycle_is_found() -> None:
    batch = hard_problems.draw("cpo", 200, 5)
    with np.errstate(invalid="ignore"):
        excess = cpo.cycle_excess(batch)
    signs = set()
    for row, on in enumerate(batch.present):
        length: dict[tuple[int, int], float] = {}
        columns = (rows[row][on].tolist() for rows in (batch.winner, batch.loser, batch.margin))
        for w, lo, m in zip(*columns, strict=True):
            toll = 1e-12 * max(1.0, abs(m))
            length[w, lo] = max(length.get((w, lo), -np.inf), m - toll)
        worst = max(cycle_sums(length), default=-np.inf)
        signs.add(float(np.sign(worst)))
        if abs(worst) > 1e-11:
            assert (worst > 0) == (excess[row] > 0)
        if not -1e-11 < worst < np.inf:  # above zero the closure goes round and round
            assert float(excess[row]) == pytest.approx(worst)
    assert signs >= {-1.0, 1.0}


@pytest.mark.parametrize("field", ["longer", "shorter", "higher", "limit", "component", "loss"])
def test_a_wrong_divergence_is_seen(field: str) -> None:
    batch, right = solved("dpo", 200)
    diverges = right.status == pq.Status.DIVERGES
    if field in ("longer", "shorter"):
        wrong: Any = right.direction * (1.01 if field == "longer" else 0.99)
        field = "direction"
    elif field == "higher":
        wrong = right.direction + 0.01 * np.isfinite(batch.ref_logp)
        field = "direction"
    elif field == "limit":
        wrong = (right.limit[0] + 0.01 * np.arange(8), right.limit[1])
        inside = dpo.Graph.of(batch).strong
        diverges &= np.max(np.bitwise_count(inside), axis=-1) > 1
    elif field == "component":
        wrong = np.empty(len(batch), dtype=object)
        for row in np.flatnonzero(diverges):
            wrong[row] = right.component[row][1:]
    else:
        wrong = 1.5 * right.loss + 1.0
    judgement = judge("dpo", batch, changed(right, **{field: wrong}))
    assert diverges.sum() > 3
    assert judgement.doubtful[diverges].all()


def test_the_bound_on_the_error_of_dpo_holds_and_is_close(rng: np.random.Generator) -> None:
    batch = problems.counted(200, 1)
    right = problems.solve("dpo", batch)
    move = rng.normal(size=right.logp.shape) * 10 ** rng.uniform(-9, -3, size=(200, 1))
    s = (batch.beta[:, None] * (right.logp + move - batch.bandit().ref_logp)).astype(np.longdouble)
    strong = dpo.Graph.of(batch).strong
    bound = dpo.difference_error(batch, s, strong).astype(np.float64)
    off = batch.beta * np.ptp(move, axis=-1)
    assert np.all(off <= bound * (1 + 1e-6))
    assert np.median(bound / off) < 10


def test_the_condition_on_subsets_is_that_of_a_flow(rng: np.random.Generator) -> None:
    seen = set()
    for _ in range(150):
        k, p = int(rng.integers(2, 6)), int(rng.integers(1, 7))
        winner = rng.integers(k, size=p)
        loser = (winner + rng.integers(1, k, size=p)) % k
        weight, d = rng.random(k) + 0.1, rng.normal(size=k)
        push = np.zeros((k, p))
        push[winner, range(p)] += 1
        push[loser, range(p)] -= 1
        if rng.random() < 0.7:  # one for which there is a flow
            d = push @ rng.random(p) / weight + 0.5
        flow = linprog(  # push·flow + weight·c = weight·d
            np.zeros(p + 1),
            A_eq=np.concatenate([push, weight[:, None]], axis=1),
            b_eq=weight * d,
            bounds=[*[(0, None)] * p, (None, None)],
        )
        need = subsets.losers(k, winner[None], loser[None], np.ones((1, p), dtype=bool))
        high, low = subsets.extreme_means(
            weight[None].astype(np.longdouble), d[None].astype(np.longdouble), need
        )
        assert flow.success == bool(high[0] <= low[0] + 1e-9)
        seen.add(bool(flow.success))
    assert seen == {True, False}


@pytest.mark.parametrize("solver", ["dpo", "cpo"])
def test_the_true_error_is_found(solver: str) -> None:
    batch, right = solved(solver)
    answers = Answers.of(right)
    decided = 0
    for row in np.flatnonzero(np.isin(answers.status, ["optimal", "not-unique"])).tolist():
        error = true_error(solver, batch, answers, row)
        if error is None:
            continue
        decided += 1
        assert error < 1e-11
        on = np.isfinite(batch.ref_logp[row])
        size = max(1.0, float(np.max(np.abs(answers.logp[row, on]))))
        moved = answers.logp.copy()
        moved[row, on] += 1e-12 * size  # that much is rounding: the tight pairs stay tight
        moved[row, np.argmax(on)] += 1e-5 * size
        off = true_error(solver, batch, dataclasses.replace(answers, logp=moved), row)
        assert off is None or TOLERANCE < off < 1.1e-5
    assert decided > COUNT // 2


def test_pairs_that_are_all_but_tight_are_let_go() -> None:
    batch = problems.acyclic(COUNT, 1)
    free = problems.solve("rlhf", batch)
    met = np.take_along_axis(free.logp, batch.winner, -1)
    met -= np.take_along_axis(free.logp, batch.loser, -1)
    loose = dataclasses.replace(batch, margin=met - 1e-11)  # no multiplier, next to no slack
    answers = Answers.of(problems.solve("cpo", loose))
    for row in range(COUNT):
        error = true_error("cpo", loose, answers, row)
        assert error is not None
        assert error < 1e-14


def test_the_true_error_of_diverging_parts_is_found() -> None:
    batch, right = solved("dpo", 200)
    answers = Answers.of(right)
    several = np.max(np.bitwise_count(dpo.Graph.of(batch).strong), axis=-1) > 1
    rows = np.flatnonzero((answers.status == "diverges") & several)[:10].tolist()
    off = dataclasses.replace(answers, limit=answers.limit + 0.01 * np.arange(8))
    for row in rows:
        assert true_error("dpo", batch, answers, row) < 1e-10
        assert true_error("dpo", batch, off, row) > 1e-6
    assert rows


def test_the_textbook_conditions_agree() -> None:
    batch = problems.acyclic(COUNT, 1)
    right = problems.solve("cpo", batch)
    assert cpo.textbook_violation(batch, right).max() < 1e-12
    more = changed(right, multipliers=right.multipliers * 1.001)
    bound = np.any(right.multipliers > 1e-3, axis=-1)
    assert np.all(cpo.textbook_violation(batch, more)[bound] > 1e-9)


def test_judgement_takes_the_claim_into_account() -> None:
    bad = Judgement(
        np.array([1.0, 1.0]), np.zeros(2), np.array(["x", "x"]), np.array([True, False])
    )
    assert bad.doubtful.tolist() == [True, False]
