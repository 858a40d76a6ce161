"""π*, J and the scale of residuals, once for rows (..., K) and for lanes (K, n): `axis` says which.

`reward`, `ref_logp` and `logp` have the responses along `axis`, β is without it; off-support −inf.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from prefeq._namespace import quiet
from prefeq.arrays import log_normalise


@quiet
def tilt(xp: Any, reward: Any, ref_logp: Any, beta: Any, axis: int) -> Any:
    """Return (r − max r)/β, the maximum over the support; −inf off it."""
    on = ref_logp > -np.inf
    if not bool(xp.all(on)):
        reward = xp.where(on, reward, xp.full_like(reward, -np.inf))
    return (reward - xp.max(reward, axis=axis, keepdims=True)) / _wide(xp, beta, axis)


def log_target(xp: Any, reward: Any, ref_logp: Any, beta: Any, axis: int) -> Any:
    """Return log π*, which is log π_ref + r/β normalised."""
    return log_normalise(ref_logp + tilt(xp, reward, ref_logp, beta, axis), axis)


@quiet
def objective(xp: Any, reward: Any, ref_logp: Any, beta: Any, logp: Any, axis: int) -> Any:
    """Return J(π) = E_π[r] − β KL(π‖π_ref) of a policy inside the support."""
    share, leash = xp.exp(logp), logp - ref_logp
    on = logp > -np.inf
    if not bool(xp.all(on)):
        leash = xp.where(on, leash, xp.zeros_like(leash))
    return xp.sum(share * reward, axis=axis) - beta * xp.sum(share * leash, axis=axis)


@quiet
def nat_scale(xp: Any, reward: Any, ref_logp: Any, beta: Any, logp: Any, axis: int) -> Any:
    """Return max(1, |log π|, |r/β|) over the support: what residuals are relative to."""
    # neither log π nor (r − max r)/β is ever positive
    least = xp.minimum(logp, tilt(xp, reward, ref_logp, beta, axis))
    on = (ref_logp > -np.inf) & (logp > -np.inf)
    if not bool(xp.all(on)):
        least = xp.where(on, least, xp.zeros_like(least))
    least = xp.min(least, axis=axis)
    return xp.maximum(-least, xp.ones_like(least))


def _wide(xp: Any, beta: Any, axis: int) -> Any:
    """Return β with an axis for the responses; a number as it is."""
    return xp.expand_dims(beta, axis=axis) if getattr(beta, "shape", ()) else beta
