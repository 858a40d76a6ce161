"""The parts of Constrained PO in lanes, each against the single-problem code that it replaces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.optimize import isotonic_regression
from solvers.batched import constraint_lanes
from solvers.batched.constraint_lanes import INF, XP

from prefeq import graphs as single_graphs
from prefeq.errors import InfeasibleError
from prefeq.solvers import certificate, constraints, isotonic
from prefeq.solvers.batched import active, chains, graphs, proof
from prefeq.solvers.batched.forest import APART, HUGE, Forest
from prefeq.solvers.batched.problem import Problem


@pytest.fixture(autouse=True)
def infinities() -> Iterator[None]:
    """The kernel's door silences NumPy: infinities are ordinary inside."""
    with np.errstate(all="ignore"):
        yield


def problem_of(draw: constraint_lanes.Problem) -> Problem:
    target, winner, loser, margin, present = draw
    kept = graphs.distinct(XP, winner, loser, margin, present, target.shape[0])
    goal = np.where(np.isfinite(target), target, 0.0)
    return Problem(XP, goal, None, 1.0, winner, loser, margin, kept)


def rows_of(problem: Problem, lane: int) -> tuple[Any, Any, Any]:
    kept = problem.kept[:, lane]
    return tuple(x[kept, lane] for x in (problem.winner, problem.loser, problem.margin))


@pytest.mark.parametrize("kind", ["repeated", "ragged", "ties"])
def test_distinct_pairs_are_the_owners(kind: str) -> None:
    draw = constraint_lanes.draw(kind, np.random.default_rng(1), 4, 9, 60)
    kept = problem_of(draw).kept
    for lane in range(60):
        _, _, owner = constraint_lanes.built(draw, lane)
        assert sorted(owner.tolist()) == np.flatnonzero(kept[:, lane]).tolist()


def test_longest_paths_and_what_they_imply() -> None:
    problem = problem_of(constraint_lanes.draw("acyclic", np.random.default_rng(2), 6, 9, 60))
    best = graphs.longest_paths(problem)
    kept = graphs.unimplied(problem, best.copy())
    for lane in range(60):
        w, lo, m = rows_of(problem, lane)
        np.testing.assert_allclose(
            best[:, :, lane], single_graphs.longest_paths(6, w, lo, m), rtol=0, atol=1e-14
        )
        for i in range(w.size):
            rest = np.arange(w.size) != i
            others = single_graphs.longest_paths(6, w[rest], lo[rest], m[rest])
            here = np.flatnonzero(problem.kept[:, lane])[i]
            assert kept[here, lane] == (m[i] > others[w[i], lo[i]])


def test_rigid_groups_are_the_single_solvers() -> None:
    draw = constraint_lanes.draw("ties", np.random.default_rng(3), 6, 10, 80)
    problem = problem_of(draw)
    best = graphs.longest_paths(problem)
    rigid, doubt = graphs.cycles(problem, best)
    assert not doubt.any()
    assert rigid.any()
    found = graphs.contract(problem, rigid, best)
    for lane in range(80):
        rows, _, owner = constraint_lanes.built(draw, lane)
        assert np.array_equal(rows.rigid, rigid[owner, lane])
        names = {group: i for i, group in enumerate(dict.fromkeys(found.group[:, lane].tolist()))}
        assert [names[g] for g in found.group[:, lane].tolist()] == rows.group.tolist()
        np.testing.assert_allclose(found.offset[:, lane], rows.offset, rtol=0, atol=1e-12)


def test_contradictions_are_in_doubt() -> None:
    target, winner, loser, margin, present = constraint_lanes.draw(
        "ties", np.random.default_rng(4), 4, 8, 100
    )
    draw = (target, winner, loser, margin + (np.arange(100) % 3 == 0), present)
    problem = problem_of(draw)
    _, doubt = graphs.cycles(problem, graphs.longest_paths(problem))
    for lane in range(100):
        try:
            constraint_lanes.built(draw, lane)
        except InfeasibleError:
            assert doubt[lane]
        else:
            assert not doubt[lane]


