"""The formulas of the paper, written once for computer algebra and for ball arithmetic.

Every function that needs an exponential takes the arithmetic `m` first: `symbolic.SYMPY` or
`ball.BALL`. Each one is tied to the function of the package that computes the same thing (see
`tie`), so that a proof speaks of the code and not of a copy beside it.

Notation: x = δ − δ_ref is the relative margin, `gap` is Δr, `beta` is β (arXiv:2605.20834).
"""

from __future__ import annotations

from typing import Any, Protocol


class Arithmetic(Protocol):
    """What the formulas ask of an arithmetic."""

    def exp(self, z: Any) -> Any:
        """Return e^z."""

    def log(self, z: Any) -> Any:
        """Return the natural logarithm of z."""

    def log1p(self, z: Any) -> Any:
        """Return log(1 + z), accurate near zero."""

    def larger(self, a: Any, b: Any) -> Any:
        """Return max(a, b)."""


def rlhf_margin(delta_ref: Any, gap: Any, beta: Any) -> Any:
    """Return δ* = δ_ref + Δr/β, the margin of the RLHF optimum."""
    return delta_ref + gap / beta


def critical_gap(delta_ref: Any, beta: Any) -> Any:
    """Return −βδ_ref, the reward gap that the assumption asks for."""
    return -beta * delta_ref


def softplus(m: Arithmetic, z: Any) -> Any:
    """Return log(1 + e^z)."""
    return m.log1p(m.exp(z))


def sigmoid(m: Arithmetic, z: Any) -> Any:
    """Return 1/(1 + e^−z)."""
    return 1 / (1 + m.exp(-z))


def pair_loss(m: Arithmetic, delta: Any, delta_ref: Any, beta: Any, q: Any = 1) -> Any:
    """Return the DPO loss of one pair, q softplus(−βx) + (1 − q) softplus(βx)."""
    z = beta * (delta - delta_ref)
    return q * softplus(m, -z) + (1 - q) * softplus(m, z)


def pair_gradient(m: Arithmetic, delta: Any, delta_ref: Any, beta: Any, q: Any = 1) -> Any:
    """Return dL/dδ = β(σ(βx) − q), written without cancellation."""
    z = beta * (delta - delta_ref)
    return beta * ((1 - q) * sigmoid(m, z) - q * sigmoid(m, -z))


def certificate(m: Arithmetic, delta_ref: Any, beta: Any) -> tuple[Any, Any]:
    """Return the loss interval (softplus(βδ_ref), ln 2) that U corresponds to."""
    return softplus(m, beta * delta_ref), m.log(delta_ref * 0 + 2)


def hinge_gap(m: Arithmetic, t: Any, beta: Any) -> Any:
    """Return log(1 + e^−t)/β with t = β|δ_ref − δ|, the distance of DPO/β from its hinge."""
    return m.log1p(m.exp(-t)) / beta


def exit_time(m: Arithmetic, delta_ref: Any, beta: Any, mass: Any) -> Any:
    """Return (e^u + u − 1)/(2β²m), u = −βδ_ref: when gradient flow on logits reaches δ = 0."""
    u = -beta * delta_ref
    return (m.exp(u) + u - 1) / (2 * beta**2 * mass)


def ipo_loss(x: Any, beta: Any) -> Any:
    """Return (x − 1/(2β))², the IPO loss of an ordered pair (arXiv:2310.12036)."""
    return (x - 1 / (2 * beta)) ** 2


def ipo_target(beta: Any) -> Any:
    """Return the relative margin 1/(2β) where IPO stops."""
    return 1 / (2 * beta)


def hinge_slack(x: Any, beta: Any) -> Any:
    """Return 1 − βx, whose positive part is the hinge loss of an ordered pair."""
    return 1 - beta * x


def hinge_target(beta: Any) -> Any:
    """Return the relative margin 1/β where max(0, 1 − βx) reaches zero."""
    return 1 / beta


def smoothed_target(m: Arithmetic, beta: Any, eps: Any) -> Any:
    """Return logit(1 − ε)/β, the minimiser of label-smoothed DPO."""
    return m.log((1 - eps) / eps) / beta


def weakening_factor(m: Arithmetic, delta: Any, delta_ref: Any, beta: Any) -> Any:
    """Return σ(−β(δ − δ_ref)), what multiplies the gradient of an ordered pair's DPO loss."""
    return sigmoid(m, -beta * (delta - delta_ref))


def flow_level(m: Arithmetic, z: Any) -> Any:
    """Return F(z) = z + e^z, which grows at the constant rate 2β²m along the gradient flow."""
    return z + m.exp(z)


def exit_time_to(m: Arithmetic, delta_ref: Any, target: Any, beta: Any, mass: Any) -> Any:
    """Return the time that gradient flow takes from δ_ref to δ = 0, for the target margin t."""
    start, end = beta * (delta_ref - target), -beta * target
    return (flow_level(m, end) - flow_level(m, start)) / (2 * beta**2 * mass)


def clip_exit_time(m: Arithmetic, delta_ref: Any, beta: Any, mass: Any) -> Any:
    """Return (1 + a − e^−a)/(2β²m), a = −βδ_ref ≥ 0: the exit time with target max(δ_ref, 0)."""
    a = -beta * delta_ref
    return (1 + a - m.exp(-a)) / (2 * beta**2 * mass)


def least_steps(m: Arithmetic, time: Any, eta: Any, beta: Any, mass: Any, start: Any = 0) -> Any:
    """Return (T/η) exp(−2ηmβ²σ(−u₀)), which the number of gradient steps is never below."""
    return time / eta * m.exp(-2 * eta * mass * beta**2 * sigmoid(m, -start))


def certified_margin(m: Arithmetic, loss: Any, target: Any, beta: Any) -> Any:
    """Return t − log(e^ℓ − 1)/β, the margin whose loss softplus(−β(δ − t)) is ℓ."""
    return target - m.log(m.exp(loss) - 1) / beta


def two_target_risk(m: Arithmetic, delta: Any, target: Any, swapped: Any, beta: Any, q: Any) -> Any:
    """Return q softplus(−β(δ − t)) + (1 − q) softplus(β(δ + t′)), t′ that of the swapped pair."""
    forward, backward = -beta * (delta - target), beta * (delta + swapped)
    return q * softplus(m, forward) + (1 - q) * softplus(m, backward)


def two_response_value(m: Arithmetic, delta: Any, delta_ref: Any, gap: Any, beta: Any) -> Any:
    """Return J of two responses with rewards Δr and 0, as a function of the margin δ."""
    win = sigmoid(m, delta)
    leash = win * (delta - delta_ref) - softplus(m, delta) + softplus(m, delta_ref)
    return win * gap - beta * leash
