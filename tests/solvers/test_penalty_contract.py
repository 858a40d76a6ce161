"""What the penalty functions accept, refuse and promise: batches, extremes, names of bad input."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from solvers import penalty_checks as checks

import prefeq as pq
from prefeq import strategies
from prefeq.errors import ProblemError, UnsolvedError
from prefeq.solvers import net_degree, penalty_branch, penalty_value, stationary_points

INF = np.inf
PAIR = pq.Preferences([0], [1])
TWO = pq.Bandit([0, 2], [0, 0], 1.0)
GAMMAS = st.one_of(
    st.sampled_from([0.0, 1e-300, 1e300]), st.floats(-8, 8).map(lambda power: 10.0**power)
)


@pytest.mark.parametrize(
    ("gamma", "message"),
    [
        (-0.5, r"gamma = -0.5: must be finite and >= 0"),
        (np.nan, r"gamma = nan: must be finite"),
        (INF, r"gamma = inf: must be finite"),
        ([0.1, 0.2], r"gamma has shape \(2,\)"),
        ("much", r"gamma has dtype"),
    ],
)
def test_a_bad_gamma_is_named(gamma: object, message: str) -> None:
    calls = (
        lambda: pq.solve_penalty(TWO, PAIR, gamma),
        lambda: penalty_value(TWO, PAIR, gamma, np.log([0.5, 0.5])),
        lambda: stationary_points(TWO, PAIR, gamma),
    )
    for call in calls:
        with pytest.raises(ProblemError, match=message):
            call()


def test_other_bad_input_is_named() -> None:
    with pytest.raises(ProblemError, match=r"pass prefeq\.Preferences second"):
        pq.solve_penalty(TWO, TWO, 0.1)
    with pytest.raises(ProblemError, match=r"winner\[0\] = 5: is out of range"):
        pq.solve_penalty(TWO, pq.Preferences([5], [1]), 0.1)
    with pytest.raises(ProblemError, match="off the support"):
        pq.solve_penalty(pq.Bandit([0, 0, 0], [0, 0, -INF], 1.0), pq.Preferences([0], [2]), 1.0)
    with pytest.raises(ProblemError, match=r"gammas\[1\] = -1.0"):
        penalty_branch(TWO, PAIR, gammas=[0.0, -1.0])
    with pytest.raises(ProblemError, match=r"gammas has shape \(\)"):
        penalty_branch(TWO, PAIR, gammas=0.1)
    with pytest.raises(ProblemError, match="pass one prompt of it"):
        penalty_branch(pq.Bandit([[0, 2]], [0, 0], 1.0), PAIR)


@pytest.mark.parametrize(
    ("logp", "message"),
    [
        ([0.0, 0.0, -INF], r"logp row = 0.69\d+: log of the sum of π: normalise it"),
        ([-INF, -INF, 0.0], r"logp\[2\] = 0.0: puts mass off the support"),
        ([0.0, -INF], r"logp is \(2,\), the bandit has K = 3"),
        ([np.nan, 0.0, -INF], r"logp\[0\] = nan: not a number"),
        (np.zeros((2, 2, 1)), r"shape mismatch: logp is \(2, 2, 1\)"),
    ],
)
def test_a_bad_policy_is_named(logp: object, message: str) -> None:
    bandit = pq.Bandit([0, 2, 0], [0, 0, -INF], 1.0)
    with pytest.raises(ProblemError, match=message):
        penalty_value(bandit, PAIR, 0.1, logp)


def test_the_value_is_the_sum_over_pairs(rng: np.random.Generator) -> None:
    for _ in range(30):
        bandit, pairs = checks.problem(rng)
        logp = rng.normal(0, 3, (4, bandit.K))
        logp -= np.logaddexp.reduce(logp, axis=-1, keepdims=True)
        p, gamma = np.exp(logp), float(rng.exponential())
        j = np.sum(p * bandit.reward, -1) - bandit.beta * np.sum(p * (logp - bandit.ref_logp), -1)
        want = j + gamma * np.sum(pairs.mass * (logp[:, pairs.winner] - logp[:, pairs.loser]), -1)
        np.testing.assert_allclose(penalty_value(bandit, pairs, gamma, logp), want, rtol=1e-11)


def test_the_value_at_the_edge_of_the_simplex() -> None:
    chain = pq.Preferences([0, 1], [1, 2])
    bandit = pq.Bandit([0, 0, 0], [0, 0, 0], 1.0)
    half = np.log(0.5)
    assert penalty_value(bandit, chain, 0.1, [half, half, -INF]) == INF
    assert penalty_value(bandit, chain, 0.1, [-INF, half, half]) == -INF
    # the middle response wins as much as it loses
    inside = penalty_value(bandit, chain, 0.1, [half, -INF, half])
    assert inside == pytest.approx(np.log(2 / 3))
    assert penalty_value(bandit, chain, 0.0, [-INF, 0.0, -INF]) == pytest.approx(-np.log(3))
    with pytest.raises(ProblemError, match="its margins are"):
        penalty_value(bandit, chain, 0.1, [-INF, 0.0, -INF])
    assert penalty_value(bandit, chain, 1e300, [half, half - 1e-16, -1e9]) == INF


def test_a_batch_is_its_prompts() -> None:
    reward = [[0.0, 2.0, 0.0], [1.0, 0.0, 0.5], [0.0, 0.0, 0.0], [3.0, 0.0, 0.0]]
    ref = np.array([[0, 0, 0], [0, 0, 0], [0, 0, -INF], [0, -INF, 0]])
    bandit = pq.Bandit(reward, ref, [1.0, 0.5, 2.0, 1.0])
    winner, loser = [[0, 0], [0, 1], [0, 1], [0, 0]], [[1, 2], [1, 2], [1, 0], [2, 1]]
    mass = [[0.5, 0.0], [0.5, 0.5], [1.0, 1.0], [0.0, 0.0]]
    pairs, gamma = pq.Preferences(winner, loser, mass=mass), np.array([0.5, 0.01, 0.3, 0.3])
    found = pq.solve_penalty(bandit, pairs, gamma)
    assert [str(s) for s in found.status] == ["unbounded", "unbounded", "optimal", "optimal"]
    assert found.logp.shape == (4, 3)
    for i in range(4):
        one = pq.solve_penalty(bandit[i], pairs[i], gamma[i])
        assert np.array_equal(found.logp[i], one.logp)
        assert np.array_equal(found.direction[i], [0] * 3 if i > 1 else one.direction)
        assert found.component[i] == one.component
        assert found.value[i] == one.value
    far = pq.solve_penalty(bandit, pairs, 50.0)
    assert np.all(far.logp[:2] == -INF)
    assert np.all(far.margin(pairs)[:2] == -INF)
    assert far.value[:2].tolist() == [-INF, -INF]
    assert np.array_equal(net_degree(bandit, pairs)[1], [0.5, 0.0, -0.5])
    assert penalty_value(bandit, pairs, gamma, found.logp).shape == (4,)
    with pytest.raises(UnsolvedError, match=r"prompt \[0\]: unbounded: .* solve_cpo"):
        pq.solve_penalty(bandit, pairs, gamma, throw=True)
    with pytest.raises(UnsolvedError, match="unbounded"):
        pq.solve_penalty(TWO, PAIR, 0.1, throw=True)
    assert "2 optimal, 2 unbounded" in repr(found)
    assert "component  (1,)" in repr(pq.solve_penalty(TWO, PAIR, 50.0))


def test_pairs_and_gammas_broadcast_over_prompts() -> None:
    bandit = pq.Bandit([[0, 2], [0, 4]], [0, 0], 1.0)
    found = pq.solve_penalty(bandit, PAIR, 0.55)
    # one γ rarely serves prompts of different δ*: past 0 for one, short of it for the other
    assert np.sign(found.margin(PAIR)[:, 0]).tolist() == [1, -1]


def test_the_branch_has_its_shape() -> None:
    branch = penalty_branch(TWO, pq.Preferences([0, 1], [1, 0], mass=[1.0, 0.0]), points=11)
    assert branch.gamma.shape == branch.log_gamma.shape == (11,)
    assert branch.logp.shape == branch.margin.shape == (11, 2)
    assert branch.gamma[0] == 0
    assert branch.gamma[-1] == pytest.approx(branch.fold_gamma, rel=1e-15)
    assert np.array_equal(branch.logp[-1], branch.fold_logp)
    assert np.all(np.diff(branch.gamma) > 0)
    assert np.all(np.diff(branch.margin[:, 0]) > 0)
    assert np.all(branch.margin[:, 1] == 0)
    assert not branch.logp.flags.writeable
    beyond = penalty_branch(TWO, PAIR, gammas=[0.1, 9.0])
    assert np.all(beyond.logp[1] == -INF)
    assert beyond.margin[1] == -INF
    assert penalty_branch(TWO, PAIR, gammas=[]).logp.shape == (0, 2)


def test_a_fold_too_small_for_a_float_is_there_in_logs() -> None:
    bandit = pq.Bandit([1000, 0], [0, 0], 1.0)
    branch = penalty_branch(bandit, PAIR)
    assert branch.fold_gamma == 0.0
    assert branch.log_fold_gamma == pytest.approx(-1001.0)
    assert pq.solve_penalty(bandit, PAIR, 1e-300).logp is None


@given(strategies.problems(), GAMMAS)
def test_hostile_problems_get_an_answer(problem: checks.Problem, gamma: float) -> None:
    bandit, pairs = problem
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = pq.solve_penalty(bandit, pairs, gamma)
    unbounded = gamma > 0 and bool(np.any(net_degree(bandit, pairs)))
    for status, logp, residual in zip(
        np.ravel(found.status),
        np.reshape(np.full(bandit.K, -INF) if found.logp is None else found.logp, (-1, bandit.K)),
        np.ravel(found.residual),
        strict=True,
    ):
        assert status in (pq.Status.OPTIMAL, pq.Status.UNBOUNDED)
        assert not np.any(np.isnan(logp))
        assert residual <= 1e-9
    if not bandit.batch_shape:
        assert (found.status is pq.Status.UNBOUNDED) == unbounded
        fold = penalty_branch(bandit, pairs, points=3)
        assert not np.any(np.isnan(fold.logp))
        assert (found.logp is None) == (gamma > 0 and np.log(gamma) > fold.log_fold_gamma)


def test_symmetries(rng: np.random.Generator) -> None:
    """A shift of the rewards, a relabelling and a joint scaling of r, β and γ change nothing."""
    for _ in range(20):
        bandit, pairs = checks.problem(rng)
        gamma = 0.7 * penalty_branch(bandit, pairs, points=2).fold_gamma
        logp = pq.solve_penalty(bandit, pairs, gamma).logp
        shifted = pq.Bandit(bandit.reward + 3.0, bandit.ref_logp, bandit.beta)
        np.testing.assert_allclose(pq.solve_penalty(shifted, pairs, gamma).logp, logp, atol=1e-9)
        scaled = pq.Bandit(bandit.reward * 4, bandit.ref_logp, bandit.beta * 4)
        np.testing.assert_allclose(pq.solve_penalty(scaled, pairs, 4 * gamma).logp, logp, atol=1e-9)
        order = rng.permutation(bandit.K)
        place = np.argsort(order)
        turned = pq.Bandit(bandit.reward[order], bandit.ref_logp[order], bandit.beta)
        renamed = pq.Preferences(place[pairs.winner], place[pairs.loser], mass=pairs.mass)
        found = pq.solve_penalty(turned, renamed, gamma).logp
        np.testing.assert_allclose(found, logp[order], atol=1e-9)
