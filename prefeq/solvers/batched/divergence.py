"""Where DPO diverges to, in lanes: the max-margin direction, and which component proves it."""

from __future__ import annotations

from typing import Any

import numpy as np

from prefeq.lanes import flat_index, pick, select
from prefeq.solvers.batched import constrained


def diverge(
    xp: Any,
    columns: dict[str, Any],
    fit: Any,
    ref_logp: Any,
    beta: Any,
    winner: Any,
    loser: Any,
    log_odds: Any,
    present: Any,
) -> None:
    """Correct the columns of lanes without a minimiser, and add those that only they have.

    The direction is argmin ‖s‖² with s constant on strong components and s_w − s_l ≥ 1 between
    them (Soudry et al. 2018; Ji & Telgarsky 2019): weighted least squares on the components.
    """
    where = xp.nonzero(~columns["finite"])[0]
    part, error = select(fit.strong, where), select(fit.error, where)
    pairs = (select(a, where) for a in (winner, loser, log_odds, present))
    direction, violation, done = _directions(xp, part, *pairs)
    on = part >= 0
    finite = select(ref_logp, where) + select(fit.s, where) / select(beta, where)
    minus_inf = xp.full_like(finite, -np.inf)
    size = xp.max(xp.where(on, xp.abs(finite), xp.zeros_like(finite)), axis=0)
    blur = error / select(beta, where) / xp.maximum(size, xp.ones_like(size))
    residual = xp.maximum(violation, blur)
    new = {
        "logp": minus_inf,
        "value": minus_inf[0, ...],
        "residual": residual,
        "direction": direction,
        "limit": xp.where(on, finite, minus_inf),
        "limit_part": xp.astype(part, xp.float64),
        "mixed": _first_mixed(xp, select(fit.component, where), part),
        "done": done & select(fit.done, where),
    }
    for name, value in new.items():
        if name not in columns:
            columns[name] = xp.zeros(
                (*value.shape[:-1], beta.shape[0]), dtype=value.dtype, device=beta.device
            )
        columns[name][..., where] = value


def _directions(
    xp: Any, part: Any, winner: Any, loser: Any, log_odds: Any, present: Any
) -> tuple[Any, Any, Any]:
    """Return the direction (K, n), its certificate's violation (n,) and whether it is done."""
    up = log_odds > 0
    high = pick(xp, part, flat_index(xp, xp.where(up, winner, loser)))
    low = pick(xp, part, flat_index(xp, xp.where(up, loser, winner)))
    crossing = present & (high != low)
    zero = xp.zeros_like(high)
    high, low = xp.where(crossing, high, zero), xp.where(crossing, low, zero)
    size = xp.zeros(part.shape, dtype=xp.float64, device=part.device)
    for label in range(part.shape[0]):
        size[label, ...] = xp.sum(xp.astype(part == label, xp.float64), axis=0)
    target = xp.where(size > 0, xp.zeros_like(size), xp.full_like(size, -np.inf))
    margin = xp.ones(high.shape, dtype=xp.float64, device=part.device)
    answer = constrained.solve_lanes(
        xp, target, high, low, margin, crossing, log_weight=xp.log(size), tilt=0.0, centre=0.0
    )
    on = part >= 0
    speed = pick(xp, answer.logp, flat_index(xp, xp.where(on, part, xp.zeros_like(part))))
    return xp.where(on, speed, xp.zeros_like(speed)), answer.violation, answer.done


def _first_mixed(xp: Any, component: Any, part: Any) -> Any:
    """Mark, (K, n), the first component that is not strongly connected."""
    found = xp.zeros(component.shape, dtype=xp.bool, device=part.device)
    none_yet = xp.ones(component.shape[1:], dtype=xp.bool, device=part.device)
    least, most = xp.full_like(part, part.shape[0]), xp.full_like(part, -1)
    for label in range(component.shape[0]):
        members = component == label
        low = xp.min(xp.where(members, part, least), axis=0)
        mixed = none_yet & (low < xp.max(xp.where(members, part, most), axis=0))
        found |= members & mixed
        none_yet &= ~mixed
    return found
