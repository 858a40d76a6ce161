"""The capitals' story: each number again, from the raw table and by other means."""

from __future__ import annotations

import numpy as np
import pytest

import prefeq as pq
from prefeq.capitals import capitals_table
from prefeq.intervals import wilson, wilson_clustered
from prefeq.story import capitals_story, violation_rates


def _logps(country: str) -> dict[str, float]:
    table = capitals_table()
    rows = zip(table["country"], table["response"], table["ref_logp"], strict=True)
    return {city: logp for where, city, logp in rows if where == country}


def test_rates_count_the_raw_log_probs() -> None:
    table = capitals_table()
    logps = np.array(table["ref_logp"]).reshape(-1, 6)
    assert np.all(np.array(table["reward"]).reshape(-1, 6)[:, 0] == 1)
    deficit = logps[:, 1:] - logps[:, :1]
    for row in violation_rates((0.05, 0.2, 1.0)):
        assert row["violated"] == int(np.sum(deficit >= 1 / row["beta"]))
        assert row["wrong_answers"] == int(np.sum(deficit.max(axis=1) >= 1 / row["beta"]))


@pytest.mark.parametrize("normalize", ["sum", "mean"])
def test_rates_by_sum_and_by_mean_with_their_intervals(normalize: str) -> None:
    table = capitals_table()
    logps = np.array(table["ref_logp"]).reshape(-1, 6)
    tokens = np.array(table["tokens"]).reshape(-1, 6)
    scores = logps / tokens if normalize == "mean" else logps
    for row in violation_rates((0.1, 1.0), normalize, level=0.9):
        bad = scores[:, 1:] - scores[:, :1] >= 1 / row["beta"]
        assert row["violated"] == int(bad.sum())
        assert row["interval"] == wilson(int(bad.sum()), bad.size, 0.9)
        by_prompt = wilson_clustered(bad.sum(axis=1).tolist(), [5] * len(bad), 0.9)
        assert row["by_prompt"] == by_prompt
        assert row["interval"].low <= row["rate"] <= row["interval"].high


def test_the_table_shows_both_ways_and_an_interval() -> None:
    story = capitals_story("Australia", beta=0.5, steps=5)
    by_sum, by_mean = violation_rates(), violation_rates(normalize="mean")
    assert story.rates == tuple(by_sum)
    assert story.mean_rates == tuple(by_mean)
    line = next(text for text in str(story).splitlines() if text.startswith("0.5 "))
    low, high = (f"{100 * end:.1f}" for end in by_sum[3]["interval"])
    assert line.split() == [
        "0.5", "51", "of", "720", low, "to", high, "%", str(by_mean[3]["violated"]),
        "29", "of", "144",
    ]  # fmt: skip


def test_another_way_to_normalize_is_refused() -> None:
    with pytest.raises(pq.ProblemError, match="normalize = 'median': choose 'sum' or 'mean'"):
        violation_rates((0.1,), "median")


def test_the_story_tells_the_truth_about_australia() -> None:
    story, logps = capitals_story("Australia", beta=0.5, steps=400), _logps("Australia")
    reference, rlhf, dpo, cpo = story.tellers
    gap = logps["Canberra"] - logps["Sydney"]
    assert reference.answer == max(logps, key=logps.__getitem__) != "Canberra"
    assert reference.margin == pytest.approx(gap)
    assert reference.loss == pytest.approx(np.log(2))
    assert rlhf.margin == pytest.approx(gap + 1 / 0.5)
    assert dpo.margin == pytest.approx(rlhf.margin)  # all cities are compared with the capital
    assert dpo.loss < reference.loss
    assert dpo.answer != "Canberra"
    assert cpo.answer == "Canberra"
    assert cpo.margin == pytest.approx(0.1)
    assert rlhf.objective == pytest.approx(dpo.objective)
    assert rlhf.objective > max(reference.objective, cpo.objective)


def test_the_descent_lowers_every_loss_long_before_it_answers_right() -> None:
    story = capitals_story("Australia", beta=1.0, steps=5000)
    assert story.learned == 1
    assert story.between > 0.5
    assert story.escaped is not None
    assert story.escaped > 1000
    short = capitals_story("Australia", beta=1.0, steps=50)
    assert short.escaped is None
    assert "more than 50 steps" in str(short)


def test_an_unknown_country_is_named() -> None:
    with pytest.raises(pq.ProblemError, match="'Atlantis' is not in the table; choose one of Afg"):
        capitals_story("Atlantis")
