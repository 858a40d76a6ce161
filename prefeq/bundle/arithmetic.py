"""The two arithmetics of a re-check: balls that enclose, and points of many digits."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from flint import arb, fmpq
from mpmath import mp, mpf

DIGITS = 60
"""Decimal digits of every recomputed number."""


class Balls:
    """Ball arithmetic: what it decides is true."""

    def exp(self, z: Any) -> Any:
        """Enclose e^z."""
        return arb(z).exp()

    def log(self, z: Any) -> Any:
        """Enclose the natural logarithm."""
        return arb(z).log()

    def log1p(self, z: Any) -> Any:
        """Enclose log(1 + z)."""
        return arb(z).log1p()

    def sqrt(self, z: Any) -> Any:
        """Enclose the square root."""
        return arb(z).sqrt()

    def sinh(self, z: Any) -> Any:
        """Enclose the hyperbolic sine."""
        return arb(z).sinh()

    def cosh(self, z: Any) -> Any:
        """Enclose the hyperbolic cosine."""
        return arb(z).cosh()

    def tanh(self, z: Any) -> Any:
        """Enclose the hyperbolic tangent."""
        return arb(z).tanh()

    def min(self, a: Any, b: Any) -> Any:
        """Enclose the smaller of two numbers."""
        return arb(a).min(arb(b))

    def max(self, a: Any, b: Any) -> Any:
        """Enclose the larger of two numbers."""
        return arb(a).max(arb(b))

    def exact(self, value: Fraction | int | str) -> Any:
        """Enclose a rational."""
        q = Fraction(value)
        return arb(fmpq(q.numerator, q.denominator))


class Points:
    """The same functions of single numbers, at mpmath's working precision."""

    def exp(self, z: Any) -> Any:
        """Return e^z."""
        return mp.exp(z)

    def log(self, z: Any) -> Any:
        """Return the natural logarithm."""
        return mp.log(z)

    def log1p(self, z: Any) -> Any:
        """Return log(1 + z)."""
        return mp.log1p(z)

    def sqrt(self, z: Any) -> Any:
        """Return the square root."""
        return mp.sqrt(z)

    def sinh(self, z: Any) -> Any:
        """Return the hyperbolic sine."""
        return mp.sinh(z)

    def cosh(self, z: Any) -> Any:
        """Return the hyperbolic cosine."""
        return mp.cosh(z)

    def tanh(self, z: Any) -> Any:
        """Return the hyperbolic tangent."""
        return mp.tanh(z)

    def min(self, a: Any, b: Any) -> Any:
        """Return the smaller of two numbers."""
        return min(a, b)

    def max(self, a: Any, b: Any) -> Any:
        """Return the larger of two numbers."""
        return max(a, b)

    def exact(self, value: Fraction | int | str) -> Any:
        """Return a rational, rounded to the working precision."""
        q = Fraction(value)
        return mpf(q.numerator) / q.denominator


BALLS = Balls()
POINTS = Points()
