"""What the mean of a loss says about margins, without looking at the pairs again."""

from __future__ import annotations

import math

import numpy as np

from prefeq import margins
from prefeq._namespace import quiet
from prefeq.losses import Loss


@quiet
def certificate(
    loss: Loss, mean: float, mean_target: float, least_target: float, beta: float
) -> dict[str, float | None]:
    """Return what a mean loss certifies of ordered pairs.

    Parameters
    ----------
    loss
        ℓ(β(δ − t)) with a convex ℓ that falls up to its minimum at z*.
    mean, mean_target, least_target
        Mean of the loss, mean and minimum of the target margins t over the pairs.

    Returns
    -------
    dict
        ``mean_margin_at_least``: mean δ ≥ mean t + z/β, z the least with ℓ(z) ≤ mean (Jensen).
        ``loss_that_aligns``: any pair with a loss below ℓ(−β min t) has δ > 0; None if no loss
        says so, as −β min t > z*.
        ``misaligned_share_at_most``: share{δ ≤ 0} ≤ (mean − ℓ(z*))/(ℓ(−β min t) − ℓ(z*)), at most
        1 (Markov).

    Examples
    --------
    >>> from prefeq.losses import LOSSES
    >>> found = certificate(LOSSES["dpo"], 0.1, 0.0, 0.0, 1.0)
    >>> {name: round(value, 4) for name, value in found.items()}
    {'mean_margin_at_least': 2.2522, 'loss_that_aligns': 0.6931, 'misaligned_share_at_most': 0.1443}
    """
    scale = beta**loss.link.beta_power

    def value(z: float) -> float:
        return float(loss.link.value(np, np.asarray(z))) * scale

    best, _ = loss.link.minimisers(np, np.asarray(math.inf))
    lowest = float(best)
    floor = 0.0 if math.isinf(lowest) else value(lowest)
    margin = mean_target + _least_z(loss, mean, beta, lowest) / beta
    start = -beta * least_target
    aligns = value(start) if start < lowest else None
    if aligns is not None and loss.link.name == "logistic":  # in log space: hundreds of nats
        share = float(margins.misaligned_share_bound(mean, least_target, beta))
    elif aligns is None or aligns <= floor:
        share = 1.0
    else:
        share = min(1.0, max(0.0, (mean - floor) / (aligns - floor)))
    return {
        "mean_margin_at_least": None if math.isnan(margin) else margin,
        "loss_that_aligns": aligns,
        "misaligned_share_at_most": share,
    }


def _least_z(loss: Loss, mean: float, beta: float, lowest: float) -> float:
    """Return the least z with ℓ(z) ≤ mean."""
    if math.isinf(mean):
        return -math.inf
    if loss.link.name == "logistic":
        return float(margins.margin_lower_bound(mean, 0.0, 1.0))
    if loss.name == "hinge":
        return 1 - mean
    if loss.name == "ipo":
        return 0.5 - beta * math.sqrt(mean)
    low, high = -4 * (mean + 1), lowest  # ℓ(z) > −z/2
    for _ in range(200):
        middle = (low + high) / 2
        above = float(loss.link.value(np, np.asarray(middle))) > mean
        low, high = (middle, high) if above else (low, middle)
    return low
