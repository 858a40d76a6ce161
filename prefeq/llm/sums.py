"""Sums that do not depend on the order in which their parts arrive.

A float64 is an integer multiple of 2^−1074, so parts can be added as integers: exactly. What is
rounded is one chunk's own sum, before it gets here, and the answer, once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_SHIFT = 1074
_UNIT = 1 << _SHIFT


@dataclass
class ExactSum:
    """An exact sum of float64 numbers; infinities and NaNs are counted beside it.

    >>> total = ExactSum()
    >>> for part in (1e16, 1.0, -1e16, 2.0**-60):
    ...     total.add(part)
    >>> total.value(), total.mean(2)
    (1.0, 0.5)
    >>> total.units == (1 << 1074) + (1 << 1014)
    True
    """

    units: int = 0
    plus: int = 0
    minus: int = 0

    def add(self, part: float) -> None:
        """Add one number."""
        if math.isfinite(part):
            top, bottom = part.as_integer_ratio()  # the bottom is a power of two
            self.units += top << (_SHIFT + 1 - bottom.bit_length())
        elif math.isnan(part):  # of opposite infinities
            self.plus, self.minus = self.plus + 1, self.minus + 1
        elif part > 0:
            self.plus += 1
        else:
            self.minus += 1

    def merge(self, other: ExactSum) -> ExactSum:
        """Return the sum of both."""
        return ExactSum(self.units + other.units, self.plus + other.plus, self.minus + other.minus)

    def less(self, other: ExactSum) -> ExactSum:
        """Return the difference of both."""
        return ExactSum(self.units - other.units, self.plus + other.minus, self.minus + other.plus)

    def value(self) -> float | None:
        """Return the sum, correctly rounded; None where opposite infinities meet."""
        return self.mean(1)

    def mean(self, count: int) -> float | None:
        """Return the sum divided by a count, rounded once; None for a count of 0."""
        if count == 0 or (self.plus and self.minus):
            return None
        if self.plus or self.minus:
            return math.inf if self.plus else -math.inf
        try:
            return self.units / (count * _UNIT)
        except OverflowError:
            return math.inf if self.units > 0 else -math.inf

    def to_plain(self) -> list[int | str]:
        """Return a form for JSON."""
        return [hex(self.units), self.plus, self.minus]

    @classmethod
    def from_plain(cls, form: list[int | str]) -> ExactSum:
        """Return the sum that `to_plain` wrote."""
        units, plus, minus = form
        return cls(int(str(units), 16), int(plus), int(minus))
