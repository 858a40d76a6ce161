"""Roots of the two-response penalty equations, enclosed in balls between two decided signs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flint import arb, ctx

from prefeq.claims import penalty_formulas
from prefeq.claims.ball import BALL


def enclose_root(function: Callable[[Any], Any], low: Any, high: Any) -> Any | None:
    """Return a ball that holds a root of a continuous function, None if its ends do not differ.

    >>> with ctx.workprec(128):
    ...     root = enclose_root(lambda x: x * x - 2, arb(1), arb(2))
    ...     root.overlaps(arb(2).sqrt()), root.rad() < 1e-25
    (True, True)
    """
    left, right = function(low), function(high)
    if not ((left < 0 and right > 0) or (left > 0 and right < 0)):
        return None
    narrow = arb(2) ** (-3 * ctx.prec // 4)
    a, b, fa, fb = low, high, left.mid(), right.mid()
    last, side = low, 0
    for _ in range(2 * ctx.prec):
        middle = ((a * fb - b * fa) / (fb - fa)).mid()  # regula falsi, the Illinois way
        if not a < middle < b:
            middle = ((a + b) / 2).mid()
        value = function(middle).mid()
        if (value > 0) == (fb > 0):
            b, fb, fa, side = middle, value, fa / 2 if side > 0 else fa, 1
        else:
            a, fa, fb, side = middle, value, fb / 2 if side < 0 else fb, -1
        reach = narrow * (abs(middle) + narrow)
        if value == 0 or abs(middle - last) < reach / 2**8:
            break
        last = middle
    ends = (middle - reach).mid(), (middle + reach).mid()
    # what was found is a guess; only these two signs make it an enclosure
    if not low < ends[0] or not ends[1] < high:
        return _halved(function, low, high, bool(right > 0))
    first, second = function(ends[0]), function(ends[1])
    if (first > 0 and second < 0) or (first < 0 and second > 0):
        return ends[0].union(ends[1])
    return _halved(function, low, high, bool(right > 0))


def _halved(function: Callable[[Any], Any], low: Any, high: Any, rising: bool) -> Any:
    """Halve a bracket as long as signs are decided."""
    narrow = arb(2) ** (-3 * ctx.prec // 4)
    for _ in range(2 * ctx.prec):
        middle = ((low + high) / 2).mid()
        value = function(middle)
        if high - low < narrow * (abs(low) + narrow) or not (value > 0 or value < 0):
            break
        low, high = (low, middle) if bool(value > 0) == rising else (middle, high)
    return low.union(high)


def fold_margin(optimal_margin: Any) -> Any:
    """Enclose the positive root d of d − coth(d/2) = δ*.

    As coth(d/2) exceeds 2/d and 1, it lies between min(1, 1/(1 + |δ*|)) and max(δ*, 0) + 3.
    """
    size = abs(optimal_margin).upper()
    low = (1 / (1 + size)).mid() / 2
    high = size.mid() + 3 if optimal_margin > 0 else arb(3)
    root = enclose_root(
        lambda d: penalty_formulas.fold_equation(BALL, d) - optimal_margin, low, high.mid()
    )
    if root is None:
        raise ArithmeticError(f"the fold of {optimal_margin} was not bracketed")
    return root


def fold(optimal_margin: Any, beta: Any, mass: Any) -> tuple[Any, Any]:
    """Enclose (d, γ_fold)."""
    d = fold_margin(optimal_margin)
    return d, penalty_formulas.fold_gamma(BALL, d, beta, mass)


def local_maximum(optimal_margin: Any, beta: Any, gamma: Any, mass: Any) -> Any | None:
    """Enclose the margin of the two-response local maximum; None unless γ < γ_fold is decided."""
    d, end = fold(optimal_margin, beta, mass)
    if not 0 < gamma < end:
        return None

    def excess(delta: Any) -> Any:
        push = gamma * mass * penalty_formulas.inverse_pair(BALL, delta)
        return push - beta * (delta - optimal_margin)

    # the push is positive at δ*; at d it is smaller than β(d − δ*), as γ < γ_fold
    return enclose_root(excess, optimal_margin.mid(), d.mid())
