"""Confidence intervals against SciPy, 50-digit roots, and their coverage."""

from __future__ import annotations

import math

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest
from scipy.stats import t as student

from prefeq.errors import ProblemError
from prefeq.intervals import effective_total, of_unequal_sizes, wilson, wilson_clustered

COUNTS = [(0, 1), (1, 1), (0, 720), (6, 720), (51, 720), (719, 720), (720, 720), (3, 7)]


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.999])
@pytest.mark.parametrize(("count", "total"), COUNTS)
def test_wilson_is_scipys(count, total, level):
    want = binomtest(count, total).proportion_ci(level, method="wilson")
    got = wilson(count, total, level)
    assert got.low == pytest.approx(want.low, rel=1e-12, abs=1e-15)
    assert got.high == pytest.approx(want.high, rel=1e-12)


@pytest.mark.parametrize(("count", "total"), COUNTS)
def test_its_ends_are_where_the_z_test_just_accepts(count, total):
    with mp.workdps(50):
        z = mp.sqrt(2) * mp.erfinv(mp.mpf("0.95"))
        for end in wilson(count, total):
            p = mp.mpf(end)
            distance = abs(mp.mpf(count) / total - p)
            assert mp.almosteq(distance, z * mp.sqrt(p * (1 - p) / total), 1e-12, 1e-12)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_holds_the_share_and_mirrors(pair):
    count, total = pair
    low, high = wilson(count, total)
    assert 0 <= low <= count / total <= high <= 1
    assert low < high
    mirrored = wilson(total - count, total)
    assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx((low, high), abs=1e-12)


def test_it_covers_the_truth_about_as_often_as_it_says():
    total, share = 200, 0.3
    k = np.arange(total + 1)
    inside = [wilson(int(x), total).low <= share <= wilson(int(x), total).high for x in k]
    assert float(binom.pmf(k, total, share) @ inside) == pytest.approx(0.95, abs=0.01)


def test_clusters_of_one_are_nearly_independent_pairs():
    counts = [1] * 12 + [0] * 88
    assert effective_total(counts, [1] * 100) == pytest.approx(99)
    assert wilson_clustered(counts, [1] * 100) == pytest.approx(wilson(0.12 * 99, 99))


def test_the_effective_total_is_that_of_the_bootstraps_variance():
    rng = np.random.default_rng(1)
    totals = np.full(400, 5)
    rate = rng.beta(0.3, 1.0, 400)  # prompts differ much, pairs of one prompt little
    counts = rng.binomial(totals, rate)
    share = counts.sum() / totals.sum()
    picked = rng.integers(400, size=(4000, 400))
    variance = np.var(counts[picked].sum(axis=1) / totals[picked].sum(axis=1))
    want = share * (1 - share) / variance
    assert effective_total(counts.tolist(), totals.tolist()) == pytest.approx(want, rel=0.1)
    low, high = wilson_clustered(counts.tolist(), totals.tolist())
    plain = wilson(int(counts.sum()), 2000)
    assert high - low > 1.5 * (plain.high - plain.low)


def test_extremes_of_clusters():
    assert effective_total([0, 0, 0], [5, 5, 5]) == 3  # nothing varies: a prompt counts once
    assert effective_total([5, 5, 5], [5, 5, 5]) == 3
    assert effective_total([1, 1, 1], [5, 5, 5]) == 15
    assert effective_total([2, 0, 1], [4, 1, 1]) == 6  # never more than there are
    assert effective_total([4, 0, 0], [4, 1, 1]) < 6
    assert wilson_clustered([0, 0, 0], [5, 5, 5]).low == 0


@pytest.mark.parametrize(
    "call",
    [
        lambda: wilson(-1, 5),
        lambda: wilson(6, 5),
        lambda: wilson(0, 0),
        lambda: wilson(math.nan, 5),
        lambda: wilson(1, math.inf),
        lambda: wilson(1, 5, 1.0),
        lambda: wilson(1, 5, 0.0),
        lambda: wilson_clustered([1], [5]),
        lambda: wilson_clustered([1, 2], [5]),
        lambda: wilson_clustered([6, 2], [5, 5]),
        lambda: wilson_clustered([0, 0], [0, 0]),
    ],
)
def test_bad_counts_are_refused(call):
    with pytest.raises(ProblemError, match=r"need|level"):
        call()


@pytest.mark.parametrize(
    "sizes", [[900] + [5] * 20, [450] * 2 + [5] * 20, [2**i for i in range(11)], [5] * 40]
)
def test_it_covers_the_truth_however_members_are_shared_out(sizes):
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        counts = rng.binomial(sizes, rng.beta(2, 3, len(sizes)))
        low, high = wilson_clustered(counts.tolist(), sizes)
        hits += low <= 0.4 <= high
    assert hits >= 0.92 * 400


def test_clusters_of_one_size_are_worth_what_their_linearised_variance_says():
    rng = np.random.default_rng(0)
    counts = rng.binomial(5, rng.beta(0.5, 0.5, 30))
    share, total = counts.sum() / 150, 150
    squares = np.sum((counts - share * 5) ** 2)
    want = share * (1 - share) * 29 * total**2 / (30 * squares)
    assert effective_total(counts.tolist(), [5] * 30) == pytest.approx(want, rel=1e-12)
    assert of_unequal_sizes(30, 30.0, 0.95) == 1
    got = wilson_clustered(counts.tolist(), [5] * 30)
    assert got == pytest.approx(wilson(share * want, want))


def test_empty_clusters_are_none():
    counts, totals = [3, 0, 2], [5, 4, 9]
    padded = [*counts, 0, 0], [*totals, 0, 0]
    assert wilson_clustered(*padded) == wilson_clustered(counts, totals)
    with pytest.raises(ProblemError, match="two clusters or more with members"):
        wilson_clustered([3, 0], [5, 0])


@pytest.mark.parametrize("degrees", [1, 2.5, 19])
def test_few_clusters_widen_as_students_quantiles_do(degrees):
    want = (student.ppf(0.95, 29) / student.ppf(0.95, degrees)) ** 2
    assert of_unequal_sizes(30, degrees + 1, 0.9) == pytest.approx(want, rel=1e-9)
    assert of_unequal_sizes(30, 1.1, 0.9) == of_unequal_sizes(30, 2.0, 0.9)
