"""Batches of gradient descent: step for step what a loop over the single solver records."""

from __future__ import annotations

from functools import cache
from typing import Any

import array_api_compat
import numpy as np
import pytest

import prefeq as pq
from prefeq import chunks, margins
from prefeq.errors import ProblemError
from prefeq.losses import CLIP, Reference, eq17
from prefeq.solvers import dpo
from prefeq.solvers.batched import descent, walk
from prefeq.solvers.batched.walk import Problems

INF = np.inf
LIBRARIES = ("numpy", "torch")


def draw(
    rng: np.random.Generator, b: int, k: int, p: int, *, shared: bool = False, certain: float = 0.3
) -> Problems:
    """Return ragged random problems as rows: duplicates, absent pairs, certain labels."""
    ref = rng.normal(0, 10.0 ** rng.uniform(-1, 2.5, (b, 1)), (b, k))
    on = rng.random((b, k)) < 0.8
    on[:, :2] = True
    ref = np.where(on, ref, -INF)
    shape = (1 if shared else b, p)
    winner = rng.integers(0, k, shape) + np.zeros((b, 1), dtype=np.int64)
    loser = (winner + rng.integers(1, k, shape)) % k
    here = np.arange(b)[:, None]
    present = on[here, winner] & on[here, loser] & (rng.random((b, p)) < 0.9)
    odds = rng.normal(0, 10.0 ** rng.uniform(-1, 1.5, (b, 1)), (b, p))
    odds = np.where(rng.random((b, p)) < certain, INF * rng.choice([1, 1, 1, -1], (b, p)), odds)
    mass = np.where(present, 10.0 ** rng.uniform(-3, 2, (b, p)), 0.0)
    winner, loser = np.where(present, winner, 0), np.where(present, loser, 0)
    return Problems(ref, 10.0 ** rng.uniform(-3, 3, b), winner, loser, odds, mass, present)


def ordered(
    ref_margin: Any, beta: Any, mass: Any, k: int, target: Any = None
) -> tuple[Problems, np.ndarray]:
    """Return one ordered pair of k responses each, as rows, and the reference margins."""
    ref_margin, beta, mass = np.broadcast_arrays(ref_margin, beta, mass)
    b = beta.size
    ref = np.zeros((b, k))
    ref[:, k - 1] = ref_margin
    ref[:, 1:-1] = 3.0
    one = np.ones((b, 1), dtype=np.int64)
    rows = Problems(
        ref, np.array(beta, float), (k - 1) * one, 0 * one, INF * one, mass[:, None] * 1.0, one > 0,
        None if target is None else np.broadcast_to(target, b)[:, None] * 1.0,
    )  # fmt: skip
    return rows, np.array(ref_margin, float)


def each(rows: Problems) -> list[tuple[pq.Bandit, pq.Preferences]]:
    """Return the same problems one by one."""
    k = rows.ref_logp.shape[1]
    pairs = zip(rows.winner, rows.loser, rows.log_odds, rows.mass, strict=True)
    return [
        (pq.Bandit(np.zeros(k), ref, beta), pq.Preferences(w, lo, log_odds=odds, mass=mass))
        for ref, beta, (w, lo, odds, mass) in zip(rows.ref_logp, rows.beta, pairs, strict=True)
    ]


def parts(problems: Problems) -> dict[str, Any]:
    return {name: array for name, array in vars(problems).items() if array is not None}


def cast(library: str, problems: Problems) -> tuple[Any, Problems]:
    """Return the namespace of a library, and the problems as its arrays."""
    module = pytest.importorskip(library)
    arrays = {n: module.asarray(np.array(a, order="C")) for n, a in parts(problems).items()}
    return array_api_compat.array_namespace(arrays["beta"]), Problems(**arrays)


def transposed(problems: Problems) -> Problems:
    return Problems(**{name: np.ascontiguousarray(a.T) for name, a in parts(problems).items()})


def every(step: int) -> bool:
    return True


def nats_of(rows: Problems) -> np.ndarray:
    """Return the size in nats at which each problem's margins are rounded."""
    ref = np.where(np.isfinite(rows.ref_logp), np.abs(rows.ref_logp), 0.0)
    return np.maximum(1.0, np.max(ref, axis=1))


