"""Monotone, convex, smooth, bounded: the shape of a loss as a function of δ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from prefeq.arrays import FloatArray
from prefeq.loss_cards.curve import Curve
from prefeq.loss_cards.field import Field

TOLERANCE = 1e-9
"""Relative to the steepest slope in range."""


@dataclass(frozen=True)
class Shape:
    """The curves of all reference margins in range, each decided on its grid.

    Attributes
    ----------
    monotone
        ``decreasing``, ``increasing``, ``constant``, or ``neither``.
    convex
        Whether slopes never fall.
    smooth
        Whether slopes have no jump; `kink` is where one is, in δ − δ_ref.
    left, right
        What the loss does as δ → ∓∞: ``rises`` (outwards, without end), ``falls`` (likewise: it is
        unbounded below), ``levels off`` or ``flat``; ``not finite`` where the code gives no number.
    """

    monotone: str
    convex: bool
    smooth: bool
    kink: float | None
    left: str
    right: str

    @property
    def bounded_below(self) -> bool:
        """Whether the loss has a finite infimum, as far as ±600/β."""
        return "falls" not in (self.left, self.right)


def shape(field: Field) -> Shape:
    """Measure the shape.

    Examples
    --------
    >>> from prefeq.loss_cards.callables import adapt
    >>> from prefeq.loss_cards.curve import Curve, Ranges
    >>> loss = adapt("hinge", beta=1.0)
    >>> found = shape(Field.of(Curve(loss), Ranges.of(loss)))
    >>> found.monotone, found.convex, found.smooth, round(found.kink, 6), found.left, found.right
    ('decreasing', True, False, 1.0, 'rises', 'flat')
    """
    slope = np.where(np.isfinite(field.slope), field.slope, 0.0)
    largest = np.abs(slope).max(axis=1, keepdims=True)
    room = TOLERANCE * largest if field.curve.loss.eps < 1e-12 else 1e-3 * largest
    if field.curve.loss.library == "numpy":
        room = np.maximum(room, 1e-7 * largest)
    falls, rises = bool((slope < -room).any()), bool((slope > room).any())
    kinds = {(1, 0): "decreasing", (0, 1): "increasing", (0, 0): "constant", (1, 1): "neither"}
    convex = bool((np.diff(slope, axis=1) >= -room).all())
    at = int(np.argmin(np.abs(field.ranges.ref_margin)))
    kink = _kink(field, at, float(largest[at, 0]))
    left, right = _ends(field.curve, 1 / field.ranges.beta)
    monotone, smooth = kinds[int(falls), int(rises)], kink is None
    if monotone == "constant" and _steps(field, at):
        monotone, convex, smooth = "neither", False, False
    return Shape(monotone, convex, smooth, kink, left, right)


def _steps(field: Field, row: int) -> bool:
    """Tell whether values change although every slope is 0."""
    margin = field.ranges.margin[row]
    value = field.curve.value(margin, np.full(margin.shape, field.ranges.ref_margin[row]))
    value = value[np.isfinite(value)]
    return bool(value.size and np.ptp(value) > 1e-9 * np.abs(value).max())


def _kink(field: Field, row: int, largest: float) -> float | None:
    """Follow the largest jump of the slope down to a width of 1e-6/β; a kink's does not shrink."""
    ref = float(field.ranges.ref_margin[row])
    margin, slope = field.ranges.margin[row], field.slope[row]
    if largest == 0 or not np.isfinite(slope).all():
        return None
    jumps = np.abs(np.diff(slope))
    narrow = 16 * field.curve.loss.step if field.curve.loss.library == "numpy" else 0.0
    narrow = max(narrow, 1e-6 / field.ranges.beta)
    # The jumps that are largest for their width: a steep stretch between distant points is none.
    for i in np.argsort(-jumps)[:8]:
        low, high = float(margin[i]), float(margin[i + 1])
        while high - low > narrow:
            inner = np.linspace(low, high, 17)
            values = field.curve.slope(inner, np.full(17, ref))
            k = int(np.argmax(np.abs(np.diff(values))))
            if inner[k + 1] - inner[k] >= high - low:
                break
            low, high = float(inner[k]), float(inner[k + 1])
        ends = field.curve.slope(np.array([low, high]), np.full(2, ref))
        if abs(ends[1] - ends[0]) > 0.05 * largest:
            return (low + high) / 2 - ref
    return None


def _ends(curve: Curve, unit: float) -> tuple[str, str]:
    """Say what the loss of δ_ref = 0 does far out on either side."""
    far = np.array([-600.0, -300.0, 300.0, 600.0]) * unit
    zero = np.zeros(4)
    slope, mid = curve.slope(far, zero), curve.slope(np.linspace(-4, 4, 33) * unit, np.zeros(33))
    value = curve.value(far, zero)
    largest = float(np.nanmax(np.abs(mid), initial=0.0))
    out = []
    for ends, sign in (([0, 1], -1), ([3, 2], 1)):
        here: FloatArray = sign * slope[ends]
        if not (np.isfinite(here).all() and np.isfinite(value[ends]).all()):
            out.append("not finite")
        elif (np.abs(here) <= 1e-6 * largest).all():
            near = sign * curve.slope(sign * np.array([30.0, 20.0]) * unit, np.zeros(2))
            out.append("flat" if not near.any() else "levels off")
        else:
            out.append("rises" if here[0] > 0 else "falls")
    return out[0], out[1]
