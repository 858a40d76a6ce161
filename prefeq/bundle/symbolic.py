"""Symbolic findings decided anew, by numbers: a wrong sign or factor shows at a random point.

A true identity survives any number of points, so this does not prove it; computer algebra did. It
is an independent judge of what the file says was proved.
"""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from mpmath import mp, mpf

from prefeq.bundle.expression import ExpressionError, evaluate

POINTS = 12
TRIES = 60
DIGITS = (60, 120, 240, 480, 960, 1920)
"""Digits of the attempts: cancellation that eats one of them is settled by the next."""

EXPONENTS = (1, *(n for j in range(20) for n in (2 * 2**j, 3 * 2**j)))
"""Powers of ten along which a limit is approached: 1, 2, 3, 4, 6, 8, 12, …"""

Names = dict[str, Any]

_SCALES = ((-1.0, 0.7), (-1.0, 0.7), (-6.0, -1.0), (0.7, 1.5))
"""Ranges of log10 |x|: twice ordinary, then small, then large."""

_SIGN = {
    "real": (-1, 1),
    "complex": (-1, 1),
    "positive": (1,),
    "nonnegative": (1,),
    "negative": (-1,),
    "nonpositive": (-1,),
}


def decide(inputs: Mapping[str, Any]) -> bool | None:
    """Decide a relation as the bundle states it; None if the points do not settle it.

    Parameters
    ----------
    inputs
        ``relation`` with ``left`` and what belongs to it (see `prefeq.claims.symbolic`), and the
        ``assumptions`` of every symbol.

    Raises
    ------
    ExpressionError
        If something in it is not an expression, or the relation is unknown.

    Examples
    --------
    >>> signs = {"x": "positive"}
    >>> decide({"relation": "left = right", "left": ["log(x**2)"], "right": ["2*log(x)"],
    ...         "assumptions": signs})
    True
    >>> decide({"relation": "left > 0", "left": ["x - 1"], "assumptions": signs})
    False
    """
    assumptions = tuple(sorted(inputs["assumptions"].items()))
    left = tuple(inputs["left"])
    match inputs["relation"]:
        case "left = right":
            pairs = zip(left, inputs["right"], strict=True)
            return _all(_identical(a, b, assumptions) for a, b in pairs)
        case "left > 0":
            return _all(_positive(text, assumptions) for text in left)
        case "left free of symbols":
            others = tuple(inputs["symbols"])
            return _all(_free(text, others, assumptions) for text in left)
        case "left -> value":
            goal = (inputs["symbol"], inputs["to"], inputs["side"], inputs["value"])
            return _all(_tends(text, *goal, assumptions) for text in left)
    raise ExpressionError(f"unknown relation {inputs['relation']!r}")


def _all(answers: Iterator[bool | None]) -> bool | None:
    found = list(answers)
    if False in found:
        return False
    return True if found and None not in found else None


@lru_cache(maxsize=4096)
def _identical(left: str, right: str, assumptions: tuple[tuple[str, str], ...]) -> bool | None:
    """Decide whether two expressions agree at every point that can be evaluated."""

    def difference(names: Names) -> tuple[Any, Any]:
        a, b = evaluate(left, names), evaluate(right, names)
        return a - b, max(1, abs(a), abs(b))

    return _everywhere(difference, lambda sign: sign == 0, assumptions, left + right)


@lru_cache(maxsize=4096)
def _positive(text: str, assumptions: tuple[tuple[str, str], ...]) -> bool | None:
    """Decide whether an expression is positive at every point that can be evaluated."""

    def value(names: Names) -> tuple[Any, Any]:
        return evaluate(text, names), 0

    return _everywhere(value, lambda sign: sign == 1, assumptions, text)


@lru_cache(maxsize=4096)
def _free(
    text: str, symbols: tuple[str, ...], assumptions: tuple[tuple[str, str], ...]
) -> bool | None:
    """Decide whether an expression keeps its value when some symbols change theirs."""
    kept = tuple((n, a) for n, a in assumptions if n not in symbols)
    both = (
        *assumptions,
        *((f"{n} again", a) for n, a in assumptions if n in symbols),
    )

    def difference(names: Names) -> tuple[Any, Any]:
        other = {n: names[n] for n, _ in kept} | {n: names.get(f"{n} again") for n in symbols}
        a, b = evaluate(text, names), evaluate(text, other)
        return a - b, max(1, abs(a), abs(b))

    return _everywhere(difference, lambda sign: sign == 0, both, text)