@cache
def recorded_alone(shared: bool) -> list[tuple[Problems, list[pq.Trajectory]]]:
    """Return random batches and what the single solver records on each of their problems."""
    rng = np.random.default_rng(7)
    batches = [draw(rng, 8, k, p, shared=shared) for k, p in ((2, 1), (3, 4), (7, 12))]
    options: dict[str, Any] = {"max_steps": 80, "record_every": 1}
    return [
        (
            rows,
            [pq.solve_dpo(*pair, "gradient-descent", **options).trajectory for pair in each(rows)],
        )
        for rows in batches
    ]


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("shared", [False, True])
def test_every_record_is_that_of_the_single_solver(library: str, shared: bool) -> None:
    for rows, trajectories in recorded_alone(shared):
        run = descent.descend_batch(*cast(library, rows), max_steps=80, records=every)
        assert run.step == tuple(range(81))
        for i, alone in enumerate(trajectories):
            t, size = alone.step.size, max(nats_of(rows)[i], np.abs(alone.margin).max())
            got = np.asarray(run.margin)[:t, i]
            np.testing.assert_allclose(got, alone.margin, rtol=0, atol=1e-12 * size)
            np.testing.assert_allclose(np.asarray(run.loss)[:t, i], alone.loss, rtol=1e-12)
            assert float(run.step_size[i]) == pytest.approx(alone.step_size, rel=1e-13)
            assert float(run.lipschitz[i]) == pytest.approx(alone.lipschitz, rel=1e-13)
            clear = np.abs(alone.margin) > 1e-9 * size  # whose side rounding cannot decide
            clear &= np.abs(alone.margin - alone.margin[0]) > 1e-9 * size
            inside = np.asarray(run.undesirable)[:t, i]
            np.testing.assert_array_equal(inside[clear], alone.undesirable[clear])
            assert not inside[:, ~rows.present[i]].any()
            assert not inside[0].any()


def certificate(rows: Problems, asked: list[int] | None = None) -> descent.Finished:
    """Return the single solver's own criterion, after the screen that `Finished` promises."""
    problems = [dpo._Problem.of(*pair) for pair in each(rows)]
    k = rows.ref_logp.shape[1]

    def over(problem: dpo._Problem, shift: np.ndarray, change: float) -> bool:
        logp = problem._policy(shift[problem.on])
        scale = problem._scale(logp)
        tolerance = max(dpo.TOLERANCE, 1024 * dpo.EPS / float(problem.bandit.beta))
        if not problem.finite or change > 2 * np.sqrt(k) * tolerance * scale:
            return False
        if asked is not None:
            asked.append(1)
        return problem.optimal(problem.residual(logp))

    def finished(lanes: Any, shift: Any, change: Any) -> Any:
        found = [
            over(problems[int(i)], np.asarray(shift)[:, j], float(change[j]))
            for j, i in enumerate(lanes)
        ]
        return array_api_compat.array_namespace(lanes).asarray(found, dtype=bool)

    return finished


def test_problems_stop_where_the_single_solver_stops() -> None:
    rows = draw(np.random.default_rng(3), 40, 4, 3, certain=0.1)
    asked: list[int] = []
    plan = dpo.descent.Schedule(300, None, None)
    run = descent.descend_batch(
        *cast("numpy", rows),
        max_steps=300,
        records=plan.records,
        finished=certificate(rows, asked),
    )
    alone = [pq.solve_dpo(*pair, "gradient-descent", max_steps=300) for pair in each(rows)]
    np.testing.assert_array_equal(run.steps, [one.steps for one in alone])
    early = run.steps < 300
    assert 10 <= early.sum() < 35  # of both kinds
    assert len(asked) < 0.1 * np.searchsorted(run.step, run.steps).sum()  # most are spared
    for i, one in enumerate(alone):
        t = one.trajectory.step.size
        size = max(nats_of(rows)[i], np.abs(one.trajectory.margin).max())
        assert run.step[:t] == tuple(one.trajectory.step)
        np.testing.assert_allclose(run.margin[:t, i], one.trajectory.margin, atol=1e-11 * size)
        assert np.all(run.margin[t:, i] == run.margin[t - 1, i])
        assert np.all(run.loss[t:, i] == run.loss[t - 1, i])
        on = np.isfinite(rows.ref_logp[i])
        logp = pq.Bandit(np.zeros(on.sum()), (rows.ref_logp + run.shift)[i][on], 1.0).ref_logp
        np.testing.assert_allclose(logp, one.logp[on], atol=1e-11 * size)
        assert np.all(run.shift[i][~on] == 0)


