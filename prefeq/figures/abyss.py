"""The penalty's abyss: Eq. 10's objective has a local maximum, then a fold, and +∞ behind it."""

from __future__ import annotations

from typing import Any

import numpy as np

from prefeq.arrays import FloatArray
from prefeq.bandit import Bandit
from prefeq.figures.registry import Artists, Data, Figure
from prefeq.figures.style import (
    BLACK,
    BLUE,
    PURPLE,
    SMALL,
    TEXT,
    UNDESIRABLE,
    VERMILION,
)
from prefeq.margins import log_sigmoid, penalty_critical_gamma, penalty_fold
from prefeq.preferences import Preferences
from prefeq.solvers import penalty_branch, penalty_value, stationary_points

SHARES = (0.0, 0.5, 1.0, 1.45)
"""The γ of the left panel, in units of γ*; at β = 1 and δ* = −2 the last is beyond the fold."""

LINES = ((BLACK, (0, (4, 2))), (BLUE, (0, (6, 1.5, 1, 1.5))), (PURPLE, "solid"), (VERMILION, ":"))

CAPTION = (
    "The penalty form of Constrained PO, Eq. 10 of arXiv:2605.20834, on two responses (β = 1, "
    "Δr = 1, δ_ref = −3, hence δ* = −2; one ordered pair of mass 1). Left: the objective "
    "J(π) + γδ less its value at δ*, for γ = 0 (RLHF), γ*/2, γ* = −βδ*/4 = 0.5 and 1.45 γ*; a "
    "filled dot marks a local maximum, a ring a local minimum. For every γ > 0 the objective "
    "rises to +∞ with δ: Eq. 10 has no maximiser. Right: all stationary points over γ, U being the "
    "undesirable space. The local maximum that starts at RLHF (solid) leaves U at γ* with a margin "
    "of exactly 0, and meets the minimum (dashed) in the fold at γ = 0.599; above it the objective "
    "only rises. The penalty both aligns and has a local maximum for 0.5 < γ < 0.599 alone. No "
    "randomness."
)


def data(ref_margin: float = -3.0, reward_gap: float = 1.0, beta: float = 1.0) -> Data:
    """Return the objective over δ at `SHARES` of γ*, and every stationary point over γ.

    ``marks`` has a row (index of γ, δ, objective, 1 for a maximum or 0) for each stationary point
    of the left panel.
    """
    ref = _policies(np.array([ref_margin]))[0]
    bandit, pair = Bandit([reward_gap, 0.0], ref, beta=beta), Preferences([0], [1])
    star = ref_margin + reward_gap / beta
    critical = float(penalty_critical_gamma(star, beta))
    gammas = critical * np.array(SHARES)
    delta = np.linspace(star - 2.0, -star + 5.0, 221)

    def objective(gamma: float, margins: Any) -> FloatArray:
        values = penalty_value(bandit, pair, gamma, _policies(np.array([star, *margins])))
        found: FloatArray = values[1:] - values[0]
        return found

    marks = [
        (i, point, objective(gamma, [point])[0], is_maximum)
        for i, gamma in enumerate(gammas)
        for point, is_maximum in _stationary(bandit, pair, float(gamma))
    ]
    fold_margin, fold = (float(part) for part in penalty_fold(star, beta))
    branch = penalty_branch(bandit, pair, points=81)
    minima = [_stationary(bandit, pair, float(gamma))[-1][0] for gamma in branch.gamma[1:-1]]
    return {
        "delta": delta,
        "gamma": gammas,
        "objective": np.array([objective(gamma, delta) for gamma in gammas]),
        "marks": np.array(marks, dtype=np.float64),
        "star": star,
        "ref_margin": ref_margin,
        "critical": critical,
        "fold": fold,
        "fold_margin": fold_margin,
        "maximum_gamma": branch.gamma,
        "maximum_margin": branch.margin[:, 0],
        "minimum_gamma": branch.gamma[1:],
        "minimum_margin": np.array([*minima, fold_margin]),
    }


def _policies(delta: FloatArray) -> FloatArray:
    """Return the log-policies of two responses with these margins, (T, 2)."""
    found: FloatArray = np.stack([log_sigmoid(delta), log_sigmoid(-delta)], axis=-1)
    return found


