"""Links: the convex function ℓ(z) that a loss applies to z = β(δ − t).

With a label of probability q = σ(L) the population risk is q·ℓ(z) + (1 − q)·ℓ(−z). Each link
knows the minimisers of that risk, and the log-odds L that put them beyond a given z. All
functions take the array namespace and checked float64 arrays.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from prefeq._elementary import sigmoid, softplus
from prefeq._namespace import Array

INF = math.inf


@dataclass(frozen=True)
class Link:
    """A convex function of z, with the minimisers of its risk under soft labels.

    Attributes
    ----------
    value, slope
        (xp, z) ↦ ℓ(z) and ℓ′(z); at a kink the slope is the one to its right.
    minimisers
        (xp, L) ↦ (low, high), the interval of all minimisers of σ(L)·ℓ(z) + σ(−L)·ℓ(−z).
    needed
        (xp, z) ↦ the least log-odds above which every minimiser exceeds z; ±inf if none, or all.
    beta_power
        The loss is β^beta_power · ℓ(z).
    """

    name: str
    value: Callable[[Any, Array], Array]
    slope: Callable[[Any, Array], Array]
    minimisers: Callable[[Any, Array], tuple[Array, Array]]
    needed: Callable[[Any, Array], Array]
    beta_power: int = 0


LOGISTIC = Link(
    "logistic",
    value=lambda xp, z: softplus(xp, -z),
    slope=lambda xp, z: -sigmoid(xp, -z),
    minimisers=lambda xp, log_odds: (log_odds, log_odds),
    needed=lambda xp, z: z,
)
"""ℓ(z) = softplus(−z) = −log σ(z); the minimiser is z = L."""


def smoothed_logistic(eps: float) -> Link:
    """Return ℓ(z) = (1 − ε)·softplus(−z) + ε·softplus(z), for 0 < ε < ½.

    A label of probability q is one of q′ = ε + (1 − 2ε)q for the logistic link: the minimiser is
    z = logit q′, at most logit(1 − ε).
    """

    def value(xp: Any, z: Array) -> Array:
        return (1 - eps) * softplus(xp, -z) + eps * softplus(xp, z)

    def slope(xp: Any, z: Array) -> Array:
        # σ(z) − (1 − ε), without cancellation at large −z.
        return eps * sigmoid(xp, z) - (1 - eps) * sigmoid(xp, -z)

    def minimiser(xp: Any, log_odds: Array) -> tuple[Array, Array]:
        size = xp.abs(log_odds)
        excess = (1 - 2 * eps) * xp.tanh(size / 2)  # 2q′ − 1
        rest = (1 - eps) * sigmoid(xp, -size) + eps * sigmoid(xp, size)  # 1 − q′
        z = xp.sign(log_odds) * xp.log1p(excess / rest)
        return z, z

    def needed(xp: Any, z: Array) -> Array:
        size = xp.abs(z)
        left = sigmoid(xp, -size) - eps  # (1 − 2ε)(1 − q)
        log_odds = xp.log1p(xp.tanh(size / 2) / left)
        log_odds = xp.where(left > 0, log_odds, xp.full_like(log_odds, INF))
        return xp.sign(z) * log_odds

    return Link(f"smoothed logistic, eps={eps:g}", value, slope, minimiser, needed)


def _hinge_minimisers(xp: Any, log_odds: Array) -> tuple[Array, Array]:
    # Certain labels are flat beyond the kink, fair coins between the kinks.
    one = xp.ones_like(log_odds)
    low = xp.where(log_odds > 0, one, xp.where(log_odds == -INF, -INF * one, -one))
    high = xp.where(log_odds < 0, -one, xp.where(log_odds == INF, INF * one, one))
    return low, high


def _hinge_needed(xp: Any, z: Array) -> Array:
    zero = xp.zeros_like(z)
    return xp.where(z < -1, zero - INF, xp.where(z < 1, zero, zero + INF))


HINGE = Link(
    "hinge",
    value=lambda xp, z: xp.maximum(1 - z, xp.zeros_like(z)),
    slope=lambda xp, z: xp.where(z < 1, -xp.ones_like(z), xp.zeros_like(z)),
    minimisers=_hinge_minimisers,
    needed=_hinge_needed,
)
"""ℓ(z) = max(0, 1 − z); the risk is least at a kink: z = 1 for q > ½, z = −1 for q < ½."""


def _squared_minimiser(xp: Any, log_odds: Array) -> tuple[Array, Array]:
    z = xp.tanh(log_odds / 2) / 2
    return z, z


def _squared_needed(xp: Any, z: Array) -> Array:
    one = xp.ones_like(z)
    return 2 * xp.atanh(xp.maximum(xp.minimum(2 * z, one), -one))


SQUARED = Link(
    "squared",
    value=lambda xp, z: (z - 0.5) ** 2,
    slope=lambda xp, z: 2 * (z - 0.5),
    minimisers=_squared_minimiser,
    needed=_squared_needed,
    beta_power=-2,
)
"""ℓ(z) = (z − ½)²/β², that is (x − 1/(2β))²; the minimiser is z = q − ½."""
