"""The risk of a pair under Bradley–Terry labels, on a two-response bandit: a curve in δ."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from prefeq.arrays import BoolArray, FloatArray
from prefeq.loss_cards.counterexample import Reading
from prefeq.loss_cards.curve import EDGE, SMEAR, label_weights
from prefeq.loss_cards.dependence import Dependence
from prefeq.loss_cards.field import Field
from prefeq.loss_cards.minima import Landscape, landscape
from prefeq.loss_cards.rounding import as_they_are, with_tails, without_rounding
from prefeq.loss_cards.target import Target


@dataclass(frozen=True, eq=False)
class Risk:
    """q·f(δ; δ_ref) + (1 − q)·f of the flipped label, on the grid of a field.

    `rows` are the indices of δ_ref of the field that have a target; `flipped` the derivatives of
    the flipped label's term there, `floor` is the size below which a sum may be rounding, and
    `lost` tells where both terms are too small for a float.
    """

    field: Field
    reading: Reading
    target: Target | None
    rows: Any
    flipped: FloatArray
    floor: FloatArray
    lost: BoolArray

    @classmethod
    def of(
        cls, field: Field, reading: Reading, dependence: Dependence, target: Target | None
    ) -> Risk | None:
        """Return the risk of a reading, or None where it makes no sense."""
        every = np.arange(len(field.ranges.ref_margin))
        kept = reading == "fixed" and target is not None and target.link is not None
        if reading == "per-label" or (dependence.log_ratio and not kept):
            floor = field.floor + field.floor[::-1, ::-1]
            lost = field.lost & field.lost[::-1, ::-1]
            return cls(field, reading, None, every, -field.slope[::-1, ::-1], floor, lost)
        if target is None:
            return None
        rows = np.flatnonzero(np.isin(field.ranges.ref_margin, target.ref_margin))
        mirrored = 2 * target.values[:, None] - field.ranges.margin[rows][:, ::-1]
        look = as_they_are if field.rough else without_rounding
        back, floor, lost = look(field.curve, mirrored, field.ranges.ref_margin[rows])
        floor, lost = field.floor[rows] + floor[:, ::-1], field.lost[rows] & lost[:, ::-1]
        return cls(field, reading, target, rows, -back[:, ::-1], floor, lost)

    def needed(self, gaps: FloatArray | None = None) -> tuple[FloatArray, bool]:
        """Return the largest gap that is violated for each δ_ref, and whether any is undecided."""
        gaps = self.field.ranges.gaps if gaps is None else gaps
        found = np.zeros(len(self.field.ranges.ref_margin))
        smeared = self.field.curve.loss.library == "numpy"
        room = (SMEAR if smeared else EDGE) / self.field.ranges.beta  # one at 0 is not above it
        undecided = False
        for i, row in enumerate(self.rows):
            margin, own = self.field.ranges.margin[row], self.field.slope[row]
            if not (own.any() or self.flipped[i].any() or self.field.dead.all()):
                undecided = True  # both slopes underflow: a flat that is none
                continue
            for gap in gaps[::-1]:
                q, rest = label_weights(gap)
                with np.errstate(invalid="ignore"):
                    slope = with_tails(q * own + rest * self.flipped[i], self.lost[i])
                seen = landscape(margin, slope, floor=self.floor[i])
                if seen.undecided:
                    undecided = True
                elif lowest(seen) <= room:
                    found[row] = gap
                    break
        return found, undecided

    def along(
        self, ref: float, gap: float
    ) -> tuple[FloatArray, FloatArray, FloatArray, Callable[[FloatArray], FloatArray]]:
        """Return δ to look at, the slopes of the risk there, their floor, and the slope's function.

        The slopes are NaN where the target is out of reach, or where no float can tell.
        """
        curve, (q, rest) = self.field.curve, label_weights(gap)
        aim, other = self._mirror(ref)

        def slope(delta: FloatArray) -> FloatArray:
            back = curve.slope(2 * aim - delta, np.full(delta.shape, other))
            return np.asarray(q * curve.slope(delta, np.full(delta.shape, ref)) - rest * back)

        own = self.field.rows(np.array([ref]))
        grid = own.margin[0]
        if not math.isfinite(aim):
            return grid, np.full(grid.shape, np.nan), np.zeros(grid.shape), slope
        mirrored = (2 * aim - grid)[None, ::-1]
        back, floor, lost = without_rounding(curve, mirrored, np.array([other]))
        with np.errstate(invalid="ignore"):
            risen = q * own.slope[0] - rest * back[0, ::-1]
        both = own.lost[0] & lost[0, ::-1]
        return grid, with_tails(risen, both), own.floor[0] + floor[0, ::-1], slope

    def value(self, delta: FloatArray, ref: float, gap: float) -> FloatArray:
        """Return the risk at other points; NaN where the target is out of reach."""
        curve, (q, rest) = self.field.curve, label_weights(gap)
        aim, other = self._mirror(ref)
        if not math.isfinite(aim):
            return np.full(delta.shape, np.nan)
        own = curve.value(delta, np.full(delta.shape, ref))
        return np.asarray(
            q * own + rest * curve.value(2 * aim - delta, np.full(delta.shape, other))
        )

    def _mirror(self, ref: float) -> tuple[float, float]:
        """Return the margin that a flipped label mirrors δ about, and its reference margin."""
        if self.target is None:
            return 0.0, -ref
        return self.target.find(self.field.curve, ref), ref


def lowest(seen: Landscape) -> float:
    """Return the lowest local minimum; -inf if the curve falls to the left for ever."""
    if seen.left == "falls":
        return -math.inf
    return min((low for low, _ in seen.minima), default=math.inf)


def lowest_at(risk: Risk, ref: float, gap: float, *, exact: bool = True) -> float:
    """Return the lowest local minimum of a risk, inf if it is undecided; unless `exact`, its sign.

    0 is on the grid: no bracket straddles it.
    """
    grid, slopes, floor, slope = risk.along(ref, gap)
    seen = landscape(grid, slopes, slope if exact else None, floor)
    return math.inf if seen.undecided else lowest(seen)
