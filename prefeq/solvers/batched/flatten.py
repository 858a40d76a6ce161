"""Problems as rows: every batch, whatever its leading axes, as arrays of shape (B, K) or (B,)."""

from __future__ import annotations

from typing import Any

from prefeq._namespace import namespace
from prefeq.bandit import Bandit
from prefeq.lanes import device_of
from prefeq.preferences import Preferences


def bandit_rows(bandit: Bandit) -> dict[str, Any]:
    """Return reward and ref_logp (B, K) and beta (B,); a single prompt is a batch of one."""
    xp, device = bandit.xp, device_of(bandit.reward)
    beta = xp.asarray(bandit.beta, dtype=xp.float64, device=device)
    shape = (-1, bandit.K)
    return {
        "reward": xp.reshape(bandit.reward, shape),
        "ref_logp": xp.reshape(bandit.ref_logp, shape),
        "beta": xp.reshape(beta, (-1,)),
    }


def pair_rows(preferences: Preferences, lead: tuple[int, ...], *names: str) -> dict[str, Any]:
    """Return the named arrays of pairs as (B, P), for a bandit of batch shape `lead`."""
    return {name: rows_of(getattr(preferences, name), lead) for name in names}


def rows_of(array: Any, lead: tuple[int, ...]) -> Any:
    """Return an array (..., P) that broadcasts to `lead` as (B, P).

    For no pairs at all one of zeros, which as a pair has no mass and is absent: P > 0 in lanes.
    """
    xp = namespace(array)
    if not array.shape[-1]:
        array = xp.zeros((*array.shape[:-1], 1), dtype=array.dtype, device=device_of(array))
    wide = xp.broadcast_to(array, (*lead, array.shape[-1]))
    return wide if len(lead) == 1 else xp.reshape(wide, (-1, array.shape[-1]))
