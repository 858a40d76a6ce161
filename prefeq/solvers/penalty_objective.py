"""The penalty objective F(π) = J(π) + γ Σ m δ of arXiv:2605.20834, Eq. 10, and its net degrees."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from prefeq.arrays import FloatArray, as_float, logsumexp, refuse
from prefeq.bandit import Bandit
from prefeq.errors import ProblemError
from prefeq.preferences import Preferences
from prefeq.solvers.batch import check_types
from prefeq.solvers.penalty_curve import EPS
from prefeq.solvers.rlhf import objective


def penalty_value(bandit: Bandit, preferences: Preferences, gamma: Any, logp: Any) -> FloatArray:
    """Return F(π) = J(π) + γ Σ m δ of a log-policy, shape ``(...)``, in reward units.

    As Σ m δ = Σ d_y log π(y), a response of zero net degree may have probability zero; −inf on one
    with d_y < 0 gives +inf, on one with d_y > 0 −inf.

    Parameters
    ----------
    logp
        log π in nats, ``(..., K)``, normalised, -inf off the support; leading axes broadcast, so
        that a path of policies of one prompt is ``(T, K)``.

    Raises
    ------
    ProblemError
        A policy that is not normalised or puts mass off the support, or opposite infinities.

    Examples
    --------
    >>> import prefeq as pq
    >>> bandit = pq.Bandit.from_probs(reward=[0, 1], ref=[0.5, 0.5], beta=1.0)
    >>> prefs = pq.Preferences([0], [1])
    >>> path = [[-0.5**30, -20.8], [0.0, -200.0], [0.0, -2000.0]]
    >>> penalty_value(bandit, prefs, 0.1, path).round(3).tolist()
    [1.387, 19.307, 199.307]
    """
    check_types(bandit, preferences)
    gamma = strengths(gamma, bandit)
    logp = as_float("logp", logp)
    if logp.ndim == 0 or logp.shape[-1] != bandit.K:
        raise ProblemError(f"shape mismatch: logp is {logp.shape}, the bandit has K = {bandit.K}")
    refuse("logp", logp, np.isnan(logp), "not a number")
    total = logsumexp(logp)
    refuse("logp row", total, ~(np.abs(total) <= 1e-6), "log of the sum of π: normalise it")
    try:
        wide = np.broadcast_to(logp, np.broadcast_shapes(logp.shape, bandit.ref_logp.shape))
    except ValueError as error:
        shapes = f"logp is {logp.shape}, the bandit {bandit.ref_logp.shape}"
        raise ProblemError(f"shape mismatch: {shapes}") from error
    off = np.isfinite(wide) & ~bandit.support
    refuse("logp", wide, off, "puts mass off the support of the reference; -inf there")
    degree = net_degree(bandit, preferences)
    weight = np.max(np.abs(degree), axis=-1, keepdims=True)
    share = np.divide(degree, weight, out=np.zeros_like(degree), where=weight > 0)
    share = np.where(np.asarray(gamma)[..., None] > 0, share, 0.0)
    # Σ d = 0: from the top down nothing large cancels
    depth = np.where(share == 0, 0.0, wide - np.max(wide, axis=-1, keepdims=True))
    pull = share * depth
    opposed = np.any(pull == np.inf, axis=-1) & np.any(pull == -np.inf, axis=-1)
    if np.any(opposed):
        where = [int(i) for i in np.argwhere(opposed)[0]]
        raise ProblemError(f"logp row {where}: its margins are ∞ − ∞; give it full support")
    rise = np.sum(pull, axis=-1)
    with np.errstate(over="ignore"):
        strength = np.asarray(gamma * weight[..., 0])
        penalty = np.where(rise == 0, 0.0, strength) * rise
        return np.asarray(objective(bandit, wide) + penalty)[()]


def net_degree(bandit: Bandit, preferences: Preferences) -> FloatArray:
    """Return d_y = (mass with y as winner) − (mass with y as loser), shape ``(..., K)``.

    Summed exactly; 0 where it is within the rounding of the masses, 2.2e-16 times their sum.

    Examples
    --------
    >>> import prefeq as pq
    >>> bandit = pq.Bandit([0, 0, 0], [0, 0, 0], beta=1.0)
    >>> net_degree(bandit, pq.Preferences([0, 1, 1], [1, 2, 0], mass=[3, 1, 1])).tolist()
    [2.0, -1.0, -1.0]
    """
    check_types(bandit, preferences)
    preferences.check(bandit)
    lead = bandit.batch_shape
    degree = np.zeros((*lead, bandit.K))
    for index in np.ndindex(lead):
        pairs = preferences.at(index, lead) if lead else preferences
        degree[index] = degrees_of(bandit.K, pairs)
    return degree


def degrees_of(k: int, pairs: Preferences) -> list[float]:
    """Return the net degrees of the k responses of one prompt."""
    met: list[list[float]] = [[] for _ in range(k)]
    for w, lo, m in zip(
        pairs.winner.tolist(), pairs.loser.tolist(), pairs.mass.tolist(), strict=True
    ):
        if m > 0:
            met[w].append(m)
            met[lo].append(-m)
    exact = [math.fsum(masses) for masses in met]
    clean = [
        d if abs(d) > EPS * math.fsum(map(abs, masses)) else 0.0
        for d, masses in zip(exact, met, strict=True)
    ]
    # rounding may not take the last negative degree away from positive ones
    return clean if min(clean) < 0 or max(clean) <= 0 else exact


def strengths(gamma: Any, bandit: Bandit) -> FloatArray:
    """Return γ ≥ 0 broadcast to the prompts of a bandit."""
    array = as_float("gamma", gamma)
    refuse("gamma", array, ~(np.isfinite(array) & (array >= 0)), "must be finite and >= 0")
    try:
        return np.broadcast_to(array, bandit.batch_shape)
    except ValueError as error:
        raise ProblemError(
            f"shape mismatch: gamma has shape {array.shape}, the batch {bandit.batch_shape}; "
            "pass a scalar or one per prompt"
        ) from error
