"""Strict inequalities decided in ball arithmetic, and exact signs of log-ratios.

A ball is an enclosure: what it decides is true of the exact numbers. Inputs are exact (integers,
fractions, or floats taken at their binary value), precision rises until the sign is decided, and a
sign that 4096 bits do not decide is undecided.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

from flint import arb, ctx, fmpq

from prefeq.claims.evidence import Evidence, outcome_of

PRECISIONS = (64, 128, 256, 512, 1024, 2048, 4096)
DISPLAY_BITS = 320

Exact = int | float | Fraction


class _Ball:
    """The arithmetic of `formulas` in balls."""

    def exp(self, z: Any) -> Any:
        return arb(z).exp()

    def log(self, z: Any) -> Any:
        return arb(z).log()

    def log1p(self, z: Any) -> Any:
        return arb(z).log1p()

    def larger(self, a: Any, b: Any) -> Any:
        return arb(a).max(arb(b))


BALL = _Ball()


def ball(value: Exact) -> Any:
    """Enclose an exact number at the precision now in force."""
    if isinstance(value, Fraction):
        return arb(fmpq(value.numerator, value.denominator))
    return arb(value)


def at_rising_precision(value: Callable[[], Any]) -> Iterator[tuple[int, Any]]:
    """Evaluate `value` again and again, each time with more bits."""
    for bits in PRECISIONS:
        with ctx.workprec(bits):
            yield bits, value()


def sign(value: Callable[[], Any]) -> tuple[int | None, int]:
    """Return the sign of a number (None if undecided) and the bits that it took.

    `value` is called afresh at each precision, so exact inputs must be turned into balls inside it.

    >>> sign(lambda: ball(Fraction(1, 3)) - ball(1) / 3)
    (None, 4096)
    >>> sign(lambda: ball(2).log() - ball(Fraction(693147, 1000000)))
    (1, 64)
    """
    for bits, enclosure in at_rising_precision(value):
        if enclosure > 0:
            return 1, bits
        if enclosure < 0:
            return -1, bits
        if enclosure.is_exact() and enclosure.is_zero():
            return 0, bits
    return None, PRECISIONS[-1]


def sign_of_log(ratio: Fraction, shift: Fraction) -> int | None:
    """Return the sign of log(ratio) + shift for rationals, ratio > 0; 0 only if it is exactly 0.

    The logarithm of a rational other than 1 is transcendental, so the sum vanishes only for
    ratio = 1 and shift = 0, and the balls decide every other case in the end.
    """
    if ratio == 1:
        return (shift > 0) - (shift < 0)
    return sign(lambda: ball(ratio).log() + ball(shift))[0]


def strictly_positive(
    summary: str,
    value: Callable[[], Any],
    *,
    step: str | None = None,
    kind: str = "ball",
    data: dict[str, Any] | None = None,
) -> Evidence:
    """Decide ``value() > 0``; `holds`, `fails` (zero or negative) or `undecided`.

    Give the number as an ``expression`` over the other inputs in ``data["inputs"]``, for a re-check
    to evaluate anew.
    """
    decided, _ = sign(value)
    found = {"inequalities": ["difference > 0"], "difference": digits(value)}
    answer = None if decided is None else decided > 0
    return Evidence(kind, summary, outcome_of(answer), step, {**(data or {}), **found})


def digits(value: Callable[[], Any]) -> float:
    """Return a ball's midpoint rounded to 15 significant digits, for display and comparison."""
    with ctx.workprec(DISPLAY_BITS):
        return midpoint(value())


def midpoint(enclosure: Any) -> float:
    """Return a narrow ball as a float of 15 digits; refuse a wide one, which shows nothing."""
    if enclosure.contains(0) and enclosure.abs_upper() < 1e-60:
        return 0.0
    if not enclosure.is_finite() or enclosure.rel_accuracy_bits() < 53:
        raise ArithmeticError(f"too wide a ball to print: {enclosure}")
    return float(enclosure.str(15, radius=False))


def exactly(value: Exact) -> str:
    """Write an exact number as a string: ``"1/3"``, ``"-2"``."""
    return str(Fraction(value))
