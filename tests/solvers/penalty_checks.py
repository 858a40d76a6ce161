"""Checks of the penalty solver on one problem each; the planted-bug tests expect them to go red."""

from __future__ import annotations

import mpmath as mp
import numpy as np
from solvers import penalty_oracle as oracle

import prefeq as pq
from prefeq.solvers import PenaltyBranch, penalty_branch, stationary_points

Problem = tuple[pq.Bandit, pq.Preferences]


def problem(
    rng: np.random.Generator,
    *,
    k: int | None = None,
    nats: float = 2.0,
    decades: float = 1.0,
    ties: bool = False,
) -> Problem:
    """Return a problem with some net degree that is not zero; masses over two decades."""
    while True:
        n = int(rng.integers(2, 7)) if k is None else k
        reward, ref = rng.normal(0, nats, n), rng.normal(0, nats, n)
        beta, count = 10.0 ** rng.uniform(-decades, decades), int(rng.integers(1, 7))
        winner = rng.integers(0, n, count)
        loser = (winner + rng.integers(1, n, count)) % n
        mass = 10.0 ** rng.uniform(-1, 1, count)
        if ties:
            reward, ref, mass = np.round(reward / nats), np.zeros(n), np.ones(count)
        pairs = pq.Preferences(winner, loser, mass=mass)
        bandit = pq.Bandit(beta * reward, ref, beta)
        if np.any(pq.solvers.net_degree(bandit, pairs)):
            return bandit, pairs


def nats_of(bandit: pq.Bandit, branch: PenaltyBranch) -> float:
    """Return the size that errors in nats are relative to."""
    on = bandit.support
    best = pq.solve_rlhf(bandit).logp[on]
    return max(1.0, abs(branch.log_fold_gamma), *np.abs(best), *np.abs(branch.fold_logp[on]))


def fold(bandit: pq.Bandit, pairs: pq.Preferences) -> float:
    """The fold agrees with 50 digits; return the error of log γ relative to the size in nats."""
    branch = penalty_branch(bandit, pairs, points=2)
    raw = oracle.Raw.of(bandit, pairs)
    on = bandit.support
    log_gamma, logp = oracle.fold(raw, branch.log_fold_gamma, branch.fold_logp[on])
    size = nats_of(bandit, branch)
    error = float(abs(log_gamma - mp.mpf(branch.log_fold_gamma))) / size
    assert error <= 1e-13, error
    for found, true in zip(branch.fold_logp[on], logp, strict=True):
        assert abs(mp.mpf(float(found)) - true) <= 1e-12 * size
    return error


def local_maximum(bandit: pq.Bandit, pairs: pq.Preferences, share: float) -> float:
    """At `share` of the fold the answer is a local maximum, to 50 digits; return its error."""
    branch = penalty_branch(bandit, pairs, points=2)
    gamma = branch.fold_gamma * share
    found = pq.solve_penalty(bandit, pairs, gamma)
    assert found.status is pq.Status.UNBOUNDED
    assert found.residual <= 1e-12
    assert found.logp is not None
    raw, on = oracle.Raw.of(bandit, pairs), bandit.support
    assert oracle.residual(raw, gamma, found.logp[on]) <= 1e-11 * nats_of(bandit, branch)
    truth = oracle.polish(raw, gamma, found.logp[on])
    size = nats_of(bandit, branch)
    error = max(
        float(abs(mp.mpf(float(x)) - t)) for x, t in zip(found.logp[on], truth, strict=True)
    )
    assert error <= 1e-11 * size, error
    return error / size


def on_the_branch(bandit: pq.Bandit, pairs: pq.Preferences, share: float) -> None:
    """The answer is where the branch leads that starts at π* and follows rising γ."""
    gamma = penalty_branch(bandit, pairs, points=2).fold_gamma * share
    raw = oracle.Raw.of(bandit, pairs)
    found = pq.solve_penalty(bandit, pairs, gamma).logp
    assert np.max(np.abs(found - oracle.follow(raw, gamma))) <= 1e-6
    assert oracle.is_local_maximum(raw, gamma, found)


def complete(
    bandit: pq.Bandit, pairs: pq.Preferences, share: float, rng: np.random.Generator
) -> int:
    """No stationary point of a multi-start search is missing, each is one; return their number."""
    gamma = penalty_branch(bandit, pairs, points=2).fold_gamma * share
    raw = oracle.Raw.of(bandit, pairs)
    points = stationary_points(bandit, pairs, gamma)
    for point in points:
        assert point.residual <= 1e-12
        assert oracle.residual(raw, gamma, point.logp) <= 1e-9
        assert point.is_local_maximum == oracle.is_local_maximum(raw, gamma, point.logp)
        pull = bandit.beta * gamma * raw.floats[1] * np.exp(-point.logp)
        kappa = bandit.beta * (point.logp - raw.floats[0]) - pull
        np.testing.assert_allclose(kappa, point.kappa, atol=1e-9 * bandit.beta, rtol=1e-9)
    for logp in oracle.multi_start(raw, gamma, rng, 40):
        assert any(np.max(np.abs(logp - p.logp)) <= 1e-5 for p in points), logp
    for i, one in enumerate(points):
        assert all(np.max(np.abs(one.logp - other.logp)) > 1e-9 for other in points[:i])
    return len(points)


def rising(bandit: pq.Bandit, pairs: pq.Preferences, gamma: float, steps: int = 12) -> None:
    """Along `direction` in log-odds space the objective passes every bound."""
    found = pq.solve_penalty(bandit, pairs, gamma)
    assert found.status is pq.Status.UNBOUNDED
    best = pq.solve_rlhf(bandit).logp
    far = 2.0 ** np.arange(steps) * 600.0
    on = bandit.support
    logits = best[on] + far[:, None] * found.direction[on]
    rows = np.full((steps, bandit.K), -np.inf)
    rows[:, on] = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
    value = pq.solvers.penalty_value(bandit, pairs, gamma, rows)
    assert np.all(np.diff(value) > 0)
    # γ|d| a nat in the end, as J stays bounded
    (sinking,) = found.component
    degree = pq.solvers.net_degree(bandit, pairs)[sinking]
    assert degree < 0
    rate = np.diff(value)[-3:] / np.diff(far)[-3:]
    np.testing.assert_allclose(rate, -gamma * degree, rtol=1e-6)
