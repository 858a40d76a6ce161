"""Target margins of the surrogate losses, and where their population losses are least.

Written like `formulas`, once for computer algebra and for ball arithmetic, and tied to
`prefeq.losses` in `target_ties`. p_w and p_l are the log-probabilities of winner and loser under
the reference, t = t(w, l) a target margin and t′ = t(l, w) that of the swapped pair.
"""

from __future__ import annotations

from typing import Any

from prefeq.claims.formulas import Arithmetic, sigmoid, softplus


def smooth(m: Arithmetic, delta_ref: Any, alpha: Any, gamma: Any, tau: Any) -> Any:
    """Return δ_ref + softplus(τ(γ − δ_ref))/(ατ), the target of the released smooth branch."""
    return delta_ref + softplus(m, tau * (gamma - delta_ref)) / (alpha * tau)


def clip(m: Arithmetic, delta_ref: Any) -> Any:
    """Return max(δ_ref, 0), the target of the released `clip` branch."""
    return m.larger(delta_ref, 0 * delta_ref)


def simpo(gamma: Any, beta: Any) -> Any:
    """Return γ/β, the target of SimPO, whatever the reference."""
    return gamma / beta


def shifted(delta_ref: Any, shift: Any) -> Any:
    """Return δ_ref + c, where swapping the pair leaves c alone: Eq. 17 and the `easy` branch."""
    return delta_ref + shift


def eq17_shift(m: Arithmetic, p_w: Any, p_l: Any, gamma: Any, beta: Any) -> Any:
    """Return (γ/β)(1/π_ref(w) + 1/π_ref(l))."""
    return gamma / beta * inverse_probs(m, p_w, p_l)


def inverse_probs(m: Arithmetic, p_w: Any, p_l: Any) -> Any:
    """Return 1/π_ref(w) + 1/π_ref(l)."""
    return m.exp(-p_w) + m.exp(-p_l)


def two_response_inverse(m: Arithmetic, delta_ref: Any) -> Any:
    """Return 2 + 2 cosh δ_ref, which 1/π_ref(w) + 1/π_ref(l) is if there are two responses."""
    return 2 + m.exp(delta_ref) + m.exp(-delta_ref)


def easy_shift(p_w: Any, p_l: Any, gamma: Any, beta: Any) -> Any:
    """Return (γ/β)(1/log π_ref(w) + 1/log π_ref(l)), as the released `easy` branch has it."""
    return gamma / beta * (1 / p_w + 1 / p_l)


def per_label_loss(m: Arithmetic, delta: Any, t: Any, swapped: Any, beta: Any, q: Any) -> Any:
    """Return q softplus(−β(δ − t)) + (1 − q) softplus(−β(−δ − t′))."""
    forward = softplus(m, -beta * (delta - t))
    return q * forward + (1 - q) * softplus(m, beta * (delta + swapped))


def per_label_slope(m: Arithmetic, delta: Any, t: Any, swapped: Any, beta: Any, q: Any) -> Any:
    """Return its derivative in δ, β((1 − q)σ(β(δ + t′)) − qσ(−β(δ − t)))."""
    pull = (1 - q) * sigmoid(m, beta * (delta + swapped))
    return beta * (pull - q * sigmoid(m, -beta * (delta - t)))


def fixed_minimiser(t: Any, beta: Any, gap: Any) -> Any:
    """Return t + Δr/β: where the loss with a fixed target is least."""
    return t + gap / beta


def per_label_minimiser(m: Arithmetic, t: Any, swapped: Any, beta: Any, gap: Any) -> Any:
    """Return [(Δr + β(t − t′))/2 + asinh(sinh(Δr/2) e^{β(t + t′)/2})]/β, for Δr ≥ 0."""
    half = (m.exp(gap / 2) - m.exp(-gap / 2)) / 2
    x = half * m.exp(beta * (t + swapped) / 2)
    return ((gap + beta * (t - swapped)) / 2 + m.log(x + root(m, x * x + 1))) / beta


def fixed_critical_gap(t: Any, beta: Any) -> Any:
    """Return −βt: the gap above which the minimiser with a fixed target is aligned."""
    return -beta * t


def per_label_critical_gap(m: Arithmetic, t: Any, swapped: Any, beta: Any) -> Any:
    """Return softplus(−βt) − softplus(−βt′): likewise with per-label targets."""
    return softplus(m, -beta * t) - softplus(m, -beta * swapped)


def entropy(m: Arithmetic, alpha: Any) -> Any:
    """Return H(α) = −α log α − (1 − α) log(1 − α), in nats."""
    return -alpha * m.log(alpha) - (1 - alpha) * m.log(1 - alpha)


def root(m: Arithmetic, x: Any) -> Any:
    """Return √x for x > 0."""
    return m.exp(m.log(x) / 2)
