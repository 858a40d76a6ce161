"""Gradient descent: monotone, conserving, reference-free in x, and honest about where it stops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from solvers import checks, instances

import prefeq as pq
from prefeq import strategies
from prefeq.errors import ProblemError

INF = np.inf


def descend(bandit: pq.Bandit, pairs: pq.Preferences, **options: object) -> pq.Solution:
    return pq.solve_dpo(bandit, pairs, "gradient-descent", **options)


@given(
    strategies.problems(min_responses=2, limit=60.0),
    st.sampled_from([None, 0.3, 1.9]),
)
@settings(max_examples=40)
def test_the_loss_never_rises(problem, share) -> None:
    bandit, pairs = problem
    default = descend(bandit, pairs, max_steps=1).trajectory
    step = None if share is None or not default.lipschitz else share / default.lipschitz
    run = descend(bandit, pairs, max_steps=60, step_size=step).trajectory
    losses = run.loss
    assert np.all(np.diff(losses) <= 1e-14 * losses[0])
    x0 = pairs.prob * np.log(2) + (1 - pairs.prob) * np.log(2)
    assert losses[0] == pytest.approx(float(np.sum(pairs.mass * x0)), rel=1e-12)
    assert np.all(np.isfinite(run.margin[:, pairs.present]))


@given(strategies.problems(min_responses=2, limit=60.0))
@settings(max_examples=30)
def test_each_component_keeps_its_sum_of_logits(problem) -> None:
    bandit, pairs = problem
    found = descend(bandit, pairs, max_steps=50)
    on = bandit.support
    move = found.logp[on] - bandit.ref_logp[on]
    component = pairs.components(bandit)[on]
    means = [move[component == c].mean() for c in range(component.max() + 1)]
    assert np.ptp(means) <= 1e-12 * checks.nats_of(found.logp, bandit.ref_logp)
    assert abs(np.sum(np.exp(found.logp)) - 1) <= 1e-12


@given(strategies.problems(min_responses=2, limit=60.0), st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_the_path_in_x_does_not_depend_on_the_reference(problem, seed) -> None:
    bandit, pairs = problem
    ref = np.random.default_rng(seed).normal(0, 50, bandit.K)
    other = pq.Bandit(bandit.reward, np.where(bandit.support, ref, -INF), bandit.beta)
    one, two = (descend(b, pairs, max_steps=40).trajectory for b in (bandit, other))
    shared = min(one.step.size, two.step.size)
    x, y = (run.margin[:shared] - pairs.ref_margin(b) for run, b in ((one, bandit), (two, other)))
    np.testing.assert_allclose(x, y, rtol=0, atol=1e-12 * checks.nats_of(x, ref, bandit.ref_logp))
    np.testing.assert_array_equal(one.loss[:shared], two.loss[:shared])


@pytest.mark.parametrize("seed", range(4))
def test_long_runs_end_where_newton_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(5):
        k = int(rng.integers(2, 7))
        bandit = pq.Bandit(rng.normal(0, 1, k), rng.normal(0, 10, k), 10.0 ** rng.uniform(-1, 1))
        edges = instances.spanning_pairs(rng, k, 2)
        cut = int(rng.integers(1, k + 1))
        edges = [p for p in edges if (p[0] < cut) == (p[1] < cut)]
        odds = rng.normal(0, 1, len(edges))
        winner, loser = np.array(edges, dtype=int).reshape(-1, 2).T
        pairs = pq.Preferences(winner, loser, log_odds=odds)
        slow, exact = descend(bandit, pairs), pq.solve_dpo(bandit, pairs)
        assert slow.status is exact.status
        assert slow.residual <= 1e-9
        size = checks.nats_of(exact.logp, bandit.ref_logp)
        assert checks.distance(slow.logp, exact.logp) <= (slow.residual + exact.residual) * size


def test_the_record() -> None:
    bandit = pq.Bandit([1, 0, 0], [-3.0, 0.0, -1.0], 0.5)
    pairs = pq.Preferences([0, 1, 5], [1, 2, 6], prob=0.7, mass=[1, 2, 0])
    run = descend(bandit, pairs, max_steps=250, step_size=0.1).trajectory
    assert run.step[0] == 0
    assert run.step[-1] == 250
    assert run.step.tolist() == [*range(101), *range(110, 251, 10)]
    assert run.loss.shape == run.step.shape
    assert run.margin.shape == run.undesirable.shape == (run.step.size, 3)
    np.testing.assert_allclose(run.margin[0], [-3.0, 1.0, 0.0])
    assert not run.undesirable[:, 2].any()
    assert run.step_size == 0.1
    assert descend(bandit, pairs).trajectory.step_size == pytest.approx(1 / run.lipschitz)
    laplacian = np.array([[1, -1, 0], [-1, 3, -2], [0, -2, 2]])
    assert run.lipschitz == pytest.approx(0.25 * np.linalg.eigvalsh(laplacian)[-1] / 4)
    sparse = descend(bandit, pairs, max_steps=25, record_every=10).trajectory
    assert sparse.step.tolist() == [0, 10, 20, 25]


def test_one_step_by_hand() -> None:
    bandit = pq.Bandit([0, 0], [0.0, 0.0], 2.0)
    pairs = pq.Preferences([0], [1], prob=0.8, mass=3.0)
    run = descend(bandit, pairs, max_steps=1, step_size=0.05).trajectory
    gradient = -3.0 * 2.0 * (0.8 - 0.5)  # -m beta (q - sigma(0)) on the winner's logit
    assert run.margin[1, 0] == pytest.approx(-2 * 0.05 * gradient)


def exit_time(ref_margin: float, beta: float, mass: float) -> float:
    """Return T = (e^u + u − 1)/(2β²m), u = −βδ_ref: gradient flow from δ_ref to 0."""
    u = -beta * ref_margin
    return (np.exp(u) + u - 1) / (2 * beta**2 * mass)


@pytest.mark.parametrize("ref_margin", [-0.5, -2.0, -3.5])
@pytest.mark.parametrize(("beta", "mass"), [(1.0, 1.0), (0.3, 0.5), (2.0, 3.0)])
@pytest.mark.parametrize("share", [0.05, 1.0, 1.9])
def test_the_steps_to_leave_the_undesirable_space(ref_margin, beta, mass, share) -> None:
    bandit = pq.Bandit([1, 0, 0, 0], [ref_margin, 0, 3.0, -1.0], beta)
    pairs = pq.Preferences([0], [1], mass=mass)
    lipschitz = beta**2 * mass / 2
    step_size = share / lipschitz
    time = exit_time(ref_margin, beta, mass) / step_size
    run = descend(
        bandit, pairs, step_size=step_size, record_every=1, max_steps=int(time) + 3
    ).trajectory
    assert run.lipschitz == pytest.approx(lipschitz)
    steps = int(np.argmax(run.margin[:, 0] >= 0))
    assert run.margin[steps, 0] >= 0 > run.margin[steps - 1, 0]
    assert time * np.exp(-step_size * mass * beta**2) <= steps <= np.ceil(time)
    assert run.undesirable[1:steps, 0].all()
    assert not run.undesirable[[0, steps], 0].any()  # delta_ref itself is the boundary


def test_a_step_size_at_which_descent_may_fail_is_refused() -> None:
    bandit, pairs = pq.Bandit([0, 0], [0, 0], 1.0), pq.Preferences([0], [1], prob=0.6)
    limit = 2.0 / descend(bandit, pairs, max_steps=1).trajectory.lipschitz
    descend(bandit, pairs, max_steps=5, step_size=0.999 * limit)
    for step_size in (limit, 10 * limit):
        with pytest.raises(ProblemError, match=r"step_size = .*2/Lip = 4"):
            descend(bandit, pairs, step_size=step_size)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_steps": 0}, "max_steps = 0"),
        ({"max_steps": 1.5}, r"max_steps = 1\.5"),
        ({"record_every": -1}, "record_every = -1"),
        ({"step_size": 0.0}, r"step_size = 0\.0"),
        ({"step_size": INF}, "step_size = inf"),
        ({"step_size": np.nan}, "step_size = nan"),
        ({"step_size": "big"}, "step_size = 'big'"),
        ({"step_size": np.ones(2)}, r"step_size = array"),
    ],
)
def test_schedules_that_make_no_sense_are_refused(options, message) -> None:
    with pytest.raises(ProblemError, match=message):
        descend(pq.Bandit([0, 0], [0, 0], 1.0), pq.Preferences([0], [1]), **options)


def test_masses_beyond_the_floats_are_refused() -> None:
    bandit = pq.Bandit([0, 0], [0, 0], 1.0)
    with pytest.raises(ProblemError, match=r"Lip = .*rescale the masses"):
        descend(bandit, pq.Preferences([0], [1], mass=5e-324))
    tiny = pq.Preferences([0], [1], prob=0.75, mass=1e-300)
    assert descend(bandit, tiny).margin(tiny)[0] == pytest.approx(np.log(3), rel=1e-8)


def test_stopping_early_is_said() -> None:
    bandit, pairs = pq.Bandit([1, 0], [0, 0], 1.0), pq.Preferences([0], [1], prob=0.99)
    early = descend(bandit, pairs, max_steps=3)
    assert early.status is pq.Status.ITERATION_LIMIT
    assert early.steps == 3
    exact = pq.solve_dpo(bandit, pairs)
    size = checks.nats_of(early.logp, bandit.ref_logp)
    assert checks.distance(early.logp, exact.logp) <= early.residual * size
    late = descend(bandit, pairs)
    assert late.status is pq.Status.OPTIMAL
    assert late.steps < 10_000


def test_rewards_do_not_make_an_early_stop_look_optimal() -> None:
    pairs = pq.Preferences([0], [1], prob=0.9)
    runs = [descend(pq.Bandit([r, 0], [0, 0], 1.0), pairs) for r in (1.0, 1e15)]
    assert runs[0].steps == runs[1].steps
    np.testing.assert_array_equal(runs[0].logp, runs[1].logp)


@pytest.mark.parametrize("seed", range(3))
def test_diverging_runs_turn_towards_the_direction(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(3):
        bandit, pairs = instances.diverging(rng)
        bandit = pq.Bandit(bandit.reward, bandit.ref_logp, 1.0)
        angles = []
        for steps in (30, 3000):
            found = descend(bandit, pairs, max_steps=steps)
            assert found.status is pq.Status.DIVERGES
            assert found.residual == INF
            move = found.logp - bandit.ref_logp
            move, aim = move - move.mean(), found.direction - found.direction.mean()
            angles.append(float(move @ aim / np.linalg.norm(move) / np.linalg.norm(aim)))
        exact = pq.solve_dpo(bandit, pairs)
        np.testing.assert_array_equal(exact.direction, found.direction)
        assert found.component == exact.component
        assert angles[1] > 0.85
        assert angles[1] > angles[0] - 1e-6
