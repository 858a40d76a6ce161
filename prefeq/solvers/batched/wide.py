"""The likelihood of lanes whose conductances span any number of orders: `narrow` in logarithms.

Conductances g are logarithms here, and forces are multiples of a base: the conductance of the
weakest pair on the strongest path between the two responses. As no pair across some cut between
these two is stronger, the multiples are about as large as the steps they cause, in nats, and the
coefficients of the elimination are of order one (its formulas are in `laplacian`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from prefeq._elementary import softplus
from prefeq._namespace import Array
from prefeq.lanes import device_of
from prefeq.solvers.batched.laplacian import substitute
from prefeq.solvers.batched.narrow import CERTAIN, damped
from prefeq.solvers.batched.triangle import Triangle
from prefeq.solvers.bodies import EPS

ABSENT = -1e300
"""log 0, but finite: differences of two are not NaN, and the sums formed here do not overflow."""


@dataclass(frozen=True)
class Wide:
    """Log win and loss masses (M, n) of the pairs of a triangle, the later against the earlier.

    In units of the lane's largest mass, ABSENT where there is none; `linked` is where there is a
    pair, and `sums` (n,) how many comparisons at most were added to another one.
    """

    triangle: Triangle
    wins: Array
    losses: Array
    linked: Array
    sums: Array

    def select(self, xp: Any, keep: Array) -> Wide:
        """Return the lanes at positions `keep`."""
        names = ("wins", "losses", "linked")
        rows = {name: xp.take(getattr(self, name), keep, axis=1) for name in names}
        return replace(self, **rows, sums=xp.take(self.sums, keep))

    def start(self, xp: Any) -> Array:
        """Return the potentials of the labels, weighted by their own curvature: consistent ones."""
        mass, odds = log_add(xp, self.wins, self.losses), self.wins - self.losses
        certain = xp.abs(odds) > -0.5 * ABSENT
        odds = xp.where(certain, -math.log(CERTAIN) * xp.sign(odds), odds)
        bend = xp.where(self.linked, mass + _log_slope(xp, odds), xp.full_like(odds, ABSENT))
        pull, none = bend + xp.log(xp.abs(odds)), xp.full_like(odds, ABSENT)
        won, lost = xp.where(odds > 0, pull, none), xp.where(odds < 0, pull, none)
        system = _System.of(xp, self.triangle, bend, won, lost)
        return system.solve(xp)[0] * xp.exp(system.scale)

    def step(self, xp: Any, s: Array) -> tuple[Array, Array, Array]:
        """Return the Newton step over a scale, its largest |Δt| over pairs, and how far to go."""
        system = self._system(xp, s)[1]
        move = system.solve(xp)[0]
        gap = xp.abs(self.triangle.gap(xp, move))
        size = xp.max(xp.where(self.linked, gap, xp.zeros_like(gap)), axis=0)
        log_size = system.scale + xp.log(size)
        return move, size, damped(xp, xp.exp(log_size), softplus(xp, log_size))

    def largest_step(self, xp: Any, s: Array) -> Array:
        """Return ν: the Newton step's largest difference, its rounding included; NaN if unsafe.

        Forces e^z round by some |z| units more than those of `narrow`, through their logarithms.
        """
        t, system = self._system(xp, s)
        size = self.triangle.size
        units = 8.0 + size * size / 4 + 4.0 * size
        noise = (1 + xp.abs(t)) * system.multiple(xp, system.bend)
        for mass, log_size in ((self.wins, system.won), (self.losses, system.lost)):
            rough = (3 + self.sums) * xp.abs(mass) + 3 * xp.abs(log_size) + xp.abs(system.base)
            noise = noise + (units + rough) * system.multiple(xp, log_size)
        move, blur = system.solve(xp, noise)
        spread = xp.max(move, axis=0) - xp.min(move, axis=0)
        return xp.exp(system.scale) * (spread + (2.0 * EPS) * xp.max(blur, axis=0))

    def loss(self, xp: Any, s: Array, top: Array) -> Array:
        """Return Σ a softplus(−t) + b softplus(t), where the largest mass is `top` (n,)."""
        t, log_top = self.triangle.gap(xp, s), xp.log(top)
        parts = xp.exp(self.wins + log_top) * softplus(xp, -t)
        return xp.sum(parts + xp.exp(self.losses + log_top) * softplus(xp, t), axis=0)

    def _system(self, xp: Any, s: Array) -> tuple[Array, _System]:
        t, none = self.triangle.gap(xp, s), xp.full_like(self.wins, ABSENT)
        bend = log_add(xp, self.wins, self.losses) + _log_slope(xp, t)
        won, lost = self.wins - softplus(xp, t), self.losses - softplus(xp, -t)
        rows = (xp.where(self.linked, row, none) for row in (bend, won, lost))
        return t, _System.of(xp, self.triangle, *rows)


@dataclass(frozen=True)
class _System:
    """A network: log conductances, log forces up and down, their base, and the step's scale."""

    triangle: Triangle
    bend: Array
    won: Array
    lost: Array
    base: Array
    scale: Array

    @classmethod
    def of(cls, xp: Any, triangle: Triangle, bend: Array, won: Array, lost: Array) -> _System:
        """Weigh the forces against the network; `scale` keeps their multiples from overflow."""
        base = _bottleneck(xp, triangle, bend)
        ratio = xp.where(bend > 0.5 * ABSENT, xp.maximum(won, lost) - base, xp.zeros_like(bend))
        scale = xp.max(ratio, axis=0)
        return cls(triangle, bend, won, lost, base, xp.maximum(scale, xp.zeros_like(scale)))

    def multiple(self, xp: Any, log_size: Array) -> Array:
        """Return sizes over base and scale; 0 where there is no pair."""
        absent = log_size < 0.5 * ABSENT
        ratio = xp.where(absent, log_size, log_size - self.base - self.scale)
        return xp.exp(ratio)

    def solve(self, xp: Any, noise: Array | None = None) -> tuple[Array, Array]:
        """Return potentials over the scale, and the bound on their error that noise causes."""
        bend = xp.asarray(self.bend, copy=True)
        force = self.multiple(xp, self.won) - self.multiple(xp, self.lost)
        noise = xp.zeros_like(force) if noise is None else noise
        kept = [
            _eliminate(xp, self.triangle, vertex, bend, self.base, force, noise)
            for vertex in range(self.triangle.size - 1, 0, -1)
        ]
        move = substitute(xp, [(share, rise) for share, rise, _ in kept], force)
        return move, substitute(xp, [(share, haze) for share, _, haze in kept], force)


