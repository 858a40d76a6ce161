"""Draws that falsifiers are made of: exact numbers, policies, graphs and instances.

Half of what is drawn is structured (ties, boundaries, special graphs), half is random. Simple
options stand first, so that hypothesis shrinks towards them.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from typing import Literal

from prefeq.claims.instance import Instance, Labels
from prefeq.counterexamples.case import Kind, Source

Shape = Literal[
    "single", "chain", "star", "fan", "disjoint", "cycle", "both-orders", "complete", "random"
]
SHAPES: tuple[Shape, ...] = (
    "single",
    "chain",
    "star",
    "fan",
    "disjoint",
    "cycle",
    "both-orders",
    "complete",
    "random",
)
"""Graphs of pairs; a star's centre wins, a fan's centre loses."""

ACYCLIC: tuple[Shape, ...] = ("single", "chain", "star", "fan", "disjoint", "complete")
CONNECTED: tuple[Shape, ...] = ("chain", "star", "fan", "cycle", "complete")
"""Shapes that reach every response."""

Pairs = tuple[tuple[int, int], ...]

_ZERO, _ONE = Fraction(0), Fraction(1)


def _exact(text: str) -> list[Fraction]:
    return [Fraction(word) for word in text.split()]


_FRACTIONS = _exact("1 1/2 2 1/3 3 1/4 3/2 2/3 1/10 10 4 5 3/4 1/5 2/5 3/5")
_POWERS = _exact("8 1/8 16 1/16 64 1024 1/1024 1/100 100 1/1000 1000")
_EXTREMES = _exact("1/1000000 1000000 1/1000000000 10000 1/10000 100000")
_UNITS = _exact("1/2 1/3 2/3 1/4 3/4 1/10 9/10 1/5 2/5 3/5 4/5 1/20 19/20")
_UNIT_ENDS = _exact("1/100 99/100 1/1000 999/1000 1/1000000 999999/1000000")
_REWARDS = tuple(_exact("0 1 0 1 2 -1 1/2 0 3 -2"))
_BETAS = tuple(_exact("1 1 1 1/2 2 1/10 10 1/3"))


@cache
def _table(kind: Kind) -> tuple[Fraction, ...]:
    """Return the structured numbers of a kind; the simple ones stand in it several times."""
    positive = _FRACTIONS[:6] * 3 + _FRACTIONS + _POWERS + _EXTREMES
    if kind == "positive":
        return tuple(positive)
    if kind == "negative":
        return tuple(-x for x in positive)
    if kind == "nonnegative":
        return (*[_ZERO] * 8, *positive)
    if kind == "unit":
        return (*_UNITS[:5] * 2, *_UNITS, *_UNIT_ENDS)
    if kind == "integer":
        return tuple(Fraction(n) for n in (1, 2, 3, 1, 2, 3, 4, 5, 6, 7, 8, 10, 16, 20, 50, 100))
    return (*[_ZERO] * 12, *[y for x in positive for y in (x, -x)])


def number(source: Source, kind: Kind = "real") -> Fraction:
    """Draw a number of a kind: half of the time a structured one, else a random rational.

    The structured ones are 0, ±1, ±1/2, small integers and fractions, powers of two and ten, and
    now and then 1e-9 to 1e6. The random ones have two digits, on a log scale from 1e-3 to 1e3;
    in ``unit``, hundredths; ``integer`` reaches 40.

    Examples
    --------
    >>> from prefeq.counterexamples.sources import RandomSource
    >>> source = RandomSource(1)
    >>> [str(number(source)) for _ in range(6)]
    ['0', '-100', '0', '-1', '-56', '-1/10']
    """
    if source.integer(0, 1) == 0:
        return source.choice(_table(kind))
    if kind == "unit":
        return Fraction(source.integer(1, 99), 100)
    if kind == "integer":
        return Fraction(source.integer(1, 40))
    size = _on_log_scale(source)
    negative = kind == "negative" or (kind == "real" and source.integer(0, 1))
    return -size if negative else size


def _on_log_scale(source: Source) -> Fraction:
    digits, exponent = source.integer(10, 99), source.integer(-4, 1)
    return Fraction(digits * 10**exponent) if exponent >= 0 else Fraction(digits, 10**-exponent)


def near(source: Source, value: Fraction) -> Fraction:
    """Draw a number at or beside a value: the boundaries of strict inequalities are there.

    Equal one time in three; else off by a factor 1 ± 10^−e or by ±10^−e, e from 0 to 6.
    """
    if source.integer(0, 2) == 0:
        return value
    step = Fraction(source.choice((1, -1)), 10 ** source.integer(0, 6))
    return value * (1 + step) if source.integer(0, 1) else value + step


def policy(source: Source, k: int) -> tuple[Fraction, ...]:
    """Draw positive probabilities of sum 1: uniform, small weights, hundredths, skewed to 1e-6.

    Examples
    --------
    >>> from prefeq.counterexamples.sources import RandomSource
    >>> source = RandomSource(1)
    >>> [[str(p) for p in policy(source, 2)] for _ in range(4)]
    [['1/2', '1/2'], ['17/20', '3/20'], ['1/2', '1/2'], ['3/5', '2/5']]
    """
    style = source.integer(0, 7)
    if style == 0:
        return (Fraction(1, k),) * k
    if style <= 4:
        weights = [source.integer(1, 6) for _ in range(k)]
    elif style <= 6:
        weights = _hundredths(source, k)
    else:
        weights = [source.integer(1, 6) for _ in range(k)]
        weights[source.integer(0, k - 1)] *= 10 ** source.integer(1, 6)
    return of_weights(weights)


def _hundredths(source: Source, k: int) -> list[int]:
    weights = [source.integer(1, 100 // k) for _ in range(k - 1)]
    weights.insert(source.integer(0, k - 1), 100 - sum(weights))
    return weights


def of_weights(weights: Sequence[int]) -> tuple[Fraction, ...]:
    """Return the probabilities proportional to positive integers."""
    total = sum(weights)
    return tuple([Fraction(w, total) for w in weights])


def rewards(source: Source, k: int) -> tuple[Fraction, ...]:
    """Draw rewards: small integers that often tie, or any numbers."""
    if source.integer(0, 3):
        return tuple([source.choice(_REWARDS) for _ in range(k)])
    return tuple([number(source) for _ in range(k)])


def beta(source: Source) -> Fraction:
    """Draw β > 0: mostly 1 or another simple one."""
    return number(source, "positive") if source.integer(0, 3) == 3 else source.choice(_BETAS)


def graph(source: Source, k: int, shape: Shape = "random") -> Pairs:
    """Draw pairs (winner, loser) over k ≥ 2 responses, of a shape, with the responses shuffled.

    The cycle of two responses is both orders of their pair; ``random`` has one to k + 1 pairs and
    may repeat one.

    Examples
    --------
    >>> from prefeq.counterexamples.sources import RandomSource
    >>> graph(RandomSource(2), 3, "cycle")
    ((1, 2), (2, 0), (0, 1))
    """
    order = shuffled(source, k)
    if shape == "single":
        return ((order[0], order[1]),)
    if shape == "both-orders" or (shape == "cycle" and k == 2):
        return ((order[0], order[1]), (order[1], order[0]))
    if shape == "chain":
        return tuple(itertools.pairwise(order))
    if shape == "star":
        return tuple([(order[0], i) for i in order[1:]])
    if shape == "fan":
        return tuple([(i, order[0]) for i in order[1:]])
    if shape == "disjoint":
        return tuple(zip(order[::2], order[1::2], strict=False))
    if shape == "cycle":
        return tuple(zip(order, [*order[1:], order[0]], strict=True))
    if shape == "complete":
        return tuple([(order[i], order[j]) for i in range(k) for j in range(i + 1, k)])
    return tuple([_pair(source, k) for _ in range(source.integer(1, k + 1))])


def _pair(source: Source, k: int) -> tuple[int, int]:
    winner, step = source.integer(0, k - 1), source.integer(1, k - 1)
    return winner, (winner + step) % k


def shuffled(source: Source, k: int) -> list[int]:
    """Draw an order of 0, …, k − 1."""
    order = list(range(k))
    for i in range(k - 1):
        j = source.integer(i, k - 1)
        order[i], order[j] = order[j], order[i]
    return order


def instance(
    source: Source,
    *,
    labels: Labels | None = None,
    min_responses: int = 2,
    max_responses: int = 5,
    shapes: Sequence[Shape] = SHAPES,
    by_reward: bool = False,
    distinct: bool = False,
) -> Instance:
    """Draw an exact instance.

    Parameters
    ----------
    source
        Where the choices come from.
    labels
        ``ordered``, ``bradley-terry``, or None for either.
    min_responses, max_responses
        Bounds of K; small K come as often as large ones.
    shapes
        Graphs to choose from.
    by_reward
        Order every pair by reward, so that Δr ≥ 0.
    distinct
        Make rewards distinct, so that no pair ties.

    Notes
    -----
    The reference is uniform, skewed or small weights; one time in four sorted with the rewards (so
    that it agrees with them), one time in four against them.

    Examples
    --------
    >>> from prefeq.counterexamples.sources import RandomSource
    >>> made = instance(RandomSource(3), labels="ordered", shapes=["cycle"], max_responses=3)
    >>> made.pairs, [str(r) for r in made.reward], [str(p) for p in made.ref], str(made.beta)
    (((2, 1), (1, 0), (0, 2)), ['2', '-1', '-1'], ['9/100', '71/100', '1/5'], '1')
    """
    k = source.integer(min_responses, max_responses)
    pairs = graph(source, k, source.choice(shapes))
    reward = rewards(source, k)
    if distinct and len(set(reward)) < k:
        reward = tuple([Fraction(i) for i in shuffled(source, k)])
    ref = policy(source, k)
    agreement = source.integer(0, 3)
    if agreement >= 2:
        rank = sorted(range(k), key=reward.__getitem__, reverse=agreement == 3)
        probs = sorted(ref)
        arranged = [_ZERO] * k
        for i, p in zip(rank, probs, strict=True):
            arranged[i] = p
        ref = tuple(arranged)
    if by_reward:
        pairs = tuple([(i, j) if reward[i] >= reward[j] else (j, i) for i, j in pairs])
    either: tuple[Labels, Labels] = ("ordered", "bradley-terry")
    chosen = source.choice(either) if labels is None else labels
    return Instance("drawn", reward, ref, beta(source), pairs, chosen)


def margins(source: Source, made: Instance) -> tuple[Fraction, ...]:
    """Draw one margin a pair: all zero, all alike, or each of its own."""
    count, style = len(made.pairs), source.integer(0, 3)
    if style == 0:
        return (_ZERO,) * count
    if style == 1:
        return (number(source),) * count
    return tuple([source.choice(_REWARDS) if style == 2 else number(source) for _ in made.pairs])
