"""The likelihood in lanes: the single solver's answers, 50-digit truths, proofs that hold."""

from __future__ import annotations

from typing import Any

import mpmath as mp
import numpy as np
import pytest
from solvers import oracle
from solvers.batched import pair_lanes
from solvers.batched.pair_lanes import HARD, INF, ORDINARY, XP

from prefeq.solvers.batched import likelihood, newton
from prefeq.solvers.batched.comparisons import Pairs, narrow, wide
from prefeq.solvers.batched.likelihood import Answer, minimise_lanes


def solve(problem: tuple[Any, ...]) -> Answer:
    answer = minimise_lanes(XP, *problem)
    for name in ("s", "error", "loss"):
        assert not np.isnan(getattr(answer, name)).any(), name
    assert np.all(answer.error[~answer.done] > likelihood.TOLERANCE)
    return answer


def sizes(rng: np.random.Generator, most: int = 8) -> tuple[int, int]:
    k = int(rng.integers(2, most + 1))
    return k, int(rng.integers(1, 2 * k + 2))


def check_lane(problem: tuple[Any, ...], answer: Answer, lane: int) -> None:
    """One lane has the single solver's components, loss, and s within what the two bounds allow."""
    want = pair_lanes.truth(problem, lane)
    assert answer.component[:, lane].tolist() == want.component.tolist()
    assert answer.strong[:, lane].tolist() == want.strong.tolist()
    s, size = answer.s[:, lane], max(1.0, float(np.abs(want.s).max()))
    off = pair_lanes.spread(s - want.s, want.strong)
    assert off <= answer.error[lane] + want.error
    assert off <= 2e-12 * size
    assert answer.loss[lane] == pytest.approx(want.loss, rel=1e-12, abs=1e-307)
    for part in range(int(want.strong.max()) + 1):
        assert abs(s[want.strong == part].mean()) <= 1e-15 * size
    assert np.all(s[~problem[0][:, lane]] == 0)


@pytest.mark.parametrize("kind", ORDINARY)
def test_ordinary_lanes_are_all_done_as_the_single_solver_does_them(kind: str) -> None:
    rng = np.random.default_rng(1)
    for _ in range(4):
        problem = pair_lanes.draw(kind, rng, *sizes(rng), 25)
        answer = solve(problem)
        assert answer.done.all()
        assert np.all(answer.error <= 2e-12 * np.maximum(1, np.abs(answer.s).max(axis=0)))
        for lane in range(25):
            check_lane(problem, answer, lane)


@pytest.mark.parametrize("kind", HARD)
def test_hard_lanes_that_are_done_are_right(kind: str) -> None:
    rng = np.random.default_rng(2)
    done = []
    for _ in range(3):
        problem = pair_lanes.draw(kind, rng, *sizes(rng, 6), 5)
        answer = solve(problem)
        done.append(answer.done)
        for lane in np.flatnonzero(answer.done):
            check_lane(problem, answer, int(lane))
    assert np.mean(done) >= 0.95


@pytest.mark.parametrize("kind", [*ORDINARY, *HARD])
def test_few_lanes_are_left_undone(kind: str) -> None:
    rng = np.random.default_rng(3)
    done = [solve(pair_lanes.draw(kind, rng, k, 2 * k, 150)).done for k in (3, 5)]
    assert np.mean(done) >= (0.99 if kind in HARD else 1.0)


@pytest.mark.parametrize("kind", [*ORDINARY, *HARD])
def test_the_error_bounds_the_distance_to_fifty_digits(kind: str) -> None:
    rng = np.random.default_rng(4)
    problem = pair_lanes.draw(kind, rng, 4, 8, 3 if kind in ("vast", "wild") else 8)
    answer = solve(problem)
    for lane in np.flatnonzero(answer.done):
        for members, labels in pair_lanes.parts(problem, answer.strong[:, lane], lane):
            s = answer.s[members, lane]
            exact = oracle.dpo(members.size, labels, s, steps=60)
            with mp.workdps(60):
                off = [mp.mpf(float(x)) - y for x, y in zip(s, exact, strict=True)]
                distance = float(max(off) - min(off))
            assert distance <= answer.error[lane]
            assert distance <= 1e-12 * max(1.0, float(np.abs(s).max()))


@pytest.mark.parametrize("make", [narrow, wide])
@pytest.mark.parametrize("off", [1e-13, 1e-9, 1e-5, 1e-3])
def test_the_bound_of_a_moved_answer_covers_how_far_it_was_moved(make: Any, off: float) -> None:
    rng = np.random.default_rng(5)
    problem = pair_lanes.draw("counts", rng, 5, 10, 200)
    answer = solve(problem)
    pairs = Pairs.of(XP, 5, *problem[1:])
    strong = answer.strong[:, None, :] == answer.strong[None, :, :]
    network = (
        wide(XP, pairs, strong) if make is wide else narrow(XP, pairs, pairs.masses(XP)[0], strong)
    )
    moved = answer.s + off * rng.normal(0, 1, answer.s.shape)
    bound = likelihood.error_bound(XP, 5, network.largest_step(XP, moved))
    for lane in range(200):
        distance = pair_lanes.spread(moved[:, lane] - answer.s[:, lane], answer.strong[:, lane])
        assert distance <= bound[lane] + answer.error[lane]
        assert bound[lane] <= 20 * distance + 1e-11 or bound[lane] == INF
    assert np.mean(np.isfinite(bound)) > 0.9


