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

SUSPECT = 64.0
"""A slope below this many times its floor is looked at again where its sign is its own."""

_JITTER = np.linspace(-1.0, 1.0, 18)

_DISTANCES = 1.05 ** np.arange(-330, 74)  # 1e-7 to 35, in units of 1/β


def without_rounding(
    curve: Curve, margin: FloatArray, ref_margin: FloatArray
) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Return slopes, ``(R, N)``, below which size they may be rounding, and which were lost.

    A run of exact zeros at the end of a tail that decays is given the sign of the tail, and a size
    of 1e-300. Where two tails of opposite sign decay towards each other, zeros are left: a minimum
    or a maximum is in there, and no float can tell where. Rows that are 0 throughout stay as they
    are. Signs that change when the margin hardly does are those of the neighbours.

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
    >>> slope, _, lost = without_rounding(Curve(adapt(naive)), delta, np.zeros(1))
    >>> slope[0].round(6).tolist(), lost.tolist()
    ([-0.731059, -0.268941, -0.0, -0.0], [[False, False, True, True]])
    """
    slope, floor = curve.slope_and_floor(margin, ref_margin[:, None])
    lost = np.zeros(slope.shape, dtype=bool)
    for row, ref in enumerate(ref_margin.tolist()):
        _settle_signs(curve, ref, margin[row], slope[row], floor[row])
        for low, high in _zeros(slope[row]):
            sign = _sign_of_tail(curve, ref, margin[row], slope[row], low, high)
            if sign is not None:
                slope[row, low : high + 1] = sign * FAINT
                lost[row, low : high + 1] = True
    return slope, floor, lost


def as_they_are(
    curve: Curve, margin: FloatArray, ref_margin: FloatArray
) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Return the same of slopes that nobody looked at again: none counts as lost."""
    slope, floor = curve.slope_and_floor(margin, ref_margin[:, None])
    return slope, floor, np.zeros(slope.shape, dtype=bool)


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


def _settle_signs(
    curve: Curve, ref: float, margin: FloatArray, slope: FloatArray, floor: FloatArray
) -> None:
    """Look again at runs of one sign that may be rounding, in place.

    Those whose sign is not that of what is beside them get the sign of their neighbours; the others
    are no rounding, and their floor is 0.
    """
    noise = np.zeros(slope.shape, dtype=bool)
    sign = np.sign(slope)
    starts = np.flatnonzero(np.diff(sign, prepend=math.nan) != 0)
    for first, end in zip(starts, [*starts[1:], len(slope)], strict=True):
        here = slice(first, end)
        faint = np.abs(slope[here]) < SUSPECT * floor[here]
        if len(starts) == 1 or not np.isfinite(slope[first]) or sign[first] == 0 or not faint.all():
            continue
        at = int(first + np.argmax(np.abs(slope[here])))
        cells = np.diff(margin[max(at - 1, 0) : at + 2])
        width = max(float(cells[cells > 0].min(initial=math.inf)) / 4, 3 * curve.loss.step)
        near = curve.slope(margin[at] + width * _JITTER, np.full(_JITTER.shape, ref))
        noise[here] = bool((np.sign(near) != sign[at]).any())
        floor[here] = 0.0
    if noise.any():
        slope[:] = with_tails(slope, noise, where_unlike=-1.0)


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
    floor = curve.slope_and_floor(np.array([outside]), np.array([ref]))[1][0]
    largest = float(np.max(near, where=np.isfinite(near), initial=0.0))
    share = max(1e-9 if curve.loss.library == "numpy" else 1e-12, 50 * curve.loss.eps)
    if near[0] > max(SUSPECT * floor, share * largest):
        return False  # it jumps, or fades as a power does
    small, big = next(levels for eps, levels in _LEVELS if curve.loss.eps <= eps)
    there, further = (int(np.argmax(near > x * largest)) for x in (small, big))
    return bool(_DISTANCES[there] > 0.55 * _DISTANCES[further])


_LEVELS = ((1e-12, (1e-4, 1e-2)), (1e-6, (1e-2, 0.1)), (1.0, (0.1, 0.5)))
"""(small, big) for losses of a precision: an exponential in float32 has no 1e-4 to speak of."""