def test_packing_moves_kept_rows_up() -> None:
    problem = problem_of(constraint_lanes.draw("acyclic", np.random.default_rng(5), 5, 12, 40))
    rng = np.random.default_rng(6)
    problem = replace(problem, kept=problem.kept & (rng.random(problem.kept.shape) < 0.3))
    part, source = graphs.packed(problem)
    assert part.winner.shape[0] == problem.kept.sum(axis=0).max()
    for lane in range(40):
        rows = source[part.kept[:, lane], lane]
        assert rows.tolist() == np.flatnonzero(problem.kept[:, lane]).tolist()
        assert np.array_equal(part.margin[part.kept[:, lane], lane], problem.margin[rows, lane])


def test_orders_run_along_chains() -> None:
    problem = problem_of(constraint_lanes.draw("chain", np.random.default_rng(7), 6, 5, 60))
    found = chains.order(problem)
    assert found.found.all()
    for lane in range(60):
        vertex, pair = found.vertex[:, lane], found.pair[:, lane]
        assert sorted(vertex.tolist()) == list(range(6))
        assert sorted(pair[pair < 5].tolist()) == np.flatnonzero(problem.kept[:, lane]).tolist()
        for place in np.flatnonzero(pair < 5):
            assert problem.winner[pair[place], lane] == vertex[place - 1]
            assert problem.loser[pair[place], lane] == vertex[place]


def test_what_is_no_chain_is_not_called_one() -> None:
    ends = {
        "fork": ([0, 0], [1, 2]),
        "join": ([0, 1], [2, 2]),
        "cycle": ([0, 1], [1, 0]),
        "chain and cycle": ([0, 1, 2], [3, 2, 1]),
        "chain": ([2, 1], [1, 0]),
    }
    for name, (winner, loser) in ends.items():
        w, lo = (np.array(x)[:, None] for x in (winner, loser))
        problem = Problem(XP, np.zeros((4, 1)), None, 1.0, w, lo, 0.0 * w, w >= 0)
        assert chains.order(problem).found[0] == (name == "chain")


@pytest.mark.parametrize("spread", [1.0, 100.0, 290.0])
def test_pools_are_isotonic_regression(spread: float) -> None:
    rng = np.random.default_rng(8)
    weight, goal = rng.uniform(-spread, spread, (7, 80)), rng.normal(0, 3, (7, 80))
    linked = rng.random((7, 80)) < 0.8
    linked[0] = False
    fitted = chains.isotonic(XP, weight, goal, linked)
    for lane in range(80):
        starts = np.flatnonzero(~linked[:, lane])
        for part in np.split(np.arange(7), starts[1:]):
            share = np.exp(weight[part, lane] - weight[part, lane].max())
            want = isotonic_regression(goal[part, lane], weights=share, increasing=False).x
            np.testing.assert_allclose(fitted[part, lane], want, rtol=0, atol=1e-12)


def test_sums_and_joins_give_the_same_means() -> None:
    rng = np.random.default_rng(9)
    weight, goal = rng.normal(0, 30, (6, 50)), rng.normal(0, 3, (6, 50))
    barrier = np.where(rng.random((6, 50)) < 0.3, -chains.BARRIER, 0.0)
    parts = (chains._sums, chains._joins)
    for one, other in zip(*(f(XP, weight, goal, barrier) for f in parts), strict=True):
        inside = one > -1e100
        assert np.array_equal(inside, other > -1e100)
        np.testing.assert_allclose(one[inside], other[inside], rtol=0, atol=1e-12)


