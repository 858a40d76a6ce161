"""Certified stationary points of the penalty objective (Eq. 10), in balls, for any K and graph.

With a = d/β (d the net degrees) and π = γq, stationarity reads log q − a/q = u + log π* at every
response, u one number for all: each q follows from u by Lambert's W, and then γ = 1/Σ q. Where
a < 0 there are two such q, the *lower* one below |a|. The curve is followed by the log-ratio
t = log(q/|a|) of one response, the *critical* one: the last to have a q at all as u falls.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

from prefeq.claims.ball import ball
from prefeq.claims.instance import Instance
from prefeq.claims.penalty_roots import enclose_root

_NEAR = Fraction(1, 2**40)
_STEPS = (*(Fraction(k, 50) for k in range(1, 150)), *(Fraction(k, 2) for k in range(6, 120)))
"""How far below t = 0 the end of the branch is looked for."""


def net_degrees(instance: Instance) -> tuple[Fraction, ...]:
    """Return d of each response: the mass of the pairs it wins less that of those it loses.

    >>> made = Instance.of("chain", reward=[0] * 3, ref=["1/3"] * 3, pairs=[(0, 1), (1, 2)])
    >>> [str(d) for d in net_degrees(made)]
    ['1/2', '0', '-1/2']
    """
    degree = [Fraction(0)] * instance.size
    for winner, loser in instance.pairs:
        degree[winner] += Fraction(1, len(instance.pairs))
        degree[loser] -= Fraction(1, len(instance.pairs))
    return tuple(degree)


@dataclass(frozen=True)
class Point:
    """A stationary point in balls: the exact one lies inside them."""

    instance: Instance
    gamma: Any
    probs: tuple[Any, ...]

    def margin(self, k: int) -> Any:
        """Enclose δ of pair k."""
        winner, loser = self.instance.pairs[k]
        return (self.probs[winner] / self.probs[loser]).log()

    def margins(self) -> list[Any]:
        """Enclose δ of every pair."""
        return [self.margin(k) for k in range(len(self.instance.pairs))]

    def curvatures(self) -> list[Any]:
        """Enclose h = β/π + γd/π², minus the second derivatives of the objective."""
        beta = ball(self.instance.beta)
        rows = zip(self.probs, net_degrees(self.instance), strict=True)
        return [beta / p + self.gamma * ball(d) / p**2 for p, d in rows]

    @cached_property
    def upward_directions(self) -> int | None:
        """Return how many independent directions of Σ v = 0 the objective curves up along.

        That is the number of negative h, less one if Σ 1/h < 0; None if a sign is not decided.
        """
        curvatures = self.curvatures()
        negative = sum(bool(h < 0) for h in curvatures)
        if negative + sum(bool(h > 0) for h in curvatures) < len(curvatures):
            return None
        if not negative:
            return 0
        total = sum((1 / h for h in curvatures[1:]), 1 / curvatures[0])
        return negative - 1 if total < 0 else negative if total > 0 else None

    @property
    def is_local_maximum(self) -> bool | None:
        """Decide the second-order condition (step `second-order`)."""
        return None if self.upward_directions is None else self.upward_directions == 0


class Sheet:
    """One sheet of the curve of stationary points of an instance: the responses that are lower."""

    def __init__(self, instance: Instance, lowered: Iterable[int] = ()) -> None:
        self.instance, self.lowered = instance, frozenset(lowered)
        self.degrees = net_degrees(instance)
        ends = {y: self._end(y).mid() for y, d in enumerate(self.degrees) if d < 0}
        if not ends:
            raise ValueError(f"{instance.name}: every net degree is zero")
        self.critical = max(ends, key=lambda y: float(ends[y]))

    def _log_target(self, y: int) -> Any:
        ref, reward = self.instance.ref[y], self.instance.reward[y]
        return ball(ref).log() + ball(reward / self.instance.beta)

    def _end(self, y: int) -> Any:
        """Return the least u at which response y of negative degree has a q, but for log Z."""
        return 1 + ball(-self.degrees[y] / self.instance.beta).log() - self._log_target(y)

    def weights(self, t: Any) -> list[Any]:
        """Enclose q of every response at t; not finite where there is none."""
        u = self._end(self.critical) + t + (-t).exp() - 1
        return [
            t.exp() * self.scale(y) if y == self.critical else self._weight(y, u)
            for y in range(self.instance.size)
        ]

    def scale(self, y: int) -> Any:
        """Enclose |a| = |d|/β of a response."""
        return ball(abs(self.degrees[y]) / self.instance.beta)

    def _weight(self, y: int, u: Any) -> Any:
        k = u + self._log_target(y)
        if self.degrees[y] == 0:
            return k.exp()
        sign = 1 if self.degrees[y] > 0 else -1
        a = self.scale(y)
        return sign * a / (sign * a * (-k).exp()).lambertw(-1 if y in self.lowered else 0)

    def at(self, t: Any) -> Point:
        """Return the stationary point at t, with its γ."""
        return self._point(self.weights(t))

    def _point(self, weights: list[Any], gamma: Any = None) -> Point:
        total = sum(weights[1:], weights[0])
        found = 1 / total if gamma is None else gamma
        return Point(self.instance, found, tuple(q / total for q in weights))

    def excess(self, t: Any, gamma: Any) -> Any:
        """Return γ Σ q − 1, which is zero at a stationary point for γ."""
        weights = self.weights(t)
        return gamma * sum(weights[1:], weights[0]) - 1

    def between(self, gamma: Fraction, low: Any, high: Any) -> Point | None:
        """Return a stationary point for γ with t in an interval where the sign changes."""
        strength = ball(gamma)
        t = enclose_root(lambda t: self.excess(t, strength), low, high)
        return None if t is None else self._point(self.weights(t), strength)


def local_maximum(instance: Instance, gamma: Fraction) -> Point | None:
    """Return a certified local maximum, the one on the branch from π* if that is found, else None.

    On the upper sheet Σ q rises with t, so there is at most one for each γ, and it is a local
    maximum. Below, where only the critical response is lower, the second-order condition decides.
    """
    sheet = Sheet(instance)
    strength = ball(gamma)
    near = ball(_NEAR)  # at t = 0 itself W has a square-root singularity
    if sheet.excess(near, strength) < 0:
        top = (1 / (strength * sheet.scale(sheet.critical))).log() + 1  # there γq > 1
        return sheet.between(gamma, near, top.mid())
    if not sheet.excess(-near, strength) > 0:
        return None
    for step in _STEPS:
        low = ball(-step).mid()
        if sheet.excess(low, strength) < 0:
            point = sheet.between(gamma, low, -near)
            return point if point is not None and point.is_local_maximum else None
    return None
