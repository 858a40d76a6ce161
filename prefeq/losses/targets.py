"""Target margins: what the reference asks of the policy margin before a loss is content.

A rule is a function (xp, view, β) ↦ t, where the view holds what is known of the reference.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from prefeq._namespace import Array, answer, real, require
from prefeq.errors import ProblemError


@dataclass(frozen=True)
class Reference:
    """Reference log-probabilities of both responses, for targets that look at each of them.

    Attributes
    ----------
    winner_logp, loser_logp
        log π_ref(w) and log π_ref(l), arrays of one shape or numbers; δ_ref is their difference.
    """

    winner_logp: Array
    loser_logp: Array


@dataclass(frozen=True)
class View:
    """A checked reference: its margin and, where they were given, both log-probabilities."""

    margin: Array
    winner: Array | None = None
    loser: Array | None = None

    def swapped(self) -> View:
        """Return the view of the pair with winner and loser exchanged."""
        return View(-self.margin, self.loser, self.winner)


@dataclass(frozen=True)
class TargetRule:
    """How a target margin t(w, l) follows from the reference.

    Attributes
    ----------
    formula
        (xp, view, β) ↦ t, in nats.
    antisymmetric
        Whether t(l, w) = −t(w, l): then a flipped label means the same in both readings.
    needs_logps
        Whether the margin alone does not determine the target.
    """

    name: str
    formula: Callable[[Any, View, Array], Array]
    antisymmetric: bool = False
    needs_logps: bool = False


def view_of(ref: Array | Reference, **others: Array) -> tuple[Any, ...]:
    """Return (namespace, view, *others), everything checked and in float64."""
    if isinstance(ref, Reference):
        xp, winner, loser, *rest = real(
            ref_winner_logp=ref.winner_logp, ref_loser_logp=ref.loser_logp, **others
        )
        for name, logp in (("ref_winner_logp", winner), ("ref_loser_logp", loser)):
            # Rounding while normalising may leave a certain response a hair above zero.
            require(xp, name, logp, logp <= 1e-9, "a log-probability is at most 0")
        return (xp, View(answer(xp, "ref_margin", winner - loser), winner, loser), *rest)
    xp, margin, *rest = real(ref_margin=ref, **others)
    return (xp, View(margin), *rest)


REFERENCE = TargetRule("ref_margin", lambda xp, ref, beta: ref.margin, antisymmetric=True)
"""t = δ_ref."""

CLIPPED = TargetRule(
    "max(ref_margin, 0)",
    lambda xp, ref, beta: xp.maximum(ref.margin, xp.zeros_like(ref.margin)),
)
"""t = max(δ_ref, 0)."""


def smooth_maximum(alpha: float, gamma: float, tau: float) -> TargetRule:
    """Return t = δ_ref + softplus(τ(γ − δ_ref))/(ατ).

    For α = 1 a smooth max(δ_ref, γ); for α < 1 at least γ + H(α)/(ατ), H the binary entropy in
    nats; for α > 1 unbounded below.
    """

    def formula(xp: Any, ref: View, beta: Array) -> Array:
        # softplus split at its kink and δ_ref folded into it: at δ_ref = −800 and α = 1 the
        # formula as printed subtracts 800 from 800.
        below = xp.full_like(ref.margin, gamma / alpha)
        if alpha != 1:
            below = below + ref.margin * (1 - 1 / alpha)
        kink = xp.where(ref.margin < gamma, below, ref.margin)
        return kink + xp.log1p(xp.exp(-tau * xp.abs(gamma - ref.margin))) / (alpha * tau)

    return TargetRule(f"smooth maximum, alpha={alpha:g}, gamma={gamma:g}, tau={tau:g}", formula)


def inverse_probability(gamma: float) -> TargetRule:
    """Return t = δ_ref + (γ/β)(1/π_ref(w) + 1/π_ref(l)); +inf beyond 1e308."""

    def formula(xp: Any, ref: View, beta: Array) -> Array:
        return ref.margin + gamma / beta * (xp.exp(-_logp(ref.winner)) + xp.exp(-_logp(ref.loser)))

    return TargetRule(f"inverse probabilities, gamma={gamma:g}", formula, needs_logps=True)


def inverse_logp(gamma: float) -> TargetRule:
    """Return t = δ_ref + (γ/β)(1/log π_ref(w) + 1/log π_ref(l)); −inf at a certain response."""

    def formula(xp: Any, ref: View, beta: Array) -> Array:
        inverse = 1 / xp.abs(_logp(ref.winner)) + 1 / xp.abs(_logp(ref.loser))
        return ref.margin - gamma / beta * inverse

    return TargetRule(f"inverse log-probabilities, gamma={gamma:g}", formula, needs_logps=True)


def constant(gamma: float) -> TargetRule:
    """Return t = γ/β, whatever the reference."""
    return TargetRule(
        f"gamma/beta, gamma={gamma:g}",
        lambda xp, ref, beta: gamma / beta + xp.zeros_like(ref.margin),
    )


def _logp(value: Array | None) -> Array:
    if value is None:
        raise ProblemError(
            "this target needs both reference log-probabilities: pass "
            "Reference(winner_logp, loser_logp) instead of the reference margin"
        )
    return value