def _everywhere(
    value: Callable[[Names], tuple[Any, Any]],
    good: Callable[[int], bool],
    assumptions: tuple[tuple[str, str], ...],
    text: str,
) -> bool | None:
    """Judge the sign of a value at `POINTS` points; where there is none, another one is drawn."""
    judged = 0
    for names in points(assumptions, text):
        try:
            found = sign(value, names)
        except (ExpressionError, ZeroDivisionError):
            continue
        if found is None:
            continue
        if not good(found):
            return False
        judged += 1
        if judged == POINTS:
            return True
    return None


def sign(value: Callable[[Names], tuple[Any, Any]], names: Names) -> int | None:
    """Return the sign of a number that may cancel: (number, size below which it is 0) a call.

    It is settled when more digits leave it as it is, and zero when it shrinks with every digit.
    """
    before = None
    for digits in DIGITS:
        with mp.workdps(digits):
            try:
                found, scale = value(names)
            except ExpressionError:  # say, the logarithm of a number that rounding made zero
                if digits == DIGITS[-1]:
                    raise
                continue
            if scale and digits > DIGITS[0] and abs(found) <= scale * mpf(10) ** (-digits // 2):
                return 0
            if before and abs(found - before) <= abs(found) * mpf(10) ** -5:
                return int(mp.sign(found))
            before = found
    return None


def points(assumptions: Sequence[tuple[str, str]], text: str) -> Iterator[Names]:
    """Yield points within the assumptions, the same for the same text: ordinary, small and large.

    Raises
    ------
    ExpressionError
        On an assumption that is not known.
    """
    source = random.Random(hashlib.sha256(text.encode()).digest())
    for name, word in assumptions:
        if word not in _SIGN:
            raise ExpressionError(f"unknown assumption {word!r} of {name!r}")
    for k in range(TRIES):
        yield {name: _draw(source, _SIGN[word], _SCALES[k % 4]) for name, word in assumptions}


def _draw(source: random.Random, signs: tuple[int, ...], scale: tuple[float, float]) -> Any:
    size = source.uniform(*scale)
    with mp.workdps(80):
        digits = mpf(source.getrandbits(200)) / 2**200
        return source.choice(signs) * mp.power(10, size) * (1 + digits) / 2


@lru_cache(maxsize=4096)
def _tends(
    text: str,
    symbol: str,
    to: str,
    side: str,
    value: str,
    assumptions: tuple[tuple[str, str], ...],
) -> bool | None:
    """Decide a limit along sequences, the other symbols at three points."""
    others = tuple((name, word) for name, word in assumptions if name != symbol)
    answers = []
    for names in points(others, text + symbol):
        try:
            answers.append(_along(text, symbol, to, side, value, names))
        except (ExpressionError, ZeroDivisionError):
            continue
        if len(answers) == 3:
            break
    return _all(iter(answers))


def _along(text: str, symbol: str, to: str, side: str, value: str, names: Names) -> bool | None:
    """Approach at 10, 100, 10³, 10⁴, 10⁶, 10⁸, … or their inverses, as far as numbers settle."""
    terms: list[Any] = []
    for exponent in EXPONENTS:
        at = _approach(to, side, exponent, names)
        try:
            terms.append(_settled(text, names, symbol, at))
        except ExpressionError:
            break
        if terms[-1] is None:
            terms.pop()
            break
    if len(terms) < 4:
        return None
    goal = evaluate(value, names)
    if mp.isinf(goal):
        rises = [mp.sign(goal) * (b - a) for a, b in itertools.pairwise(terms)]
        return bool(rises[-1] > rises[-2] / 2 > 0 and mp.sign(goal) * terms[-1] > 10)
    errors = [abs(term - goal) for term in terms]
    size = max(1, abs(goal))
    nearer = errors[-1] <= errors[-3] + size * mpf(10) ** -20
    return bool(nearer and errors[-1] <= size * mpf(10) ** -4)


def _approach(to: str, side: str, exponent: int, names: Names) -> Callable[[], Any]:
    """Return a function for the term 10^exponent or its inverse away, at any precision."""

    def at() -> Any:
        goal = evaluate(to, names)
        if mp.isinf(goal):
            return mp.sign(goal) * mpf(10) ** exponent
        distance = mpf(10) ** -exponent
        return goal + distance if side == "above" else goal - distance

    return at


def _settled(text: str, names: Names, symbol: str, at: Callable[[], Any]) -> Any:
    """Return a value that more digits leave as it is, None if there is none."""
    before = None
    for digits in DIGITS[:5]:
        with mp.workdps(digits):
            found = evaluate(text, {**names, symbol: at()})
            if before is not None and abs(found - before) <= max(1, abs(found)) * mpf(10) ** -20:
                return found
            before = found
    return None
