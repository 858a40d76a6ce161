"""The `Loss` type: ℓ(β(δ − t)), its value, gradient, minimisers and traps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from prefeq._elementary import log1mexp, sigmoid, softplus
from prefeq._namespace import LN2, Array, answer, quiet, require_positive, scalar
from prefeq.errors import ProblemError
from prefeq.losses.links import LOGISTIC, Link
from prefeq.losses.targets import Reference, TargetRule, View, view_of

Flipped: TypeAlias = Literal["fixed", "per-label"]
"""What a flipped label does to the target: a label that says l ≻ w keeps the target of the pair,
ℓ(−β(δ − t)), or gets that of the swapped pair, ℓ(β(−δ − t(l, w))), as trainers compute it."""


@dataclass(frozen=True)
class Loss:
    """A pairwise preference loss ℓ(β(δ − t)) with a target margin t that the reference sets.

    In every method `ref` is the reference margin δ_ref or, for losses whose `target_rule` needs
    both log-probabilities, a `Reference`. Arguments broadcast; arrays of any library that follows
    the array API standard go in, float64 arrays of that library come out, and never a NaN: a NaN
    or a cancelling infinity raises `ProblemError`. Values are in nats and per unit of mass.

    Attributes
    ----------
    name, summary, source
        What it is called, what it is in a line, and where it was published.
    target_rule
        How t follows from the reference and β.
    link
        The convex function ℓ.
    """

    name: str
    summary: str
    source: str
    target_rule: TargetRule
    link: Link

    @quiet
    def target(self, ref: Array | Reference, beta: Array) -> Array:
        """Return the target margin t(w, l), in nats."""
        xp, view, beta = _checked(ref, beta)
        return scalar(self._target(xp, view, beta))

    @quiet
    def value(self, margin: Array, ref: Array | Reference, beta: Array) -> Array:
        """Return ℓ(β(δ − t)), the loss of an ordered pair."""
        xp, view, beta, margin = _checked(ref, beta, margin=margin)
        z = answer(xp, "margin - target", beta * (margin - self._target(xp, view, beta)))
        return answer(xp, f"{self.name} loss", self._scaled(self.link.value(xp, z), beta))

    @quiet
    def gradient(self, margin: Array, ref: Array | Reference, beta: Array) -> Array:
        """Return the derivative of `value` with respect to δ; at a kink, the one to its right."""
        xp, view, beta, margin = _checked(ref, beta, margin=margin)
        z = answer(xp, "margin - target", beta * (margin - self._target(xp, view, beta)))
        slope = beta * self._scaled(self.link.slope(xp, z), beta)
        return answer(xp, f"{self.name} gradient", slope)

    @quiet
    def population_value(
        self,
        margin: Array,
        ref: Array | Reference,
        beta: Array,
        log_odds: Array,
        flipped: Flipped = "fixed",
    ) -> Array:
        """Return the risk of a soft label, q·ℓ(w ≻ l) + (1 − q)·ℓ(l ≻ w).

        Parameters
        ----------
        margin, ref, beta
            As for `value`.
        log_odds
            L = logit q; ±inf for a certain label, whose other term is absent. Bradley–Terry
            labels have L = Δr.
        flipped
            Whether the flipped label keeps its target or recomputes it (see `Flipped`).
        """
        xp, z, z_flipped, beta, log_odds = self._both(margin, ref, beta, log_odds, flipped)
        forward = _weigh(xp, log_odds, self.link.value(xp, z))
        backward = _weigh(xp, -log_odds, self.link.value(xp, z_flipped))
        return answer(xp, f"{self.name} risk", self._scaled(forward + backward, beta))

    @quiet
    def population_gradient(
        self,
        margin: Array,
        ref: Array | Reference,
        beta: Array,
        log_odds: Array,
        flipped: Flipped = "fixed",
    ) -> Array:
        """Return the derivative of `population_value` with respect to δ."""
        xp, z, z_flipped, beta, log_odds = self._both(margin, ref, beta, log_odds, flipped)
        forward = _weigh(xp, log_odds, self.link.slope(xp, z))
        backward = _weigh(xp, -log_odds, self.link.slope(xp, z_flipped))
        slope = beta * self._scaled(forward - backward, beta)
        return answer(xp, f"{self.name} risk gradient", slope)

    @quiet
    def minimiser(
        self,
        ref: Array | Reference,
        beta: Array,
        log_odds: Array = math.inf,
        flipped: Flipped = "fixed",
    ) -> Array:
        """Return the margin that minimises the risk of one pair: where gradient flow ends.

        Where the minimum is attained on an interval (hinge), the point of it that the flow from
        the reference reaches; ±inf where it is not attained. By default an ordered pair, q = 1.

        The logistic link with a fixed target gives t + L/β. With per-label targets it gives, for
        t = t(w, l) and t′ = t(l, w),

            βδ = (L + β(t − t′))/2 + asinh(sinh(L/2)·e^{β(t + t′)/2}).
        """
        xp, view, beta, log_odds = _checked(ref, beta, log_odds=log_odds)
        target = self._target(xp, view, beta)
        z = self._rest(xp, view, beta, log_odds, flipped)
        return answer(xp, f"{self.name} minimiser", target + z / beta)

    @quiet
    def critical_gap(
        self, ref: Array | Reference, beta: Array, flipped: Flipped = "fixed"
    ) -> Array:
        """Return the label log-odds (Bradley–Terry: the reward gap) above which δ > 0 is optimal.

        The logistic link with a fixed target gives −βt; with per-label targets it gives
        softplus(−βt(w, l)) − softplus(−βt(l, w)). +inf where no label aligns the pair.
        """
        xp, view, beta = _checked(ref, beta)
        scaled = beta * self._target(xp, view, beta)
        if self._same_readings(flipped):
            gap = self.link.needed(xp, -scaled)
        else:
            self._require_logistic()
            swapped = beta * self._target(xp, view.swapped(), beta)
            gap = softplus(xp, -scaled) - softplus(xp, -swapped)
        return answer(xp, f"{self.name} critical gap", gap)

    @quiet
    def traps(
        self,
        ref: Array | Reference,
        beta: Array,
        log_odds: Array = math.inf,
        flipped: Flipped = "fixed",
    ) -> Array:
        """Tell whether gradient flow from the reference ends in U: δ_ref < δ < 0, for ever.

        One pair on its own, by default an ordered one; overlapping pairs move these thresholds.
        A logistic link never traps an ordered pair: its infimum is at +inf, the stay is
        transient. IPO does if δ_ref < −1/(2β), hinge if δ_ref < −1/β, label-smoothed DPO if
        δ_ref < −logit(1 − ε)/β.
        """
        xp, view, beta, log_odds = _checked(ref, beta, log_odds=log_odds)
        target = self._target(xp, view, beta)
        z = self._rest(xp, view, beta, log_odds, flipped)
        # Compared as z: target + z/β may round to the reference margin itself.
        rises = z > answer(xp, "ref_margin - target", beta * (view.margin - target))
        return scalar(xp.logical_and(rises, z < -beta * target))

    def _target(self, xp: Any, view: View, beta: Array) -> Array:
        return answer(xp, f"{self.name} target", self.target_rule.formula(xp, view, beta))

    def _scaled(self, value: Array, beta: Array) -> Array:
        return value * beta**self.link.beta_power if self.link.beta_power else value

    def _same_readings(self, flipped: Flipped) -> bool:
        if flipped not in ("fixed", "per-label"):
            raise ProblemError(f"flipped = {flipped!r}: pass 'fixed' or 'per-label'")
        return flipped == "fixed" or self.target_rule.antisymmetric

    def _require_logistic(self) -> None:
        if self.link is not LOGISTIC:
            raise ProblemError(
                f"{self.name} has no closed form for per-label targets: its link is "
                f"{self.link.name}, not logistic; pass flipped='fixed'"
            )

    def _both(
        self,
        margin: Array,
        ref: Array | Reference,
        beta: Array,
        log_odds: Array,
        flipped: Flipped,
    ) -> tuple[Any, ...]:
        """Return the namespace, z of the label and of the flipped label, β and L."""
        xp, view, beta, margin, log_odds = _checked(ref, beta, margin=margin, log_odds=log_odds)
        z = answer(xp, "margin - target", beta * (margin - self._target(xp, view, beta)))
        z_flipped = -z
        if not self._same_readings(flipped):
            swapped = self._target(xp, view.swapped(), beta)
            z_flipped = answer(xp, "-margin - swapped target", beta * (-margin - swapped))
        return xp, z, z_flipped, beta, log_odds

    def _rest(self, xp: Any, view: View, beta: Array, log_odds: Array, flipped: Flipped) -> Array:
        """Return z = β(δ − t) where gradient flow from the reference comes to rest."""
        scaled = beta * self._target(xp, view, beta)
        if not self._same_readings(flipped):
            self._require_logistic()
            swapped = beta * self._target(xp, view.swapped(), beta)
            return _two_targets(xp, log_odds, scaled, swapped)
        low, high = self.link.minimisers(xp, log_odds)
        start = xp.maximum(low, xp.minimum(high, beta * view.margin - scaled))
        return xp.where(low < high, start, low)


def _checked(ref: Array | Reference, beta: Array, **others: Array) -> tuple[Any, ...]:
    xp, view, beta, *rest = view_of(ref, beta=beta, **others)
    require_positive(xp, beta=beta)
    return (xp, view, beta, *rest)


def _weigh(xp: Any, log_odds: Array, value: Array) -> Array:
    """Return σ(L)·value; a label that never occurs contributes nothing, even where ℓ = ∞."""
    weight = sigmoid(xp, log_odds)
    return xp.where(weight > 0, weight * value, xp.zeros_like(weight * value))


def _two_targets(xp: Any, log_odds: Array, first: Array, second: Array) -> Array:
    """Return the z that minimises σ(L)·softplus(−z) + σ(−L)·softplus(z + s + s′).

    With s = βt(w, l), s′ = βt(l, w) and L ≥ 0: z = (L − s − s′)/2 + asinh(e^w), where
    e^w = sinh(L/2)·e^{(s + s′)/2}. L < 0 is the swapped pair.
    """
    total = first + second
    size = xp.abs(log_odds)
    log_double_sinh = size + log1mexp(xp, size)  # log(e^L − 1) = log(2 sinh(L/2)) + L/2
    w = log_double_sinh - size / 2 - LN2 + total / 2
    # asinh(e^w) = w + log1p(√(1 + e^−2w)), and the halves of w cancel those of z.
    large = log_double_sinh - LN2 + xp.log1p(xp.sqrt(1 + xp.exp(-2 * w)))
    small = (size - total) / 2 + xp.asinh(xp.exp(w))
    z = xp.where(w > 0, large, small)
    return xp.where(log_odds < 0, -total - z, z)
