"""All local minima of curves in a range, from the signs of their slopes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from prefeq.arrays import FloatArray, IntArray

Slope: TypeAlias = Callable[[FloatArray], FloatArray]


@dataclass(frozen=True)
class Landscape:
    """Where one curve is least, looked at on a grid of margins.

    Attributes
    ----------
    minima
        (low, high) of each local minimum, in order; low < high where the curve is flat there.
    left, right
        What it does at the ends of the range: ``falls`` (outwards), ``rises``, ``flat`` or
        ``not finite``.
    undecided
        Whether the code returned a NaN or an infinity somewhere.
    """

    minima: tuple[tuple[float, float], ...]
    left: str
    right: str
    undecided: bool = False


def signs(slope: FloatArray, floor: Any = 0.0) -> IntArray:
    """Return −1, 0 or 1 for each slope, ``(..., N)``; runs of rounding take their left neighbour's.

    0 means a slope of exactly 0, a flat, or no number.

    Parameters
    ----------
    floor
        The size below which a slope may be rounding; a run counts as such if all of it is below.
    """
    with np.errstate(invalid="ignore"):
        sign = np.where(np.isfinite(slope), np.sign(slope), 0).astype(np.int64)
        faint = (np.abs(slope) < floor) & (slope != 0)
    for index in np.ndindex(sign.shape[:-1]):
        if faint[index].any():
            sign[index] = _without_noise(sign[index], faint[index])
    return np.asarray(sign)


def _without_noise(sign: IntArray, faint: Any) -> IntArray:
    """Give runs that are faint throughout the sign of what is before them, or else after.

    A single zero among slopes is no flat: it may be rounding, too.
    """
    out = sign.copy()
    faint = faint | ((sign == 0) & (np.roll(sign, 1) != 0) & (np.roll(sign, -1) != 0))
    starts = np.flatnonzero(np.diff(sign, prepend=sign[0] + 2))
    runs = list(zip(starts, [*starts[1:], len(sign)], strict=True))
    loud = [i for i, (a, b) in enumerate(runs) if not faint[a:b].all()]
    if not loud:
        return out
    for i, (a, b) in enumerate(runs):
        if i not in loud:
            before = [j for j in loud if j < i]
            out[a:b] = sign[runs[before[-1] if before else loud[0]][0]]
    return out


def landscape(
    grid: FloatArray, slope: FloatArray, function: Slope | None = None, floor: Any = 0.0
) -> Landscape:
    """Return the local minima of one curve.

    Parameters
    ----------
    grid, slope
        Margins, ascending, and the slopes there, ``(N,)``.
    function
        The slope as a function: minima are then bisected to the precision of floats. Otherwise
        each is given as the middle of its bracket.
    floor
        Runs of slopes that are all smaller are rounding; a number, or one for each slope.
    """
    keep = np.concatenate([[True], np.diff(grid) > 0])
    floor = np.broadcast_to(floor, slope.shape)[keep]
    grid, slope = grid[keep], slope[keep]
    sign, finite = signs(slope, floor), np.isfinite(slope)
    found: list[tuple[float, float]] = []
    i = 0
    while i < len(sign):
        if sign[i] == 0:
            j = i
            while j + 1 < len(sign) and sign[j + 1] == 0:
                j += 1
            before = sign[i - 1] if i else -1
            after = sign[j + 1] if j + 1 < len(sign) else 1
            low_end = before <= 0 <= after and not (i == j and before == after)
            if low_end and finite[i : j + 1].all():
                low = _edge(grid, i, function, left=True) if i else -np.inf
                high = _edge(grid, j, function, left=False) if j + 1 < len(sign) else np.inf
                found.append((float(grid[i]), float(grid[i])) if i == j else (low, high))
            i = j + 1
            continue
        if sign[i] < 0 and i + 1 < len(sign) and sign[i + 1] > 0:
            point = _crossing(float(grid[i]), float(grid[i + 1]), function)
            found.append((point, point))
        i += 1
    ends = {-1: "falls", 0: "flat", 1: "rises"}
    left = ends[-int(sign[0])] if finite[0] else "not finite"
    right = ends[int(sign[-1])] if finite[-1] else "not finite"
    return Landscape(tuple(found), left, right, not bool(finite.all()))


def _crossing(low: float, high: float, function: Slope | None) -> float:
    """Bisect the change of sign of a slope, negative at `low` and positive at `high`."""
    if function is None:
        return (low + high) / 2
    for _ in range(13):
        inner = np.linspace(low, high, 17)[1:-1]
        above = function(inner) > 0
        first = int(np.argmax(above)) if above.any() else len(inner)
        low, high = (
            float(inner[first - 1]) if first else low,
            float(inner[first]) if first < len(inner) else high,
        )
    return (low + high) / 2


def _edge(grid: FloatArray, index: int, function: Slope | None, *, left: bool) -> float:
    """Return the left or the right end of a flat whose outermost grid point is `index`."""
    if function is None:
        return float(grid[index])
    inside, outside = float(grid[index]), float(grid[index - 1 if left else index + 1])
    for _ in range(13):
        inner = np.linspace(outside, inside, 17)[1:-1]
        flat = function(inner) == 0
        first = int(np.argmax(flat)) if flat.any() else len(inner)
        outside, inside = (
            float(inner[first - 1]) if first else outside,
            float(inner[first]) if first < len(inner) else inside,
        )
    return inside
