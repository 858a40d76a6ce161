"""Checks of one solver on one problem against independent truths; each raises when it is wrong.

The planted-bug tests call the same functions and expect them to go red.
"""

from __future__ import annotations

from collections.abc import Callable

import mpmath as mp
import numpy as np
import pytest
from scipy.optimize import nnls
from solvers import oracle

import prefeq as pq

TOLERANCE = 1e-9


def error_of(logp: np.ndarray, truth: list[mp.mpf]) -> float:
    """Return max |log π − truth| over the entries that are finite; the others must agree."""
    worst = mp.mpf(0)
    for found, true in zip(logp, truth, strict=True):
        if mp.isinf(true) or np.isinf(found):
            assert float(true) == float(found)
        else:
            worst = max(worst, abs(mp.mpf(float(found)) - true))
    return float(worst)


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """Return max |log π − log π'|; both must have one support."""
    on = np.isfinite(one)
    assert np.array_equal(on, np.isfinite(other))
    return float(np.max(np.abs(one[on] - other[on]), initial=0.0))


def nats_of(*arrays: np.ndarray) -> float:
    """Return the largest finite size among arrays, at least 1."""
    return max(1.0, *(float(np.max(np.abs(a[np.isfinite(a)]), initial=0)) for a in arrays))


def rlhf(bandit: pq.Bandit, reward: object = None, ref_logp: object = None) -> None:
    """RLHF is within 1e-12·max(1, |log π|) of 50 digits, entry by entry, and J within as much."""
    reward = bandit.reward if reward is None else reward
    ref_logp = bandit.ref_logp if ref_logp is None else ref_logp
    truth, value = oracle.rlhf(reward, ref_logp, bandit.beta)
    solution = pq.solve_rlhf(bandit)
    for found, true in zip(solution.logp, truth, strict=True):
        assert (
            (float(found) == float(true))
            if mp.isinf(true)
            else abs(mp.mpf(float(found)) - true) <= 1e-12 * max(1, abs(true))
        ), (found, true)
    size = max(1.0, nats_of(bandit.reward) / bandit.beta, nats_of(bandit.ref_logp))
    assert abs(mp.mpf(solution.value) - value) <= 1e-12 * bandit.beta * size
    assert solution.status is pq.Status.OPTIMAL
    assert solution.residual <= 1e-12


def labels_of(pairs: pq.Preferences) -> list[oracle.Label]:
    """Return the present pairs as the oracle's labels."""
    columns = (pairs.winner, pairs.loser, pairs.log_odds, pairs.mass)
    rows = zip(*(c[pairs.present].tolist() for c in columns), strict=True)
    return [oracle.Label(*row) for row in rows]


def dpo_truth(bandit: pq.Bandit, pairs: pq.Preferences, start: np.ndarray) -> list[mp.mpf]:
    """Return the exact log π of DPO on a strongly connected full-support problem."""
    labels = labels_of(pairs)
    s = oracle.dpo(bandit.K, labels, start)
    with mp.workdps(60):
        beta = mp.mpf(bandit.beta)
        return oracle.normalise(
            [mp.mpf(float(p)) + x / beta for p, x in zip(bandit.ref_logp, s, strict=True)]
        )


def dpo(bandit: pq.Bandit, pairs: pq.Preferences) -> float:
    """DPO is optimal and its residual bounds the true error; return the error over the residual."""
    solution = pq.solve_dpo(bandit, pairs)
    assert solution.status is pq.Status.OPTIMAL, solution
    start = bandit.beta * (solution.logp - bandit.ref_logp)
    error = error_of(solution.logp, dpo_truth(bandit, pairs, start))
    bound = solution.residual * nats_of(solution.logp, bandit.ref_logp)
    assert error <= bound, (error, bound)
    return error / bound


def direction(bandit: pq.Bandit, pairs: pq.Preferences) -> None:
    """The direction of a diverging DPO solves its quadratic program: feasible, and s = Gᵀλ, λ ≥ 0.

    Over the strong components as vertices, with λ from non-negative least squares on tight edges.
    """
    solution = pq.solve_dpo(bandit, pairs)
    assert solution.status is pq.Status.DIVERGES
    strong = pairs.strong_components(bandit)
    component = pairs.components(bandit)
    rows = []
    for w, lo, odds, _ in labels_of(pairs):
        up, down = (w, lo) if odds > 0 else (lo, w)
        if strong[w] != strong[lo]:
            row = np.zeros(bandit.K)
            for end, sign in ((up, 1.0), (down, -1.0)):
                members = strong == strong[end]
                row[members] += sign / members.sum()
            rows.append(row)
    edges = np.unique(rows, axis=0)
    s = solution.direction
    for part in np.unique(strong):
        assert np.ptp(s[strong == part]) <= 1e-12
    gaps = edges @ s
    assert gaps.min() >= 1 - 1e-9
    tight = edges[gaps <= 1 + 1e-7]
    _, distance = nnls(tight.T, s, maxiter=10_000)
    assert distance <= 1e-8 * max(1.0, float(np.linalg.norm(s)))
    assert solution.residual <= TOLERANCE
    members = list(solution.component)
    assert np.array_equal(np.flatnonzero(component == component[members[0]]), members)
    assert np.unique(strong[members]).size > 1


def constraints_of(pairs: pq.Preferences, margin: np.ndarray) -> list[oracle.Pair]:
    """Return the distinct constraints of the present pairs, the largest margin of each."""
    largest: dict[tuple[int, int], float] = {}
    margin = np.broadcast_to(margin, pairs.winner.shape)
    for w, lo, m, on in zip(pairs.winner, pairs.loser, margin, pairs.present, strict=True):
        if on:
            largest[int(w), int(lo)] = max(float(m), largest.get((int(w), int(lo)), -np.inf))
    return [oracle.Pair(w, lo, m) for (w, lo), m in largest.items()]


def cpo(bandit: pq.Bandit, pairs: pq.Preferences, margin: object = 0.0) -> float:
    """Constrained PO equals the brute-force optimum over all active sets; return its error."""
    solution = pq.solve_cpo(bandit, pairs, margin=margin)
    target = pq.solve_rlhf(bandit).logp
    truth = oracle.cpo(target, constraints_of(pairs, np.asarray(margin)))
    size = nats_of(solution.logp, bandit.tilt)
    error = error_of(solution.logp, truth) / size
    assert solution.status is pq.Status.OPTIMAL, solution
    assert solution.residual <= TOLERANCE
    assert error <= 1e-11, error
    return error


def residual_small(solution: pq.Solution) -> None:
    assert solution.residual <= TOLERANCE
    assert solution.status in (pq.Status.OPTIMAL, pq.Status.NOT_UNIQUE)


def assert_red(check: Callable[[], object]) -> None:
    """Fail unless the check fails: by an assertion, or by refusing what it was given."""
    with pytest.raises((AssertionError, ValueError, np.linalg.LinAlgError, RuntimeWarning)):
        check()
