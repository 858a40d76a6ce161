"""Simple numbers: what a person would write on a blackboard, and the simplest near a number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from functools import cache
from typing import Any

from prefeq.counterexamples.case import Case, Kind

Probs = tuple[Fraction, ...]

_PLAIN = tuple(
    Fraction(word)
    for word in [
        "0",
        "1",
        "2",
        "1/2",
        "3",
        "1/3",
        "4",
        "1/4",
        "10",
        "1/10",
        "5",
        "3/2",
        "2/3",
        "3/4",
    ]
)
_WIDTHS = tuple(Fraction(1, n) for n in (2, 4, 10, 50, 1000, 10**5))
_TOTALS = (2, 3, 4, 5, 6, 8, 10, 12, 20, 50, 100, 1000)


def cost(value: Fraction) -> int:
    """Say how far from simple a rational is: twice the bits of its numerator and denominator.

    Zero costs nothing, a sign one; the zeros at the end of a decimal number count as one digit
    each, so that 100 is simpler than 99.

    Examples
    --------
    >>> [cost(Fraction(x)) for x in ("0", "1", "-1", "1/2", "1/10", "9/10", "100", "99")]
    [0, 2, 3, 4, 6, 12, 10, 14]
    """
    if value == 0:
        return 0
    digits = _bits(abs(value.numerator)) + _bits(value.denominator)
    return 2 * (digits - 1) + (value < 0)


def _bits(number: int) -> int:
    zeros = 0
    while number % 10 == 0:
        number //= 10
        zeros += 2
    return number.bit_length() + zeros


def size(value: Fraction) -> int:
    """Break ties of `cost`: numerator and denominator, added."""
    return abs(value.numerator) + value.denominator


def allowed(value: Fraction, kind: Kind) -> bool:
    """Whether a number lies in the domain of its kind."""
    if kind == "real":
        return True
    if kind == "unit":
        return 0 < value < 1
    if kind == "negative":
        return value < 0
    if kind == "nonnegative":
        return value >= 0
    return value > 0 and (kind == "positive" or value.denominator == 1)


def between(low: Fraction, high: Fraction) -> Fraction:
    """Return the simplest rational of [low, high]: the highest in the Stern–Brocot tree.

    Examples
    --------
    >>> between(Fraction(31, 10), Fraction(32, 10)), between(Fraction(-1, 2), Fraction(1, 3))
    (Fraction(16, 5), Fraction(0, 1))
    """
    if low > high:
        raise ValueError(f"no number between {low} and {high}")
    if low <= 0 <= high:
        return Fraction(0)
    if high < 0:
        return -between(-high, -low)
    whole = -(-low.numerator // low.denominator)  # the least integer at or above low
    if whole <= high:
        return Fraction(whole)
    return whole - 1 + 1 / between(1 / (high - whole + 1), 1 / (low - whole + 1))


def simpler(value: Fraction, kind: Kind = "real") -> list[Fraction]:
    """Return simpler numbers of the kind, the simplest first: plain ones, and ever nearer ones.

    Examples
    --------
    >>> [str(x) for x in simpler(Fraction(29, 40), "unit")]
    ['1/2', '1/3', '2/3', '1/4', '1/5', '1/10', '3/4', '3/5', '5/7', '7/10', '18/25']
    """
    size_now = (cost(value), size(value))
    near = (between(*_around(value, width)) for width in _WIDTHS)
    signed = (sign * x for x in _PLAIN for sign in (1, -1))
    rounded = (_round(value, digits) for digits in (1, 2, 3))
    options = {-value, *signed, *near, *rounded, *(Fraction(n, 5) for n in (1, 3))}
    good = [x for x in options if allowed(x, kind) and (cost(x), size(x)) < size_now]
    return sorted(good, key=lambda x: (cost(x), size(x), abs(x - value), x < 0))


def _around(value: Fraction, width: Fraction) -> tuple[Fraction, Fraction]:
    reach = abs(value) * width
    return value - reach, value + reach


def _round(value: Fraction, digits: int) -> Fraction:
    """Round to significant decimal digits."""
    return Fraction(f"{float(value):.{digits}g}") if abs(value) < 10**300 else value


@cache
def plain(kind: Kind) -> tuple[Fraction, ...]:
    """Return the few simplest numbers of a kind.

    >>> [str(x) for x in plain("negative")][:4]
    ['-1', '-2', '-1/2', '-3']
    """
    signed = [x for n in _PLAIN for x in ((n, -n) if n else (n,))]
    good = [x for x in signed if allowed(x, kind)]
    return tuple(sorted(good, key=lambda x: (cost(x), size(x), x < 0))[:14])


def weigh(probs: Iterable[Fraction]) -> tuple[int, int]:
    """Return the cost and the size of several numbers together."""
    costs = sizes = 0
    for p in probs:
        costs += cost(p)
        sizes += size(p)
    return costs, sizes


def weigh_probs(probs: Probs) -> tuple[int, int]:
    """Return the cost and the size of probabilities; equal ones are written once.

    >>> weigh_probs((Fraction(1, 2), Fraction(1, 2))), weigh_probs((Fraction(1, 3), Fraction(2, 3)))
    ((4, 3), (10, 9))
    """
    return weigh(probs[:1] if len(set(probs)) == 1 else probs)


def simpler_probs(probs: Probs) -> list[Probs]:
    """Return simpler probabilities, the simplest first: plain ones, and the given ones rounded.

    Examples
    --------
    >>> [[str(p) for p in probs] for probs in simpler_probs((Fraction(1, 7), Fraction(6, 7)))][:3]
    [['1/2', '1/2'], ['1/3', '2/3'], ['2/3', '1/3']]
    """
    options = {*plain_probs(len(probs)), *(_rounded(probs, total) for total in _TOTALS)}
    now = weigh_probs(probs)
    better = [p for p in options if p != probs and weigh_probs(p) < now]
    return sorted(better, key=lambda p: (*weigh_probs(p), p))


@cache
def plain_probs(k: int) -> tuple[Probs, ...]:
    """Return the few simplest probabilities over k responses."""
    if k > 5:
        return ((Fraction(1, k),) * k,)
    most = {1: 1, 2: 10, 3: 6, 4: 6, 5: 6}[k]
    found = {_normalised(w) for total in range(k, most + 1) for w in _compositions(total, k)}
    for heavy in (2, 3, 8, 9, 18, 19, 98, 99):
        found |= {_normalised([heavy if i == j else 1 for i in range(k)]) for j in range(k)}
    return tuple(sorted(found, key=lambda p: (*weigh_probs(p), p)))


def _compositions(total: int, parts: int) -> Iterator[tuple[int, ...]]:
    if parts == 1:
        yield (total,)
        return
    for first in range(1, total - parts + 2):
        for rest in _compositions(total - first, parts - 1):
            yield (first, *rest)


def _normalised(weights: Sequence[int]) -> Probs:
    total = sum(weights)
    return tuple([Fraction(w, total) for w in weights])


def _rounded(probs: Probs, total: int) -> Probs:
    """Round to multiples of 1/total, none to zero; the largest takes up what is left."""
    if total < len(probs):
        return probs
    weights = [max(1, round(p * total)) for p in probs]
    weights[weights.index(max(weights))] += total - sum(weights)
    return _normalised(weights) if min(weights) > 0 else probs


def complexity(case: Case) -> tuple[Any, ...]:
    """Order cases by responses, pairs, the cost of the numbers, and then by how they are written.

    Examples
    --------
    >>> one, half = (Case({"beta": Fraction(x)}) for x in ("1", "1/2"))
    >>> complexity(one) < complexity(half)
    True
    """
    made = case.instance
    values = [*case.numbers.values(), *(case.margins or ())]
    values += [x for name, x in case.numbers.items() if name == "beta"]  # best a beta of 1
    distributions = [*case.policies.values()]
    if made is not None:
        values += [*made.reward, made.beta, made.beta]
        distributions.append(made.ref)
    weights = [weigh(values), *map(weigh_probs, distributions)]
    costs, sizes = (sum(column) for column in zip(*weights, strict=True))
    if made is None:
        return (0, 0, costs, sizes)
    written = made.pairs, [-r for r in made.reward], [-p for p in made.ref]
    return (made.size, len(made.pairs), costs, sizes, *written)