def _stationary(bandit: Bandit, pair: Preferences, gamma: float) -> list[tuple[float, bool]]:
    """Return the margins of the stationary points, and whether each is a maximum, by margin."""
    found = stationary_points(bandit, pair, gamma)
    return sorted((float(p.logp[0] - p.logp[1]), p.is_local_maximum) for p in found)


def draw(ax: Any, data: Data) -> Artists:
    """Draw the objective over the margin, and the stationary points over γ."""
    left, right = ax
    return {**_objective(left, data), **_branches(right, data)}


def _objective(ax: Any, data: Data) -> Artists:
    artists: Artists = {"U left": ax.axvspan(data["ref_margin"], 0, **UNDESIRABLE)}
    labels = (
        r"$\gamma=0$",
        r"$\gamma=\gamma^*\!/2$",
        r"$\gamma=\gamma^*$",
        rf"$\gamma={SHARES[-1]:g}\,\gamma^*$",
    )
    rows = zip(data["objective"], LINES, labels, strict=True)
    for i, (values, (color, dash), label) in enumerate(rows):
        artists[f"objective {i}"] = ax.plot(
            data["delta"], values, color=color, linestyle=dash, label=label
        )[0]
        for _, delta, value, is_maximum in data["marks"][data["marks"][:, 0] == i]:
            kind = "maximum" if is_maximum else "minimum"
            artists[f"{kind} {i}"] = ax.plot(
                [delta], [value], "o", color=color, markerfacecolor=color if is_maximum else "w"
            )[0]
    top = 5.2
    ax.set(
        xlabel=r"margin $\delta$ (nats)",
        ylabel=r"$J(\pi)+\gamma\delta$, less its value at $\delta^*$",
        xlim=(data["delta"][0], data["delta"][-1]),
        ylim=(-2.4, top),
    )
    ax.text(0.5 * data["ref_margin"], top - 0.1, "$U$", ha="center", va="top", fontsize=SMALL)
    ax.legend(loc="upper left", bbox_to_anchor=(0.36, 1.04))
    return artists


def _branches(ax: Any, data: Data) -> Artists:
    fold, right = data["fold"], 1.45 * data["fold"]
    artists: Artists = {"U right": ax.axhspan(data["ref_margin"], 0, **UNDESIRABLE)}
    artists["no stationary point"] = ax.axvspan(fold, right, facecolor="0.78", edgecolor="none")
    for kind, dash in (("maximum", "solid"), ("minimum", "dashed")):
        artists[f"{kind} branch"] = ax.plot(
            data[f"{kind}_gamma"], data[f"{kind}_margin"], color=PURPLE, linestyle=dash
        )[0]
    artists["critical"] = ax.plot([data["critical"]], [0.0], "D", color=BLACK)[0]
    artists["fold"] = ax.plot([fold], [data["fold_margin"]], "s", color=VERMILION)[0]
    notes = (
        ("local maximum", (0.32 * fold, -1.0), (0, -9), "left"),
        ("local minimum", (0.45 * fold, 2.6), (0, 9), "left"),
        (r"$\gamma^*$, margin 0", (data["critical"], 0.0), (-5, 4), "right"),
        ("fold", (fold, data["fold_margin"]), (5, -2), "left"),
        ("no stationary\npoint: rises\nto +∞", ((fold + right) / 2, 3.4), (0, 0), "center"),
        ("$U$", (0.01 * right, data["ref_margin"]), (2, 2), "left"),
    )
    for text, place, shift, side in notes:
        ax.annotate(
            text, place, shift, textcoords="offset points", ha=side, fontsize=SMALL
        )  # fmt: skip
    ax.set(
        xlabel=r"penalty weight $\gamma$ (reward per nat)",
        ylabel=r"margin $\delta$ (nats)",
        xlim=(0, right),
        ylim=(data["ref_margin"] - 0.6, 5.0),
    )
    return artists


FIGURE = Figure("abyss", CAPTION, data, draw, width=TEXT, height=2.4, panels=(1, 2))
