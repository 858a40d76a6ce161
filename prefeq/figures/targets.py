"""Target margins: what a loss asks of the policy is set by the reference, and may be negative."""

from __future__ import annotations

from typing import Any

import numpy as np

from prefeq.figures.registry import Artists, Data, Figure
from prefeq.figures.style import (
    BLACK,
    BLUE,
    GREEN,
    PURPLE,
    SMALL,
    TEXT,
    UNDESIRABLE,
    VERMILION,
    line,
)
from prefeq.losses import CLIP, DPO, IPO, smooth

BETAS = (0.5, 1.0, 2.0, 5.0)

LINES = (
    (VERMILION, (0, (1, 1))),
    (PURPLE, (0, (3, 1, 1, 1, 1, 1))),
    (GREEN, (0, (6, 1.5))),
    (BLUE, "solid"),
)

CAPTION = (
    "Most DPO-type losses are ℓ(β(δ − t)) with a target margin t that the reference sets; one "
    "ordered pair of mass 1. Left: DPO's loss over β, softplus(−β(δ − δ_ref))/β, against the "
    "margin δ, for δ_ref = −3 and β = 0.5, 1, 2 and 5. As β grows it tends to the hinge "
    "max(0, δ_ref − δ) (Prop. 5.1 of arXiv:2605.20834), from which it differs by at most ln 2/β, "
    "and by that much at δ = δ_ref. The target is negative: in the undesirable space U the loss is "
    "below that of the reference although the rejected response is preferred. Right: targets "
    "against the reference margin at β = 1. DPO's is δ_ref, negative where the reference is wrong; "
    "HyPO's is max(δ_ref, 0), and the smooth branch (α = τ = 1, γ = 0) rounds its corner. IPO has "
    "a finite minimiser, δ_ref + 1/(2β), and so comes to rest in U (shaded) if δ_ref < −1/2. No "
    "randomness."
)


def data(ref_margin: float = -3.0, beta: float = 1.0) -> Data:
    """Return DPO's loss over β with its hinge, and the targets over the reference margin."""
    delta = np.linspace(ref_margin - 3.0, ref_margin + 7.0, 201)
    ref = np.linspace(-4.0, 3.0, 141)
    return {
        "delta": delta,
        "betas": np.array(BETAS),
        "loss": np.array([DPO.value(delta, ref_margin, b) / b for b in BETAS]),
        "hinge": np.maximum(0.0, ref_margin - delta),
        "ref_margin": ref_margin,
        "ref": ref,
        "dpo": DPO.target(ref, beta),
        "hypo": CLIP.target(ref, beta),
        "smooth": smooth().target(ref, beta),
        "ipo": IPO.minimiser(ref, beta),
    }


def draw(ax: Any, data: Data) -> Artists:
    """Draw losses over the margin, and targets over the reference margin."""
    left, right = ax
    return {**_losses(left, data), **_targets(right, data)}


def _losses(ax: Any, data: Data) -> Artists:
    artists: Artists = {"U left": ax.axvspan(data["ref_margin"], 0, **UNDESIRABLE)}
    for i, (beta, values) in enumerate(zip(data["betas"], data["loss"], strict=True)):
        color, dash = LINES[i]
        artists[f"beta {beta:g}"] = ax.plot(
            data["delta"], values, color=color, linestyle=dash, label=rf"$\beta={beta:g}$"
        )[0]
    artists["hinge"] = ax.plot(
        data["delta"], data["hinge"], color=BLACK, lw=0.8, label=r"$\beta\to\infty$: hinge"
    )[0]
    ax.set(
        xlabel=r"margin $\delta$ (nats)",
        ylabel=r"DPO loss$\,/\,\beta$ (nats)",
        xlim=(data["delta"][0], data["delta"][-1]),
        ylim=(0, 3.6),
    )
    middle = 0.5 * data["ref_margin"]
    ax.annotate(
        "$U$", (middle, 3.6), (0, -9), textcoords="offset points", ha="center", fontsize=SMALL
    )  # fmt: skip
    ax.annotate(
        "target\n" + r"$t=\delta_{\mathrm{ref}}$",
        (data["ref_margin"], 0),
        (-18, 5),
        textcoords="offset points",
        ha="right",
        fontsize=SMALL,
        arrowprops={"arrowstyle": "->", "lw": 0.6, "shrinkB": 1},
    )
    ax.legend(loc="upper right")
    return artists


def _targets(ax: Any, data: Data) -> Artists:
    low, high = float(data["ref"][0]), float(data["ref"][-1])
    artists: Artists = {
        "U right": ax.fill_between([low, 0.0], [low, 0.0], [0.0, 0.0], **UNDESIRABLE)
    }
    ax.axhline(0, color="0.5", lw=0.6)
    for name, label in (
        ("dpo", "DPO, target"),
        ("hypo", "HyPO, target"),
        ("smooth", "smooth, target"),
        ("ipo", "IPO, minimiser"),
    ):
        artists[name] = ax.plot(data["ref"], data[name], **line(name, label=label))[0]
    ax.annotate(
        "$U$", (low, 0), (3, -9), textcoords="offset points", fontsize=SMALL
    )  # fmt: skip
    ax.set(
        xlabel=r"reference margin $\delta_{\mathrm{ref}}$ (nats)",
        ylabel="margin (nats)",
        xlim=(low, high),
        ylim=(low, 4.0),
    )
    ax.legend(loc="upper left")
    return artists


FIGURE = Figure("targets", CAPTION, data, draw, width=TEXT, height=2.4, panels=(1, 2))
