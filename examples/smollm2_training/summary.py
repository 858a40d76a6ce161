#!/usr/bin/env python3
"""Print the numbers of README.md as Markdown, or compare a new run with the committed one.

python examples/smollm2_training/summary.py                             # the committed tables
python examples/smollm2_training/summary.py build/smollm2_training      # those of a new run
python examples/smollm2_training/summary.py --check build/smollm2_training
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from prefeq.losses import LOSSES, Loss, Reference

HERE = Path(__file__).resolve().parent
TEXT = ("loss", "split", "country")
NODES = 2001
LN2 = round(float(np.log(2)), 6)  # as the table rounds

MARKS = ("<!-- summary.py -->\n", "\n<!-- end of summary.py -->")

Key = tuple[int, float, str]


@dataclass(frozen=True)
class Run:
    """One training: columns of results.csv by split, shape (steps + 1, pairs)."""

    key: Key
    countries: dict[str, list[str]]
    columns: dict[str, dict[str, Any]]

    @property
    def beta(self) -> float:
        return self.key[1]

    @property
    def name(self) -> str:
        return self.key[2]

    @property
    def loss(self) -> Loss:
        return LOSSES[self.name.split("_")[0]]

    @property
    def train(self) -> dict[str, Any]:
        return self.columns["train"]

    @property
    def steps(self) -> int:
        return len(self.train["margin"]) - 1

    @property
    def wrong(self) -> Any:
        """Which of the trained pairs the reference ranks wrongly: those that U awaits."""
        return self.train["ref_margin"][0] < 0


def read_runs(folder: Path) -> dict[Key, Run]:
    """The runs of results.csv, in file order."""
    with (folder / "results.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    grouped: dict[Key, dict[str, list[dict[str, str]]]] = {}
    for row in rows:
        key = (int(row["seed"]), float(row["beta"]), row["loss"])
        grouped.setdefault(key, {}).setdefault(row["split"], []).append(row)
    return {key: _run(key, splits) for key, splits in grouped.items()}


def _run(key: Key, splits: dict[str, list[dict[str, str]]]) -> Run:
    countries, columns = {}, {}
    for split, rows in splits.items():
        steps = 1 + max(int(row["step"]) for row in rows)
        countries[split] = [row["country"] for row in rows if row["step"] == "0"]
        columns[split] = {
            name: np.array([float(row[name]) for row in rows]).reshape(steps, -1)
            for name in rows[0]
            if name not in TEXT
        }
    return Run(key, countries, columns)


# --- what happened -----------------------------------------------------------------------------


def first(flags: Any) -> Any:
    """The first step with the flag up, (steps + 1, P) -> (P,); steps + 1 if there is none."""
    return np.where(flags.any(axis=0), flags.argmax(axis=0), len(flags))


def exit_steps(run: Run) -> Any:
    """The first step with δ ≥ 0; steps + 1 for a pair that is still on the wrong side."""
    return first(run.train["margin"] >= 0)


def exit_times(run: Run) -> Any:
    """The same between the steps, on a straight line through δ; NaN if it has not come."""
    margin, step = run.train["margin"], exit_steps(run)
    times = np.full(step.shape, np.nan)
    for pair in np.flatnonzero((step > 0) & (step <= run.steps)):
        low, high = margin[step[pair] - 1 : step[pair] + 1, pair]
        times[pair] = step[pair] - high / (high - low)
    return times


def low_loss_steps(run: Run) -> Any:
    """The first step with a loss below ln 2; for IPO, whose scale is 1/(4β²), below the start."""
    value = run.train["value"]
    return first(value < (value[0] if run.name.startswith("ipo") else LN2))


# --- what the table of independent pairs predicts ----------------------------------------------


def predicted_times(run: Run) -> Any:
    """T = ∫ dδ/(−2m ℓ′(δ)) from δ_ref to 0: gradient flow on softmax logits, each pair alone.

    For DPO (e^u + u − 1)/(2β²m), u = −βδ_ref. It is 0 where the reference is right, inf in a trap.
    """
    train = run.train
    start, pairs = train["ref_margin"][0], train["margin"].shape[1]
    if run.loss.target_rule.needs_logps:
        ref: Any = Reference(train["ref_chosen_logps"][0], train["ref_rejected_logps"][0])
    else:
        ref = start
    way = np.linspace(np.minimum(start, 0), 0, NODES)
    with np.errstate(divide="ignore"):
        pace = -pairs / 2 / run.loss.gradient(way, ref, run.beta)
    trapped = run.loss.traps(ref, run.beta)
    return np.where(trapped, np.inf, np.trapezoid(np.where(trapped, 0, pace), way, axis=0))


def rank_correlations(run: Run) -> tuple[float, float, float]:
    """Spearman's ρ, its p, and Kendall's τ-b of exit step and predicted time; the late ones tie."""
    steps, times = exit_steps(run)[run.wrong], predicted_times(run)[run.wrong]
    if len(np.unique(steps)) < 2:
        return float("nan"), float("nan"), float("nan")
    times = np.minimum(times, 1e9)  # the trapped tie, behind all others
    rho, p = stats.spearmanr(times, steps)
    return float(rho), float(p), float(stats.kendalltau(times, steps)[0])


def own_pace(run: Run) -> float:
    """Spearman's ρ of exit step and −δ_ref over the pair's own rise at the first step."""
    ref = run.train["ref_margin"][0]
    rise = run.train["margin"][1] - ref
    needed = np.where(rise > 0, -ref / np.where(rise > 0, rise, 1), np.inf)[run.wrong]
    return float(stats.spearmanr(np.minimum(needed, 1e9), exit_steps(run)[run.wrong])[0])


def spread(run: Run, predicted: Any) -> tuple[float, float]:
    """(scale, factor): times ≈ scale · predicted, off by this factor (root mean square of logs)."""
    times = exit_times(run)
    known = run.wrong & np.isfinite(times) & np.isfinite(predicted)
    logs = np.log(times[known] / predicted[known])
    return float(np.exp(logs.mean())), float(np.exp(logs.std()))


# --- the tables of the README ------------------------------------------------------------------


def percent(flags: Any) -> str:
    return f"{100 * np.mean(flags):.0f} %"


def share_table(runs: list[Run], when: tuple[int, ...]) -> list[str]:
    heads = " | ".join(f"step {step}" for step in when)
    lines = [f"| loss | β | {heads} | held out, step {when[-1]} |"]
    lines.append("|---|---:" + "|---:" * (len(when) + 1) + "|")
    for run in runs:
        cells = [
            " / ".join(percent(columns[name][step])[:-2] for name in FLAGS)
            for columns, step in [
                *((run.train, step) for step in when),
                (run.columns["held-out"], when[-1]),
            ]
        ]
        lines.append(f"| {run.name} | {run.beta:g} | {' | '.join(cells)} |")
    return lines


FLAGS = ("relative", "absolute", "undesirable")


def exit_table(runs: list[Run]) -> list[str]:
    lines = [
        "| loss | β | wrong pairs | loss falls (median step) | left U | exit (median step) |"
        " ρ | τ | ρ, own pace | law off by | straight line off by |",
        "|---|---:" + "|---:" * 9 + "|",
    ]
    for run in runs:
        wrong, steps = run.wrong, exit_steps(run)
        low = low_loss_steps(run)[wrong]
        out = steps[wrong] <= run.steps
        rho, p, tau = rank_correlations(run)
        law = spread(run, predicted_times(run))[1]
        line = spread(run, -run.train["ref_margin"][0])[1]
        cells = [run.name, f"{run.beta:g}", f"{wrong.sum()}", _median(low, run.steps)]
        cells += [f"{out.sum()}", _median(steps[wrong], run.steps)]
        cells += [f"{rho:.2f} ({_p(p)})", f"{tau:.2f}", f"{own_pace(run):.2f}"]
        cells += [f"×{law:.2f}", f"×{line:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _p(value: float) -> str:
    return f"p {value:.2f}" if value >= 0.005 else "p < 0.01"


def _median(steps: Any, last: int) -> str:
    middle = float(np.median(steps))
    return f"> {last}" if middle > last else f"{middle:g}"


def model_table(runs: list[Run]) -> list[str]:
    """What a table of independent pairs does not have."""
    lines = [
        "| loss | β | rise of δ at step 1: least, median, most | chosen | rejected | both fell |"
        " held out: δ rose | by |",
        "|---|---:" + "|---:" * 6 + "|",
    ]
    for run in runs:
        rise = run.train["margin"][1] - run.train["ref_margin"][0]
        change = [
            run.train[f"{side}_logps"][-1] - run.train[f"ref_{side}_logps"][-1]
            for side in ("chosen", "rejected")
        ]
        held = run.columns["held-out"]
        gained = held["margin"][-1] - held["ref_margin"][-1]
        cells = [run.name, f"{run.beta:g}"]
        cells += [", ".join(f"{value:.2f}" for value in np.quantile(rise, (0, 0.5, 1)))]
        cells += [f"{value.mean():+.2f}" for value in change]
        cells += [percent((change[0] < 0) & (change[1] < 0)), percent(gained > 0)]
        cells += [f"{gained.mean():+.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def trap_lines(runs: list[Run]) -> list[str]:
    """IPO's finite target: who is predicted to stay in U, and who is there at the end."""
    lines = []
    for run in runs:
        if not run.name.startswith("ipo"):
            continue
        trapped = np.isinf(predicted_times(run))
        inside = run.train["undesirable"][-1] == 1
        gained = run.train["margin"][-1] - run.train["ref_margin"][-1]
        lines.append(
            f"- {run.name}: predicted to stay in U for ever: {trapped.sum()} pairs; in U at the"
            f" end: {inside.sum()}, {np.sum(trapped & inside)} of them predicted; median rise of δ"
            f" {np.median(gained):.2f}, target 1/(2β) = {1 / (2 * run.beta):g}."
        )
    return lines


