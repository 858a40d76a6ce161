"""The RLHF policy, J and the scale of residuals, of lanes: (K, n) in, off-support −inf."""

from __future__ import annotations

from typing import Any

import numpy as np


def tilted(xp: Any, reward: Any, ref_logp: Any, beta: Any) -> Any:
    """Return log π_ref + (r − max r)/β, the maximum over the support."""
    return ref_logp + _tilt(xp, reward, ref_logp, beta)


def log_target(xp: Any, reward: Any, ref_logp: Any, beta: Any) -> Any:
    """Return log π*."""
    return log_normalise_lanes(xp, tilted(xp, reward, ref_logp, beta))


def log_normalise_lanes(xp: Any, logits: Any) -> Any:
    """Return logits − logsumexp, in two steps so that large shifts cancel."""
    centred = logits - xp.max(logits, axis=0)
    return centred - xp.log(xp.sum(xp.exp(centred), axis=0))


def log_total(xp: Any, logp: Any) -> Any:
    """Return log Σ π, which is 0."""
    return xp.log(xp.sum(xp.exp(logp), axis=0))


def objective_lanes(xp: Any, reward: Any, ref_logp: Any, beta: Any, logp: Any) -> Any:
    """Return J(π) = E_π[r] − β KL(π‖π_ref)."""
    leash = logp - ref_logp
    on = logp > -np.inf
    if not bool(xp.all(on)):
        leash = xp.where(on, leash, xp.zeros_like(leash))
    share = xp.exp(logp)
    return xp.sum(share * reward, axis=0) - beta * xp.sum(share * leash, axis=0)


def nat_scale_lanes(xp: Any, reward: Any, ref_logp: Any, beta: Any, logp: Any) -> Any:
    """Return max(1, |log π|, |r/β|) over the support: what residuals are relative to."""
    least = xp.minimum(logp, _tilt(xp, reward, ref_logp, beta))  # neither is ever positive
    on = ref_logp > -np.inf
    if not bool(xp.all(on)):
        least = xp.where(on, least, xp.zeros_like(least))
    least = xp.min(least, axis=0)
    return xp.maximum(-least, xp.ones_like(least))


def _tilt(xp: Any, reward: Any, ref_logp: Any, beta: Any) -> Any:
    on = ref_logp > -np.inf
    if not bool(xp.all(on)):
        reward = xp.where(on, reward, xp.full_like(reward, -np.inf))
    return (reward - xp.max(reward, axis=0)) / beta
