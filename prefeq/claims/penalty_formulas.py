"""The formulas of the penalty objective, Eq. 10 of arXiv:2605.20834: J(π) + γ Σ m δ.

As in `formulas` each is written once, for computer algebra and for balls: functions that need an
exponential take the arithmetic `m` first. Notation: c(y) = γ times the net degree of response y
(the mass of the pairs it wins less that of those it loses), δ* the RLHF margin, `mass` the mass of
a pair.
"""

from __future__ import annotations

from typing import Any

from prefeq.claims.formulas import Arithmetic, rlhf_margin


def penalty_term(m: Arithmetic, prob: Any, ref_logp: Any, reward: Any, beta: Any, c: Any) -> Any:
    """Return π(r − β log(π/π_ref)) + c log π, a response's share of the objective."""
    return prob * (reward - beta * (m.log(prob) - ref_logp)) + c * m.log(prob)


def penalty_slope(m: Arithmetic, prob: Any, ref_logp: Any, reward: Any, beta: Any, c: Any) -> Any:
    """Return r − β log(π/π_ref) + c/π: the slope in π, but for a constant all responses share."""
    return reward - beta * (m.log(prob) - ref_logp) + c / prob


def implicit_gap(gap: Any, c_winner: Any, c_loser: Any, pi_winner: Any, pi_loser: Any) -> Any:
    """Return Δr + c(w)/π(w) − c(l)/π(l): what βx is at a stationary point, on any graph."""
    return gap + c_winner / pi_winner - c_loser / pi_loser


def printed_gap(gap: Any, gamma: Any, mass: Any, pi_winner: Any, pi_loser: Any) -> Any:
    """Return Δr + γm(1/π(w) + 1/π(l)): what Eqs. 13–16 say βx is."""
    return gap + gamma * mass * (1 / pi_winner + 1 / pi_loser)


def inverse_pair(m: Arithmetic, delta: Any) -> Any:
    """Return 1/π(w) + 1/π(l) = 2 + 2 cosh δ of two responses."""
    return 2 + m.exp(delta) + m.exp(-delta)


def gamma_at(m: Arithmetic, delta: Any, optimal_margin: Any, beta: Any, mass: Any) -> Any:
    """Return g(δ) = β(δ − δ*)/(m(2 + 2 cosh δ)): the γ at which δ is stationary, two responses."""
    return beta * (delta - optimal_margin) / (mass * inverse_pair(m, delta))


def critical_gamma(optimal_margin: Any, beta: Any, mass: Any) -> Any:
    """Return γ* = −βδ*/(4m)."""
    return -beta * optimal_margin / (4 * mass)


def fold_equation(m: Arithmetic, d: Any) -> Any:
    """Return d − coth(d/2), which is δ* at the margin d of the fold."""
    return d - (1 + m.exp(-d)) / (1 - m.exp(-d))


def fold_gamma(m: Arithmetic, d: Any, beta: Any, mass: Any) -> Any:
    """Return β/(2m sinh d), where the branch of local maxima ends."""
    return beta * m.exp(-d) / (mass * (1 - m.exp(-2 * d)))


def eq17_margin(m: Arithmetic, ref_margin: Any, gap: Any, beta: Any, gamma: Any, mass: Any) -> Any:
    """Return δ* + (γm/β)(1/π_ref(w) + 1/π_ref(l)), Eq. 17's margin for two responses."""
    push = gamma * mass / beta * inverse_pair(m, ref_margin)
    return rlhf_margin(ref_margin, gap, beta) + push


def eq17_critical_gamma(m: Arithmetic, ref_margin: Any, gap: Any, beta: Any, mass: Any) -> Any:
    """Return −βδ*/(m(2 + 2 cosh δ_ref)), above which Eq. 17's margin is positive."""
    return -beta * rlhf_margin(ref_margin, gap, beta) / (mass * inverse_pair(m, ref_margin))