def test_chains_of_800_nats_are_the_single_solvers() -> None:
    draw = constraint_lanes.draw("vast chain", np.random.default_rng(10), 7, 6, 60)
    problem = problem_of(draw)
    fit = chains.solve(problem, chains.order(problem), 0)
    for lane in range(60):
        w, lo, m = rows_of(problem, lane)
        listed = constraints.chains(7, w, lo, m)
        want = isotonic.project_chains(problem.goal[:, lane], np.zeros(7), w, lo, m, listed, 1.0)
        np.testing.assert_allclose(fit.f[:, lane], want.f, rtol=1e-13, atol=1e-10)
        tight = np.flatnonzero(problem.kept[:, lane])[list(want.forest)]
        assert np.flatnonzero(fit.forest[:, lane]).tolist() == sorted(tight.tolist())


def check_forest(forest: Forest, tight: list[set[int]]) -> None:
    """The dense arrays say what walks along the tight pairs say."""
    problem = forest.problem
    k = problem.goal.shape[0]
    for lane, pairs in enumerate(tight):
        used = np.array(sorted(pairs), dtype=np.int64)
        w, lo, m = (x[used, lane] for x in (problem.winner, problem.loser, problem.margin))
        block = single_graphs.components(k, w, lo)
        level = constraints.offsets(k, w, lo, m)
        want = np.where(block[:, None] == block, level[:, None] - level, APART)
        np.testing.assert_allclose(forest.reach[:, :, lane], want, rtol=0, atol=1e-12)
        assert set(np.flatnonzero(forest.inside[:, lane]).tolist()) == pairs
        slots = np.flatnonzero(forest.used[:, lane])
        assert sorted(forest.pair[slots, lane].tolist()) == used.tolist()
        for slot in np.flatnonzero(forest.used[:, lane] == 0):
            assert not forest.side[:, slot, lane].any()
        for slot in slots:
            pair = int(forest.pair[slot, lane])
            rest = used[used != pair]
            parts = single_graphs.components(
                k, problem.winner[rest, lane], problem.loser[rest, lane]
            )
            ends = [parts[x[pair, lane]] for x in (problem.winner, problem.loser)]
            sides = HUGE * ((parts == ends[0]) * 1.0 - (parts == ends[1]))
            assert np.array_equal(forest.side[:, slot, lane], sides)


def test_forests_grow_and_shrink() -> None:
    rng = np.random.default_rng(11)
    draw = constraint_lanes.draw("acyclic", rng, 6, 12, 25)
    forest, tight = Forest(problem_of(draw)), [set[int]() for _ in range(25)]
    for step in range(25):
        edge = rng.integers(0, 12, 25)
        w, lo = forest.ends_of(edge)
        on = forest.problem.kept[edge, np.arange(25)] & ~forest.together(w, lo)
        forest.join(edge, 1.0 * on)
        for lane in np.flatnonzero(on):
            tight[lane].add(int(edge[lane]))
        check_forest(forest, tight)
        slot = rng.integers(0, forest.used.shape[0], 25)
        gone = (forest.used[slot, np.arange(25)] > 0) & (rng.random(25) < 0.5)
        for lane in np.flatnonzero(gone):
            tight[lane].remove(int(forest.pair[slot[lane], lane]))
        forest.cut(slot, 1.0 * gone)
        check_forest(forest, tight)
        if step == 15:
            keep = np.flatnonzero(rng.random(25) < 0.7)
            forest.keep(keep)
            forest.keep(np.arange(keep.size))
            break


