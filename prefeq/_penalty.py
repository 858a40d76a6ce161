"""The penalty objective for two responses, in closed form (public through `prefeq.margins`).

With one pair of mass m, Eqs. 13-16 of arXiv:2605.20834 read β(δ − δ*) = γ m (2 + 2 cosh δ).
"""

from __future__ import annotations

from typing import Any

from prefeq._elementary import softplus
from prefeq._namespace import Array, answer, quiet, real, require, require_positive
from prefeq.errors import ProblemError

__all__ = ["penalty_critical_gamma", "penalty_fold", "penalty_margin"]

EPS = 2.0**-52


@quiet
def penalty_critical_gamma(optimal_margin: Array, beta: Array, mass: Array = 1.0) -> Array:
    """Return γ* = −βδ*/(4m): where the two-response penalty solution crosses δ = 0.

    At γ* the local maximum of J + γmδ has a margin of exactly 0; above, up to the fold, it is
    positive. Negative where δ* > 0: that pair needs no penalty (arXiv:2605.20834, Thm. 4.9).

    Parameters
    ----------
    optimal_margin, beta, mass
        δ* in nats, β > 0 and m > 0; γ* is in units of reward per nat.

    >>> float(penalty_critical_gamma(-2.0, 1.0))
    0.5
    """
    xp, margin, beta, mass = real(optimal_margin=optimal_margin, beta=beta, mass=mass)
    require_positive(xp, beta=beta, mass=mass)
    return answer(xp, "critical gamma", -(margin / 4) * beta / mass)


@quiet
def penalty_fold(optimal_margin: Array, beta: Array, mass: Array = 1.0) -> tuple[Array, Array]:
    """Return (d, γ_fold): where the two-response local maximum of J + γmδ ends.

    d is the positive root of d − coth(d/2) = δ* and γ_fold = β/(2 m sinh d). For γ > γ_fold there
    is no stationary point at all: the objective rises for ever. γ_fold − γ* < β/(4m|δ*|) for
    δ* < 0 (arXiv:2605.20834, Eqs. 13-16; the fold is ours).

    Parameters
    ----------
    optimal_margin, beta, mass
        δ* in nats, β > 0 and m > 0. γ_fold underflows to 0 beyond δ* of some 745 nats.

    >>> d, gamma = penalty_fold(-2.0, 1.0)
    >>> round(float(d), 6), round(float(gamma), 6)
    (0.759313, 0.599226)
    """
    xp, margin, beta, mass = real(optimal_margin=optimal_margin, beta=beta, mass=mass)
    require_positive(xp, beta=beta, mass=mass)
    d = _fold(xp, margin)
    # β/m and 1/(2 sinh d) = e^−d/(1 − e^−2d); in halves, so that only the answer underflows
    half = xp.exp(-d / 2)
    gamma = beta / mass * half / -xp.expm1(-2 * d) * half
    gamma = xp.where(d == 0, xp.full_like(gamma, float("inf")), gamma)
    return answer(xp, "fold margin", d + xp.zeros_like(gamma)), answer(xp, "fold gamma", gamma)


