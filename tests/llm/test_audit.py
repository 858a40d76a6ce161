"""Every figure of an audit against a direct computation in float64."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from llm import naive

import prefeq as pq
from prefeq import margins
from prefeq.capitals import capitals_table
from prefeq.llm.audit import audit
from prefeq.llm.figures import QUANTILES
from prefeq.llm.plan import FACTORS, FEW_LABELS, LABELS
from prefeq.llm.sketch import ABSOLUTE, RELATIVE
from prefeq.story import BETAS, violation_rates

GROUPS = (
    ("policy",),
    (),
    ("gap",),
    ("policy", "gap"),
    ("policy", "tokens"),
    ("policy", "gap", "tokens", "prompt"),
    ("policy", "label", "prompt"),
)


def near(found: Any, true: Any, tolerance: float = 1e-12) -> None:
    """Raise unless two numbers, or lists of them, agree to a relative tolerance."""
    np.testing.assert_allclose(found, true, rtol=tolerance, atol=1e-300)


def check(data: dict[str, Any], beta: float, normalize: str = "sum") -> pq.llm.AuditReport:
    """Compare all rates, means and quantiles of a report with the direct computation."""
    report = audit(data, beta=beta, normalize=normalize)
    true = naive.figures(data, beta, normalize)
    for name in (
        *("violation_rate", "ref_below_zero", "relative_accuracy", "absolute_accuracy"),
        *("undesirable_share", "displaced_share", "reward_below_zero"),
    ):
        check_rate(report.figures, name, true["rates"].get(name))
    n = len(true["ref"])
    check_quantiles(report["ref_margin"], true["ref"])
    near(report["ref_margin"]["mean"], math.fsum(true["ref"]) / n, 1e-11)
    check_reference(report.figures, true["ref"], beta)
    if "margin" in true:
        check_quantiles(report["margin"], true["margin"])
        x = true["margin"] - true["ref"]
        assert report["relative_margin"]["least"] == x.min()
        assert report["relative_margin"]["largest"] == x.max()
        scale = np.abs(true["margin"]).max() + np.abs(true["ref"]).max()
        assert abs(report["relative_margin"]["mean"] - math.fsum(x) / n) <= 1e-14 * scale
    else:
        assert report["margin"] is report["relative_margin"] is None
    for name, entry in true["losses"].items():
        check_loss(report["losses"][name], entry, name)
    check_betas(report, data, true, beta)
    json.dumps(report.to_dict(), allow_nan=False)
    return report


def check_rate(figures: Any, name: str, true: Any) -> None:
    if true is None:
        assert figures[name] is figures[f"{name}_interval"] is None
    else:
        assert figures[name] == true[0], name
        near(figures[f"{name}_interval"], true[1], 1e-10)


def check_quantiles(found: Any, values: np.ndarray) -> None:
    for share in QUANTILES:
        true = np.quantile(values, share, method="inverted_cdf")
        error = abs(found["quantiles"][f"{share:g}"] - true) if math.isfinite(true) else 0.0
        assert error <= RELATIVE * abs(true) + ABSOLUTE, share
        assert math.isfinite(true) or found["quantiles"][f"{share:g}"] == true


def check_reference(figures: Any, ref: np.ndarray, beta: float) -> None:
    gap = -beta * ref
    for share in QUANTILES:
        key, true = f"{share:g}", np.quantile(gap, share, method="inverted_cdf")
        allowed = RELATIVE * abs(true) + beta * ABSOLUTE
        assert abs(figures["critical_gap"]["quantiles"][key] - true) <= allowed * (1 + 1e-12)
        low, high = figures["critical_gap"]["bounds"][key]
        assert low <= figures["critical_gap"]["quantiles"][key] <= high
        assert low - 1e-12 * abs(low) <= true <= high + 1e-12 * abs(high)
        prob = figures["critical_label_prob"]["quantiles"][key]
        low, high = figures["critical_label_prob"]["bounds"][key]
        assert low <= prob <= high
        assert low * (1 - 1e-12) <= margins.critical_label_prob(-true / beta, beta)
        assert margins.critical_label_prob(-true / beta, beta) <= high * (1 + 1e-12)
        near(prob, margins.critical_label_prob(-true / beta, beta), 1.1 * allowed + 1e-12)
        low, high = figures["exit_time"]["bounds"][key]
        time = float(margins.exit_time(-true / beta, beta))
        assert low * (1 - 1e-9) <= time <= high * (1 + 1e-9) or low == time == high
        assert low <= figures["exit_time"]["quantiles"][key] <= high


def check_loss(found: Any, true: Any, name: str) -> None:
    for share in ("negative_target_share", "trap_share"):
        assert found[share] == true[share][0], (name, share)
        if found[share]:
            near(found[f"{share}_interval"], true[share][1], 1e-10)
        else:  # either 0 for sure, or none seen
            assert found[f"{share}_interval"][0] == 0
    check_quantiles(found["target"], true["target"])
    if np.isfinite(true["target"]).all():
        size = max(1e-300, float(np.abs(true["target"]).max()))
        error = abs(found["target"]["mean"] - math.fsum(true["target"]) / true["target"].size)
        assert error <= 1e-13 * size, name
    if "mean" not in true:
        assert found["mean"] is found["certificate"] is None
        return
    near(found["mean"], true["mean"], 1e-12)
    proved = found["certificate"]
    values = true["values"]
    if values.size > 1 and found["mean_interval"]:
        half = 1.959963984540054 * values.std(ddof=1) / math.sqrt(values.size)
        high = true["mean"] + half
        near(found["mean_interval"], [max(0, true["mean"] - half), high], 1e-6)
    if proved["per_token"]:
        assert proved["misaligned_share_at_most"] is proved["loss_that_aligns"] is None
    else:
        assert 0 <= proved["misaligned_share_at_most"] <= 1


def check_betas(report: Any, data: Any, true: Any, beta: float) -> None:
    rows = report["at_other_beta"]
    assert [row["beta"] for row in rows] == sorted([beta, *(f * beta for f in FACTORS)])
    for row in rows:
        labels = LABELS if row["beta"] == beta else FEW_LABELS
        if true["gap"] is not None:
            assert row["violation_rate"] == naive.violated(true["ref"], true["gap"], row["beta"])
            assert row["violation_by_label_prob"] is None
            continue
        assert [entry["label_prob"] for entry in row["violation_by_label_prob"]] == list(labels)
        for entry in row["violation_by_label_prob"]:
            gap = margins.logit(entry["label_prob"])
            assert entry["violation_rate"] == naive.violated(true["ref"], gap, row["beta"])
    for row in rows:
        for name in ("hinge", "cdpo"):
            traps = pq.losses.LOSSES[name].traps(true["ref"], row["beta"])
            assert row[f"{name}_trap_share"] == np.mean(traps)
    assert (report["violation_by_label_prob"] is None) == (true["gap"] is not None)


@pytest.mark.parametrize("groups", GROUPS, ids="-".join)
@pytest.mark.parametrize("kind", ["plain", "ties", "extreme"])
def test_every_figure(rng: np.random.Generator, groups: tuple[str, ...], kind: str) -> None:
    data = naive.draw(rng, 3000, kind)
    data["label_prob"] = rng.choice([0.0, 0.1, 0.5, 0.9, 1.0, 0.731], 3000)
    check(naive.only(data, *groups), 0.5 if kind == "ties" else 0.1)


@pytest.mark.parametrize("kind", ["plain", "extreme"])
def test_every_figure_of_means_over_tokens(rng: np.random.Generator, kind: str) -> None:
    data = naive.draw(rng, 2000, kind)
    report = check(naive.only(data, "policy", "gap", "tokens"), 2.0, "mean")
    sums = audit(naive.only(data, "policy", "gap", "tokens"), beta=2.0)
    for normalize, other in (("sum", sums), ("mean", report)):
        entry = report["by_normalize"][normalize]
        assert entry["violation_rate"] == other["violation_rate"]
        assert entry["ref_below_zero_interval"] == other["ref_below_zero_interval"]
        assert entry["critical_gap_median"] == other["critical_gap"]["quantiles"]["0.5"]
    assert sums["by_normalize"] == report["by_normalize"]
    assert report["normalize"] == "mean"


@pytest.mark.parametrize("beta", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("n", [1, 2, 7])
def test_few_pairs_and_any_beta(rng: np.random.Generator, beta: float, n: int) -> None:
    check(naive.only(naive.draw(rng, n, "extreme"), "policy", "gap"), beta)


def test_more_than_a_chunk(rng: np.random.Generator) -> None:
    data = naive.draw(rng, 40_000)
    check(naive.only(data, "policy", "gap", "tokens", "prompt"), 0.1)


def test_rows_that_are_no_numbers_are_counted_located_and_left_out(
    rng: np.random.Generator,
) -> None:
    data = naive.only(naive.draw(rng, 20_000), "policy", "gap", "tokens", "prompt")
    bad = {"chosen_logps": np.nan, "ref_rejected_logps": -np.inf, "rejected_reward": np.inf}
    spoilt = {name: np.array(values, object) for name, values in data.items()}
    rows = {3: "chosen_logps", 16_384: "ref_rejected_logps", 19_999: "rejected_reward"}
    for row, name in rows.items():
        spoilt[name][row] = bad[name]
    spoilt["chosen_tokens"][77] = 0
    kept = np.delete(np.arange(20_000), [*rows, 77])
    report = audit(
        {k: v if k == "prompt" else v.astype(float) for k, v in spoilt.items()}, beta=0.1
    )
    clean = audit({name: np.asarray(v)[kept] for name, v in data.items()}, beta=0.1)
    assert report["pairs"] == 19_996
    assert report["excluded"] == 4
    (fault,) = report["faults"]
    assert fault["name"] == "nonfinite"
    assert fault["rows"] == [3, 77, 16_384, 19_999]
    assert "chosen_logps 1" in fault["message"]
    for name in ("violation_rate", "violation_rate_interval", "absolute_accuracy", "prompts"):
        assert report[name] == clean[name]
    for name in naive.FAMILY:
        near(report["losses"][name]["mean"], clean["losses"][name]["mean"])
    assert report["critical_gap"] == clean["critical_gap"]


def test_nothing_but_rows_that_are_no_numbers() -> None:
    report = audit(beta=1.0, ref_chosen_logps=[np.nan, -1.0], ref_rejected_logps=[-1.0, np.inf])
    assert (report["pairs"], report["excluded"], report["ref_below_zero"]) == (0, 2, None)
    assert report["losses"]["dpo"]["mean"] is report["critical_gap"] is None
    assert report["faults"][0]["rows"] == [0, 1]
    assert "Nothing could be measured" in repr(report)
    json.dumps(report.to_dict(), allow_nan=False)


def test_examples_are_the_worst_rows(rng: np.random.Generator) -> None:
    data = naive.only(naive.draw(rng, 30_000), "policy", "gap")
    names = [f"id-{i}" for i in range(30_000)]
    report = audit(data | {"row_id": names}, beta=0.1)
    a, b, c, d = (data[name] for name in naive.LOGPS)
    gap = data["chosen_reward"] - data["rejected_reward"]
    surplus, wrong = gap + 0.1 * (c - d), (c - d < a - b) & (a - b < 0)
    for kind, value, mask in (
        ("violated", surplus, surplus <= 0),
        ("ref_below_zero", c - d, c - d < 0),
        ("misaligned", a - b, a - b <= 0),
        ("undesirable", a - b, wrong),
        ("worsened", (a - b) - (c - d), (a - b) - (c - d) <= 0),
        ("displaced", (a - c) + (b - d), (a < c) & (b < d)),
    ):
        order = np.flatnonzero(mask)[np.argsort(value[mask], kind="stable")][:5]
        assert [row["row"] for row in report["examples"][kind]] == [names[i] for i in order]
        near([row["value"] for row in report["examples"][kind]], value[order])


def test_ties_among_examples_go_to_the_first_rows() -> None:
    n = 20_000
    data = {"ref_chosen_logps": np.full(n, -3.0), "ref_rejected_logps": np.full(n, -1.0)}
    data["ref_chosen_logps"][-1] = -9.0
    report = audit(data, beta=0.1)
    assert [row["row"] for row in report["examples"]["ref_below_zero"]] == [n - 1, 0, 1, 2, 3]


def test_older_names_other_names_and_the_door(rng: np.random.Generator) -> None:
    data = naive.only(naive.draw(rng, 50), "policy")
    older = {name.replace("ref_", "reference_"): values for name, values in data.items()}
    renamed = {"lo" if name == "rejected_logps" else name: v for name, v in older.items()}
    one = pq.audit(data, beta=0.1).to_dict()
    assert pq.audit(**data, beta=0.1).to_dict() == one
    assert pq.audit(older, beta=0.1).to_dict() == one
    assert pq.audit(renamed, beta=0.1, columns={"rejected_logps": "lo"}).to_dict() == one


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ref_chosen_logps": None}, "no column ref_chosen_logps; there are"),
        ({"chosen_logps": [-1.0, -2.0]}, "unequal length"),
        ({"chosen_reward": [1.0]}, "no column rejected_reward"),
        ({"chosen_tokens": [1]}, "no column rejected_tokens"),
        ({"ref_chosen_logps": [[-1.0]]}, "one number a pair"),
        ({"ref_chosen_logps": ["much"]}, "does not hold numbers"),
        ({"ref_chosen_logps": [1j]}, "does not hold numbers"),
        ({"label_prob": [1.5]}, r"label_prob = 1.5 in row 0"),
        ({"label_prob": [0.5], "chosen_reward": [1], "rejected_reward": [0]}, "leave one of them"),
        ({"reference_chosen_logps": [-1.0]}, "the same thing"),
        ({"chosen_logprobs": [-1.0]}, "no argument 'chosen_logprobs'"),
        ({"beta": 0.0}, "beta = 0.0"),
        ({"beta": math.nan}, "beta = nan"),
        ({"betas": [1.0, -1.0]}, "beta = -1.0"),
        ({"level": 1.0}, "level = 1.0"),
        ({"normalize": "mean"}, "needs the columns chosen_tokens"),
        ({"normalize": "both"}, "pass 'sum' or 'mean'"),
        ({"columns": {"chosen": "x"}}, "no column of ours"),
        ({"columns": {"chosen_logps": "x"}}, "no column 'x' for chosen_logps"),
    ],
)
def test_unusable_input_is_refused(change: dict[str, Any], message: str) -> None:
    arguments = {name: [-1.0] for name in naive.LOGPS} | {"beta": 0.1} | change
    with pytest.raises(pq.ProblemError, match=message):
        audit(**arguments)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({name: [] for name in naive.LOGPS}, "no pairs"),
        (3, "has no columns"),
        ("pairs.parquet", "no such file"),
        ({"text": ["a"]}, "no column ref_chosen_logps; there are 'text'"),
    ],
)
def test_what_is_no_table_is_refused(data: Any, message: str) -> None:
    with pytest.raises(pq.ProblemError, match=message):
        audit(data, beta=0.1)
    with pytest.raises(pq.ProblemError, match="step0"):
        audit({name: [-1.0] for name in naive.LOGPS[2:]}, beta=0.1, step0=True)
    with pytest.raises(pq.ProblemError, match="not both"):
        audit({name: [-1.0] for name in naive.LOGPS}, chosen_logps=[-1.0], beta=0.1)


@pytest.mark.parametrize("normalize", ["sum", "mean"])
def test_the_capitals_are_audited_as_the_tabular_side_counts_them(normalize: str) -> None:
    table, pairs = capitals_table(), []
    for prompt in dict.fromkeys(table["prompt"]):
        rows = [i for i, name in enumerate(table["prompt"]) if name == prompt]
        best = next(i for i in rows if table["reward"][i] == 1)
        pairs += [(best, i) for i in rows if i != best]
    data: dict[str, Any] = {"prompt": [table["prompt"][w] for w, _ in pairs]}
    names = {"ref_{}_logps": "ref_logp", "{}_tokens": "tokens", "{}_reward": "reward"}
    for ours, theirs in names.items():
        for k, side in enumerate(("chosen", "rejected")):
            data[ours.format(side)] = [table[theirs][pair[k]] for pair in pairs]
    report = audit(data, beta=0.1, normalize=normalize, betas=BETAS[:1] + BETAS[2:])
    assert (report["pairs"], report["prompts"]) == (720, 144)
    for entry, known in zip(
        report["at_other_beta"], violation_rates(BETAS, normalize), strict=True
    ):
        assert entry["beta"] == known["beta"]
        assert entry["violation_rate"] == known["rate"]
        near(entry["violation_rate_interval"], known["by_prompt"], 1e-9)
    assert report.faults == ()


def test_the_helper_sees_a_wrong_figure(rng: np.random.Generator) -> None:
    data = naive.only(naive.draw(rng, 300), "policy", "gap")
    true = naive.figures(data, 0.1)
    other = naive.figures(data, 0.1001)
    with pytest.raises(AssertionError):
        check_loss(audit(data, beta=0.1)["losses"]["dpo"], other["losses"]["dpo"], "dpo")
    with pytest.raises(AssertionError):
        check_quantiles(audit(data, beta=0.1)["ref_margin"], true["ref"] * 1.003)


def test_ties_at_zero_are_misaligned_and_worsened() -> None:
    data = dict(
        zip(naive.LOGPS, ([-3.0, -2.0], [-3.0, -5.0], [-3.0, -4.0], [-3.0, -9.0]), strict=True)
    )
    examples = audit(data, beta=0.1)["examples"]
    assert [row["row"] for row in examples["misaligned"]] == [0]
    assert [row["row"] for row in examples["worsened"]] == [1, 0]


def test_a_tie_by_the_other_normalisation_is_a_violation() -> None:
    data = {"ref_chosen_logps": [-3.0], "ref_rejected_logps": [-2.0]}
    data |= {"chosen_tokens": [1], "rejected_tokens": [4]}
    data |= {"chosen_reward": [1.25], "rejected_reward": [0.0]}  # 0.5 (3/1 − 2/4)
    report = audit(data, beta=0.5)
    assert report["by_normalize"]["sum"]["violation_rate"] == 0
    assert report["by_normalize"]["mean"]["violation_rate"] == 1
    assert audit(data, beta=0.5, normalize="mean")["violation_rate"] == 1


def test_losses_that_hardly_vary_have_an_interval_that_holds_their_mean() -> None:
    for seed in range(20):
        x = np.random.default_rng(seed).normal(0, 1e-5, 500)
        data = dict(zip(naive.LOGPS, (-10 + x, -10 + 0 * x, -10 + 0 * x, -10 + 0 * x), strict=True))
        found = audit(data, beta=1e-3)["losses"]["dpo"]
        low, high = found["mean_interval"]
        assert low < found["mean"] < high
        assert low <= math.log(2) <= high
        assert high - low < 1e-7
