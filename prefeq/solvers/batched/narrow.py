"""The likelihood of lanes whose conductances fit a float64: plain arithmetic, no subtraction.

A pair that wins with mass a and loses with mass b pulls with force aσ(−t) − bσ(t) and resists with
conductance (a + b)σ(t)σ(−t); neither rounds by more than a few units of a σ(−t) + b σ(t), whatever
the size of t. The Newton step is the potential of that network of forces and conductances.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from prefeq._namespace import Array
from prefeq.solvers.batched.laplacian import noisy_potentials, potentials
from prefeq.solvers.batched.triangle import Triangle
from prefeq.solvers.bodies import EPS

FLOOR = 1e-290
"""Least mass and conductance to rely on, where the largest mass of the lane is 1. Digits that are
lost to underflow, also later in the elimination, are then far below a rounding unit of any pair."""

CERTAIN = 0.1
"""A start only: the share of its mass that a certain label is taken to have lost."""


@dataclass(frozen=True)
class Narrow:
    """Win and loss masses (M, n) of the pairs of a triangle, the later against the earlier.

    In units of the lane's largest mass; `linked` is 1 where there is a pair, else 0, and `terms` is
    how many comparisons at most were added up for one.
    """

    triangle: Triangle
    wins: Array
    losses: Array
    linked: Array
    terms: int

    def select(self, xp: Any, keep: Array) -> Narrow:
        """Return the lanes at positions `keep`."""
        names = ("wins", "losses", "linked")
        rows = {name: xp.take(getattr(self, name), keep, axis=1) for name in names}
        return replace(self, **rows)

    def start(self, xp: Any) -> Array:
        """Return the potentials of the labels, weighted by their own curvature: consistent ones."""
        wins, losses, one_sided = self.wins, self.losses, (self.wins == 0) | (self.losses == 0)
        if bool(xp.any(one_sided)):
            soft = CERTAIN * (wins + losses) + (1 - self.linked)  # no pair: log-odds 0
            soft = soft * xp.astype(one_sided, xp.float64)
            wins, losses = wins + soft, losses + soft
        bend = wins * (losses / (wins + losses)) * self.linked
        return potentials(xp, self.triangle, bend, bend * xp.log(wins / losses))

    def step(self, xp: Any, s: Array) -> tuple[Array, Array, Array]:
        """Return the Newton step, its largest |Δt| over pairs, and how far to go: log(1 + that)."""
        _, up, down = self._sigmoids(xp, s)
        bend = (self.wins + self.losses) * up * down
        move = potentials(xp, self.triangle, bend, self.wins * down - self.losses * up)
        size = xp.max(xp.abs(self.triangle.gap(xp, move)) * self.linked, axis=0)
        return move, size, damped(xp, size, xp.log1p(size))

    def largest_step(self, xp: Any, s: Array) -> Array:
        """Return ν: the Newton step's largest difference, its rounding included; NaN if unsafe.

        The forces round by 8 units of themselves and half a unit more a comparison, and by as many
        of the conductance as there are nats in t; the elimination adds what `laplacian` says.
        """
        t, up, down = self._sigmoids(xp, s)
        won, lost = self.wins * down, self.losses * up
        bend = (self.wins + self.losses) * up * down
        safe = xp.all((bend >= FLOOR) | (self.linked == 0), axis=0)
        size = self.triangle.size
        units = 8.0 + self.terms / 2 + size * size / 4 + 4.0 * size
        noise = units * (won + lost) + (1 + xp.abs(t)) * bend
        move, blur = noisy_potentials(xp, self.triangle, bend, won - lost, noise)
        spread = xp.max(move, axis=0) - xp.min(move, axis=0)
        nu = spread + (2.0 * EPS) * xp.max(blur, axis=0)
        return xp.where(safe, nu, xp.full_like(nu, xp.nan))

    def loss(self, xp: Any, s: Array, top: Array) -> Array:
        """Return Σ a softplus(−t) + b softplus(t), where the largest mass is `top` (n,)."""
        t = self.triangle.gap(xp, s)
        size = xp.abs(t)
        tail = xp.log1p(xp.exp(-size))
        ahead = 0.5 * (size + t)  # max(t, 0), exactly
        parts = self.wins * (tail + (size - ahead)) + self.losses * (tail + ahead)
        return top * xp.sum(parts, axis=0)

    def _sigmoids(self, xp: Any, s: Array) -> tuple[Array, Array, Array]:
        t = self.triangle.gap(xp, s)
        odds = xp.exp(-t)
        up = 1 / (1 + odds)
        return t, up, odds * up


def damped(xp: Any, size: Array, log1p_size: Array) -> Array:
    """Return how far to go along a Newton step of the given |Δt|: log(1 + |Δt|), or all of it.

    The logarithm never overshoots, as |ℓ'''| ≤ ℓ'' (see `solvers.likelihood`); a step that is short
    gets there sooner undamped.
    """
    return xp.where(size < 0.5, size, log1p_size)
