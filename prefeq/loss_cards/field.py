"""The slopes of a loss on the grid of its ranges: made once, looked at by every line of a card."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from prefeq.arrays import BoolArray, FloatArray
from prefeq.loss_cards.curve import Curve, Ranges
from prefeq.loss_cards.rounding import as_they_are, without_rounding

CONSTANT_ALONE = "a pair in a batch of its own has a constant loss: only batches train"
"""Why nothing can be said of the minima of a loss that is normalised over its batch, say."""


@dataclass(frozen=True, eq=False)
class Rows:
    """δ and slopes, ``(R, N)``, for some reference margins, ``(R,)``; see `Field`.

    What is within `edge` of 0, in nats, ``(R,)``, is not told from 0.
    """

    ref_margin: FloatArray
    margin: FloatArray
    slope: FloatArray
    floor: FloatArray
    lost: BoolArray
    edge: FloatArray


@dataclass(frozen=True, eq=False)
class Field:
    """Slopes df/dδ of an ordered pair, ``(R, N)``, at `ranges.margin` for each reference margin.

    Below `floor` a slope may be rounding. `lost` are those that are too small for a float: of
    them the slope has the sign alone. `rough` slopes are as they came, zeros by underflow among
    them.
    """

    curve: Curve
    ranges: Ranges
    slope: FloatArray
    floor: FloatArray
    lost: BoolArray
    rough: bool = False

    @classmethod
    def of(cls, curve: Curve, ranges: Ranges) -> Field:
        """Evaluate the slopes."""
        return cls(curve, ranges, *without_rounding(curve, ranges.margin, ranges.ref_margin))

    @classmethod
    def roughly(cls, curve: Curve, ranges: Ranges) -> Field:
        """Evaluate the slopes and nothing else: quick, and zeros may be no flats."""
        return cls(curve, ranges, *as_they_are(curve, ranges.margin, ranges.ref_margin), True)

    def rows(self, ref_margin: FloatArray) -> Rows:
        """Return δ and slopes for other reference margins, close to where they are highest in U.

        A minimum in U is born where the highest slope there becomes positive.
        """
        grid = self.ranges.row(ref_margin)
        for _ in range(2):
            slope = self.curve.slope(grid, ref_margin[:, None])
            inside = (grid > ref_margin[:, None]) & (grid < 0) & np.isfinite(slope)
            top = np.argmax(np.where(inside, slope, -np.inf), axis=1)
            every = np.arange(len(grid))
            low = grid[every, np.maximum(top - 1, 0)]
            high = grid[every, np.minimum(top + 1, grid.shape[1] - 1)]
            more = np.linspace(low, high, 18, axis=1)[:, 1:-1]
            grid = np.sort(np.concatenate([grid, more], axis=1), axis=1)
        found = without_rounding(self.curve, grid, ref_margin)
        return Rows(ref_margin, grid, *found, self.curve.edge(ref_margin))

    def below_zero(self) -> Rows:
        """Return the rows of the grid with δ_ref < 0: those that have a U."""
        below = self.ranges.ref_margin < 0
        margin, ref = self.ranges.margin[below], self.ranges.ref_margin[below]
        slope, floor, lost = self.slope[below], self.floor[below], self.lost[below]
        return Rows(ref, margin, slope, floor, lost, self.curve.edge(ref))

    @property
    def constant_alone(self) -> bool:
        """Whether this is a loss of batches that tells nothing of a pair alone."""
        return self.curve.loss.coupled and bool(self.dead.all())

    @property
    def dead(self) -> BoolArray:
        """Which reference margins have a slope of exactly 0 everywhere in range, ``(R,)``."""
        return np.asarray((self.slope == 0).all(axis=1) & ~self.lost.any(axis=1))