@quiet
def penalty_margin(optimal_margin: Array, beta: Array, gamma: Array, mass: Array = 1.0) -> Array:
    """Return the margin of the two-response local maximum of J + γmδ; +inf beyond the fold.

    The smaller root of β(δ − δ*) = γ m (2 + 2 cosh δ): δ* at γ = 0, rising with γ to the fold
    margin at γ_fold (`penalty_fold`). Beyond it δ grows for ever.

    Parameters
    ----------
    optimal_margin, beta, gamma, mass
        δ* in nats, β > 0, γ ≥ 0 (finite) and m > 0.

    >>> [round(float(penalty_margin(-2.0, 1.0, g)), 6) for g in (0.0, 0.25, 0.5, 0.6)]
    [-2.0, -0.821555, 0.0, inf]
    """
    xp, start, beta, gamma, mass = real(
        optimal_margin=optimal_margin, beta=beta, gamma=gamma, mass=mass
    )
    require_positive(xp, beta=beta, mass=mass)
    good = xp.logical_and(gamma >= 0, xp.isfinite(gamma))
    require(xp, "gamma", gamma, good, "must be finite and >= 0")
    d, end = (xp.asarray(part) for part in penalty_fold(start, beta, mass))
    log_a = xp.log(gamma) + xp.log(mass) - xp.log(beta)
    zero = xp.zeros_like(log_a + start)
    start, log_a = start + zero, log_a + zero
    inside = xp.logical_and(xp.isfinite(start), xp.isfinite(log_a))
    from_, log_a = (xp.where(inside, part, zero) for part in (start, log_a))
    delta = from_ + _climb(xp, from_, d, log_a)
    # the sum was rounded at the size of δ*, and log A at that of log A: two Newton steps on δ
    scale = gamma / beta * mass + zero
    for _ in range(2):
        gap = delta - from_ - scale * (2 + 2 * xp.cosh(delta))
        step = gap / (1 - 2 * scale * xp.sinh(delta))
        small = xp.abs(step) <= 16 * EPS * xp.maximum(xp.abs(from_), xp.ones_like(from_))
        delta = xp.where(small, xp.minimum(delta - step, d), delta)
    delta = xp.minimum(delta, d + zero)
    delta = xp.where(inside, delta, start)
    return answer(xp, "penalty margin", xp.where(gamma <= end, delta, zero + float("inf")))


def _fold(xp: Any, margin: Array) -> Array:
    """Return the positive root d of d − coth(d/2) = δ*, by Newton from the left (it is concave)."""
    size = xp.abs(margin)
    wide = xp.where(size > 1e8, size, xp.sqrt(size * size + 8))
    # coth(d/2) ≥ 2/d and ≥ 1: the root of d − 2/d = δ*, and δ* + 1, are both to the left
    d = xp.where(margin < 0, 4 / (wide + size), (wide + size) / 2)
    d = xp.maximum(d, margin + 1)
    for _ in range(60):
        coth = 1 / xp.tanh(d / 2)
        slope = 1 + 0.5 / xp.sinh(d / 2) ** 2
        step = (margin - d + coth) / slope
        new = xp.where(xp.logical_and(xp.isfinite(step), step > 0), d + step, d)
        done = bool(xp.all(new <= d * (1 + EPS)))
        d = new
        if done:
            return d
    raise ProblemError("the fold did not converge: please report optimal_margin")


def _climb(xp: Any, start: Array, fold: Array, log_a: Array) -> Array:
    """Return y = δ − δ* with y = A(1 + e^δ)² e^−δ, the smaller root; A = γm/β.

    In logs: h(y) = log y − log A − 2 softplus(δ) + δ, concave and increasing up to the fold. The
    parabola through value, slope and curvature meets even a double root.
    """
    # with (1 + e^δ)² ≥ (1 + e^δ*)² the equation is y e^y = A e^−δ* (1 + e^δ*)²
    y = _omega(xp, log_a - start + 2 * softplus(xp, start))
    low, high = xp.zeros_like(y), 1 / xp.tanh(fold / 2) + xp.zeros_like(y)  # d − δ* = coth(d/2)
    for _ in range(100):
        y = xp.minimum(xp.maximum(y, low), high)
        value = xp.log(y) - log_a - 2 * softplus(xp, start + y) + (start + y)
        tanh = xp.tanh((start + y) / 2)
        slope = 1 / y - tanh
        bend = -1 / (y * y) - 0.5 * (1 - tanh * tanh)
        low = xp.where(value <= 0, xp.maximum(low, y), low)
        high = xp.where(value >= 0, xp.minimum(high, y), high)
        root = xp.sqrt(xp.maximum(slope * slope - 2 * value * bend, xp.zeros_like(slope)))
        step = -2 * value / (slope + root)
        new = xp.where(xp.isfinite(step), y + step, y)
        done = bool(xp.all(xp.abs(new - y) <= 2 * EPS * y))
        y = new
        if done:
            break
    return xp.minimum(xp.maximum(y, low), high)


def _omega(xp: Any, w: Array) -> Array:
    """Return about s > 0 with s + log s = w, never above it (the left side is concave)."""
    s = xp.where(w > 1, w - xp.log(xp.maximum(w, xp.ones_like(w))), xp.exp(w - 1))
    for _ in range(4):
        s = s * (1 + w - xp.log(s)) / (1 + s)
    return s
