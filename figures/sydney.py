"""Draw the failure on the real bandit: the loss falls at once, the margin stays negative.

    python figures/sydney.py            # rewrites figures/sydney.png

Plain gradient descent (steps of 1/Lip) with certain labels on Australia's five pairs at beta = 1,
the reference being SmolLM2-135M-Instruct; the pair shown is Canberra over Sydney.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

import prefeq as pq

BETA = 1.0
STEPS = 5000
STYLE: dict[str, Any] = {
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 7,
    "lines.linewidth": 1.4,
    "savefig.dpi": 300,
    "pdf.fonttype": 42,
}


def trajectory() -> dict[str, Any]:
    """Return the run on Australia's bandit, and where RLHF and CPO put the pair."""
    batch = pq.load_capitals(BETA)
    row = batch.prompts.index("What is the capital of Australia?")
    bandit, sydney = batch[row], batch.responses[row].index("Sydney")
    ordered, population = pq.Preferences.ordered(bandit), pq.Preferences.bradley_terry(bandit)
    pair = int(np.flatnonzero(ordered.loser == sydney)[0])
    run = pq.solve_dpo(bandit, ordered, "gradient-descent", max_steps=STEPS).trajectory
    ref_margin = float(ordered.ref_margin(bandit)[pair])
    margin = run.margin[:, pair]
    return {
        "step": run.step,
        "margin": margin,
        "loss": np.logaddexp(0.0, -BETA * (margin - ref_margin)),
        "ref_margin": ref_margin,
        "rlhf": float(pq.solve_rlhf(bandit).margin(population)[pair]),
        "cpo": float(pq.solve_cpo(bandit, population, margin=0.1).margin(population)[pair]),
    }


def draw(axes: Any, data: dict[str, Any]) -> dict[str, Any]:
    """Draw loss and margin over the step (shown as step + 1, to fit 0 on a log axis)."""
    left, right = axes
    step = data["step"] + 1
    artists = {"loss": left.plot(step, data["loss"], color="#0072B2")[0]}
    artists["start"] = left.axhline(np.log(2), color="0.5", lw=0.8, ls=":")
    left.annotate(
        "ln 2, the loss of the reference",
        (350, np.log(2)),
        xytext=(0, -9),
        textcoords="offset points",
        ha="center",
        fontsize=7,
        color="0.35",
    )
    left.set(xscale="log", yscale="log", xlabel="step + 1", ylabel="DPO loss of the pair (nats)")
    artists["U"] = right.axhspan(data["ref_margin"], 0, color="#E69F00", alpha=0.22, lw=0)
    artists["margin"] = right.plot(step, data["margin"], color="#0072B2", label="DPO, descending")[
        0
    ]
    artists["rlhf"] = right.axhline(data["rlhf"], color="k", ls="--", lw=1, label="RLHF")
    artists["cpo"] = right.axhline(
        data["cpo"], color="#D55E00", ls="-.", lw=1.2, label="CPO, margin 0.1"
    )
    right.text(1.1, -0.55, "undesirable space U", fontsize=7, color="#7a5200", va="top")
    right.set(
        xscale="log",
        xlabel="step + 1",
        ylabel="Canberra over Sydney (nats)",
        ylim=(data["ref_margin"] - 0.8, 2.6),
    )
    right.legend(
        loc="upper left", ncols=3, columnspacing=0.9, handlelength=1.6, bbox_to_anchor=(-0.04, 1.14)
    )
    return artists


def main(out: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(1, 2, figsize=(6.75, 2.5), layout="constrained")
        draw(axes, trajectory())
        part = out.with_name(f".{out.name}")
        figure.savefig(part, format="png", metadata={"Software": None})
        part.replace(out)
        plt.close(figure)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("sydney.png"))
