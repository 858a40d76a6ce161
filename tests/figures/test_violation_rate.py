"""The capitals by β: the audit's numbers, counted again in decimals."""

from __future__ import annotations

import csv
from decimal import Decimal
from importlib.resources import files
from typing import Any

import numpy as np
import pytest

import prefeq as pq
from prefeq.figures import violation_rate
from prefeq.intervals import wilson_clustered
from prefeq.story import violation_rates

WAYS = violation_rate.WAYS


@pytest.fixture(scope="module")
def data() -> dict[str, Any]:
    return violation_rate.data()


def ref_margins(way: str) -> dict[str, list[Decimal]]:
    """δ_ref of every pair by country, in decimals from the raw table."""
    text = files("prefeq").joinpath("data", "capitals.csv").read_text("utf-8")
    found: dict[str, list[Decimal]] = {}
    capital: dict[str, Decimal] = {}
    for row in csv.DictReader(text.splitlines()):
        score = Decimal(row["ref_logp"]) / (int(row["tokens"]) if way == "mean" else 1)
        if row["role"] == "capital":
            capital[row["country"]] = score
        else:
            found.setdefault(row["country"], []).append(score)
    return {name: [capital[name] - score for score in scores] for name, scores in found.items()}


def check_counts(data: dict[str, Any]) -> None:
    """Raise unless every count and interval is that of the decimals."""
    for way in WAYS:
        by_country = ref_margins(way)
        sizes = [len(row) for row in by_country.values()]
        for i, beta in enumerate(data["beta"].tolist()):
            counts = [sum(Decimal(beta) * m <= -1 for m in row) for row in by_country.values()]
            assert data[way]["violated"][i] == sum(counts), (way, beta)
            assert data[way]["rate"][i] == pytest.approx(sum(counts) / sum(sizes), rel=1e-12)
            ends = (data[way]["low"][i], data[way]["high"][i])
            assert ends == pytest.approx(wilson_clustered(counts, sizes), abs=1e-12), (way, beta)
        below = sum(m < 0 for row in by_country.values() for m in row)
        assert data[way]["ref_below_zero"] == pytest.approx(below / sum(sizes), rel=1e-12)


def test_counts_and_bands_are_those_of_the_decimals(data: dict[str, Any]) -> None:
    check_counts(data)
    assert data["pairs"] == 720
    assert data["prompts"] == 144


def test_swapped_or_mixed_up_ways_are_noticed(data: dict[str, Any]) -> None:
    with pytest.raises(AssertionError):
        check_counts({**data, "sum": data["mean"], "mean": data["sum"]})
    with pytest.raises(AssertionError):
        check_counts({**data, "beta": 1.2 * data["beta"]})


def test_the_numbers_are_those_of_the_audit_and_the_story(data: dict[str, Any]) -> None:
    at = np.searchsorted(data["beta"], violation_rate.MARKED)
    assert data["beta"][at].tolist() == list(violation_rate.MARKED)
    for way in WAYS:
        rows = violation_rates(violation_rate.MARKED, way)
        assert data[way]["violated"][at].tolist() == [row["violated"] for row in rows]
        ends = np.array([row["by_prompt"] for row in rows])
        np.testing.assert_allclose(data[way]["low"][at], ends[:, 0], atol=1e-12)
        np.testing.assert_allclose(data[way]["high"][at], ends[:, 1], atol=1e-12)
        report = pq.audit(violation_rate.capital_pairs(), beta=0.5, normalize=way)
        assert report["violation_rate"] == data[way]["rate"][at[3]]
        interval = [data[way]["low"][at[3]], data[way]["high"][at[3]]]
        assert report["violation_rate_interval"] == interval
    assert data["sum"]["violated"][at].tolist() == [0, 6, 17, 51, 71]
    assert data["mean"]["violated"][at].tolist() == [0, 0, 0, 19, 50]


def test_the_pairs_are_the_capitals_against_their_own_cities() -> None:
    columns = violation_rate.capital_pairs()
    table = pq.capitals_table()
    own = dict(zip(table["country"], table["ref_logp"], strict=False))
    capital = {
        country: logp
        for country, role, logp in zip(
            table["country"], table["role"], table["ref_logp"], strict=True
        )
        if role == "capital"
    }
    assert len(own) == len(capital) == 144
    assert columns["ref_chosen_logps"].tolist() == [capital[name] for name in columns["prompt"]]
    assert set(columns["chosen_reward"]) == {1.0}
    assert set(columns["rejected_reward"]) == {0.0}
    others = sorted(
        logp
        for role, logp in zip(table["role"], table["ref_logp"], strict=True)
        if role != "capital"
    )
    assert sorted(columns["ref_rejected_logps"].tolist()) == others


def test_the_rate_never_falls_with_beta(data: dict[str, Any]) -> None:
    for way in WAYS:
        assert np.all(np.diff(data[way]["violated"]) >= 0)
        assert data[way]["rate"][-1] <= data[way]["ref_below_zero"]
        assert np.all(data[way]["low"] <= data[way]["rate"])
        assert np.all(data[way]["rate"] <= data[way]["high"])


def test_the_artists_carry_the_data(data: dict[str, Any]) -> None:
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    artists = violation_rate.draw(axes, data)
    at = np.searchsorted(data["beta"], violation_rate.MARKED)
    for way in WAYS:
        np.testing.assert_array_equal(artists[way].get_xdata(), data["beta"])
        np.testing.assert_array_equal(artists[way].get_ydata(), 100 * data[way]["rate"])
        corners = artists[f"{way} band"].get_paths()[0].vertices
        assert corners[:, 1].max() == 100 * data[way]["high"].max()
        dots = artists[f"{way} counts"].get_ydata()
        np.testing.assert_array_equal(dots, 100 * data[way]["rate"][at])
        limit = 100 * data[way]["ref_below_zero"]
        assert artists[f"{way} limit"].get_ydata().tolist() == [limit, limit]
    written = [text.get_text() for text in axes.texts]
    assert [text for text in written if text.isdigit()] == [
        "0", "6", "17", "51", "71", "0", "0", "0", "19", "50"
    ]  # fmt: skip
    assert written[5].endswith(" 97")
    assert written[11].endswith(" 135")


def test_the_caption_tells_the_counts(data: dict[str, Any]) -> None:
    caption = violation_rate.FIGURE.caption
    at = dict(zip(data["beta"].tolist(), range(data["beta"].size), strict=True))
    count = {(way, beta): data[way]["violated"][at[beta]] for way in WAYS for beta in (0.1, 1.0)}
    assert f"{count['sum', 0.1]} by sums and {count['mean', 0.1]} by means at β = 0.1" in caption
    assert f"{count['sum', 1.0]} and {count['mean', 1.0]} at β = 1" in caption
    below = [round(data["pairs"] * data[way]["ref_below_zero"]) for way in WAYS]
    assert "{} by sums and {} by means".format(*below) in caption
    assert f"{data['pairs']} pairs (capital, other city) of {data['prompts']} countries" in caption


@pytest.mark.parametrize("options", [{"low": 0.0}, {"points": 1}, {"level": 1.0}])
def test_bad_options_are_named(options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(pq.ProblemError, match=name):
        violation_rate.data(**options)
