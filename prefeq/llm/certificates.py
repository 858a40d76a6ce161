"""What the mean of a loss says about margins, without looking at the pairs again."""

from __future__ import annotations

import math
import sys

import numpy as np

from prefeq import margins
from prefeq._namespace import quiet
from prefeq.losses import Loss

LEAST, ROUNDING = sys.float_info.min, 1e-12
"""A measured mean is raised by these before it certifies anything: a loss may have underflowed to
0, and every loss is rounded."""


@quiet
def certificate(
    loss: Loss,
    mean: float,
    mean_target: float,
    least_target: float,
    beta: float,
    per_token: bool = False,
) -> dict[str, float | bool | None]:
    """Return what a mean loss certifies of ordered pairs, were it measured a little too low.

    Parameters
    ----------
    loss
        ℓ(β(δ − t)) with a convex ℓ that falls up to its minimum at z*.
    mean, mean_target, least_target
        Mean of the loss, mean and minimum of the target margins t over the pairs.
    per_token
        Whether δ is the margin of means over tokens here, and elsewhere that of sums. The one may
        be positive where the other is not: of which pairs are aligned nothing is certified then.

    Returns
    -------
    dict
        ``mean_margin_at_least``: mean δ ≥ mean t + z/β, z the least with ℓ(z) ≤ mean (Jensen).
        ``loss_that_aligns``: any pair with a loss below ℓ(−β min t) has δ > 0; None if no loss
        says so, as −β min t > z*, or as this loss is none that floats can hold.
        ``misaligned_share_at_most``: share{δ ≤ 0} ≤ (mean − ℓ(z*))/(ℓ(−β min t) − ℓ(z*)), at most
        1 (Markov). ``per_token``: as given; then the two of alignment are None.

    Examples
    --------
    >>> from prefeq.losses import LOSSES
    >>> found = certificate(LOSSES["dpo"], 0.1, 0.0, 0.0, 1.0)
    >>> round(found["mean_margin_at_least"], 4), round(found["misaligned_share_at_most"], 4)
    (2.2522, 0.1443)

    Losses that underflowed leave a margin of at most 709/β open, and whatever is wrong below it:

    >>> found = certificate(LOSSES["dpo"], 0.0, -800.0, -800.0, 1.0)
    >>> round(found["mean_margin_at_least"]), found["misaligned_share_at_most"]
    (-92, 1.0)
    """
    scale = float(np.power(beta, loss.link.beta_power))  # inf, where ** would raise
    mean = mean * (1 + ROUNDING) + LEAST

    def value(z: float) -> float:
        return float(loss.link.value(np, np.asarray(z))) * scale

    best, _ = loss.link.minimisers(np, np.asarray(math.inf))
    lowest = float(best)
    floor = 0.0 if math.isinf(lowest) else value(lowest)
    margin = mean_target + _least_z(loss, mean, beta, lowest) / beta
    start = -beta * least_target
    aligns = value(start) if start < lowest else None
    if aligns is not None and not LEAST <= aligns < math.inf:
        aligns = None
    if aligns is not None and loss.link.name == "logistic":  # in log space: hundreds of nats
        share = float(margins.misaligned_share_bound(mean, least_target, beta))
    elif aligns is None or aligns <= floor:
        share = 1.0
    else:
        share = min(1.0, max(0.0, (mean - floor) / (aligns - floor)))
    return {
        "mean_margin_at_least": None if math.isnan(margin) else margin,
        "loss_that_aligns": None if per_token else aligns,
        "misaligned_share_at_most": None if per_token else share,
        "per_token": per_token,
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
