"""Newton's method on the likelihoods of a chunk, in lanes that leave the work as they finish."""

from __future__ import annotations

from typing import Any

from prefeq._namespace import Array
from prefeq.lanes import device_of
from prefeq.solvers.batched.narrow import Narrow
from prefeq.solvers.batched.wide import Wide
from prefeq.solvers.bodies import EPS

CLOSE = 3e-8
"""A step this short is the last: the error that it leaves is about its square."""

SHORT, LONG = 0.5, 4.0
"""Steps between these lengths may be stretched: far from the answer a logistic loss looks
exponential, and Newton goes down an exponential by one nat a step, however long the way."""

TURN = 0.75
"""A step is stretched, twice as much as the last, if its direction differs by less than this."""

CROWD = 0.8
"""Finished lanes are taken out when no more than this share is still moving."""


def minimiser(xp: Any, network: Narrow | Wide, max_steps: int) -> tuple[Array, Array]:
    """Return s (K, n) and its steps (n,): no proof, and 0 where the steps led out of the numbers.

    Steps within the rounding of s are not counted. A lane's answer does not depend on the lanes
    beside it: it stands still from its last step on.
    """
    s = network.start(xp)
    n, device = s.shape[1], device_of(s)
    found, steps = xp.empty_like(s), xp.empty((n,), dtype=xp.int64, device=device)
    lanes, taken = xp.arange(n, dtype=xp.int64, device=device), xp.zeros_like(steps)
    moving, way, stretch = taken == 0, xp.zeros_like(s), xp.ones_like(s[0, :])
    for step in range(max_steps):
        move, size, reach = network.step(xp, s)
        before, way = way, move / (size + xp.astype(size == 0, xp.float64))
        if bool(xp.any(reach > SHORT)):
            stretch = _stretch(xp, stretch, reach, xp.max(xp.abs(way - before), axis=0))
            reach = reach * stretch
        else:
            stretch = xp.ones_like(reach)
        s = s + way * (reach * xp.astype(moving, xp.float64))
        rounding = 4 * EPS * (1 + xp.max(xp.abs(s), axis=0))
        taken += xp.astype(moving & (reach > rounding), xp.int64)
        moving = moving & (reach > CLOSE + 4 * rounding)
        keep = xp.nonzero(moving)[0]
        if keep.shape[0] > CROWD * moving.shape[0] and step + 1 < max_steps:
            continue
        if not keep.shape[0] and lanes.shape[0] == n:
            found, steps = s, taken
            break
        found[:, lanes] = s
        steps[lanes] = taken
        if not keep.shape[0]:
            break
        network, lanes, s = network.select(xp, keep), xp.take(lanes, keep), xp.take(s, keep, axis=1)
        moving, taken, stretch = (xp.take(x, keep) for x in (moving, taken, stretch))
        way = xp.take(way, keep, axis=1)
    return xp.where(xp.isfinite(found), found, xp.zeros_like(found)), steps


def _stretch(xp: Any, last: Array, reach: Array, turn: Array) -> Array:
    """Return how many times as far to go: twice the last time's if the direction is kept."""
    far = (reach > SHORT) & (reach < LONG) & (turn < TURN)
    return xp.where(far, 2 * last, xp.ones_like(last))
