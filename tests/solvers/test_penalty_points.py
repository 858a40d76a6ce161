"""All stationary points of the penalty objective: none missing, none twice, maxima told apart."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq
from solvers import penalty_checks as checks
from solvers import penalty_oracle as oracle

import prefeq as pq
from prefeq.errors import ProblemError
from prefeq.solvers import penalty_branch, stationary_points
from prefeq.solvers.penalty import Problem
from prefeq.solvers.penalty_curve import bracketed, lower, rise, single, upper

SHARES = (0.3, 0.8, 0.99, 1.01, 1.1, 1.5)


@pytest.mark.parametrize("share", SHARES)
def test_none_is_missing(share: float, rng: np.random.Generator) -> None:
    found = 0
    for _ in range(15):
        problem = checks.problem(rng, k=int(rng.integers(3, 5)))
        found += checks.complete(*problem, share, rng)
    assert found >= (15 if share < 1 else 1)


def test_two_responses_have_the_roots_of_one_equation() -> None:
    """β(δ − δ*) = γ(2 + 2 cosh δ): two roots below the fold, on either side of its top."""
    pairs = pq.Preferences([0], [1])
    for star, beta in ((-2.0, 1.0), (-30.0, 1e-3), (0.5, 10.0)):
        bandit = pq.Bandit([star * beta, 0], [0, 0], beta)
        fold = penalty_branch(bandit, pairs).fold_gamma
        for share in (0.01, 0.5, 0.99):
            a = share * fold / beta

            def gap(delta: float, star: float = star, a: float = a) -> float:
                return delta - star - a * (2 + 2 * np.cosh(delta))

            top = np.arcsinh(1 / (2 * a))
            far = next(top + 2.0**i for i in range(9) if gap(top + 2.0**i) < 0)
            want = [brentq(gap, star, top, xtol=1e-14), brentq(gap, top, far, xtol=1e-14)]
            points = stationary_points(bandit, pairs, share * fold)
            margins = sorted(p.logp[0] - p.logp[1] for p in points)
            np.testing.assert_allclose(margins, want, rtol=1e-11, atol=1e-11)
            highest = max(points, key=lambda p: p.logp[0] - p.logp[1])
            assert [p.is_local_maximum for p in points] == [p is not highest for p in points]
        assert stationary_points(bandit, pairs, 1.0001 * fold) == []


def test_the_last_point_of_four_responses_vanishes_at_0526() -> None:
    bandit = pq.Bandit.from_probs(reward=[1, 1, 0.5, 0], ref=[0.3, 0.3, 0.05, 0.35], beta=1.0)
    pairs = pq.Preferences([0, 1, 2], [2, 2, 3])
    for gamma, maxima in ((0.04, 1), (0.0446, 1), (0.0447, 0), (0.0525, 0)):
        points = stationary_points(bandit, pairs, gamma)
        assert points
        assert sum(p.is_local_maximum for p in points) == maxima
    assert stationary_points(bandit, pairs, 0.0527) == []


def test_the_branch_is_among_them(rng: np.random.Generator) -> None:
    for nats in (1.0, 30.0):
        for _ in range(30):
            bandit, pairs = checks.problem(rng, nats=nats)
            gamma = penalty_branch(bandit, pairs, points=2).fold_gamma * rng.uniform(0.1, 0.99)
            found = pq.solve_penalty(bandit, pairs, gamma).logp
            same = [
                p
                for p in stationary_points(bandit, pairs, gamma)
                if np.max(np.abs(p.logp - found)) <= 1e-10 * max(1, np.max(np.abs(found)))
            ]
            assert [p.is_local_maximum for p in same] == [True]


def test_a_grid_finds_the_same_maxima(rng: np.random.Generator) -> None:
    """Local maxima of F on a fine grid in log-odds, each cell against its eight neighbours."""
    axis = np.linspace(-7, 7, 561)
    logits = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1)
    rows = oracle.log_softmax(logits)
    for share in (0.5, 0.9, 1.2):
        for _ in range(5):
            bandit, pairs = checks.problem(rng, k=3, nats=1.0)
            gamma = penalty_branch(bandit, pairs, points=2).fold_gamma * share
            value = oracle.objective(oracle.Raw.of(bandit, pairs), gamma, rows)
            inner = value[1:-1, 1:-1]
            near = [
                value[1 + i : value.shape[0] - 1 + i, 1 + j : value.shape[1] - 1 + j]
                for i in (-1, 0, 1)
                for j in (-1, 0, 1)
                if i or j
            ]
            peaks = np.argwhere(np.all([inner > other for other in near], axis=0)) + 1
            maxima = [p.logp for p in stationary_points(bandit, pairs, gamma) if p.is_local_maximum]
            inside = [x for x in maxima if np.max(np.abs(x[:2] - x[2])) < 6.5]
            assert len(peaks) == len(inside)
            for i, j in peaks:
                at = logits[i, j]
                assert min(np.max(np.abs(x[:2] - x[2] - at)) for x in inside) <= 0.06


def test_ties_on_every_sheet(rng: np.random.Generator) -> None:
    """Several responses turn critical together; symmetric copies are all there."""
    bandit, pairs = pq.Bandit([0] * 3, [0] * 3, 1.0), pq.Preferences([0, 0], [1, 2])
    gamma = 0.95 * penalty_branch(bandit, pairs).fold_gamma
    points = stationary_points(bandit, pairs, gamma)
    rows = np.array([p.logp for p in points])
    for row in rows:
        assert np.min(np.max(np.abs(rows - row[[0, 2, 1]]), axis=1)) <= 1e-10
    assert checks.complete(bandit, pairs, 0.95, rng) == len(points) >= 2
    for share in (0.5, 0.999, 1.05):
        for _ in range(5):
            problem = checks.problem(rng, k=4, ties=True)
            checks.complete(*problem, share, rng)


def test_at_the_fold_there_is_one_double_point() -> None:
    bandit, pairs = pq.Bandit([0, 2], [0, 0], 1.0), pq.Preferences([0], [1])
    branch = penalty_branch(bandit, pairs)
    points = stationary_points(bandit, pairs, branch.fold_gamma)
    assert [p.is_local_maximum for p in points] == [False]
    np.testing.assert_allclose(points[0].logp, branch.fold_logp, atol=1e-6)
    points = stationary_points(bandit, pairs, branch.fold_gamma * (1 - 1e-12))
    assert sorted(p.is_local_maximum for p in points) == [False, True]


def test_many_responses_are_quick_and_too_many_refused(rng: np.random.Generator) -> None:
    bandit, pairs = checks.problem(rng, k=12)
    gamma = 0.5 * penalty_branch(bandit, pairs).fold_gamma
    assert sum(p.is_local_maximum for p in stationary_points(bandit, pairs, gamma)) >= 1
    with pytest.raises(ProblemError, match="13 responses: at most 12"):
        stationary_points(pq.Bandit([0] * 13, [0] * 13, 1.0), pairs, 1.0)
    batch = pq.Bandit(np.zeros((2, 3)), np.zeros(3), 1.0)
    with pytest.raises(ProblemError, match="pass one prompt"):
        stationary_points(batch, pq.Preferences([0], [1]), 1.0)


def test_balanced_pairs_have_rlhf_alone() -> None:
    bandit = pq.Bandit([1, 0, 0], [0, 0, -np.inf], 1.0)
    both = pq.Preferences([0, 1], [1, 0])
    for pairs, gamma in ((both, 5.0), (pq.Preferences([0], [1]), 0.0)):
        (point,) = stationary_points(bandit, pairs, gamma)
        assert np.array_equal(point.logp, pq.solve_rlhf(bandit).logp)
        assert (point.kappa, point.is_local_maximum) == (0.0, True)


# --- why there is one fold -----------------------------------------------------------------------


def test_the_lemma_behind_the_one_fold(rng: np.random.Generator) -> None:
    """1/y − 1/x < 2: x = e^−t − 1 of the lower, y = 1 − e^−t of an upper root at u_k ≤ u_j."""
    h = 1e-6
    for v in 10.0 ** rng.uniform(-8, 3, 300):
        x, y = np.expm1(-lower(v)), -np.expm1(-upper(v + rng.choice([0.0, rng.exponential()])))
        assert 1 / y - 1 / x < 2
        if v < 1e-3:
            continue
        # the logarithmic derivatives of dq/du = |a| e^t/(1 − e^−t), by central differences
        for root, want in ((lower, 1 - (1 + 1 / x) ** 2), (upper, None)):
            ends = [root(v * (1 + s * h)) for s in (-1, 1)]
            logs = [t - np.log(abs(np.expm1(-t))) for t in ends]
            here = -np.expm1(-root(v))
            want = 1 - (1 - 1 / here) ** 2 if want is None else want
            assert (logs[1] - logs[0]) / (2 * h * v) == pytest.approx(want, rel=1e-4, abs=1e-5)


def test_gamma_rises_to_one_fold_and_falls_for_good(rng: np.random.Generator) -> None:
    for ties in (False, True):
        for _ in range(40):
            bandit, pairs = checks.problem(rng, k=6, ties=ties)
            curve = Problem(bandit, pairs).curve
            assert curve is not None
            fold = curve.fold()
            t = np.concatenate(
                [fold - np.geomspace(1e-3, 30, 150), fold + np.geomspace(1e-3, 30, 150)]
            )
            log_gamma = np.array([-curve.at(float(x)).log_total for x in np.sort(t)])
            rising = np.diff(log_gamma) > 0
            assert np.sum(rising[1:] != rising[:-1]) == 1
            assert rising[0]
            assert not rising[-1]
            assert -curve.at(fold).log_total >= log_gamma.max()


# --- the scalar maps ------------------------------------------------------------------------------


def test_the_scalar_maps_invert() -> None:
    for v in (0.0, 1e-300, 1e-20, 1e-9, 1e-3, 0.2, 1.0, 36.0, 800.0, 1e12, 1e100):
        for root in (upper(v), lower(v)):
            cancelled = 3e-16 * abs(root) if abs(root) > 0.01 else 0.0
            assert abs(rise(root) - v) <= 1e-15 * v * max(1.0, abs(root)) + cancelled
        assert lower(v) <= 0 <= upper(v)
    for z in (-1e100, -800.0, -1.0, -0.3, 0.0, 0.5, 1.0, 40.0, 800.0):
        t = single(z)
        assert abs(t - np.exp(-t) - z) <= 4e-16 * max(1.0, abs(z)) * max(1.0, abs(t))


def test_rise_keeps_its_digits_near_zero() -> None:
    assert rise(1e-9) == pytest.approx(5e-19, rel=1e-8)
    for t in (0.0099999, 0.0100001, -0.0099999, -0.0100001):
        assert rise(t) == pytest.approx(t * t / 2 - t**3 / 6 + t**4 / 24 - t**5 / 120, rel=1e-10)


def test_bracketed_finds_steep_and_flat_roots() -> None:
    assert bracketed(lambda x: x**3 - 2, 0.0, 5.0) == pytest.approx(2 ** (1 / 3), rel=1e-15)
    assert bracketed(lambda x: x - 1, 1.0, 2.0) == 1.0
    assert bracketed(lambda x: np.tanh(1e6 * (x - 0.3)), 1.0, -4.0) == pytest.approx(0.3, rel=1e-14)
    assert bracketed(lambda x: (x - 1) ** 9, 0.0, 3.0) == pytest.approx(1.0, abs=1e-9)
