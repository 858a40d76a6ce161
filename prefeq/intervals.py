"""Confidence intervals for shares: Wilson's, for independent pairs and for pairs that come in sets.

The pairs of one prompt share its responses, so they are not independent; `wilson_clustered` lets
the prompts be what was sampled.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

from prefeq.errors import ProblemError

__all__ = ["Interval", "effective_total", "of_unequal_sizes", "wilson", "wilson_clustered"]


class Interval(NamedTuple):
    """A confidence interval of a share."""

    low: float
    high: float


def wilson(count: float, total: float, level: float = 0.95) -> Interval:
    """Return Wilson's score interval of a share: the p that a z-test at `level` does not reject.

    It solves |count/total − p| ≤ z √(p(1 − p)/total) for p, z the normal quantile, and so stays
    within [0, 1] and has a length even at a count of 0 (E. B. Wilson, JASA 22, 1927).

    Parameters
    ----------
    count, total
        0 ≤ count ≤ total, total > 0; real numbers, as effective counts are.
    level
        Confidence level in (0, 1).

    Raises
    ------
    ProblemError
        On arguments outside these ranges.

    Examples
    --------
    >>> low, high = wilson(6, 720)
    >>> round(low, 6), round(high, 6)
    (0.003825, 0.018061)
    """
    if not 0 < total < math.inf or not 0 <= count <= total:
        raise ProblemError(f"count = {count}, total = {total}: need 0 <= count <= total, total > 0")
    square = _quantile(level) ** 2
    share = count / total
    spread = math.sqrt(square * (share * (1 - share) / total + square / (4 * total * total)))
    middle, scale = share + square / (2 * total), 1 + square / total
    low = 0.0 if count == 0 else max(0.0, (middle - spread) / scale)
    high = 1.0 if count == total else min(1.0, (middle + spread) / scale)
    return Interval(low, high)


def wilson_clustered(counts: Sequence[int], totals: Sequence[int], level: float = 0.95) -> Interval:
    """Return Wilson's interval of a share when what was sampled are clusters, such as prompts.

    Wilson's formula with the total replaced by `effective_total` × `of_unequal_sizes`.

    Parameters
    ----------
    counts, totals
        Per cluster: how many of its members count, and how many members it has.
    level
        Confidence level in (0, 1).

    Raises
    ------
    ProblemError
        On counts and totals that do not fit, or fewer than two clusters.

    Examples
    --------
    Four clusters of five that are all alike inside are worth three members, not twenty:

    >>> wilson_clustered([5, 0, 5, 0], [5, 5, 5, 5]) == wilson(1.5, 3)
    True
    """
    effective = effective_total(counts, totals)
    effective *= of_unequal_sizes(sum(n > 0 for n in totals), _worth(totals), level)
    return wilson(sum(counts) / sum(totals) * effective, effective, level)


def effective_total(counts: Sequence[int], totals: Sequence[int]) -> float:
    """Return how many independent members clusters are worth: p(1 − p)/v, at most the total.

    v = (k − 1)/k Σ((xᵢ − p nᵢ)/(N − nᵢ))² is the variance of p = Σxᵢ/N over k clusters: how far
    leaving one out moves it (the jackknife; Efron and Stein, Ann. Stat. 9, 1981), so that one large
    cluster is not taken for many members. With p = 0 or 1 nothing is seen to vary: then clusters of
    one size count once each, and any others N²/Σnᵢ² in all (Kish, Survey Sampling, 1965).

    Examples
    --------
    >>> effective_total([5, 0, 5, 0], [5, 5, 5, 5]), effective_total([1, 1, 1, 1], [2, 2, 2, 2])
    (3.0, 8.0)
    >>> round(effective_total([600, 1, 2], [900, 5, 5]), 2)
    2.55
    """
    fits = len(totals) == len(counts)
    fits = fits and all(0 <= x <= n for x, n in zip(counts, totals, strict=True))
    k, count, total = sum(n > 0 for n in totals), sum(counts), sum(totals)
    if k < 2 or not fits:
        raise ProblemError(
            f"{len(counts)} counts and {len(totals)} totals: need two clusters or more with "
            "members, 0 <= count <= total"
        )
    if count in (0, total):
        return _worth(totals)
    off = [(x * total - count * n) / (total - n) for x, n in zip(counts, totals, strict=True)]
    squares = sum(value * value for value in off)  # N² times those of v
    if squares == 0:
        return float(total)
    return min(float(total), count * (total - count) * k / ((k - 1) * squares))


def of_unequal_sizes(clusters: int, worth: float, level: float) -> float:
    """Return by what the effective total shrinks as few of the clusters hold most members.

    Where k clusters are `worth` κ = N²/Σnᵢ² of one size (Kish), their variance is known as that of
    κ: (t_{k−1}/t_{κ−1})² with Student's quantiles, of one degree of freedom at least. 1 if κ = k.

    Examples
    --------
    >>> of_unequal_sizes(20, 20.0, 0.95), round(of_unequal_sizes(20, 5.0, 0.95), 3)
    (1.0, 0.568)
    """
    if worth >= clusters:
        return 1.0
    from scipy.special import stdtrit

    even, uneven = stdtrit([clusters - 1, max(1.0, worth - 1)], (1 + level) / 2)
    return min(1.0, float(even / uneven) ** 2)


def _worth(totals: Sequence[int]) -> float:
    return sum(totals) ** 2 / sum(n * n for n in totals)


def _quantile(level: float) -> float:
    """Return z with P(|Z| ≤ z) = level."""
    if not 0 < level < 1:
        raise ProblemError(f"level = {level}: a confidence level is in (0, 1)")
    return NormalDist().inv_cdf((1 + level) / 2)
