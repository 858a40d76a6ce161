#!/usr/bin/env python3
"""Draw when each pair's loss falls, when the pair is in U, and when the table has it leave.

python examples/smollm2_training/figure.py                          # figure.png, figure.svg
python examples/smollm2_training/figure.py build/smollm2_training   # of a new run, beside it
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from prefeq.figures.style import BLACK, BLUE, GREY, ORANGE, SMALL, TEXT, UNDESIRABLE, styled

HERE = Path(__file__).resolve().parent
TITLES = {
    "dpo": "DPO",
    "clip": "HyPO (clip)",
    "smooth": "smooth",
    "easy": "easy",
    "ipo": "IPO, per token",
    "ipo_sums": "IPO, sums",
}
HEIGHTS = (1.0, 2.1, 1.1)
SHORTEST, LONGEST = 0.1, 70.0

SHARES = {
    "relative": {"color": BLACK, "linestyle": (0, (1, 1))},
    "absolute": {"color": BLUE, "linestyle": "solid"},
    "undesirable": {"color": ORANGE, "linestyle": (0, (4, 1.5))},
}
LEGEND = {
    "relative": "δ > δ_ref (what trainers log)",
    "absolute": "δ > 0",
    "undesirable": "in U",
    "low": "loss below ln 2 (IPO: below its start)",
    "stay": "stay in U",
    "exit": "first exit",
    "stays": "still wrong",
}


def summary() -> ModuleType:
    """The script that reads the tables."""
    spec = importlib.util.spec_from_file_location("smollm2_summary", HERE / "summary.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def data(folder: Path) -> list[dict[str, Any]]:
    """What is drawn of each run of the smallest seed and β."""
    read = summary()
    runs = read.read_runs(folder)
    least = min(key[:2] for key in runs)
    found = []
    for key, run in runs.items():
        if key[:2] != least:
            continue
        sums = (run.train["ref_chosen_logps"] - run.train["ref_rejected_logps"])[0]
        order = np.argsort(-sums)[np.count_nonzero(sums >= 0) :]  # a row means the same everywhere
        times, predicted = read.exit_times(run)[order], read.predicted_times(run)[order]
        scale = read.spread(run, read.predicted_times(run))[0]
        found.append({
            "name": run.name,
            "beta": run.beta,
            "steps": run.steps,
            "shares": {name: 100 * run.train[name].mean(axis=1) for name in read.FLAGS},
            "countries": [run.countries["train"][pair] for pair in order],
            "ref_margin": sums[order],
            "wrong": run.wrong[order],
            "inside": run.train["undesirable"][:, order] == 1,
            "still": run.train["margin"][-1][order] < 0,
            "low": read.low_loss_steps(run)[order],
            "exit": read.exit_steps(run)[order],
            "time": times,
            "predicted": scale * predicted,
            "rho": read.rank_correlations(run)[0],
        })  # fmt: skip
    return found


def draw(axes: Any, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Draw a column of three panels for each run; return the artists by name."""
    artists: dict[str, Any] = {}
    for column, run in zip(axes.T, runs, strict=True):
        for panel, axis in zip((shares, stays, law), column, strict=True):
            found = panel(axis, run)
            artists |= {f"{run['name']} {kind}": artist for kind, artist in found.items()}
            axis.tick_params(labelleft=column[0] is axes[0, 0])
        column[0].set_title(TITLES[run["name"]])
    first = runs[0]
    labels = [
        f"{country} {margin:.1f}".replace(" -", " −")
        for country, margin in zip(first["countries"], first["ref_margin"], strict=True)
    ]
    axes[1, 0].set_yticklabels(labels, fontsize=SMALL)
    axes[0, 0].set_ylabel("pairs (%)")
    axes[2, 0].set_ylabel("left $U$ after (steps)")
    figure = axes[0, 0].figure
    beta = f"β = {first['beta']:g}"
    figure.supxlabel(f"predicted up to one factor a loss (steps); {beta}", fontsize=7.5)
    artists["legend"] = figure.legend(
        handles=[artists[f"{first['name']} {kind}"] for kind in LEGEND],
        labels=list(LEGEND.values()),
        loc="outside upper center",
        ncols=4,
        columnspacing=1.2,
    )
    return artists