@pytest.mark.parametrize("tilt", [1.0, 0.0])
def test_blocks_settle_at_their_weighted_means(tilt: float) -> None:
    rng = np.random.default_rng(12)
    problem = problem_of(constraint_lanes.draw("acyclic", rng, 5, 8, 20))
    weight = rng.normal(0, 2, (5, 20))
    forest = Forest(replace(problem, tilt=tilt, log_weight=weight))
    for edge in range(8):
        each = np.full(20, edge)
        on = problem.kept[edge] & ~forest.together(*forest.ends_of(each))
        forest.join(each, 1.0 * on)
    f, used = forest.settle()
    push, unit = forest.pushes(used, f - problem.goal)
    for lane in range(20):
        tight = np.flatnonzero(forest.inside[:, lane])
        w, lo, m = (x[tight, lane] for x in (problem.winner, problem.loser, problem.margin))
        np.testing.assert_allclose(f[w, lane] - f[lo, lane], m, rtol=0, atol=1e-13)
        mass = np.exp(weight[:, lane] + tilt * f[:, lane])
        block = single_graphs.components(5, w, lo)
        lean = np.bincount(block, mass * (f - problem.goal)[:, lane])
        assert np.all(np.abs(lean) <= 1e-13 * np.bincount(block, mass))
        for slot in np.flatnonzero(forest.used[:, lane]):
            above = forest.side[:, slot, lane] > 0
            flow = np.sum((mass * (f - problem.goal)[:, lane])[above])
            found = push[slot, lane] * np.exp(unit[slot, lane])
            assert found * mass[forest.winner[slot, lane]] == pytest.approx(flow, abs=1e-13)


def dual(work: active._Work) -> np.ndarray:
    """Return log Σ exp(log π* + Aᵀλ) of the lanes at work."""
    forest, problem = work.forest, work.forest.problem
    total, lane = problem.goal.copy(), np.arange(work.home.size)
    for slot in range(forest.used.shape[0]):
        pair = forest.pair[slot]
        on = forest.used[slot] > 0
        up = np.where(on, np.exp(work.log_multiplier[slot]), 0.0)
        down = np.where(on, np.exp(work.log_multiplier[slot] + problem.margin[pair, lane]), 0.0)
        total[problem.winner[pair, lane], lane] += up
        total[problem.loser[pair, lane], lane] -= down
    return np.asarray(np.log(np.sum(np.exp(total), axis=0)))


