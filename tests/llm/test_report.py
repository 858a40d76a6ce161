"""The report: strict JSON of the agreed shape, a table that fits, a verdict of two sentences."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llm import naive, shards
from llm.test_faults import PLANTED, healthy

import prefeq as pq
from prefeq.llm.verdict import percent, verdict

RATES = (
    *("violation_rate", "ref_below_zero", "relative_accuracy", "absolute_accuracy"),
    *("undesirable_share", "displaced_share"),
)


def every_report(rng: np.random.Generator) -> list[pq.llm.AuditReport]:
    data = naive.draw(rng, 300) | {"label_prob": rng.random(300)}
    groups = ((), ("gap",), ("policy",), ("policy", "gap", "tokens", "prompt"), ("label", "tokens"))
    found = [pq.audit(naive.only(data, *group), beta=0.1) for group in groups]
    found += [pq.audit(p(healthy(rng), rng), beta=0.1, **options) for _, p, options in PLANTED]
    nothing = pq.audit(beta=1.0, ref_chosen_logps=[np.nan], ref_rejected_logps=[-1.0])
    single = pq.audit(beta=1e6, ref_chosen_logps=[-900.0], ref_rejected_logps=[-1.0])
    return [*found, nothing, single]


def test_the_shape(rng: np.random.Generator) -> None:
    for report in every_report(rng):
        form = json.loads(json.dumps(report.to_dict(), allow_nan=False))
        assert {"pairs", "excluded", "beta", "normalize", "critical_gap", "losses"} <= set(form)
        for rate in RATES:
            assert (form[rate] is None) == (form[f"{rate}_interval"] is None)
            if form[rate] is not None:
                low, high = form[f"{rate}_interval"]
                assert 0 <= low <= form[rate] <= high <= 1
        assert list(form["losses"]) == list(naive.FAMILY)
        for loss in form["losses"].values():
            assert {"mean", "negative_target_share", "trap_share"} <= set(loss)
        assert form["pairs"] == 0 or set(form["critical_gap"]["quantiles"]) >= {"0.05", "0.5"}
        for fault in form["faults"]:
            assert {"name", "message", "rows"} <= set(fault)
            assert isinstance(fault["rows"], list)
        assert len(form["verdict"]) == 2


def test_every_rate_has_its_interval(rng: np.random.Generator) -> None:
    def walk(form: Any) -> None:
        if isinstance(form, dict):
            for name, value in form.items():
                if re.search(r"(rate|share|accuracy|below_zero)$", name):
                    assert f"{name}_interval" in form, name
                if name != "examples":
                    walk(value)
        elif isinstance(form, list):
            for value in form:
                walk(value)

    for report in every_report(rng):
        walk(report.to_dict())


def test_what_a_missing_column_prevents_is_null(rng: np.random.Generator) -> None:
    form = pq.audit(naive.only(naive.draw(rng, 50)), beta=0.1).to_dict()
    for name in ("violation_rate", "absolute_accuracy", "margin", "relative_margin", "prompts"):
        assert form[name] is None
    assert form["by_normalize"] is None
    assert all(loss["mean"] is loss["certificate"] is None for loss in form["losses"].values())
    assert form["violation_by_label_prob"]


def test_the_text_fits_a_terminal(rng: np.random.Generator) -> None:
    for report in every_report(rng):
        lines = repr(report).splitlines()
        assert max(map(len, lines)) <= 100
        words = " ".join(repr(report).split()).replace("NaN and infinities", "")
        assert "nan" not in words.lower()
        assert '<div class="prefeq-audit"' in report._repr_html_()
        assert f"beta = {report['beta']:g}" in repr(report)
        assert f"normalize = {report['normalize']}" in repr(report)


def test_row_names_are_long_enough_to_tell_rows_apart(rng: np.random.Generator) -> None:
    data = healthy(rng) | {"row_id": [f"run/shard-{i:05}.parquet" for i in range(400)]}
    data["chosen_logps"][[3, 7]] = np.nan
    report = pq.audit(data, beta=0.1)
    worst = report["examples"]["violated"][0]["row"]
    assert len(worst) == 23
    for name in (worst, "run/shard-00003.parquet", "run/shard-00007.parquet"):
        assert name in repr(report).replace("\n  ", " ")
    short = pq.audit(healthy(rng), beta=0.1)
    first, second = (row["row"] for row in short["examples"]["violated"][:2])
    assert f"{first}, {second}" in repr(short)
    ugly = pq.audit(healthy(rng) | {"row_id": ["\x1b[31m\n" + c for c in "ab" * 200]}, beta=0.1)
    assert all(line.isprintable() for line in repr(ugly).splitlines())
    assert "?[31m a" in repr(ugly)


@pytest.mark.parametrize("betas", [[0.2, 0.4], [0.01, 0.02], [0.1]])
def test_any_other_beta_can_be_shown_without_a_gap(
    rng: np.random.Generator, betas: list[float]
) -> None:
    """The β asked for has more label probabilities than the others, and may be the smallest."""
    report = pq.audit(naive.only(healthy(rng)), beta=0.1, betas=betas)
    lines = repr(report).splitlines()
    table = lines[lines.index(next(line for line in lines if line.startswith("beta "))) :]
    for entry, line in zip(report["at_other_beta"], table[1:], strict=False):
        rates = {e["label_prob"]: e["violation_rate"] for e in entry["violation_by_label_prob"]}
        for prob in (0.9, 0.99):
            assert percent(rates[prob]).removesuffix(" %") in line.split()


def test_the_verdict_is_two_sentences(rng: np.random.Generator) -> None:
    for report in every_report(rng):
        standing, advice = report.verdict
        assert advice.startswith("Next: ")
        for sentence in (standing, advice):
            assert sentence.endswith(".")
            assert not re.search(r"[.!?] [A-Z]", sentence)
        assert repr(report).replace("\n", " ").startswith(standing)


def figures(rng: np.random.Generator, **changes: Any) -> dict[str, Any]:
    data = healthy(rng, 400)
    return {**pq.audit(data, beta=0.1).figures, **changes}


def test_what_to_do_next(rng: np.random.Generator) -> None:
    fine = figures(rng, violation_rate=0.001, undesirable_share=0.0)
    assert "train with DPO as planned" in verdict(fine)[1]
    stuck = figures(rng, violation_rate=0.001, undesirable_share=0.4)
    assert "40.0 % of the pairs are in the undesirable space" in verdict(stuck)[1]
    bad = figures(rng, violation_rate=0.71)
    bad["by_normalize"] = {"sum": {"violation_rate": 0.71}, "mean": {"violation_rate": 0.003}}
    assert "choose between sums and means over tokens first" in verdict(bad)[1]
    assert "0.3 %" in verdict(bad)[1]
    lower = figures(rng, violation_rate=0.3, by_normalize=None)
    betas = ((0.025, 0.01), (0.05, 0.04), (0.1, 0.3))
    lower["at_other_beta"] = [{"beta": b, "violation_rate": rate} for b, rate in betas]
    assert "lower beta to 0.05, where 4.0 %" in verdict(lower)[1]
    lower["at_other_beta"] = []
    assert "whose targets are not negative" in verdict(lower)[1]


def test_a_few_bad_rows_do_not_hide_the_data(rng: np.random.Generator) -> None:
    data = healthy(rng, 400)
    data["chosen_logps"][3] = np.nan
    assert "violate" in pq.audit(data, beta=0.1).verdict[0]
    data["chosen_logps"][:50] = np.nan
    assert "sick" in pq.audit(data, beta=0.1).verdict[0]


@pytest.mark.parametrize("normalize", ["sum", "mean"])
def test_the_choice_of_normalisation_is_visible(rng: np.random.Generator, normalize: str) -> None:
    report = pq.audit(healthy(rng), beta=0.1, normalize=normalize)
    rates = {way: entry["violation_rate"] for way, entry in report["by_normalize"].items()}
    assert report["violation_rate"] == rates[normalize]
    assert rates["sum"] > rates["mean"] > 0
    assert ("summed" if normalize == "sum" else "averaged") in report.verdict[0]


def test_counts_stand_beside_shares_of_few_pairs(rng: np.random.Generator) -> None:
    data = healthy(rng)
    report = pq.audit(data, beta=0.1)
    for line in repr(report).splitlines():
        if line.startswith("violate the assumption"):
            assert line.split()[7:9] == [
                percent(report["violation_rate"]).removesuffix(" %"),
                str(round(report["violation_rate"] * report["pairs"])),
            ]
    many = pq.audit({name: np.tile(values, 30) for name, values in data.items()}, beta=0.1)
    assert "  pairs  " in repr(report)
    assert "  pairs  " not in repr(many)


def test_one_is_singular_and_units_stay_with_their_numbers() -> None:
    one = pq.audit(
        beta=1.0, ref_chosen_logps=[-1.0, np.nan], ref_rejected_logps=[-2.0, -2.0],
        prompt=["a", "a"],
    )  # fmt: skip
    assert "1 pair, 1 row left out" in repr(one)
    facts = re.sub("<.*?>", "", one.to_html())
    assert "1 pair on 1 prompt · 1 row left out" in facts
    single = pq.audit(beta=1.0, ref_chosen_logps=[-1.0], ref_rejected_logps=[-2.0])
    assert single.verdict[0].endswith("above one half in 100 % of 1 pair.")
    reports = [pq.audit(beta=b, ref_chosen_logps=[-1.0] * n, ref_rejected_logps=[-2.0] * n)
               for b in (0.1, 0.12345) for n in (1, 10, 100, 1000)]  # fmt: skip
    for report in reports:
        assert not any(line.startswith("%") for line in repr(report).splitlines()[:8])


def test_a_verdict_without_rewards(rng: np.random.Generator) -> None:
    def said(ref_margins: Any) -> str:
        chosen = np.asarray(ref_margins, float) - 50
        rejected = np.full(len(chosen), -50.0)
        return pq.audit(beta=1.0, ref_chosen_logps=chosen, ref_rejected_logps=rejected).verdict[0]

    wrong = said([-2.0] * 10 + [-3.0] * 10)
    assert "asks for a label surer than" in wrong
    right = said([2.0] * 60 + [-1.0] * 40)
    assert "no more than a label above one half in 60.0 % of 100 pairs, and surer than 73" in right
    assert said([2.0] * 100).endswith("no more than a label above one half in 100 % of 100 pairs.")


def test_a_bound_that_bounds_nothing_is_a_dash(rng: np.random.Generator) -> None:
    report = pq.audit(healthy(rng), beta=0.1)
    bounds = {
        name: loss["certificate"]["misaligned_share_at_most"]
        for name, loss in report["losses"].items()
        if loss["certificate"]
    }
    assert 1.0 in bounds.values()
    lines = {line.split()[0]: line.split() for line in repr(report).splitlines() if line}
    for name, bound in bounds.items():
        shown = "-" if bound is None or bound >= 1 else percent(bound).removesuffix(" %")
        assert lines[name][-1] == shown
        path = f'data-figure="losses/{name}/certificate/misaligned_share_at_most"'
        assert (path in report.to_html()) == (bound is not None and bound < 1)
    assert "<= % wrong" in repr(report)


def test_files_are_counted_and_named(tmp_path: Path, rng: np.random.Generator) -> None:
    data = naive.only(naive.draw(rng, 2))
    for i in range(25):
        shards.write(tmp_path / f"{i:02}.csv", data)
    report = pq.audit(tmp_path, beta=0.1)
    names = [f"{tmp_path}/{i:02}.csv" for i in range(20)]
    assert report["files"] == {"count": 25, "names": names}
    assert "04.csv</code> and 20 more" in report.to_html()
    assert pq.audit(data, beta=0.1)["files"] is None
    assert "columns in memory" in pq.audit(data, beta=0.1).to_html()


def test_exit_times_have_their_bounds_on_the_page(rng: np.random.Generator) -> None:
    page = pq.audit(healthy(rng), beta=0.1).to_html()
    for end in (0, 1):
        assert f'data-figure="exit_time/bounds/0.95/{end}"' in page


def test_no_backticks_on_the_page(rng: np.random.Generator) -> None:
    page = pq.audit(healthy(rng), beta=0.1).to_html()
    assert "`" not in page
    assert "the released <code>easy</code> branch" in page
