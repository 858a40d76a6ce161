"""The slopes of a loss on the grid of its ranges: made once, looked at by every line of a card."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from prefeq.arrays import BoolArray, FloatArray
from prefeq.loss_cards.curve import Curve, Ranges


@dataclass(frozen=True, eq=False)
class Field:
    """Slopes df/dδ of an ordered pair, ``(R, N)``, at `ranges.margin` for each reference margin."""

    curve: Curve
    ranges: Ranges
    slope: FloatArray

    @classmethod
    def of(cls, curve: Curve, ranges: Ranges) -> Field:
        """Evaluate the slopes."""
        return cls(curve, ranges, curve.slope(ranges.margin, ranges.ref_margin[:, None]))

    @property
    def dead(self) -> BoolArray:
        """Which reference margins have a slope of exactly 0 everywhere in range, ``(R,)``."""
        return np.asarray((self.slope == 0).all(axis=1))