def clip_lines(runs: list[Run]) -> list[str]:
    """How much earlier a pair leaves under clip than under DPO, measured and predicted."""
    found = {(run.key[0], run.beta, run.name): run for run in runs}
    lines = []
    for (seed, beta, name), dpo in found.items():
        clip = found.get((seed, beta, "clip"))
        if name != "dpo" or clip is None:
            continue
        times = exit_times(dpo) / exit_times(clip)
        both = dpo.wrong & np.isfinite(times)
        predicted = predicted_times(dpo)[both] / predicted_times(clip)[both]
        rho, p = stats.spearmanr(times[both], predicted)
        far = np.argsort(-predicted)[:3]
        lines.append(
            f"- dpo beside clip, the time of exit as a ratio over the {both.sum()} pairs that left"
            f" under both: ρ = {rho:.2f} ({_p(p)}) with the predicted ratio; for the three where"
            f" most is predicted, {', '.join(f'{v:.2f}' for v in times[both][far])} measured and"
            f" {', '.join(f'{v:.2f}' for v in predicted[far])} predicted."
        )
    return lines


def read_answers(folder: Path) -> list[dict[str, str]]:
    with (folder / "answers.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def names(answer: str, city: str) -> bool:
    """Whether an answer names a city, as whole words."""
    return re.search(rf"\b{re.escape(city.rstrip('.'))}\b", answer) is not None


def answer_table(folder: Path) -> list[str]:
    lines = [
        "| loss | β | split | answers | changed | name the capital: before | after |"
        " name the rejected city: before | after |",
        "|---|---:|---" + "|---:" * 6 + "|",
    ]
    grouped: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for row in read_answers(folder):
        grouped.setdefault((row["seed"], row["loss"], row["beta"], row["split"]), []).append(row)
    for (_, loss, beta, split), rows in grouped.items():
        changed = sum(row["before"] != row["after"] for row in rows)
        cells = [loss, f"{float(beta):g}", split, f"{len(rows)}", f"{changed}"]
        for city in ("chosen", "rejected"):
            for when in ("before", "after"):
                cells.append(f"{sum(names(row[when], row[city]) for row in rows)}")
        lines.append(f"| {' | '.join(cells)} |")
    return lines


# --- a new run beside the committed one --------------------------------------------------------


def direction(run: Run) -> dict[str, Any]:
    """The statements of the README that another machine has to agree with."""
    train, wrong = run.train, run.wrong
    inside = train["undesirable"].mean(axis=1)
    late = exit_steps(run)[wrong] - low_loss_steps(run)[wrong]
    trapped = np.isinf(predicted_times(run))
    return {
        "after one step 9 of 10 pairs beat the reference": train["relative"][1].mean() >= 0.9,
        "after one step most of the wrong pairs are in U": train["undesirable"][1, wrong].mean()
        > 0.5,
        "fewer pairs are in U at the end than after one step": inside[-1] < inside[1],
        "the loss of every wrong pair falls before the pair leaves U": (late >= 0).all(),
        "pairs leave U rather in the predicted order": rank_correlations(run)[0] > 0,
        "those predicted to stay in U are there at the end": train["undesirable"][
            -1, trapped
        ].all(),
    }


def check(folder: Path, committed: Path = HERE) -> list[str]:
    """What differs in direction; runs that one of the folders does not have are not compared."""
    old, new = read_runs(committed), read_runs(folder)
    shared = [key for key in new if key in old]
    if not shared:
        return ["no run (seed, β, loss) of the committed table is here"]
    for key in shared:
        if (old[key].countries, old[key].steps) != (new[key].countries, new[key].steps):
            return [f"{key}: other pairs or another number of steps than the committed run"]
    return [
        f"{key}: {text}: {before} in the committed run, {after} here"
        for key in shared
        for (text, before), after in zip(
            direction(old[key]).items(), direction(new[key]).values(), strict=True
        )
        if bool(before) != bool(after)
    ]


def tables(folder: Path) -> str:
    """All tables, as they stand in the README."""
    runs = list(read_runs(folder).values())
    steps = min(run.steps for run in runs)
    when = tuple(sorted({min(step, steps) for step in (0, 1, 5, 10, steps)}))
    parts = (
        share_table(runs, when),
        exit_table(runs),
        trap_lines(runs) + clip_lines(runs),
        model_table(runs),
        answer_table(folder),
    )
    return "\n\n".join("\n".join(lines) for lines in parts if lines) + "\n"


def write(path: Path, text: str) -> None:
    """Replace what is between the two marks."""
    before, _, rest = path.read_text(encoding="utf-8").partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    part = path.with_name(f".{path.name}")
    part.write_text(f"{before}{MARKS[0]}\n{text}{MARKS[1]}{after}", encoding="utf-8")
    part.replace(path)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Print the numbers of README.md.")
    parser.add_argument("folder", nargs="?", type=Path, default=HERE)
    parser.add_argument("--check", action="store_true", help="compare with the committed run")
    parser.add_argument("--write", action="store_true", help="put the numbers into README.md")
    options = parser.parse_args(arguments)
    if options.check:
        found = check(options.folder)
        print("\n".join(found) or "the same direction", file=sys.stderr if found else sys.stdout)
        return int(bool(found))
    text = tables(options.folder)
    if options.write:
        write(HERE / "README.md", text)
    else:
        print(text, end="")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
