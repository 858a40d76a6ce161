"""Pairs of a chunk as win and loss masses of unordered pairs: duplicates, in either order, add up.

A mass m is mσ(L), won, and mσ(−L), lost, in units of the largest mass of its lane.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from prefeq._elementary import softplus
from prefeq._namespace import Array
from prefeq.lanes import add_at, device_of, flat_index
from prefeq.solvers.batched.narrow import FLOOR, Narrow
from prefeq.solvers.batched.triangle import Triangle
from prefeq.solvers.batched.wide import ABSENT, Wide, log_add

TRACE = 1e-305
"""What is written for a lesser mass: who beat whom must not be forgotten."""


@dataclass(frozen=True)
class Pairs:
    """The pairs (P, n) of a chunk as given, and the largest mass of each lane (1 without any)."""

    triangle: Triangle
    winner: Array
    loser: Array
    log_odds: Array
    mass: Array
    present: Array
    top: Array

    @classmethod
    def of(
        cls,
        xp: Any,
        size: int,
        winner: Array,
        loser: Array,
        log_odds: Array,
        mass: Array,
        present: Array,
    ) -> Pairs:
        """Take the pairs of K = `size` responses."""
        mass = xp.where(present, mass, xp.zeros_like(mass))
        top = xp.ones((mass.shape[1],), dtype=xp.float64, device=device_of(mass))
        if mass.shape[0]:
            top = xp.max(mass, axis=0)
            top = top + xp.astype(top == 0, xp.float64)
        triangle = Triangle.of(xp, size, device_of(mass))
        return cls(triangle, winner, loser, log_odds, mass, present, top)

    def select(self, xp: Any, keep: Array) -> Pairs:
        """Return the lanes at positions `keep`."""
        names = ("winner", "loser", "log_odds", "mass", "present")
        rows = {name: xp.take(getattr(self, name), keep, axis=1) for name in names}
        return replace(self, **rows, top=xp.take(self.top, keep))

    def masses(self, xp: Any) -> tuple[Array, Array]:
        """Return the masses (K, K, n) that each response won from each, and which lanes are faint.

        In a faint lane some mass is too small for `Narrow`; its size is lost here.
        """
        share, size = self.mass / self.top, self.triangle.size
        least = xp.full_like(share[:1, :], TRACE)
        faint = self.top < 0
        won = xp.zeros((size * size, share.shape[1]), dtype=xp.float64, device=device_of(share))
        for odds, ends in self._sides(xp):
            some = self.present & (odds > -np.inf)
            part = xp.maximum(share / (1 + xp.exp(-odds)), least)
            part = part * xp.astype(some, xp.float64)
            faint = faint | xp.any(some & (part < FLOOR), axis=0)
            add_at(xp, won, ends, part)
        return xp.reshape(won, (size, size, -1)), faint

    def log_masses(self, xp: Any) -> tuple[Array, Array]:
        """Return the logarithms of these masses, ABSENT for 0, and how many sums a lane took."""
        share, size = self.mass / self.top, self.triangle.size
        far = xp.log(self.mass) - xp.log(self.top)
        share = xp.where(share < TRACE, far, xp.log(share))
        shape, device = (size * size, self.top.shape[0]), device_of(self.top)
        won = xp.full(shape, ABSENT, dtype=xp.float64, device=device)
        flat, sums = xp.reshape(won, (-1,)), xp.zeros_like(self.top)
        for odds, ends in self._sides(xp):
            some = self.present & (odds > -np.inf)
            part = xp.where(some, share - softplus(xp, -odds), xp.full_like(odds, ABSENT))
            for row in range(ends.shape[0]):
                before = xp.take(flat, ends[row, :])
                flat[ends[row, :]] = log_add(xp, before, part[row, :])
                sums += xp.astype(some[row, :] & (before > 0.5 * ABSENT), xp.float64)
        return xp.reshape(won, (size, size, -1)), sums

    def _sides(self, xp: Any) -> Iterator[tuple[Array, Array]]:
        """Give the label of either response against the other, and where that is in (K·K, n)."""
        one, other, size = self.winner, self.loser, self.triangle.size
        yield self.log_odds, flat_index(xp, one * size + other)
        yield -self.log_odds, flat_index(xp, other * size + one)


def narrow(xp: Any, pairs: Pairs, won: Array, strong: Array) -> Narrow:
    """Return the pairs inside strong components, in plain arithmetic."""
    wins, losses = pairs.triangle.pack(xp, won)
    if not bool(xp.all(strong)):
        inside = xp.astype(pairs.triangle.pack(xp, strong)[0], xp.float64)
        wins, losses = wins * inside, losses * inside
    linked = xp.astype(wins + losses > 0, xp.float64)
    return Narrow(pairs.triangle, wins, losses, linked, pairs.mass.shape[0])


def wide(xp: Any, pairs: Pairs, strong: Array) -> Wide:
    """Return the pairs inside strong components, in logarithms."""
    won, sums = pairs.log_masses(xp)
    wins, losses = pairs.triangle.pack(xp, won)
    inside = pairs.triangle.pack(xp, strong)[0]
    none = xp.full_like(wins, ABSENT)
    wins, losses = (xp.where(inside, row, none) for row in (wins, losses))
    linked = xp.maximum(wins, losses) > 0.5 * ABSENT
    return Wide(pairs.triangle, wins, losses, linked, sums)