def shares(axis: Any, run: dict[str, Any]) -> dict[str, Any]:
    """Shares of all pairs over the step."""
    step = np.arange(run["steps"] + 1)
    axis.set(ylim=(-4, 104), yticks=(0, 50, 100), xlim=(-0.6, step[-1] + 1.6))
    return {flag: axis.plot(step, run["shares"][flag], **look)[0] for flag, look in SHARES.items()}


def stays(axis: Any, run: dict[str, Any]) -> dict[str, Any]:
    """A row for each wrong pair: its stays in U, its first exit, and when its loss falls."""
    # Per token some pairs are right from the start: their rows stay empty.
    rows = np.flatnonzero(run["wrong"])
    low, out, still = (run[name][rows] for name in ("low", "exit", "still"))
    gone, low_at_all, end = out <= run["steps"], low <= run["steps"], run["steps"] + 0.9
    pair, enters, leaves = spells(run["inside"][:, rows])
    every = np.arange(len(run["wrong"]))
    axis.set(ylim=(len(every) - 0.4, -0.6), yticks=every, xlim=(-0.6, end + 0.7), xlabel="step")
    shade = {"color": UNDESIRABLE["facecolor"], "linewidth": 4, "zorder": 1}
    return {
        "stay": axis.hlines(rows[pair], enters, np.minimum(leaves, end), **shade),
        "exit": axis.plot(out[gone], rows[gone], "o", color=BLUE)[0],
        "stays": axis.plot(np.full(still.sum(), end), rows[still], ">", color=ORANGE)[0],
        "low": axis.plot(low[low_at_all], rows[low_at_all], "|", color=BLACK, markersize=5)[0],
    }


def spells(inside: Any) -> tuple[Any, Any, Any]:
    """Pair, first step and first step after of each spell of up flags, (steps + 1, P) -> (S,)."""
    outside = np.zeros((1, inside.shape[1]), dtype=int)
    turns = np.diff(np.vstack([outside, inside, outside]), axis=0).T
    pair, enters = np.nonzero(turns == 1)
    return pair, enters, np.nonzero(turns == -1)[1]


def law(axis: Any, run: dict[str, Any]) -> dict[str, Any]:
    """The time of exit over the predicted one; those that are still wrong at the upper edge.

    Pairs that are predicted never to leave have no place here: the README says so.
    """
    finite = run["wrong"] & np.isfinite(run["predicted"])
    time, predicted = run["time"][finite], np.minimum(run["predicted"][finite], LONGEST)
    left, edge = np.isfinite(time), run["steps"] + 0.9
    axis.plot((SHORTEST, LONGEST), (SHORTEST, LONGEST), color=GREY, linewidth=0.7, linestyle=":")
    limits = (SHORTEST * 0.8, LONGEST * 1.3)
    axis.set(xscale="log", yscale="log", xlim=limits, ylim=limits)
    axis.set(xticks=(0.1, 1, 10), yticks=(0.1, 1, 10))
    for scale in (axis.xaxis, axis.yaxis):
        scale.set_major_formatter("{x:g}")
    axis.set_title(f"ρ = {run['rho']:.2f}", fontsize=SMALL, pad=2)
    size = {"markersize": 2.6}
    late = np.full((~left).sum(), edge)
    return {
        "law": axis.plot(predicted[left], time[left], "o", color=BLUE, **size)[0],
        "late": axis.plot(predicted[~left], late, "^", color=ORANGE, **size)[0],
    }


def main(folder: Path = HERE) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    runs = data(folder)
    with styled():
        figure, axes = plt.subplots(
            3, len(runs), figsize=(TEXT, 5.6), layout="constrained", squeeze=False,
            height_ratios=HEIGHTS,
        )  # fmt: skip
        draw(axes, runs)
        for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
            part = folder / f".figure.{kind}"
            figure.savefig(part, format=kind, metadata=metadata)
            part.replace(folder / f"figure.{kind}")
        plt.close(figure)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