def test_the_dual_objective_never_rises(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = constraint_lanes.draw("acyclic", np.random.default_rng(13), 12, 30, 300)
    last, fell = np.full(300, INF), []

    def watched(name: str) -> Any:
        right = getattr(active._Work, name)

        def step(self: active._Work, *args: Any) -> Any:
            found = right(self, *args)
            value = dual(self)[self.alive]
            here = self.home[self.alive]
            assert np.all(value <= last[here] + 1e-11)
            fell.append(np.sum(value < last[here] - 1e-11))
            last[here] = value
            return found

        return step

    for name in ("match", "relax", "extend"):
        monkeypatch.setattr(active._Work, name, watched(name))
    problem = problem_of(draw)
    kept = graphs.unimplied(problem, graphs.longest_paths(problem))
    assert active.solve(replace(problem, kept=kept)).found.all()
    assert sum(fell) >= 1000


# --- certificates --------------------------------------------------------------------------------


def answers(kind: str, seed: int) -> tuple[constraint_lanes.Problem, Problem, Any]:
    draw = constraint_lanes.draw(kind, np.random.default_rng(seed), 6, 8, 40)
    answer = constraint_lanes.solve(draw)
    assert answer.done.all()
    return draw, problem_of(draw), answer


def plain(draw: constraint_lanes.Problem, answer: Any) -> np.ndarray:
    """Return log λ of the rows as they stand."""
    return np.asarray(answer.log_multiplier - np.logaddexp(0.0, draw[3]))


@pytest.mark.parametrize("kind", ["pair", "chain", "acyclic", "flat"])
@pytest.mark.parametrize("off", [1e-8, 1e-3])
def test_certificates_notice_what_was_moved(kind: str, off: float) -> None:
    draw, problem, answer = answers(kind, 20)
    log_multiplier = plain(draw, answer)
    forest, none = log_multiplier > -INF, np.zeros_like(problem.kept)
    rng = np.random.default_rng(21)
    move = np.where(np.arange(6)[:, None] == rng.integers(0, 6, 40), off, 0.0)
    for f, least in ((answer.logp, 0.0), (answer.logp + move, 0.4 * off)):
        by_book = proof.textbook(problem, f, draw[4], log_multiplier, False)
        by_sides, *_ = proof.eliminate(problem, f, draw[4], forest, none, False)
        for violation in (by_book, by_sides):
            assert np.all(violation >= least)
            assert np.all(violation <= (4 * off if least else 1e-12))


@pytest.mark.parametrize("kind", ["chain", "acyclic"])
def test_the_textbook_notices_wrong_multipliers(kind: str) -> None:
    draw, problem, answer = answers(kind, 22)
    log_multiplier = plain(draw, answer)
    lanes = np.flatnonzero(np.max(log_multiplier, axis=0) > -3)
    assert lanes.size >= 20
    largest = np.argmax(log_multiplier, axis=0)
    for wrong in (-INF, 0.1):
        other = log_multiplier.copy()
        other[largest, np.arange(40)] += wrong
        violation = proof.textbook(problem, answer.logp, draw[4], other, False)
        assert np.all(violation[lanes] >= 1e-3)


def test_a_tight_pair_with_the_wrong_sign_is_noticed() -> None:
    draw, problem, _ = answers("acyclic", 23)
    forest = Forest(problem)
    slack = problem.margin - np.take_along_axis(problem.goal, problem.winner, 0)
    slack = np.where(problem.kept, slack + np.take_along_axis(problem.goal, problem.loser, 0), INF)
    edge = np.argmin(slack, axis=0)  # the pair that is met most easily, held tight
    on = slack[edge, np.arange(40)] < -0.1
    assert on.sum() >= 20
    forest.join(edge, 1.0 * on)
    f, _ = forest.settle()
    tight, none = forest.inside > 0, np.zeros_like(problem.kept)
    only = draw[4] & tight
    violation, *_ = proof.eliminate(problem, f, only, tight, none, True)
    assert np.all(violation[on] >= 0.05)
    equality, *_ = proof.eliminate(problem, f, only, tight, tight, True)
    assert np.all(equality <= 1e-13)


def test_what_is_no_forest_proves_nothing() -> None:
    winner, loser = np.array([[0], [1], [0]]), np.array([[1], [2], [2]])
    margin, kept = np.array([[1.0], [1.0], [2.0]]), np.ones((3, 1), dtype=bool)
    f = np.array([[1.0], [0.0], [-1.0]])
    f -= np.log(np.sum(np.exp(f)))
    problem = Problem(XP, f.copy(), None, 1.0, winner, loser, margin, kept)
    tree = np.array([[True], [True], [False]])
    none = np.zeros_like(kept)
    for forest, sound in ((tree, True), (kept, False)):
        violation, *_ = proof.eliminate(problem, f, kept, forest, none, False)
        assert (violation[0] <= 1e-15) == sound


@pytest.mark.parametrize("kind", ["chain", "acyclic", "vast"])
def test_elimination_is_the_single_solvers_certificate(kind: str) -> None:
    draw, problem, answer = answers(kind, 24)
    forest, none = plain(draw, answer) > -INF, np.zeros_like(problem.kept)
    off = np.random.default_rng(25).normal(0, 1e-3, (6, 40))
    for f in (answer.logp, answer.logp + off):
        violation, push, unit = proof.eliminate(problem, f, draw[4], forest, none, False)
        for lane in range(40):
            rows, on, owner = constraint_lanes.built(draw, lane)
            tight = tuple(np.flatnonzero(forest[owner, lane]).tolist())
            target, logp = problem.goal[:, lane], f[:, lane]
            want = certificate.certify(rows, logp, target, logp, tight)
            size = constraint_lanes.size_of(logp)
            assert on.size == 6
            assert abs(violation[lane] - want.violation) <= 0.5 * want.violation + 1e-14 * size
            pair = owner[list(tight)]
            with np.errstate(divide="ignore", invalid="ignore"):
                found = np.log(push[pair, lane]) + unit[pair, lane]
            if f is answer.logp:
                np.testing.assert_allclose(found, want.log_multiplier[list(tight)], atol=1e-8)
