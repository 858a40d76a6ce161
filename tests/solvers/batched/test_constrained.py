"""Constrained PO in lanes: the single solver's answers, by every route, on every library."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from solvers.batched import constraint_lanes
from solvers.batched.constraint_lanes import HARD, INF, ORDINARY, check_lane, check_policy, solve

from prefeq.arrays import FloatArray
from prefeq.solvers.batched import active, constrained
from prefeq.solvers.blocks import project


def sizes(rng: np.random.Generator, most: int = 8) -> tuple[int, int]:
    k = int(rng.integers(2, most + 1))
    return k, int(rng.integers(1, 2 * k + 2))


@pytest.mark.parametrize("kind", ORDINARY)
def test_ordinary_lanes_are_all_done_as_the_single_solver_does_them(kind: str) -> None:
    rng = np.random.default_rng(1)
    for _ in range(4):
        problem = constraint_lanes.draw(kind, rng, *sizes(rng), 25)
        answer = solve(problem)
        assert answer.done.all()
        assert np.all(answer.violation <= 1e-12)
        for lane in range(25):
            check_lane(problem, answer, lane)


@pytest.mark.parametrize("kind", HARD)
def test_hard_lanes_that_are_done_are_right(kind: str) -> None:
    rng = np.random.default_rng(2)
    done = []
    for _ in range(4):
        problem = constraint_lanes.draw(kind, rng, *sizes(rng), 15)
        answer = solve(problem)
        done.append(answer.done)
        for lane in np.flatnonzero(answer.done):
            check_lane(problem, answer, int(lane))
    assert np.mean(done) >= 0.97


@pytest.mark.parametrize("kind", [*ORDINARY, *HARD])
def test_few_lanes_are_left_undone(kind: str) -> None:
    rng = np.random.default_rng(3)
    for k, p in ((3, 3), (6, 6), (8, 14)):
        answer = solve(constraint_lanes.draw(kind, rng, k, p, 200))
        size = np.maximum(1, np.abs(np.where(answer.logp > -INF, answer.logp, 0)).max(axis=0))
        assert np.mean(answer.done) >= (0.99 if kind in HARD else 1.0)
        assert np.all(answer.violation[answer.done] <= 1e-11 * size[answer.done])


@pytest.mark.parametrize("kind", [*ORDINARY, "vast chain", "vast"])
def test_routes_and_violations_are_the_single_solvers(kind: str) -> None:
    rng = np.random.default_rng(4)
    problem = constraint_lanes.draw(kind, rng, 5, 6, 60)
    answer = solve(problem)
    for lane in range(60):
        want = constraint_lanes.truth(problem, lane)
        assert want is not None
        route = constrained.ROUTES[answer.route[lane]]
        if kind != "ties":  # pairs of one group that say the same leave a chain here, not there
            assert route == want.route
        assert answer.violation[lane] <= want.violation + 1e-12 * constraint_lanes.size_of(
            want.logp
        )


def test_all_routes_occur_and_steps_are_counted() -> None:
    rng = np.random.default_rng(5)
    for kind, route in {
        "pair": "one pair",
        "chain": "isotonic chain",
        "flat": "isotonic blocks",
        "acyclic": "active set",
    }.items():
        answer = solve(constraint_lanes.draw(kind, rng, 6, 8, 50))
        here = answer.route == constrained.ROUTES.index(route)
        assert here.any()
        assert np.all(
            answer.steps[here] >= (1 if route in ("isotonic blocks", "active set") else 0)
        )
        tight = np.sum(answer.log_multiplier[:, here] > -INF, axis=0)
        if route in ("one pair", "isotonic chain"):
            assert np.array_equal(answer.steps[here], tight)


@pytest.mark.parametrize("kind", ["chain", "acyclic", "vast"])
def test_multipliers_that_are_unique_are_the_single_solvers(kind: str) -> None:
    rng = np.random.default_rng(6)
    problem = constraint_lanes.draw(kind, rng, 6, 5, 60)
    answer, compared = solve(problem), 0
    for lane in range(60):
        want = constraint_lanes.truth(problem, lane)
        assert want is not None
        found, tight = answer.log_multiplier[:, lane], want.log_multiplier > -INF
        if np.array_equal(found > -INF, tight):  # one forest, hence one set of multipliers
            compared += 1
            np.testing.assert_allclose(found[tight], want.log_multiplier[tight], atol=1e-9)
    assert compared >= 50


def test_duplicates_have_one_multiplier_on_the_first_of_the_largest_margins() -> None:
    target = np.log(np.array([[0.2], [0.8]]))
    winner, margin = np.zeros((4, 1), dtype=np.int64), np.array([[-1.0], [1.0], [1.0], [0.5]])
    answer = solve((target, winner, winner + 1, margin, np.ones((4, 1), dtype=bool)))
    assert (answer.log_multiplier[:, 0] > -INF).tolist() == [False, True, False, False]
    assert answer.logp[0, 0] - answer.logp[1, 0] == pytest.approx(1.0, abs=1e-15)
    assert constrained.ROUTES[answer.route[0]] == "one pair"


def test_margins_that_contradict_each_other_are_left_alone() -> None:
    rng = np.random.default_rng(7)
    problem = constraint_lanes.draw("ties", rng, 4, 8, 200)
    margin = problem[3] + (rng.random((8, 200)) < 0.1)
    problem = (*problem[:3], margin, problem[4])
    answer = solve(problem)
    feasible = [constraint_lanes.truth(problem, lane) is not None for lane in range(200)]
    assert 20 <= np.sum(feasible) <= 180
    assert np.array_equal(answer.done, feasible)
    for hair in (1e-9, 1e-11, 2e-12):  # above the toll, the single solver says infeasible
        margin = np.array([[1.0], [hair - 1.0]])
        ends = np.array([[0], [1]])
        both = np.ones((2, 1), dtype=bool)
        assert not solve((np.log([[0.5], [0.5]]), ends, 1 - ends, margin, both)).done[0]


def test_cycles_a_hair_below_zero_are_solved() -> None:
    ends, both = np.array([[0], [1]]), np.ones((2, 1), dtype=bool)
    for hair in (0.0, 1e-13, 1e-12, 1e-11, 1e-9, 1e-6):
        problem = (np.log([[0.9], [0.1]]), 1 - ends, ends, np.array([[2.0], [-2.0 - hair]]), both)
        answer = solve(problem)
        assert answer.done[0]
        check_lane(problem, answer, 0)


@pytest.mark.parametrize("kind", [*ORDINARY, *HARD])
def test_torch_agrees_with_numpy(kind: str) -> None:
    pytest.importorskip("torch")
    rng = np.random.default_rng(8)
    problem = constraint_lanes.draw(kind, rng, 6, 8, 40)
    ours, xp_and_lanes = solve(problem), constraint_lanes.torch_lanes(problem)
    other = constrained.solve_lanes(*xp_and_lanes)
    assert np.array_equal(ours.done, other.done.numpy())
    assert np.array_equal(ours.route, other.route.numpy())
    done = ours.done
    size = np.maximum(1, np.abs(np.where(ours.logp > -INF, ours.logp, 0)).max(axis=0))[done]
    np.testing.assert_allclose(
        ours.logp[:, done] / size, other.logp.numpy()[:, done] / size, rtol=0, atol=1e-12
    )
    for name in ("logp", "log_multiplier", "violation"):
        assert str(getattr(other, name).dtype) == "torch.float64"


@pytest.mark.parametrize("equal", [True, False])
def test_least_squares_of_fixed_weights(equal: bool) -> None:
    """The direction of a diverging DPO: weights are counts, goals zero, nothing is normalised."""
    rng = np.random.default_rng(9)
    k, p, n = 7, 9, 60
    count = rng.integers(0, 4, (k, n))
    count[:2] = np.maximum(count[:2], 1)
    winner = rng.integers(0, k - 1, (p, n))
    loser = rng.integers(winner + 1, k)
    here = [np.take_along_axis(count, x, 0) > 0 for x in (winner, loser)]
    present = here[0] & here[1] & (rng.random((p, n)) < 0.8)
    winner, loser = np.where(present, winner, 0), np.where(present, loser, 0)
    margin = np.ones((p, n)) if equal else rng.normal(0, 2, (p, n))
    target = np.where(count > 0, 0.0, -INF)
    with np.errstate(divide="ignore"):
        weight = np.log(count.astype(float))
    problem = (target, winner, loser, margin, present)
    answer = solve(problem, log_weight=weight, tilt=0.0, centre=0.0)
    assert answer.done.all()
    for lane in range(n):
        rows, on, _ = constraint_lanes.built(problem, lane)
        columns = rows.winner, rows.loser, rows.margin
        want = project(np.zeros(on.size), weight[on, lane], *columns, tilt=0.0)
        np.testing.assert_allclose(answer.logp[on, lane], want.f, rtol=0, atol=1e-13)


def test_general_weights_are_the_single_solvers() -> None:
    rng = np.random.default_rng(10)
    for kind in ("pair", "chain", "acyclic"):
        problem = constraint_lanes.draw(kind, rng, 6, 8, 30)
        weight = rng.normal(0, 3, (6, 30))
        answer = solve(problem, log_weight=weight, centre=0.0)
        assert answer.done.all()
        for lane in range(30):
            rows, _, _ = constraint_lanes.built(problem, lane)
            columns = rows.winner, rows.loser, rows.margin
            want = project(problem[0][:, lane], weight[:, lane], *columns)
            np.testing.assert_allclose(answer.logp[:, lane], want.f, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(1, 0, 3), (1, 2, 3), (3, 0, 2), (3, 2, 0), (1, 0, 0)])
def test_chunks_with_nothing_in_them(shape: tuple[int, int, int]) -> None:
    k, p, n = shape
    none = np.zeros((p, n), dtype=np.int64)
    problem = (np.full((k, n), -np.log(k)), none, none, 0.0 * none, none > 0)
    answer = solve(problem)
    assert answer.done.shape == (n,)
    assert answer.done.all()
    assert np.array_equal(answer.logp, problem[0])
    assert np.all(answer.log_multiplier == -INF)


@pytest.mark.parametrize("nats", [1e15, 1e100])
def test_what_forests_cannot_hold_is_left_alone_or_right(nats: float) -> None:
    rng = np.random.default_rng(11)
    for kind in ("pair", "chain", "acyclic", "ties"):
        target, winner, loser, margin, present = constraint_lanes.draw(kind, rng, 5, 6, 40)
        for goal, demand in (
            (nats * (target - target.max(axis=0)), margin),
            (target, nats * margin),
        ):
            problem = (goal, winner, loser, demand, present)
            answer = solve(problem)
            for lane in np.flatnonzero(answer.done)[:10]:
                check_policy(problem, answer, int(lane))


def test_lanes_out_of_steps_are_left_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = constraint_lanes.draw("acyclic", np.random.default_rng(12), 6, 10, 50)
    full = solve(problem)
    monkeypatch.setattr(active, "steps_allowed", lambda _: 2)
    cut = solve(problem)
    assert np.array_equal(cut.done, full.steps <= 2)
    assert not cut.done.all()
    np.testing.assert_array_equal(cut.logp[:, cut.done], full.logp[:, cut.done])


def test_flows_are_sent_round_cycles() -> None:
    """Where a violated pair closes a cycle of tight ones: rare, but not in crowded graphs."""
    problem = constraint_lanes.draw("vast", np.random.default_rng(15), 12, 30, 300)
    lanes: list[int] = []
    right = active._Work._circulate
    with pytest.MonkeyPatch.context() as patch:

        def recorded(self: active._Work, edge: Any, here: Any) -> Any:
            lanes.extend(self.home[here].tolist())
            return right(self, edge, here)

        patch.setattr(active._Work, "_circulate", recorded)
        answer = solve(problem)
    assert answer.done.all()
    assert len(lanes) >= 10
    assert answer.steps.max() <= 25
    for lane in lanes:
        check_lane(problem, answer, lane)


def test_lanes_do_not_see_each_other() -> None:
    rng = np.random.default_rng(13)
    parts = [constraint_lanes.draw(kind, rng, 6, 8, 20) for kind in ORDINARY]
    mixed = tuple(np.concatenate(rows, axis=-1) for rows in zip(*parts, strict=True))
    answer = solve(mixed)
    for i, part in enumerate(parts):
        alone, here = solve(part), slice(20 * i, 20 * i + 20)
        assert np.array_equal(answer.done[here], alone.done)
        assert_close(answer.logp[:, here], alone.logp)


def assert_close(found: FloatArray, want: FloatArray) -> None:
    assert np.array_equal(found > -INF, want > -INF)
    on = want > -INF
    np.testing.assert_allclose(found[on], want[on], rtol=1e-13, atol=1e-13)
