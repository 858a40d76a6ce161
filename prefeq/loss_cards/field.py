"""The slopes of a loss on the grid of its ranges: made once, looked at by every line of a card."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from prefeq.arrays import BoolArray, FloatArray
from prefeq.loss_cards.curve import Curve, Ranges

CONSTANT_ALONE = "a pair in a batch of its own has a constant loss: only batches train"
"""Why nothing can be said of the minima of a loss that is normalised over its batch, say."""


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
    def constant_alone(self) -> bool:
        """Whether this is a loss of batches that tells nothing of a pair alone."""
        return self.curve.loss.coupled and bool(self.dead.all())

    @property
    def dead(self) -> BoolArray:
        """Which reference margins have a slope of exactly 0 everywhere in range, ``(R,)``."""
        return np.asarray((self.slope == 0).all(axis=1))
