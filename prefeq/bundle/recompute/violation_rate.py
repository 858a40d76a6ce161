"""Numbers of `violation-rate`, counted again from the table: by critical β, sorted."""

from __future__ import annotations

import bisect
import csv
import itertools
from fractions import Fraction
from functools import cache
from importlib.resources import files
from typing import Any

from mpmath import mp

from prefeq.bundle import bandits
from prefeq.bundle.registry import Item, finite, number

CLAIM = "violation-rate"


@cache
def rows() -> tuple[tuple[str, str, Fraction, int], ...]:
    """Return (country, role, log-prob, tokens), row by row."""
    text = files("prefeq").joinpath("data", "capitals.csv").read_text(encoding="utf-8")
    return tuple(
        (row["country"], row["role"], Fraction(row["ref_logp"]), int(row["tokens"]))
        for row in csv.DictReader(text.splitlines())
    )


@cache
def critical_betas(way: str) -> dict[str, list[Fraction]]:
    """Return, by country, the β from which each pair violates, sorted; some pairs never do.

    Δr + β(log π_ref(capital) − log π_ref(city)) ≤ 0 has a solution β > 0 iff the city is likelier.
    """
    score = {
        (country, i): logp / (tokens if way == "mean" else 1)
        for i, (country, _, logp, tokens) in enumerate(rows())
    }
    top = {row[0]: score[row[0], i] for i, row in enumerate(rows()) if row[1] == "capital"}
    found: dict[str, list[Fraction]] = {country: [] for country in top}
    for i, (country, role, _, _) in enumerate(rows()):
        if role != "capital" and score[country, i] > top[country]:
            found[country].append(1 / (score[country, i] - top[country]))
    return {country: sorted(betas) for country, betas in found.items()}


def counts(way: str, beta: Fraction) -> list[int]:
    """Return the violating pairs of every country."""
    return [bisect.bisect_right(betas, beta) for betas in critical_betas(way).values()]


def pair_count() -> int:
    """Return how many rows are not a capital's."""
    return sum(role != "capital" for _, role, _, _ in rows())


def wilson(share: Fraction, size: Fraction, level: Fraction) -> list[Any]:
    """Return the roots of (1 + z²/n) p² − (2s + z²/n) p + s² = 0, the larger one first found."""
    z = mp.sqrt(2) * mp.erfinv(bandits.real(level))
    s, n = bandits.real(share), bandits.real(size)
    a, b, c = 1 + z * z / n, 2 * s + z * z / n, s * s
    high = (b + mp.sqrt(b * b - 4 * a * c)) / (2 * a)
    return [c / (a * high), high]


def by_pair(item: Item, way: str, beta: Fraction) -> list[Any]:
    """Return Wilson's interval of the share of violating pairs."""
    size = Fraction(pair_count())
    return wilson(sum(counts(way, beta)) / size, size, Fraction(item.inputs["level"]))


def by_prompt(item: Item, way: str, beta: Fraction) -> list[Any]:
    """Return the same where countries are sampled, each of the same number of pairs.

    Then the variance of the share is that of the countries' shares: s(1 − s)/v are the pairs that
    it is worth.
    """
    level, found = Fraction(item.inputs["level"]), counts(way, beta)
    k, size = len(found), Fraction(pair_count())
    shares = [x * k / size for x in found]
    mean = sum(shares, Fraction(0)) / k
    variance = sum(((s - mean) ** 2 for s in shares), Fraction(0)) / (k * (k - 1))
    worth = Fraction(k) if mean in (0, 1) else mean * (1 - mean) / variance
    return wilson(mean, min(worth, size), level)


def _beta(item: Item) -> Fraction:
    return Fraction(item.inputs["beta"])


def _betas(item: Item) -> list[Fraction]:
    return [Fraction(beta) for beta in item.inputs["betas"]]


@finite("counted")
def counted(item: Item) -> tuple[dict[str, Any], bool]:
    """Count the pairs that violate at one β: some do."""
    found = sum(counts("sum", _beta(item)))
    prompts = len({country for country, *_ in rows()})
    return {"pairs": pair_count(), "violated": found, "prompts": prompts}, found > 0


@finite("rates")
def rates(item: Item) -> tuple[dict[str, Any], bool]:
    """Count them at every β, by sums and by means, and compare with what is said."""
    betas, said = _betas(item), item.inputs["said"]
    numbers: dict[str, Any] = {"pairs": pair_count()}
    for way in said:
        numbers[f"{way}_violated"] = [sum(counts(way, beta)) for beta in betas]
        numbers[f"{way}_interval"] = [by_pair(item, way, beta) for beta in betas]
        numbers[f"{way}_interval_by_prompt"] = [by_prompt(item, way, beta) for beta in betas]
    alone = _pairs("mean", betas[-1]) - _pairs("sum", betas[-1])
    numbers["by_mean_only_at_last"] = len(alone)
    good = all(numbers[f"{way}_violated"] == found for way, found in said.items())
    return numbers, good and len(alone) == item.inputs["said_by_mean_only"]


@finite("nested")
def nested(item: Item) -> tuple[dict[str, Any], bool]:
    """Count the pairs at rising β, and that each set holds the one before."""
    betas, good = _betas(item), True
    numbers = {}
    for way in ("sum", "mean"):
        sets = [_pairs(way, beta) for beta in betas]
        good &= all(not a - b for a, b in itertools.pairwise(sets))
        numbers[f"{way}_violated"] = list(map(len, sets))
    return numbers, good


def _pairs(way: str, beta: Fraction) -> set[int]:
    """Return the violating rows, one by one."""
    found, top = set(), Fraction(0)
    for i, (_, role, logp, tokens) in enumerate(rows()):  # a capital stands before its rivals
        score = logp / tokens if way == "mean" else logp
        if role == "capital":
            top = score
        elif 1 + beta * (top - score) <= 0:
            found.add(i)
    return found


@number("violated", CLAIM)
def violated(item: Item) -> int:
    """Count the pairs that violate by sums."""
    return len(_pairs("sum", _beta(item)))


@number("violated_by_sum", CLAIM)
def violated_by_sum(item: Item) -> int:
    """Count the pairs that violate by sums."""
    return len(_pairs("sum", _beta(item)))


@number("violated_by_mean", CLAIM)
def violated_by_mean(item: Item) -> int:
    """Count the pairs that violate by means."""
    return sum(counts("mean", _beta(item)))


@number("pairs", CLAIM)
def pairs(item: Item) -> int:
    """Count all pairs."""
    return pair_count()


@number("rate", CLAIM)
def rate(item: Item) -> Fraction:
    """Return their share."""
    return Fraction(sum(counts("sum", _beta(item))), pair_count())


@number("interval", CLAIM)
def interval(item: Item) -> list[Any]:
    """Return its interval by pairs."""
    return by_pair(item, "sum", _beta(item))


@number("interval_by_prompt", CLAIM)
def interval_by_prompt(item: Item) -> list[Any]:
    """Return its interval by prompts."""
    return by_prompt(item, "sum", _beta(item))


@number("sum_margin", CLAIM)
def sum_margin(item: Item) -> Fraction:
    """Return the difference of two sums of log-probs."""
    first, second = map(Fraction, item.inputs["logp"])
    return first - second


@number("mean_margin", CLAIM)
def mean_margin(item: Item) -> Fraction:
    """Return the difference of the means over tokens, over one denominator."""
    first, second = map(Fraction, item.inputs["logp"])
    n, m = map(Fraction, item.inputs["tokens"])
    return (first * m - second * n) / (n * m)