@pytest.mark.parametrize("library", LIBRARIES)
def test_problems_stop_near_a_minimiser_that_is_known(library: str) -> None:
    rows = draw(np.random.default_rng(4), 30, 4, 3, certain=0.1)
    goal, radius = np.zeros((30, 4)), np.full(30, -1.0)
    for i, (bandit, pairs) in enumerate(each(rows)):
        exact = pq.solve_dpo(bandit, pairs)
        on, component = bandit.support, pairs.components(bandit)
        if exact.status is pq.Status.DIVERGES:
            continue
        goal[i, on] = exact.logp[on] - bandit.ref_logp[on]
        for c in range(component.max() + 1):  # descent keeps each component's sum of logits
            goal[i, component == c] -= goal[i, component == c].mean()
        radius[i] = 1e-6 * nats_of(rows)[i]
    xp, arrays = cast(library, rows)
    stop = descent.near(xp.asarray(goal), xp.asarray(radius))
    run = descent.descend_batch(xp, arrays, max_steps=600, records=every, finished=stop)
    distance = np.max(np.abs(np.asarray(run.shift) - goal), axis=1)
    early = np.asarray(run.steps) < 600
    assert 8 <= early.sum() < 30
    np.testing.assert_array_equal(early, distance <= radius)


def test_a_chunk_that_stops_early_is_filled_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "HOST_BYTES", 1)  # chunks of 64
    xp, rows = cast("numpy", draw(np.random.default_rng(6), 70, 4, 3))
    run = descent.descend_batch(
        xp, rows, max_steps=9, records=every, finished=lambda lanes, *_: lanes >= 64
    )
    assert run.steps.tolist() == [9] * 64 + [0] * 6
    assert run.step == tuple(range(10))
    for record in (run.loss, run.margin, run.undesirable):
        assert np.all(record[:, 64:] == record[0, 64:])
    assert not run.shift[64:].any()


def test_chunks_and_shared_pairs_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = draw(np.random.default_rng(1), 150, 5, 7, shared=True)
    options: dict[str, Any] = {"max_steps": 300, "records": lambda t: t % 10 == 0}
    runs = [descent.descend_batch(*cast(library, rows), **options) for library in LIBRARIES]
    lone = descent.descend_lanes(cast("numpy", rows)[0], transposed(rows), **options)
    monkeypatch.setattr(chunks, "HOST_BYTES", 1)
    runs.append(descent.descend_batch(*cast("numpy", rows), **options))
    monkeypatch.setattr(walk, "shared_rows", lambda *_: None)
    runs.append(descent.descend_batch(*cast("numpy", rows), **options))
    np.testing.assert_array_equal(lone.margin.transpose(0, 2, 1), runs[0].margin)
    np.testing.assert_array_equal(lone.shift.T, runs[0].shift)
    for run in runs[1:]:
        moved = np.max(np.abs(runs[0].margin), axis=(0, 2))
        tolerance = 1e-12 * np.maximum(nats_of(rows), moved)[:, None]
        assert np.all(np.abs(np.asarray(run.margin) - runs[0].margin) <= tolerance)
        np.testing.assert_allclose(run.loss, runs[0].loss, rtol=1e-12)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("rule", ["clip", "eq17", "constant"])
