"""The penalty objective: no maximiser, one branch of local maxima from RLHF, one fold."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
from scipy.optimize import minimize
from solvers import penalty_checks as checks
from solvers import penalty_oracle as oracle

import prefeq as pq
from prefeq import margins
from prefeq.errors import ProblemError
from prefeq.solvers import net_degree, penalty_branch, penalty_value

PAIR = pq.Preferences([0], [1])


def two(star: float, beta: float = 1.0) -> pq.Bandit:
    """Two responses with δ* = `star`."""
    return pq.Bandit([0.3 * star * beta, 0], [0.7 * star, 0], beta)


def four() -> checks.Problem:
    bandit = pq.Bandit.from_probs(reward=[1, 1, 0.5, 0], ref=[0.3, 0.3, 0.05, 0.35], beta=1.0)
    return bandit, pq.Preferences([0, 1, 2], [2, 2, 3])


# --- what the paper's objective does -------------------------------------------------------------


@pytest.mark.parametrize(("star", "start", "end"), [(-2, 0.5, 0.5992), (-4, 1.0, 1.0580)])
def test_the_window_of_two_responses(star: float, start: float, end: float) -> None:
    bandit = two(star)
    branch = penalty_branch(bandit, PAIR)
    assert round(branch.fold_gamma, 4) == end
    assert float(margins.penalty_critical_gamma(star, 1.0)) == start
    at = pq.solve_penalty(bandit, PAIR, start)
    assert abs(at.margin(PAIR)[0]) <= 1e-14
    assert pq.solve_penalty(bandit, PAIR, end + 1e-4).logp is None


def test_more_penalty_can_make_a_pair_worse() -> None:
    bandit, pairs = four()
    branch = penalty_branch(bandit, pairs, gammas=[0, 0.04])
    assert branch.margin[:, 2].round(3).tolist() == [-1.446, -1.972]
    assert round(branch.fold_gamma, 4) == 0.0446


def test_a_chain_stays_misaligned() -> None:
    bandit = pq.Bandit.from_probs(reward=[0, 0, 0], ref=[0.35, 0.40, 0.25], beta=1.0)
    chain = pq.Preferences([0, 1], [1, 2])
    star = pq.solve_rlhf(bandit).margin(chain)
    gamma = float(np.max(margins.penalty_critical_gamma(star, 1.0, chain.mass)))
    found = pq.solve_penalty(bandit, chain, gamma)
    assert found.margin(chain)[0].round(4) == -0.0465


@pytest.mark.parametrize("star", [-800.0, -40.0, -3.0, 0.0, 1e-9, 2.0, 40.0, 700.0])
@pytest.mark.parametrize("beta", [1e-6, 1.0, 1e6])
def test_two_responses_are_the_closed_form(star: float, beta: float) -> None:
    bandit = two(star, beta)
    branch = penalty_branch(bandit, PAIR)
    d, end = margins.penalty_fold(star, beta)
    assert branch.fold_gamma == pytest.approx(float(end), rel=1e-12)
    fold = branch.fold_logp[0] - branch.fold_logp[1]
    assert fold == pytest.approx(float(d), abs=1e-14 * max(1, abs(star)), rel=1e-12)
    for share in (1e-9, 0.3, 0.9, 0.999):
        found = pq.solve_penalty(bandit, PAIR, share * float(end))
        want = float(margins.penalty_margin(star, beta, share * float(end)))
        assert abs(found.margin(PAIR)[0] - want) <= 1e-12 * max(1, abs(star))


# --- against many digits and other routes --------------------------------------------------------


def test_the_fold_to_fifty_digits(rng: np.random.Generator) -> None:
    for nats, decades, count in ((2.0, 1.0, 60), (800.0, 6.0, 20)):
        drawn = [checks.problem(rng, nats=nats, decades=decades) for _ in range(count)]
        assert max(checks.fold(*problem) for problem in drawn) <= 5e-15


def test_the_local_maximum_to_fifty_digits(rng: np.random.Generator) -> None:
    for nats, decades in ((2.0, 1.0), (200.0, 6.0)):
        for share in (1e-9, 0.2, 0.9, 0.999):
            done = 0
            while done < 10:
                bandit, pairs = checks.problem(rng, nats=nats, decades=decades)
                if penalty_branch(bandit, pairs, points=2).fold_gamma > 1e-290:
                    checks.local_maximum(bandit, pairs, share)
                    done += 1


def test_it_is_where_rising_gamma_leads(rng: np.random.Generator) -> None:
    for _ in range(30):
        checks.on_the_branch(*checks.problem(rng, nats=1.5), float(rng.uniform(0.3, 0.97)))


def test_findroot_agrees() -> None:
    bandit, pairs = four()
    found = pq.solve_penalty(bandit, pairs, 0.04).logp
    raw = oracle.Raw.of(bandit, pairs)

    def system(*unknown):
        *x, kappa = unknown
        pull = [mp.mpf(0.04) * a * mp.exp(-v) for a, v in zip(raw.a, x, strict=True)]
        gap = [v - t - c - kappa for v, t, c in zip(x, raw.target, pull, strict=True)]
        return [*gap, mp.fsum(mp.exp(v) for v in x) - 1]

    with mp.workdps(50):
        truth = mp.findroot(system, [*found.tolist(), 0.0])
    assert np.max(np.abs(found - np.array(truth[:4], dtype=float))) <= 1e-15


def test_ascent_with_gamma_raised_slowly_ends_there(rng: np.random.Generator) -> None:
    """BFGS on F itself in log-odds, each γ starting from the answer of the one before."""
    for _ in range(6):
        bandit, pairs = checks.problem(rng, k=3, nats=1.0)
        raw, fold = oracle.Raw.of(bandit, pairs), penalty_branch(bandit, pairs).fold_gamma
        logits = pq.solve_rlhf(bandit).logp[:-1] - pq.solve_rlhf(bandit).logp[-1]
        for gamma in np.linspace(0.1, 0.9, 9) * fold:
            logits = minimize(
                lambda z, raw=raw, g=gamma: -oracle.objective(raw, g, oracle.log_softmax(z)),
                logits,
                options={"gtol": 1e-9},
            ).x
        found = pq.solve_penalty(bandit, pairs, 0.9 * fold).logp
        np.testing.assert_allclose(oracle.log_softmax(logits), found, atol=1e-5)


def test_the_value_is_stationary_by_finite_differences() -> None:
    bandit, pairs = four()
    best = pq.solve_penalty(bandit, pairs, 0.04)

    def value(logits: np.ndarray) -> float:
        return float(penalty_value(bandit, pairs, 0.04, oracle.log_softmax(logits)))

    logits, h = best.logp[:-1] - best.logp[-1], 1e-4
    for axis in np.eye(3):
        assert abs(value(logits + h * axis) - value(logits - h * axis)) / (2 * h) <= 1e-8
        assert value(logits + 10 * h * axis) < value(logits)
    elsewhere = pq.solve_rlhf(bandit).logp
    logits = elsewhere[:-1] - elsewhere[-1]
    slopes = [(value(logits + h * e) - value(logits - h * e)) / (2 * h) for e in np.eye(3)]
    degree = 0.04 * net_degree(bandit, pairs)  # at π* only the penalty has a slope: c − π Σ c
    np.testing.assert_allclose(slopes, degree[:-1], atol=1e-8)


# --- unbounded, and how --------------------------------------------------------------------------


def test_the_objective_rises_for_ever(rng: np.random.Generator) -> None:
    checks.rising(*four(), 0.01)
    checks.rising(*four(), 5.0)
    for _ in range(20):
        bandit, pairs = checks.problem(rng)
        checks.rising(bandit, pairs, float(10 ** rng.uniform(-3, 3)) * bandit.beta)


@pytest.mark.parametrize("gamma", [1e-300, 1.0, 1e300])
def test_any_positive_gamma_is_unbounded(gamma: float) -> None:
    bandit, pairs = four()
    found = pq.solve_penalty(bandit, pairs, gamma)
    assert found.status is pq.Status.UNBOUNDED
    assert (found.component, found.direction.tolist()) == ((2,), [0, 0, -1, 0])
    if gamma < 1e-100:
        np.testing.assert_allclose(found.logp, pq.solve_rlhf(bandit).logp, atol=1e-13)
    else:
        assert found.logp is None
        assert found.value is None
        assert found.residual == 0.0
        with pytest.raises(ProblemError, match=r"no policy exists: .* solve_cpo"):
            found.margin(pairs)


def test_balanced_pairs_and_no_penalty_give_rlhf() -> None:
    bandit = pq.Bandit([2, 1, 0, -1], [0, 1, 0, -np.inf], 0.5)
    best = pq.solve_rlhf(bandit)
    cycle = pq.Preferences([0, 1, 2], [1, 2, 0], mass=[0.3, 0.3, 0.3])
    both = pq.Preferences([0, 1], [1, 0], mass=[2.0, 2.0])
    rounded = pq.Preferences([0, 0, 1], [1, 1, 0], mass=[0.1, 0.2, 0.3])  # 0.1 + 0.2 ≠ 0.3
    absent = pq.Preferences([0, 3], [1, 9], mass=[0.0, 0.0])
    none = pq.Preferences(np.zeros(0, int), np.zeros(0, int))
    for pairs in (cycle, both, rounded, absent, none):
        found = pq.solve_penalty(bandit, pairs, 1e300)
        assert found.status is pq.Status.OPTIMAL
        assert np.array_equal(found.logp, best.logp)
        assert found.value == pytest.approx(best.value)
        assert found.direction is None
        branch = penalty_branch(bandit, pairs)
        assert (branch.fold_gamma, branch.fold_logp) == (np.inf, None)
        assert np.array_equal(branch.logp, best.logp[None])
    at_zero = pq.solve_penalty(*four(), 0.0)
    assert at_zero.status is pq.Status.OPTIMAL
    one = pq.Bandit([1.0], [0.0], 1.0)
    assert pq.solve_penalty(one, none, 1.0).status is pq.Status.OPTIMAL


def test_tiny_masses_are_not_rounding() -> None:
    bandit = pq.Bandit([0, 0, 0, 0], [0, 0, 0, 0], 1.0)
    pairs = pq.Preferences([0, 1, 2], [1, 0, 3], mass=[1.0, 1.0, 1e-200])
    assert net_degree(bandit, pairs).tolist() == [0, 0, 1e-200, -1e-200]
    found = pq.solve_penalty(bandit, pairs, 1.0)
    assert (found.status, found.component) == (pq.Status.UNBOUNDED, (3,))
    # the rounding of one response must not hide the loss of another
    uneven = pq.Preferences([0, 1, 1], [1, 0, 2], mass=[1.0, 1.0, 1e-17])
    assert pq.solve_penalty(pq.Bandit([0] * 3, [0] * 3, 1.0), uneven, 1.0).component == (2,)


def test_duplicates_add_up_and_labels_do_not_matter() -> None:
    bandit, pairs = four()
    doubled = pq.Preferences([0, 1, 2, 0], [2, 2, 3, 2], prob=0.2, mass=np.array([1, 2, 2, 1]) / 6)
    one, other = (pq.solve_penalty(bandit, p, 0.04) for p in (pairs, doubled))
    np.testing.assert_allclose(one.logp, other.logp, atol=1e-15)


# --- ties ----------------------------------------------------------------------------------------


def test_equal_losers_end_the_branch_together() -> None:
    """Two equal losers turn critical at once: the symmetric maximum becomes a saddle there."""
    bandit = pq.Bandit([0, 0, 0], [0, 0, 0], 1.0)
    pairs = pq.Preferences([0, 0], [1, 2], mass=[1.0, 1.0])
    branch = penalty_branch(bandit, pairs)
    p = np.exp(branch.fold_logp)
    assert p[1] == p[2] == pytest.approx(branch.fold_gamma, rel=1e-14)  # p = |a|: h = 0
    raw = oracle.Raw.of(bandit, pairs)
    below, above = (branch.fold_gamma * s for s in (1 - 1e-6, 1 + 1e-6))
    assert oracle.is_local_maximum(raw, below, pq.solve_penalty(bandit, pairs, below).logp)
    assert not oracle.is_local_maximum(
        raw, above, np.array(oracle.polish(raw, above, branch.fold_logp), dtype=float)
    )


def test_the_heavier_of_tied_losers_goes_on() -> None:
    """u_1 = u_2 by π*_2 = 3π*_1 and d_2 = 3d_1: the branch passes to the sheet of response 2."""
    bandit = pq.Bandit.from_probs(reward=[0, 0, 0], ref=[0.6, 0.1, 0.3], beta=1.0)
    pairs = pq.Preferences([0, 0], [1, 2], mass=[0.5, 1.5])
    branch = penalty_branch(bandit, pairs)
    joint = float(np.exp(branch.fold_logp[2]))
    assert joint < branch.fold_gamma * 1.5  # beyond its own turning point p = |a|
    for share in (0.5, 0.9, 0.98):
        checks.on_the_branch(bandit, pairs, share)


def test_random_ties(rng: np.random.Generator) -> None:
    for _ in range(60):
        bandit, pairs = checks.problem(rng, ties=True)
        branch = penalty_branch(bandit, pairs, points=7)
        raw = oracle.Raw.of(bandit, pairs)
        for gamma, logp in zip(branch.gamma[:-1], branch.logp[:-1], strict=True):
            assert oracle.residual(raw, gamma, logp) <= 1e-12
            assert oracle.is_local_maximum(raw, gamma, logp)
        assert pq.solve_penalty(bandit, pairs, branch.fold_gamma * 1.001).logp is None
