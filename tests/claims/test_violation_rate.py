"""`violation-rate` by hand: the capitals counted from the raw table."""

from __future__ import annotations

import csv
import itertools
from decimal import Decimal
from fractions import Fraction
from importlib.resources import files

import numpy as np
import pytest
from scipy.stats import binomtest

from prefeq.claims import exact_capitals, registry, run
from prefeq.claims.gallery import numbers_of
from prefeq.intervals import effective_total, wilson_clustered


def rows():
    text = files("prefeq").joinpath("data", "capitals.csv").read_text("utf-8")
    return list(csv.DictReader(text.splitlines()))


def violations(beta, mean):
    """Return by country how many cities are likelier than the capital by 1/β or more."""
    found = {}
    for country, group in itertools.groupby(rows(), lambda row: row["country"]):
        scores = [
            Decimal(row["ref_logp"]) / (Decimal(row["tokens"]) if mean else 1) for row in group
        ]
        found[country] = [beta * (score - scores[0]) >= 1 for score in scores[1:]]
    return found


def counterexample(label):
    (reading,) = (r for r in registry.get_claim("violation-rate").readings if r.label == label)
    (item,) = [i for i in run.check_reading(reading).evidence if i.kind == "counterexample"]
    return item.data


@pytest.mark.parametrize(
    ("mean", "counts"), [(False, [0, 6, 17, 51, 71]), (True, [0, 0, 0, 19, 50])]
)
def test_the_counts(mean, counts):
    way = "mean" if mean else "sum"
    for beta, count in zip(exact_capitals.BETAS, counts, strict=True):
        exact = violations(Decimal(beta.numerator) / Decimal(beta.denominator), mean)
        assert sum(map(sum, exact.values())) == count
        assert exact_capitals.violations(beta, way) == [sum(row) for row in exact.values()]


def test_the_quoted_rate_is_not_that_of_the_capitals():
    data = counterexample("quoted-rate-carries-over")
    want = binomtest(6, 720).proportion_ci(0.95, method="wilson")
    assert data["interval"] == pytest.approx([want.low, want.high], rel=1e-12)
    counts = [sum(row) for row in violations(Decimal("0.1"), mean=False).values()]
    by_prompt = wilson_clustered(counts, [5] * 144)
    assert data["interval_by_prompt"] == pytest.approx(list(by_prompt), rel=1e-12)
    assert max(data["interval"][1], data["interval_by_prompt"][1]) < 0.455
    assert float(exact_capitals.effective(counts)) == pytest.approx(
        effective_total(counts, [5] * 144)
    )


def test_the_prompt_shown_is_in_the_table():
    data = counterexample("quoted-rate-carries-over")["instance"]
    logps = [float(row["ref_logp"]) for row in rows() if row["country"] == "Ivory Coast"]
    want = np.array(logps) - np.logaddexp.reduce(logps)
    np.testing.assert_allclose(np.log(data["ref"]), want, atol=1e-3)
    assert data["beta"] == 0.1


def test_sum_and_mean_part_on_a_real_pair():
    data = counterexample("sum-or-mean")
    pair = [row for row in rows() if row["response"] in ("Yamoussoukro", "Abidjan")]
    by_sum = Decimal(pair[0]["ref_logp"]) - Decimal(pair[1]["ref_logp"])
    by_mean = Decimal(pair[0]["ref_logp"]) / 7 - Decimal(pair[1]["ref_logp"]) / 4
    assert [row["tokens"] for row in pair] == ["7", "4"]
    assert by_sum <= -10 < by_mean
    assert float(Fraction(data["sum_margin"])) == pytest.approx(float(by_sum), rel=1e-15)
    assert float(Fraction(data["mean_margin"])) == pytest.approx(float(by_mean), rel=1e-15)
    odds = data["instance"]["ref"][0] / data["instance"]["ref"][1]
    assert np.log(odds) == pytest.approx(float(by_sum), abs=1e-3)


def test_intervals_of_counts_at_the_ends_are_exact():
    low, high = numbers_of(lambda: exact_capitals.interval(Fraction(0), Fraction(720)))
    want = binomtest(0, 720).proportion_ci(0.95, method="wilson")
    assert low == 0
    assert high == pytest.approx(want.high, rel=1e-12)


def test_the_data_that_the_claim_quotes_are_not_judged():
    claim = registry.get_claim("violation-rate")
    assert "not decided here" in claim.title
    about = [reading.scope for reading in claim.readings]
    assert all("capitals" in scope or "any pair" in scope for scope in about)
