"""Every loss of the family: what it asks of the margin, where it ends, and where it traps."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from prefeq.arrays import FloatArray
from prefeq.errors import ProblemError
from prefeq.figures.registry import Artists, Data, Figure
from prefeq.figures.style import BLACK, BLUE, GREEN, SMALL, TEXT, UNDESIRABLE, VERMILION
from prefeq.losses import LOSSES, Loss, Reference
from prefeq.margins import log_sigmoid

TITLES = {
    "dpo": r"DPO: $t=\delta_{\mathrm{ref}}$",
    "hypo": r"HyPO: $t=\max(\delta_{\mathrm{ref}},0)$",
    "smooth": r"smooth branch ($\alpha=\tau=1$, $\gamma=0$)",
    "easy": r"easy branch ($\gamma=0.1$)",
    "eq17": r"Eq. 17 ($\gamma=0.1$)",
    "simpo": r"SimPO: $t=1/\beta$",
    "cdpo": r"cDPO ($\varepsilon=0.1$): $t=\delta_{\mathrm{ref}}$",
    "ipo": r"IPO: $t=\delta_{\mathrm{ref}}$",
    "hinge": r"hinge: $t=\delta_{\mathrm{ref}}$",
}
"""The panels in reading order, with the target and the parameters of `LOSSES`."""

HIGH = 5.0
"""The largest margin shown; a minimiser above it is +∞ or on its way."""

CAPTION = (
    "Nine preference losses ℓ(β(δ − t)) for one pair at β = 1, over the margin δ_ref of the "
    "reference. Dashed: the target t. Solid: the minimiser for an ordered pair, the end of "
    "gradient flow from the reference; where it is not drawn it is +∞. Dash-dotted and dotted: the "
    "minimiser for Bradley–Terry labels of reward gap Δr = 1, if a flipped label keeps the target "
    "or gets its own (logistic losses). Pale: the undesirable space U = {δ_ref < δ < 0}. Darker: "
    "the references from which the flow ends in U for Bradley–Terry labels (fixed target); "
    "hatched: for an ordered pair as well, for ever. Certain labels trap below δ_ref = −0.5 (IPO), "
    "−1 (hinge) and −2.197 (cDPO), and nowhere for the logistic losses; Bradley–Terry labels trap "
    "DPO below −1, where Assumption 3.1 of arXiv:2605.20834 fails. Easy and Eq. 17 look at both "
    "log-probabilities: here those of two responses. Below δ_ref = −2.21 the easy branch ends "
    "under the reference itself, so not in U but worse. IPO counts margins per token. There is "
    "no randomness."
)


def data(
    beta: float = 1.0, gap: float = 1.0, low: float = -6.0, high: float = 3.0, points: int = 361
) -> Data:
    """Return targets, minimisers and traps over δ_ref, all from `prefeq.losses`.

    Losses that look at both log-probabilities get those of two responses, π_ref(w) = σ(δ_ref).

    Returns
    -------
    dict
        ``ref_margin`` (points,) and by name of a loss a dict of ``target``; ``ordered``,
        ``fixed`` and ``per_label``: the minimiser for a certain label and for Bradley-Terry labels
        of reward gap `gap` in both readings (NaN where there is no closed form); ``traps`` and
        ``soft_traps``: whether the flow from δ_ref ends in U, for a certain label and for
        Bradley-Terry labels (fixed target); ``edges`` and ``soft_edges``: where that changes.

    Raises
    ------
    ProblemError
        Unless low < high and there are two points or more; what the losses refuse.
    """
    if not -np.inf < low < high < np.inf or points < 2:
        raise ProblemError(
            f"low = {low}, high = {high}, points = {points}: need low < high and 2 points or more"
        )
    ref_margin = np.linspace(low, high, points)
    found: Data = {"beta": beta, "gap": gap, "ref_margin": ref_margin}
    for name in TITLES:
        loss = LOSSES[name]
        ref = reference(loss, ref_margin)
        found[name] = {
            "target": loss.target(ref, beta),
            "ordered": loss.minimiser(ref, beta),
            "fixed": loss.minimiser(ref, beta, gap),
            "per_label": per_label(loss, ref, beta, gap),
            "traps": loss.traps(ref, beta),
            "soft_traps": loss.traps(ref, beta, gap),
            "edges": edges(loss, ref_margin, beta, math.inf),
            "soft_edges": edges(loss, ref_margin, beta, gap),
        }
    return found


def reference(loss: Loss, ref_margin: Any) -> Any:
    """Return what a loss needs to know of a reference over two responses with this margin."""
    if loss.target_rule.needs_logps:
        return Reference(log_sigmoid(ref_margin), log_sigmoid(-ref_margin))
    return ref_margin


def per_label(loss: Loss, ref: Any, beta: float, gap: float) -> FloatArray:
    """Return the minimiser with a target for each label; NaN where there is no closed form."""
    if loss.link.name == "logistic" or loss.target_rule.antisymmetric:
        return np.asarray(loss.minimiser(ref, beta, gap, flipped="per-label"))
    return np.full(np.shape(loss.target(ref, beta)), np.nan)


def edges(loss: Loss, ref_margin: FloatArray, beta: float, log_odds: float) -> FloatArray:
    """Return every δ_ref at which `Loss.traps` changes, found on a grid and then by bisection."""

    def traps(ref_margin: Any) -> Any:
        return loss.traps(reference(loss, ref_margin), beta, log_odds)

    known = traps(ref_margin)
    found = []
    for i in np.flatnonzero(known[1:] != known[:-1]):
        low, high = ref_margin[i], ref_margin[i + 1]
        while low < (middle := (low + high) / 2) < high:
            low, high = (middle, high) if traps(middle) == known[i] else (low, middle)
        found.append(high)
    return np.array(found)


def draw(ax: Any, data: Data) -> Artists:
    """Draw a panel for each loss, and one legend for all."""
    artists: Artists = {}
    for place, (axes, name) in enumerate(zip(ax, TITLES, strict=True)):
        artists |= {f"{name} {key}": value for key, value in _panel(axes, data, name).items()}
        axes.set_title(TITLES[name])
        axes.tick_params(labelbottom=place >= 6, labelleft=place % 3 == 0)
        axes.set_xlabel(r"reference margin $\delta_{\mathrm{ref}}$ (nats)" if place >= 6 else "")
        axes.set_ylabel(r"margin (nats)" if place % 3 == 0 else "")
    shown = [artists[f"dpo {key}"] for key in ("target", "fixed", "per_label")]
    shown[1:1] = [artists["ipo ordered"]]
    shown += [artists[f"ipo {key}"] for key in ("U", "soft_traps", "traps")]
    artists["legend"] = ax[0].figure.legend(
        handles=shown, loc="outside lower center", ncols=4, columnspacing=1.2
    )
    return artists


LINES: dict[str, dict[str, Any]] = {
    "ordered": {"color": BLUE, "linestyle": "solid", "label": "minimiser, ordered pair"},
    "fixed": {
        "color": VERMILION,
        "linestyle": (0, (6, 1.5, 1, 1.5)),
        "label": "Bradley–Terry, fixed target",
    },
    "per_label": {
        "color": GREEN,
        "linestyle": (0, (1, 1)),
        "linewidth": 1.8,
        "label": "Bradley–Terry, target per label",
    },
    "target": {
        "color": BLACK,
        "linestyle": (0, (4, 2)),
        "linewidth": 0.9,
        "label": r"target $t$",
    },
}
"""From the lowest line to the one on top."""


def _panel(ax: Any, data: Data, name: str) -> Artists:
    x, own = data["ref_margin"], data[name]
    below = np.minimum(x, 0.0)
    dark = {"facecolor": "#E8B96A", "edgecolor": "none", "zorder": 0.2}
    hatched = {"facecolor": "none", "edgecolor": "#8A5A00", "linewidth": 0.0, "hatch": "//////"}
    artists: Artists = {
        "U": ax.fill_between(x, below, 0.0, label="undesirable space $U$", **UNDESIRABLE),
        "soft_traps": ax.fill_between(
            x, below, 0.0, where=own["soft_traps"], label="trapped, Bradley–Terry", **dark
        ),
        "traps": ax.fill_between(
            x, below, 0.0, where=own["traps"], label="trapped, ordered pair", **hatched, zorder=0.3
        ),
    }
    ax.axhline(0.0, color="0.6", linewidth=0.5, zorder=0.5)
    for key, look in LINES.items():
        finite = np.where(np.isfinite(own[key]), own[key], np.nan)
        artists[key] = ax.plot(x, finite, **look)[0]
    note = r"ordered pair: $+\infty$"
    if own["edges"].size:
        note = rf"ordered pair: trap below ${own['edges'][0]:.2f}$"
    artists["note"] = ax.text(0.98, 0.04, note, transform=ax.transAxes, ha="right", fontsize=SMALL)
    ax.set(xlim=(x[0], x[-1]), ylim=(x[0], HIGH))
    return artists


FIGURE = Figure("loss_zoo", CAPTION, data, draw, width=TEXT, height=5.6, panels=(3, 3))