def _eliminate(
    xp: Any, triangle: Triangle, vertex: int, bend: Array, base: Array, force: Array, noise: Array
) -> tuple[Array, Array, Array]:
    """Take out the last vertex; return its shares, its own rise above their mean, and the noise."""
    rest = triangle.before(vertex)
    later, earlier = triangle.later[:rest], triangle.earlier[:rest]
    row, level, pull, fog = (rows[rest : rest + vertex, :] for rows in (bend, base, force, noise))
    top = xp.max(row, axis=0)
    alone = top < 0.5 * ABSENT
    total = xp.log(xp.sum(xp.exp(row - top), axis=0))
    share = xp.where(alone, xp.full_like(row, ABSENT), row - top - total)
    near = base[:rest, :] > 0.5 * ABSENT
    for part, own, sign in ((later, earlier, 1), (earlier, later, -1)):
        lift = xp.take(level, own, axis=0) - base[:rest, :]
        exponent = xp.take(share, part, axis=0) + lift
        weight = xp.where(near, xp.exp(exponent), xp.zeros_like(exponent))
        moved = weight * xp.take(pull, own, axis=0)
        force[:rest, :] += sign * moved
        rough = 2 + xp.abs(lift) + xp.abs(exponent)
        noise[:rest, :] += weight * xp.take(fog, own, axis=0) + rough * xp.abs(moved)
    mesh = xp.take(share, later, axis=0) + xp.take(row, earlier, axis=0)
    bend[:rest, :] = log_add(xp, bend[:rest, :], mesh)
    lift = level - xp.where(alone, xp.zeros_like(top), top)
    worth = xp.exp(lift - total)
    haze = xp.sum(worth * (fog + (2 + 2 * xp.abs(lift)) * xp.abs(pull)), axis=0)
    return xp.exp(share), xp.sum(worth * pull, axis=0), haze


def _bottleneck(xp: Any, triangle: Triangle, bend: Array) -> Array:
    """Return the weakest conductance on the strongest path between two responses (log)."""
    size, n = triangle.size, bend.shape[1]
    square = xp.empty((size, size, n), dtype=xp.float64, device=device_of(bend))
    square[...] = ABSENT
    square[triangle.later, triangle.earlier, :] = bend
    square[triangle.earlier, triangle.later, :] = bend
    for via in range(size):
        leg = square[:, via : via + 1, :]
        square = xp.maximum(square, xp.minimum(leg, xp.permute_dims(leg, (1, 0, 2))))
    return triangle.pack(xp, square)[0]


def log_add(xp: Any, a: Array, b: Array) -> Array:
    """Return log(e^a + e^b) of finite a and b."""
    return xp.maximum(a, b) + xp.log1p(xp.exp(-xp.abs(a - b)))


def _log_slope(xp: Any, t: Array) -> Array:
    """Return log σ(t)σ(−t)."""
    size = xp.abs(t)
    return -size - 2 * xp.log1p(xp.exp(-size))
