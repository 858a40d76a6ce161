"""The capitals in exact arithmetic: their log-probs are decimals, so violations are rational facts.

A pair (capital, other city), Δr = 1, violates Assumption 3.1 iff δ_ref ≤ −1/β.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from flint import arb

from prefeq.claims.ball import ball
from prefeq.claims.instance import Instance

Normalize = Literal["sum", "mean"]
WAYS: tuple[Normalize, Normalize] = ("sum", "mean")
BETAS = tuple(Fraction(beta) for beta in ("1/20", "1/10", "1/5", "1/2", "1"))
LEVEL = Fraction(95, 100)
_SHARES = 1000
"""How many shares the least likely city of an exact bandit gets: to half of one they are right."""


@dataclass(frozen=True)
class City:
    """One response: its name, log π_ref as a sum over tokens, and their number."""

    name: str
    logp: Fraction
    tokens: int

    def score(self, normalize: Normalize) -> Fraction:
        """Return the sum, or the mean over tokens."""
        return self.logp if normalize == "sum" else self.logp / self.tokens


@cache
def countries() -> dict[str, tuple[City, ...]]:
    """Return country → its cities, the capital first."""
    text = files("prefeq").joinpath("data", "capitals.csv").read_text(encoding="utf-8")
    found: dict[str, list[City]] = {}
    for row in csv.DictReader(text.splitlines()):
        city = City(row["response"], Fraction(row["ref_logp"]), int(row["tokens"]))
        cities = found.setdefault(row["country"], [])
        cities.insert(0 if row["role"] == "capital" else len(cities), city)
    return {country: tuple(cities) for country, cities in found.items()}


def margins(normalize: Normalize) -> tuple[tuple[Fraction, ...], ...]:
    """Return δ_ref of every pair, country by country."""
    return tuple(
        tuple(cities[0].score(normalize) - city.score(normalize) for city in cities[1:])
        for cities in countries().values()
    )


def violates(margin: Fraction, beta: Fraction) -> bool:
    """Decide δ_ref ≤ −Δr/β for Δr = 1."""
    return beta * margin <= -1


def violations(beta: Fraction, normalize: Normalize) -> list[int]:
    """Return how many pairs of each country violate the assumption."""
    return [sum(violates(margin, beta) for margin in row) for row in margins(normalize)]


def violating(beta: Fraction, normalize: Normalize) -> set[tuple[int, int]]:
    """Return the pairs that do, as (country, pair)."""
    rows = enumerate(margins(normalize))
    return {(i, k) for i, row in rows for k, m in enumerate(row) if violates(m, beta)}


def total() -> int:
    """Return the number of pairs."""
    return sum(map(len, margins("sum")))


def interval(count: Fraction, size: Fraction) -> list[Any]:
    """Enclose Wilson's interval at `LEVEL`: the roots p of (count − size p)² = z² size p(1 − p)."""
    square = 2 * arb(ball(LEVEL)).erfinv() ** 2
    n, x = ball(size), ball(count)
    half = (square * (square / 4 + x * (n - x) / n)).sqrt() if count else square / 2
    return [(x + square / 2 - half) / (n + square), (x + square / 2 + half) / (n + square)]


def effective(counts: list[int]) -> Fraction:
    """Return how many independent pairs the countries are worth (see `prefeq.intervals`)."""
    sizes = [len(row) for row in margins("sum")]
    k, size = len(counts), sum(sizes)
    share = Fraction(sum(counts), size)
    if share in (0, 1):
        return Fraction(k)
    squares = sum((x - share * n) ** 2 for x, n in zip(counts, sizes, strict=True))
    return min(Fraction(size), share * (1 - share) * (k - 1) * size**2 / (k * squares))


def by_pair(beta: Fraction, normalize: Normalize) -> Callable[[], list[Any]]:
    """Return what encloses the interval of the share of violating pairs."""
    count = sum(violations(beta, normalize))
    return lambda: interval(Fraction(count), Fraction(total()))


def by_prompt(beta: Fraction, normalize: Normalize) -> Callable[[], list[Any]]:
    """Return what encloses the same interval with prompts for the sampled units."""
    counts = violations(beta, normalize)
    size = effective(counts)
    share = Fraction(sum(counts), total())
    return lambda: interval(share * size, size)


def bandit(country: str, beta: Fraction, cities: tuple[int, ...] = ()) -> Instance:
    """Return a country's bandit with rational probabilities next to those of the table.

    Its least likely city has a thousand shares and every other the nearest whole number of them,
    so that margins are right to a thousandth of a nat; `cities` picks some, the capital first.
    """
    every = countries()[country]
    chosen = [every[i] for i in cities] if cities else list(every)
    least = min(city.logp for city in chosen)
    shares = [round(_SHARES * _exp(city.logp - least)) for city in chosen]
    return Instance.of(
        f"{country}: {', '.join(city.name for city in chosen)}",
        reward=[1] + [0] * (len(chosen) - 1),
        ref=[Fraction(share, sum(shares)) for share in shares],
        pairs=[(0, i) for i in range(1, len(chosen))],
        beta=beta,
        labels="bradley-terry",
    )


def _exp(value: Fraction) -> float:
    return math.exp(float(value))
