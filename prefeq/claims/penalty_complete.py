"""Is every stationary point of Eq. 10 among those that the solver returns? Newton looks for others.

"Every stationary point" means little of a list that lacks some. So Newton's method, which knows
nothing of sheets, starts from policies near π*, from ones with some losing responses sunk, and from
random ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, combinations
from typing import Any

import numpy as np

from prefeq import bandit as bandits
from prefeq import preferences, solvers
from prefeq.arrays import FloatArray, log_normalise
from prefeq.claims import penalty_samples, recheck, samples
from prefeq.claims.evidence import Evidence

SAME = 1e-6
"""Log-policies no further apart than this are one stationary point."""

_RANDOM = 16
_STEPS = 60


def complete() -> Evidence:
    """Re-check that nothing is missing: on disjoint pairs, on any acyclic order, and on four."""
    problems = chain(penalty_samples.disjoint(5), samples.acyclic(6))
    return recheck.rechecked(
        "no start of Newton's method leads to a stationary point that the solver lacks",
        chain(_four(), _all_found(problems)),
    )


def _four() -> Iterator[recheck.Comparison]:
    """Two disjoint pairs, four equal references, small γ: each loser is sunk or not, 4 points."""
    bandit = bandits.Bandit(np.zeros(4), np.zeros(4), 1.0)
    prefs = preferences.Preferences(np.array([0, 2]), np.array([1, 3]))
    found = solvers.stationary_points(bandit, prefs, 0.02)
    yield "two pairs of four equal responses: 4 points", len(found) == 4
    yield "one of them a maximum", sum(point.is_local_maximum for point in found) == 1
    yield "Newton finds these 4", len(newton(bandit, prefs, 0.02)) == 4


def _all_found(problems: Iterator[samples.Problem]) -> Iterator[recheck.Comparison]:
    for i, (bandit, prefs) in enumerate(problems):
        fold = solvers.penalty_branch(bandit, prefs, gammas=[0.0]).fold_gamma
        top = 2.0 * float(bandit.beta) if np.isinf(fold) else fold
        for share in (0.1, 0.5, 0.9, 1.2):
            gamma = share * top
            found = solvers.stationary_points(bandit, prefs, gamma)
            name = f"problem {i}, gamma = {gamma:.4g}"
            kinds = [point.is_local_maximum for point in found]
            yield f"{name}: a maximum below the fold", share > 1 or any(kinds)
            near = [
                any(np.max(np.abs(row - point.logp)) <= SAME for point in found)
                for row in newton(bandit, prefs, gamma)
            ]
            yield f"{name}: none missing", all(near)
            yield f"{name}: some", share > 1 or bool(near)
            yield f"{name}: kappa", all(_kappa(bandit, prefs, gamma, point) for point in found)


def newton(
    bandit: bandits.Bandit, prefs: preferences.Preferences, gamma: float
) -> list[FloatArray]:
    """Return the stationary log-policies that Newton's method finds, each once."""
    beta = float(bandit.beta)
    best = log_normalise(bandit.ref_logp + bandit.reward / beta)
    pull = gamma * _degrees(prefs, bandit.K)
    x, size = _starts(best, pull / beta), bandit.K
    kappa = np.zeros(len(x))
    for _ in range(_STEPS):
        push = pull * np.exp(-x)
        system = np.zeros((len(x), size + 1, size + 1))
        system[:, range(size), range(size)] = beta + push
        system[:, :size, size] = -1.0
        system[:, size, :size] = np.exp(x)
        wrong = _violation(x, kappa, best, pull, beta)
        move = np.linalg.solve(system, -wrong[..., None])[..., 0]
        move /= np.maximum(1.0, np.max(np.abs(move[:, :size]), axis=1, keepdims=True))
        x, kappa = np.clip(x + move[:, :size], -80.0, 2.0), kappa + move[:, size]
    wrong = np.max(np.abs(_violation(x, kappa, best, pull, beta)), axis=1)
    scale = beta * (1.0 + np.max(np.abs(x), axis=1)) + np.max(np.abs(pull) * np.exp(-x), axis=1)
    found: list[FloatArray] = []
    for row in x[wrong <= 1e-11 * scale]:
        if all(np.max(np.abs(row - other)) > SAME for other in found):
            found.append(row)
    return found


def _violation(x: Any, kappa: Any, best: Any, pull: Any, beta: float) -> Any:
    """Return β(log π − log π*) − c/π − κ of every response, and Σ π − 1."""
    slopes = beta * (x - best) - pull * np.exp(-x) - kappa[:, None]
    return np.column_stack([slopes, np.sum(np.exp(x), axis=1) - 1.0])


def _starts(best: FloatArray, pull: FloatArray) -> FloatArray:
    rng = np.random.default_rng(samples.SEED)
    losers = np.flatnonzero(pull < 0)
    rows = [log_normalise(row) for row in rng.normal(0.0, 3.0, (_RANDOM, best.size))]
    for count in range(losers.size + 1):
        for sunk in combinations(losers, count):
            for depth in (0.5, 2.0, 4.0):
                row = best.copy()
                row[list(sunk)] = np.log(-pull[list(sunk)]) - depth
                rows.append(log_normalise(row))
    return np.array(rows)


def _kappa(
    bandit: bandits.Bandit,
    prefs: preferences.Preferences,
    gamma: float,
    point: solvers.StationaryPoint,
) -> bool:
    """Whether β log(π/π*) − γd/π is the point's κ at every response."""
    best = log_normalise(bandit.ref_logp + bandit.reward / float(bandit.beta))
    push = gamma * _degrees(prefs, bandit.K) * np.exp(-point.logp)
    kappas = float(bandit.beta) * (point.logp - best) - push
    size = float(bandit.beta) * (1.0 + np.max(np.abs(point.logp - best))) + np.max(np.abs(push))
    return bool(np.all(np.abs(kappas - point.kappa) <= 1e-8 * size))


def _degrees(prefs: preferences.Preferences, size: int) -> FloatArray:
    """Return the net degrees, one pair at a time."""
    degree = np.zeros(size)
    for winner, loser, mass in zip(prefs.winner, prefs.loser, prefs.mass, strict=True):
        degree[winner] += mass
        degree[loser] -= mass
    return degree
