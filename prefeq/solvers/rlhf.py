"""RLHF in closed form: the maximiser of E_π[r] − β KL(π‖π_ref)."""

from __future__ import annotations

import numpy as np

from prefeq.arrays import FloatArray, log_normalise, logsumexp
from prefeq.bandit import Bandit
from prefeq.errors import ProblemError
from prefeq.solution import Solution, Status


def solve_rlhf(bandit: Bandit, *, throw: bool | None = None) -> Solution:
    """Solve max_π E_π[r] − β KL(π‖π_ref): π* ∝ π_ref e^{r/β} (arXiv:2605.20834, section 2).

    In log space throughout, so that |r/β| and |log π_ref| of hundreds of nats are ordinary. `throw`
    is accepted for symmetry with the other solvers: this problem always has one solution.

    Returns
    -------
    Solution
        ``status`` optimal; ``value`` J(π*) = β log Σ π_ref e^{r/β}; ``residual`` the spread over
        the support of r/β + log π_ref − log π, and the error of Σ π = 1.

    Examples
    --------
    >>> import numpy as np, prefeq as pq
    >>> bandit = pq.Bandit.from_probs(reward=[1, 0], ref=[0.1, 0.9], beta=0.5)
    >>> solution = pq.solve_rlhf(bandit)
    >>> np.exp(solution.logp).round(6).tolist(), round(float(solution.value), 6)
    ([0.450853, 0.549147], 0.247014)
    """
    del throw
    if not isinstance(bandit, Bandit):
        raise ProblemError(f"bandit is a {type(bandit).__name__}: pass a prefeq.Bandit")
    logp = rlhf_logp(bandit)
    status = np.full(bandit.batch_shape, Status.OPTIMAL, dtype=object)
    # β log Z = max r + β log Σ π_ref e^{(r − max r)/β}: no difference of large numbers
    top = np.max(np.where(bandit.support, bandit.reward, -np.inf), axis=-1)
    value = top + np.asarray(bandit.beta) * logsumexp(bandit.ref_logp + bandit.tilt)
    route = np.full(bandit.batch_shape, "closed form", dtype=object)
    return Solution(
        logp=logp,
        value=value if bandit.batch_shape else float(value),
        status=status if bandit.batch_shape else Status.OPTIMAL,
        residual=_residual(bandit, logp) if bandit.batch_shape else float(_residual(bandit, logp)),
        route=route if bandit.batch_shape else "closed form",
    )


def rlhf_logp(bandit: Bandit) -> FloatArray:
    """Return log π* of shape ``(..., K)``."""
    return log_normalise(bandit.ref_logp + bandit.tilt)


def objective(bandit: Bandit, logp: FloatArray) -> FloatArray:
    """Return J(π) = E_π[r] − β KL(π‖π_ref) of a log-policy inside the support, shape ``(...)``."""
    on = np.isfinite(logp)
    share = np.where(on, np.exp(logp), 0.0)
    leash = np.where(on, logp, 0.0) - np.where(on, bandit.ref_logp, 0.0)
    beta = np.asarray(bandit.beta)
    return np.asarray(
        np.sum(share * bandit.reward, axis=-1) - beta * np.sum(share * leash, axis=-1)
    )


def nat_scale(bandit: Bandit, logp: FloatArray) -> FloatArray:
    """Return max(1, |log π|, |r/β|) over the support: what residuals are relative to."""
    on = bandit.support & np.isfinite(logp)
    size = np.maximum(np.abs(np.where(on, logp, 0.0)), np.abs(np.where(on, bandit.tilt, 0.0)))
    return np.asarray(np.maximum(1.0, np.max(size, axis=-1)))


def _residual(bandit: Bandit, logp: FloatArray) -> FloatArray:
    on = bandit.support
    tilted = np.where(on, bandit.ref_logp, 0.0) + np.where(on, bandit.tilt, 0.0)
    gap = tilted - np.where(on, logp, 0.0)
    spread = np.max(np.where(on, gap, -np.inf), axis=-1) - np.min(
        np.where(on, gap, np.inf), axis=-1
    )
    return np.asarray(np.maximum(spread, np.abs(logsumexp(logp))) / nat_scale(bandit, logp))
