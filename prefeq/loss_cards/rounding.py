"""Slopes that are what rounding left: zeros that are no flats, and signs that change at random.

`log(1 + exp(−z))` has a slope of exactly 0 from z = 37 on, by rounding, and `softplus(−z)` from
z = 745 on. A hinge has one by its formula. What tells them apart is how the slope gets there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from prefeq.arrays import BoolArray, FloatArray, IntArray
from prefeq.loss_cards.curve import Curve

FAINT = 1e-300
"""What stands for a slope that was lost: its sign is known, its size is not."""

_JITTER = np.linspace(-1e-3, 1e-3, 18)

_DISTANCES = 1.25 ** np.arange(-72, 17)  # 1e-7 to 35, in units of 1/β


def without_rounding(
    curve: Curve, margin: FloatArray, ref_margin: FloatArray
) -> tuple[FloatArray, BoolArray]:
    """Return slopes, ``(R, N)``, and which of them were lost by underflow.

    A run of exact zeros at the end of a tail that decays is given the sign of the tail, and a size
    of 1e-300. Where two tails of opposite sign decay towards each other, zeros are left: a minimum
    or a maximum is in there, and no float can tell where. Rows that are 0 throughout stay as they
    are.

    Parameters
    ----------
    margin, ref_margin
        Ascending rows of δ, ``(R, N)``, and δ_ref of each, ``(R,)``.

    Examples
    --------
    >>> import numpy as np
    >>> from prefeq.loss_cards.callables import adapt
    >>> def naive(c, r, rc, rr):
    ...     return np.log(1 + np.exp(-(c - r)))
    >>> delta = np.array([[-1.0, 1.0, 50.0, 60.0]])
    >>> slope, lost = without_rounding(Curve(adapt(naive)), delta, np.zeros(1))
    >>> slope[0].round(6).tolist(), lost.tolist()
    ([-0.731059, -0.268941, -0.0, -0.0], [[False, False, True, True]])
    """
    slope = curve.slope(margin, ref_margin[:, None])
    lost = np.zeros(slope.shape, dtype=bool)
    for row, ref in enumerate(ref_margin.tolist()):
        noise = _noise(curve, ref, margin[row], slope[row])
        if noise.any():
            slope[row] = with_tails(slope[row], noise, where_unlike=-1.0)
        for low, high in _zeros(slope[row]):
            sign = _sign_of_tail(curve, ref, margin[row], slope[row], low, high)
            if sign is not None:
                slope[row, low : high + 1] = sign * FAINT
                lost[row, low : high + 1] = True
    return slope, lost


def with_tails(slope: FloatArray, lost: BoolArray, where_unlike: float = math.nan) -> FloatArray:
    """Return slopes where those that were lost have the sign of what is beside them.

    Between opposite signs there is a minimum or a maximum, and no float can tell where: NaN, or
    another sign to put there.

    Examples
    --------
    >>> import numpy as np
    >>> slope, lost = np.array([0.0, -1.0, 0.0, 2.0, 0.0]), np.array([1, 0, 1, 0, 1], bool)
    >>> with_tails(slope, lost).tolist()
    [-1e-300, -1.0, nan, 2.0, 1e-300]
    """
    known = np.flatnonzero(~lost)
    if not lost.any() or not known.size:
        return np.where(lost, np.nan, slope)
    at = np.arange(len(slope))
    before = np.sign(slope[known[np.maximum(np.searchsorted(known, at, side="right") - 1, 0)]])
    after = np.sign(slope[known[np.minimum(np.searchsorted(known, at), len(known) - 1)]])
    return np.where(lost, np.where(before == after, before, where_unlike) * FAINT, slope)


def _noise(curve: Curve, ref: float, margin: FloatArray, slope: FloatArray) -> BoolArray:
    """Tell which of the small slopes change their sign at random when the margin hardly changes."""
    found = np.zeros(slope.shape, dtype=bool)
    size, sign = np.abs(slope), np.sign(slope)
    largest = float(np.max(size, where=np.isfinite(size), initial=0.0))
    starts = np.flatnonzero(np.diff(sign, prepend=math.nan) != 0)
    for first, end in zip(starts, [*starts[1:], len(slope)], strict=True):
        here = slice(first, end)
        if len(starts) == 1 or sign[first] == 0 or not (size[here] < 1e-9 * largest).all():
            continue
        at = int(first + np.argmax(size[here]))
        width = np.diff(margin[max(at - 1, 0) : at + 2]).max()
        near = curve.slope(margin[at] + width * _JITTER, np.full(_JITTER.shape, ref))
        found[here] = bool((np.sign(near) != sign[at]).any())
    return found


def _zeros(slope: FloatArray) -> Iterator[tuple[int, int]]:
    """Yield the runs of exact zeros that may be no flat, first and last."""
    zero = slope == 0
    if zero.all() or not zero.any():
        return
    edges: IntArray = np.flatnonzero(np.diff(zero.astype(np.int8), prepend=0, append=0))
    for low, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        if end - low > 1 or low == 0 or end == len(slope):  # one zero between two slopes: no flat
            yield low, end - 1


def _sign_of_tail(
    curve: Curve, ref: float, margin: FloatArray, slope: FloatArray, low: int, high: int
) -> float | None:
    """Return the sign of the tail that decays into a run of zeros; 0 if two do; None if none."""
    tails = set()
    for inside, outside in ((low, low - 1), (high, high + 1)):
        if not 0 <= outside < len(slope) or not np.isfinite(slope[outside]):
            continue
        if _decays(curve, ref, float(margin[inside]), float(margin[outside])):
            tails.add(float(np.sign(slope[outside])))
    return None if not tails else tails.pop() if len(tails) == 1 else 0.0


def _decays(curve: Curve, ref: float, inside: float, outside: float) -> bool:
    """Tell whether the slope dies away towards the edge of its zeros as an exponential does.

    At a distance D from the edge, the slope of a polynomial is a power of D: it has small·max and
    big·max at distances in a ratio of (small/big)^(1/p), .1 for the square of a hinge. An
    exponential that was rounded away has them at about the same distance, tens of units off.
    """

    def slope(delta: Any) -> FloatArray:
        with np.errstate(invalid="ignore"):
            return np.abs(curve.slope(delta, np.full(np.shape(delta), ref)))

    for _ in range(9):  # to the last digits
        inner = np.linspace(inside, outside, 17)[1:-1]
        alive = slope(inner) != 0
        first = int(np.argmax(alive)) if alive.any() else len(inner)
        inside, outside = (
            float(inner[first - 1]) if first else inside,
            float(inner[first]) if first < len(inner) else outside,
        )
    away = np.sign(outside - inside) * curve.loss.unit
    near = slope(inside + away * _DISTANCES)
    largest = float(np.max(near, where=np.isfinite(near), initial=0.0))
    if near[0] > curve.noise * largest:
        return False  # it jumps
    small = max(1e-4, 64 * curve.loss.eps)
    there, further = (int(np.argmax(near > x * largest)) for x in (small, small**0.5))
    return bool(_DISTANCES[there] > 0.55 * _DISTANCES[further])