def test_consistent_labels_are_solved_at_once() -> None:
    rng = np.random.default_rng(6)
    height = rng.normal(0, 3, (6, 500))
    later, earlier = np.tril_indices(6, -1)
    winner, loser = (np.tile(a[:, None], 500) for a in (later, earlier))
    odds = height[later] - height[earlier]
    mass = 10.0 ** rng.uniform(-3, 3, odds.shape)
    answer = solve((np.ones((6, 500), dtype=bool), winner, loser, odds, mass, odds == odds))
    assert answer.done.all()
    assert answer.steps.max() <= 1
    np.testing.assert_allclose(answer.s, height - height.mean(axis=0), rtol=0, atol=1e-13)


def test_sampled_counts_take_few_steps() -> None:
    answer = solve(pair_lanes.draw("counts", np.random.default_rng(7), 6, 15, 500))
    assert answer.done.all()
    assert answer.steps.mean() <= 5
    assert answer.steps.max() <= 15


def test_labels_of_many_nats_do_not_take_a_step_a_nat() -> None:
    answer = solve(pair_lanes.draw("vast", np.random.default_rng(8), 5, 9, 300))
    assert np.percentile(answer.steps, 90) <= 100


@pytest.mark.parametrize("kind", ["counts", "sparse", "wild"])
def test_a_lane_does_not_depend_on_the_lanes_beside_it(kind: str) -> None:
    problem = pair_lanes.draw(kind, np.random.default_rng(9), 5, 9, 40)
    whole = solve(problem)
    for lane in range(0, 40, 3):
        alone = solve(tuple(a[:, lane : lane + 1] for a in problem))
        size = max(1.0, float(np.abs(whole.s[:, lane]).max()))
        assert np.abs(alone.s[:, 0] - whole.s[:, lane]).max() <= 1e-13 * size
        assert alone.done[0] == whole.done[lane]
        assert abs(int(alone.steps[0]) - int(whole.steps[lane])) <= 1


@pytest.mark.parametrize("kind", [*ORDINARY, *HARD])
def test_torch_gives_what_numpy_gives(kind: str) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(10)
    problem = pair_lanes.draw(kind, rng, *sizes(rng, 5), 12)
    one, other = solve(problem), minimise_lanes(*pair_lanes.torch_lanes(problem))
    assert (other.s.dtype, other.steps.dtype) == (torch.float64, torch.int64)
    both = one.done & other.done.numpy()
    assert both.mean() >= 0.9
    size = np.maximum(1, np.abs(one.s).max(axis=0))
    assert (np.abs(one.s - other.s.numpy()) / size)[:, both].max() <= 1e-12
    for name in ("component", "strong"):
        assert np.array_equal(getattr(one, name), getattr(other, name).numpy())


@pytest.mark.parametrize(("k", "p", "n"), [(1, 0, 3), (4, 0, 3), (3, 2, 0), (2, 1, 1)])
def test_chunks_with_next_to_nothing_in_them(k: int, p: int, n: int) -> None:
    problem = pair_lanes.draw("counts", np.random.default_rng(0), k, p, n)
    answer = solve(problem)
    assert answer.done.all()
    assert answer.s.shape == (k, n)
    for lane in range(n):
        check_lane(problem, answer, lane)


def test_a_hundred_responses_in_a_chain() -> None:
    rng = np.random.default_rng(11)
    odds = rng.normal(0, 2, (99, 3))
    winner = np.tile(np.arange(99)[:, None], 3)
    problem = (np.ones((100, 3), dtype=bool), winner, winner + 1, odds, odds**2, odds == odds)
    answer = solve(problem)
    for lane in range(3):
        check_lane(problem, answer, lane)
    assert answer.done.all()


@pytest.mark.parametrize("nats", [1e3, 1e6, 1e12, 1e100])
def test_labels_of_any_size_are_answered_or_left_but_never_nan(nats: float) -> None:
    rng = np.random.default_rng(12)
    on, winner, loser, _, mass, present = pair_lanes.draw("soft", rng, 4, 6, 20)
    height = rng.normal(0, nats, (4, 20))
    odds = np.take_along_axis(height, winner, 0) - np.take_along_axis(height, loser, 0)
    problem = (on, winner, loser, odds, mass, present)
    answer = solve(problem)
    assert answer.done.all() or nats > 1e9
    for lane in np.flatnonzero(answer.done & (nats <= 1e6)):
        strong = answer.strong[:, lane]
        off = pair_lanes.spread(answer.s[:, lane] - height[:, lane], strong)
        assert off <= min(1e-14 * nats * 4, answer.error[lane])


def test_a_lane_that_runs_out_of_steps_is_not_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(likelihood, "NARROW_STEPS", 2)
    monkeypatch.setattr(likelihood, "WIDE_STEPS", 2)
    answer = solve(pair_lanes.draw("counts", np.random.default_rng(13), 5, 10, 50))
    assert answer.done.mean() < 0.2
    assert newton.CLOSE < 1e-6
