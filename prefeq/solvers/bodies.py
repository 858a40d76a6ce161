"""Rigid bodies of the block projection, and how far two of them can be drawn apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Body:
    """Some vertices as one rigid body: their log-weight, and `pull`, the weighted mean of f − a."""

    log_weight: float
    pull: float

    def join(self, other: Body) -> Body:
        """Return the union of two disjoint bodies."""
        share = 1.0 / (1.0 + np.exp(min(other.log_weight - self.log_weight, 700.0)))
        pull = share * self.pull + (1.0 - share) * other.pull
        return Body(float(np.logaddexp(self.log_weight, other.log_weight)), float(pull))


@dataclass(frozen=True)
class Part:
    """What hangs beyond a forest edge, seen from a root: its body, the rest, its end."""

    body: Body
    rest: Body
    vertex: int
    is_winner: bool


NOTHING = Body(-np.inf, 0.0)


class Travel:
    """Two bodies drawn apart by one constraint, as functions of the widening y of their gap.

    The upper body moves by p₁ = −D₁ + (y − y₀)·σ(−κy − log ρ), the lower by
    p₂ = −D₂ − (y − y₀)·σ(κy + log ρ); D is a body's pull, ρ the ratio of the weights, and
    y₀ = D₂ − D₁ the widening at which neither is held. p₂ only falls; p₁ rises to one peak, at
    κ(y − y₀) = 1 + ω(−1 − κy₀ − log ρ) with Wright's ω, and falls after it. An edge lets go where
    the part beyond it passes its own mean. That part may outweigh the rest by e^{800} and not feel
    the pull in its last digit; then the rest tells, as the two sums cancel.
    """

    def __init__(self, upper: Body, lower: Body, tilt: float, need: float) -> None:
        self.upper, self.lower, self.tilt, self.need = upper, lower, tilt, need
        self.log_ratio = upper.log_weight - lower.log_weight
        self.free = lower.pull - upper.pull

    def high(self, y: float) -> float:
        """Displacement of the upper body."""
        return -self.upper.pull + (y - self.free) * _logistic(-self.tilt * y - self.log_ratio)

    def low(self, y: float) -> float:
        """Displacement of the lower body."""
        return -self.lower.pull - (y - self.free) * _logistic(self.tilt * y + self.log_ratio)

    def peak(self) -> float:
        """Widening in [0, need] at which the upper body is highest."""
        from scipy.special import wrightomega

        if self.tilt == 0:
            return self.need
        omega = float(wrightomega(-1.0 - self.tilt * self.free - self.log_ratio))
        return min(max(self.free + (1.0 + omega) / self.tilt, 0.0), self.need)

    def push(self, part: Part, *, above: bool) -> Callable[[float], Body]:
        """Return the push on a part of the upper (else lower) body, as the lighter of two bodies.

        The pull of that body has the sign of the part's own pull.
        """
        own, across = (self.high, self.low) if above else (self.low, self.high)
        other = self.lower if above else self.upper

        def at(y: float) -> Body:
            moved, opposite = own(y), across(y)
            here = _moved(part.body, moved, self.tilt)
            rest = _moved(part.rest, moved, self.tilt).join(_moved(other, opposite, self.tilt))
            if here.log_weight <= rest.log_weight:
                return here
            return Body(rest.log_weight, -rest.pull)

        return at

    def first_release(
        self, above: dict[int, Part], below: dict[int, Part], rounding: float
    ) -> tuple[float, list[int]]:
        """Return the widening where the first edge lets go, and all that do so up to rounding.

        (need, []) if none does.
        """
        peak = self.peak()
        events: list[tuple[float, int]] = []

        def watch(edge: int, push: Callable[[float], Body], start: float, stop: float) -> None:
            sign = 1.0 if push(stop).pull > 0 else -1.0
            events.append((_crossing(lambda z: sign * push(z).pull, start, stop), edge))

        for edge, part in above.items():
            push = self.push(part, above=True)
            if not part.is_winner and push(peak).pull > 0:
                watch(edge, push, 0.0, peak)
            elif part.is_winner and push(self.need).pull < 0:
                watch(edge, push, peak, self.need)
        for edge, part in below.items():
            push = self.push(part, above=False)
            if part.is_winner and push(self.need).pull < 0:
                watch(edge, push, 0.0, self.need)
        first = min(events, default=(self.need, -1))[0]
        return first, [edge for y, edge in sorted(events) if y <= first + rounding]


def _logistic(z: float) -> float:
    return float(np.exp(-np.logaddexp(0.0, -z)))


def _moved(body: Body, step: float, tilt: float) -> Body:
    return Body(body.log_weight + tilt * step, body.pull + step)


def _crossing(pull: Callable[[float], float], start: float, stop: float) -> float:
    """Return where a pull changes sign; the start if rounding put it beyond already."""
    from scipy.optimize import brentq

    if pull(start) * pull(stop) >= 0:
        return start
    xtol = max(EPS * (stop - start), 1e-300)
    return float(brentq(pull, start, stop, xtol=xtol, rtol=4 * EPS))
