"""The slopes of a loss on the grid of its ranges: made once, looked at by every line of a card."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from prefeq.arrays import BoolArray, FloatArray
from prefeq.loss_cards.curve import Curve, Ranges
from prefeq.loss_cards.rounding import without_rounding

CONSTANT_ALONE = "a pair in a batch of its own has a constant loss: only batches train"
"""Why nothing can be said of the minima of a loss that is normalised over its batch, say."""


@dataclass(frozen=True, eq=False)
class Field:
    """Slopes df/dδ of an ordered pair, ``(R, N)``, at `ranges.margin` for each reference margin.

    `lost` are those that are too small for a float; of them the slope has the sign alone.
    """

    curve: Curve
    ranges: Ranges
    slope: FloatArray
    lost: BoolArray

    @classmethod
    def of(cls, curve: Curve, ranges: Ranges) -> Field:
        """Evaluate the slopes."""
        return cls(curve, ranges, *without_rounding(curve, ranges.margin, ranges.ref_margin))

    def rows(self, ref_margin: FloatArray) -> tuple[FloatArray, FloatArray, BoolArray]:
        """Return δ, the slopes there, and which were lost, for other reference margins."""
        grid = self.ranges.row(ref_margin)
        return grid, *without_rounding(self.curve, grid, ref_margin)

    @property
    def constant_alone(self) -> bool:
        """Whether this is a loss of batches that tells nothing of a pair alone."""
        return self.curve.loss.coupled and bool(self.dead.all())

    @property
    def dead(self) -> BoolArray:
        """Which reference margins have a slope of exactly 0 everywhere in range, ``(R,)``."""
        return np.asarray((self.slope == 0).all(axis=1) & ~self.lost.any(axis=1))