def test_other_targets_descend_their_own_loss(library: str, rule: str) -> None:
    """Against logits moved by the loss family's gradient, one problem and one step at a time."""
    rng = np.random.default_rng(5)
    rows = draw(rng, 6, 4, 4)
    bandits, pairs = zip(*each(rows), strict=True)
    ref = np.stack([p.ref_margin(b) for b, p in zip(bandits, pairs, strict=True)])
    ends = [np.stack([b.ref_logp[i] for b, i in zip(bandits, at, strict=True)])
            for at in (rows.winner, rows.loser)]  # fmt: skip
    beta = rows.beta[:, None]
    with np.errstate(over="ignore"):
        target = {
            "clip": lambda: CLIP.target(ref, beta),
            "eq17": lambda: eq17(0.3).target(Reference(*np.maximum(ends, -800.0)), beta),
            "constant": lambda: np.full(ref.shape, 2.0),
        }[rule]()
    rows = Problems(*list(parts(rows).values())[:7], target=target)
    run = descent.descend_batch(*cast(library, rows), max_steps=40, records=every)
    for i, (bandit, pair) in enumerate(zip(bandits, pairs, strict=True)):
        theta = np.where(bandit.support, bandit.ref_logp, 0.0)
        on = pair.present
        w, lo, m, q = (a[on] for a in (pair.winner, pair.loser, pair.mass, pair.prob))
        b, t = float(bandit.beta), target[i][on]
        for step in range(41):
            z = b * (theta[w] - theta[lo] - t)
            got = np.asarray(run.margin)[step, i][on]
            size = nats_of(rows)[i] + np.abs(got).max(initial=0.0)
            np.testing.assert_allclose(got, theta[w] - theta[lo], rtol=0, atol=1e-11 * size)
            other = np.where(q < 1, margins.softplus(z), 0.0)  # z may be infinite
            risk = q * margins.softplus(-z) + (1 - q) * other
            assert float(run.loss[step, i]) == pytest.approx(float(m @ risk), rel=1e-9)
            force = float(run.step_size[i]) * b * m * (q - margins.sigmoid(z))
            np.add.at(theta, w, force)
            np.add.at(theta, lo, -force)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize(("clip", "k"), [(False, 2), (False, 6), (True, 5)])
def test_the_exit_step_of_an_ordered_pair_obeys_the_law(library: str, clip: bool, k: int) -> None:
    rng = np.random.default_rng(k)
    delta = np.concatenate([rng.uniform(-5.5, 0, 60), [0.0, 1.0, -0.0]])
    beta, mass = 10.0 ** rng.uniform(-2, 0.1, 63), 10.0 ** rng.uniform(-3, 3, 63)
    target = np.maximum(delta, 0.0) if clip else None
    rows, ref_margin = ordered(delta, beta, mass, k, target)
    for share in (None, 0.2):
        step = None if share is None else share / float(np.max(beta * beta * mass / 2))
        xp, arrays = cast(library, transposed(rows))
        n = np.asarray(descent.exit_lanes(xp, arrays, max_steps=1500, step_size=step))[0]
        size = 2.0 / (beta * beta * mass) if step is None else step
        low, high = margins.exit_steps_bounds(ref_margin, beta, size, mass, target)
        out = n >= 0
        assert np.all(high[~out] >= 1500)
        assert np.all((n >= low * (1 - 1e-12)) & (n <= high + 1e-9), where=out)
        assert out.sum() >= (63 if share is None else 5)
        assert np.all(n[delta >= 0] == 0)


@pytest.mark.parametrize("library", LIBRARIES)
def test_exit_steps_are_the_first_records_at_or_above_zero(library: str) -> None:
    rng = np.random.default_rng(11)
    for shared in (False, True):
        rows = draw(rng, 200, 4, 5, shared=shared)
        rows = Problems(np.clip(rows.ref_logp, -4, 4), *list(parts(rows).values())[1:])
        xp, arrays = cast(library, transposed(rows))
        run = descent.descend_lanes(xp, arrays, max_steps=60, records=every)
        aligned = np.asarray(run.margin) >= 0
        want = np.where(aligned.any(axis=0), aligned.argmax(axis=0), -1)
        want[~rows.present.T] = -1
        got = np.asarray(descent.exit_lanes(xp, arrays, max_steps=60))
        np.testing.assert_array_equal(got, want)
        assert {-1, 0} < set(got.ravel().tolist())


