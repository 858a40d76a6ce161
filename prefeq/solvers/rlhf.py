"""RLHF in closed form: the maximiser of E_π[r] − β KL(π‖π_ref)."""

from __future__ import annotations

from typing import Any

import numpy as np

from prefeq._namespace import namespace, quiet
from prefeq.arrays import log_normalise, logsumexp, to_numpy
from prefeq.bandit import Bandit
from prefeq.chunks import map_lanes
from prefeq.errors import ProblemError
from prefeq.solution import Solution, Status, choose, constant
from prefeq.solvers import policies
from prefeq.solvers.batched.flatten import bandit_rows


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
    lead = bandit.batch_shape
    if not lead:
        return _solve_one(bandit)
    found = map_lanes(_solve_lanes, bandit_rows(bandit), 8 * bandit.K)
    solved = to_numpy(found["residual"] <= TOLERANCE)
    status = constant(Status.OPTIMAL, lead)
    if not solved.all():  # no input is known that does this
        status = choose(solved.reshape(lead), Status.OPTIMAL, Status.ITERATION_LIMIT)
    logp = bandit.xp.reshape(found["logp"], (*lead, bandit.K))
    value, worst = (bandit.xp.reshape(found[name], lead) for name in ("value", "residual"))
    return Solution(logp, value, status, worst, route=constant(_ROUTE, lead))


def _solve_one(bandit: Bandit) -> Solution:
    """Solve a single prompt: what `_solve_lanes` does, without the chunks."""
    xp, on = bandit.xp, bandit.support
    logp = rlhf_logp(bandit)
    # β log Z = max r + β log Σ π_ref e^{(r − max r)/β}: no difference of large numbers
    top = xp.max(xp.where(on, bandit.reward, xp.full_like(bandit.reward, -np.inf)))
    tilted = bandit.ref_logp + bandit.tilt
    value = float(top + bandit.beta * logsumexp(tilted))
    columns = (on[:, None], tilted[:, None], bandit.tilt[:, None], logp[:, None])
    worst = float(residual(xp, *columns)[0])
    status = Status.OPTIMAL if worst <= TOLERANCE else Status.ITERATION_LIMIT
    return Solution(logp, value, status, worst, route=_ROUTE)


TOLERANCE = 1e-9
"""Largest residual that is called optimal."""

_ROUTE = "closed form"


@quiet
def _solve_lanes(reward: Any, ref_logp: Any, beta: Any) -> dict[str, Any]:
    """Return log π* (K, n), J(π*) (n,) and the residual (n,) of lanes.

    J(π*) = max r + β log Σ π_ref e^{(r − max r)/β}: no difference of large numbers.
    """
    xp = namespace(reward)
    minus_inf = xp.full_like(reward[0, ...], -np.inf)
    ragged = not bool(xp.all(ref_logp > minus_inf))
    on = ref_logp > minus_inf if ragged else None
    best = xp.max(_on(xp, on, reward, -np.inf), axis=0)
    tilt = (reward - best) / beta
    tilted = ref_logp + tilt
    top = xp.max(tilted, axis=0)
    centred = tilted - top
    log_sum = xp.log(xp.sum(xp.exp(centred), axis=0))
    logp = centred - log_sum
    value = best + beta * (top + log_sum)
    worst = residual(xp, on, tilted, tilt, logp)
    return {"logp": logp, "value": value, "residual": worst}


@quiet
def residual(xp: Any, on: Any, tilted: Any, tilt: Any, logp: Any) -> Any:
    """Return the spread of log π_ref + r/β − log π over the support, or |log Σ π|, of lanes."""
    gap = tilted - logp if on is None else xp.where(on, tilted, logp) - logp
    spread = xp.max(_on(xp, on, gap, -np.inf), axis=0) - xp.min(_on(xp, on, gap, np.inf), axis=0)
    total = xp.abs(xp.log(xp.sum(xp.exp(logp), axis=0)))
    # |log π| and |(r − max r)/β| are largest where these, not positive, are least
    least = xp.min(xp.minimum(_on(xp, on, logp, 0.0), _on(xp, on, tilt, 0.0)), axis=0)
    return xp.maximum(spread, total) / xp.maximum(-least, xp.ones_like(least))


def _on(xp: Any, on: Any, values: Any, fill: float) -> Any:
    """Return values on the support and `fill` off it; `on` is None where all are on it."""
    return values if on is None else xp.where(on, values, xp.full_like(values, fill))


def rlhf_logp(bandit: Bandit) -> Any:
    """Return log π* of shape ``(..., K)``."""
    return log_normalise(bandit.ref_logp + bandit.tilt)


def objective(bandit: Bandit, logp: Any) -> Any:
    """Return J(π) = E_π[r] − β KL(π‖π_ref) of a log-policy inside the support, shape ``(...)``."""
    return policies.objective(bandit.xp, bandit.reward, bandit.ref_logp, bandit.beta, logp, -1)


def nat_scale(bandit: Bandit, logp: Any) -> Any:
    """Return max(1, |log π|, |r/β|) over the support: what residuals are relative to."""
    return policies.nat_scale(bandit.xp, bandit.reward, bandit.ref_logp, bandit.beta, logp, -1)
