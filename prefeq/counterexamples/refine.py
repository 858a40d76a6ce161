"""Local refinement: a near miss with one or two of its parts changed."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from prefeq.counterexamples import draws, edits
from prefeq.counterexamples.case import Case, Kind, Source
from prefeq.counterexamples.simplest import allowed

_LONG = 80
"""Bits beyond which a perturbed number is rounded: refinement must not drown in digits."""

_FAR = Fraction(10**12)
"""Where a number that is perturbed again and again is stopped; 1/_FAR at the other end."""

_SHARES = 10**6


def mutated(source: Source, case: Case, kinds: Mapping[str, Kind]) -> Case:
    """Return the case with one or two random changes of its numbers, probabilities or pairs.

    Numbers stay within their kinds; whether the statement speaks of the result is for its
    falsifier to say.

    Examples
    --------
    >>> from prefeq.counterexamples.sources import RandomSource
    >>> case, source = Case({"beta": Fraction(1)}), RandomSource(3)
    >>> [str(mutated(source, case, {"beta": "positive"}).numbers["beta"]) for _ in range(4)]
    ['16400123/16000000', '5/4', '40001/40000', '40003/40000']
    """
    for _ in range(source.integer(1, 2)):
        case = _changed(source, case, kinds)
    return case


def _changed(source: Source, case: Case, kinds: Mapping[str, Kind]) -> Case:
    if case.instance is not None and source.integer(0, 3) == 0:
        return _pairs(source, case)
    places: list[edits.Scalar | edits.Simplex] = [
        *edits.scalars(case, kinds),
        *edits.simplexes(case),
    ]
    if not places:
        return case
    place = source.choice(places)
    if isinstance(place, edits.Simplex):
        return place.put(case, _probs(source, place.get(case)))
    if place.place == "reward" and source.integer(0, 3) == 0:
        assert case.instance is not None
        return place.put(case, source.choice(case.instance.reward))  # a tie
    return place.put(case, _number(source, place.get(case), place.kind))


def _number(source: Source, value: Fraction, kind: Kind) -> Fraction:
    """Perturb a number, on all scales from 1 to 1e-6; now and then draw it anew."""
    style = source.integer(0, 4)
    if style == 0:
        return draws.number(source, kind)
    if kind == "integer":
        return max(Fraction(1), value + source.choice((-1, 1, -3, 3)))
    step = Fraction(source.choice((1, -1, 3, -3)), 4 * 10 ** source.integer(0, 6))
    moved = value * (1 + step) if style <= 2 else value + step
    if moved.numerator.bit_length() + moved.denominator.bit_length() > _LONG:
        moved = Fraction(f"{float(moved):.8g}")
    near = moved == 0 or 1 / _FAR <= abs(moved) <= _FAR
    return moved if near and allowed(moved, kind) else draws.number(source, kind)


def _probs(source: Source, probs: tuple[Fraction, ...]) -> tuple[Fraction, ...]:
    """Perturb probabilities, swap two of them, or draw them anew."""
    k, style = len(probs), source.integer(0, 5)
    if style == 0 or k == 1:
        return draws.policy(source, k)
    i = source.integer(0, k - 1)
    if style == 1:
        j = source.integer(0, k - 1)
        return edits.replaced(edits.replaced(probs, i, probs[j]), j, probs[i])
    shares = [max(1, round(float(p) * _SHARES)) for p in probs]
    factor = source.choice((2.0, 0.5, 1.1, 0.9, 1.01, 0.99, 1.001, 0.999))
    shares[i] = max(1, round(shares[i] * factor))
    return draws.of_weights(shares)


def _pairs(source: Source, case: Case) -> Case:
    """Drop, turn or add a pair; drop a response; or draw the graph anew."""
    made = case.instance
    assert made is not None
    count, style = len(made.pairs), source.integer(0, 4)
    k = source.integer(0, count - 1) if count else 0
    if style == 0 and count > 1:
        return edits.without_pair(case, k)
    if style == 1 and count:
        winner, loser = made.pairs[k]
        turned = (*made.pairs[:k], (loser, winner), *made.pairs[k + 1 :])
        return edits.with_instance(case, pairs=turned)
    if style == 2 and made.size > 2:
        smaller = edits.without_response(case, source.integer(0, made.size - 1))
        return smaller if smaller.instance and smaller.instance.pairs else case
    if made.size < 2:
        return case
    if style == 3:
        pairs = draws.graph(source, made.size, source.choice(draws.SHAPES))
    else:
        pairs = (*made.pairs, *draws.graph(source, made.size, "single"))
    changed = edits.with_instance(case, pairs=pairs)
    if case.margins is None or changed.instance is None:
        return changed
    kept = case.margins[: len(pairs)] if style == 4 else ()
    fresh = draws.margins(source, changed.instance)[len(kept) :]
    return edits.with_instance(changed, margins=(*kept, *fresh))