def test_no_step_is_longer_than_the_screen_allows() -> None:
    """A logit moves by at most 2 √K e, e the largest distance of a logit from the minimiser."""
    rows = draw(np.random.default_rng(2), 25, 5, 6, certain=0.0)
    xp, arrays = cast("numpy", transposed(rows))
    for share in (0.5, 1.0, 1.99):
        sizes = share / np.maximum(walk.lipschitz_lanes(xp, arrays), 1e-300)
        tour = walk.Walk(xp, arrays, sizes)
        ends = [pq.solve_dpo(*pair).logp for pair in each(rows)]
        for _ in range(6):
            for i, (bandit, pairs) in enumerate(each(rows)):
                component = pairs.components(bandit)
                goal = np.where(bandit.support, ends[i], 0.0)
                gap = goal - np.where(bandit.support, bandit.ref_logp, 0.0) - tour.shift[:, i]
                for c in range(component.max() + 1):
                    gap[component == c] -= gap[component == c].mean()
                e = np.abs(gap[bandit.support]).max()
                assert tour.change()[i] <= 2 * np.sqrt(5) * e + 1e-9 * nats_of(rows)[i]
            tour.step()


def test_ordinary_extremes() -> None:
    delta = np.array([-800.0, -800.0, 800.0, -1e-6, -30.0])
    beta = np.array([1e-6, 1e6, 1e6, 1e-100, 1e100])
    rows, _ = ordered(delta, beta, np.array([1.0, 1.0, 1e-300, 1e-100, 1e100]), 3)
    run = descent.descend_batch(*cast("numpy", rows), max_steps=50, records=every)
    for name in ("loss", "margin", "step_size", "lipschitz", "shift"):
        assert np.all(np.isfinite(getattr(run, name)))
    assert np.all(run.margin[-1, [0, 3], 0] > 0)  # β x = a few: far for a small β
    assert np.all(np.diff(run.loss, axis=0) <= 0)
    empty, _ = ordered(np.zeros(0), np.ones(0), np.ones(0), 3)
    assert descent.descend_batch(*cast("numpy", empty), max_steps=3, records=every).loss.shape == (
        4, 0,
    )  # fmt: skip
    bare = Problems(np.zeros((2, 1)), np.ones(2), *[np.zeros((2, 0), int)] * 2,
                    np.zeros((2, 0)), np.zeros((2, 0)), np.zeros((2, 0), bool))  # fmt: skip
    run = descent.descend_batch(*cast("torch", bare), max_steps=3, records=every)
    assert tuple(run.margin.shape) == (4, 2, 0)
    assert run.loss.sum() == run.lipschitz.sum() == 0
    assert run.step_size.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("library", LIBRARIES)
def test_what_cannot_descend_is_refused(library: str) -> None:
    rows, _ = ordered(np.zeros(3), np.array([1.0, 1.0, 3.0]), np.ones(3), 2)
    descent.descend_batch(*cast(library, rows), max_steps=3, records=every, step_size=0.44)
    with pytest.raises(ProblemError, match=r"step_size \* Lip = 2 \(problem 2\).*lower"):
        descent.descend_batch(*cast(library, rows), max_steps=3, records=every, step_size=4 / 9)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("mass", [5e-324, 1e306])
def test_a_problem_that_cannot_step_leaves_its_neighbours_alone(library: str, mass: float) -> None:
    rows, _ = ordered(np.zeros(3), np.ones(3), np.array([1.0, mass, 1.0]), 2)
    run = descent.descend_batch(*cast(library, rows), max_steps=5, records=every)
    rows, _ = ordered(np.zeros(1), np.ones(1), np.ones(1), 2)
    alone = descent.descend_batch(*cast(library, rows), max_steps=5, records=every)
    assert run.step_size.tolist() == pytest.approx([2.0, 0.0, 2.0])
    assert run.margin[:, 1, 0].tolist() == [0.0] * len(run.margin)
    for neighbour in (0, 2):
        assert run.margin[:, neighbour, 0].tolist() == alone.margin[:, 0, 0].tolist()
