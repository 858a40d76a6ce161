"""When is DPO RLHF? Three readings of the theorem over the reference margin and Δr/β."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from prefeq._namespace import namespace
from prefeq.arrays import FloatArray
from prefeq.atlas.descent import ladders
from prefeq.atlas.ladder import Cells
from prefeq.figures.registry import Artists, Data, Figure
from prefeq.figures.style import SMALL, TEXT
from prefeq.preferences import Preferences
from prefeq.solution import Status
from prefeq.solvers import solve_cpo, solve_dpo, solve_rlhf
from prefeq.solvers.batched.descent import exit_lanes
from prefeq.solvers.batched.walk import Problems

ALIGNED, LEAVES, STAYS = 0, 1, 2
COLOURS = ("#DCECF6", "#F3D9A0", "#D98F55")
"""U is empty, U is left in finite time, U for ever: darker in this order, in grey too."""

TIMES = (1.0, 3.0, 10.0, 30.0, 100.0)
PRICES = (0.25, 0.5, 1.0, 1.5)

CAPTION = (
    "When is DPO RLHF? Two responses, one pair of mass 1, β = 1; each of 80 × 75 cells is a bandit "
    "that was solved. Dashed: δ* = δ_ref + Δr/β = 0, above which Assumption 3.1 holds; no cell "
    "lies on it. Left: DPO on Bradley–Terry labels ends at the RLHF policy in every cell, on both "
    "sides of the line; what turns at the line is whether that policy is aligned. Contours: the "
    "time (steps times their size, 0.025) that gradient descent on softmax logits takes to leave "
    "the undesirable space U; it grows without bound towards the line. Middle: on ordered pairs "
    "DPO has no minimiser, and is RLHF in no cell. It leaves U in a time that is exponential in "
    "the reference margin and free of the rewards, even where the RLHF policy is in U. Right: "
    "Constrained PO with margin 0 is RLHF in exactly the cells above the line; contours: the price "
    "of alignment, J(RLHF) − J(CPO), below it. No randomness."
)


def data(beta: float = 1.0, columns: int = 80, rows: int = 75, step_size: float = 0.025) -> Data:
    """Solve every cell; arrays (rows, columns). Times are inf where U is never left, 0 outside."""
    ref = -6.0 + 8.0 * (np.arange(columns) + 0.5) / columns
    tilt = 6.0 * (np.arange(rows) + 0.5) / rows
    refs, tilts = (part.ravel() for part in np.meshgrid(ref, tilt))
    same, zero = np.full(refs.size, beta), np.zeros(refs.size)
    cells = Cells(2, refs, tilts * beta, same, zero, zero, 1, "fixed", 1.0, 1.0)
    bandit, ordered = cells.bandit(), cells.pairs()
    population = Preferences.bradley_terry(bandit, [[0, 1]])
    rlhf, dpo = solve_rlhf(bandit), solve_dpo(bandit, population)
    cpo = solve_cpo(bandit, population)
    ordered_dpo = solve_dpo(bandit, ordered)
    dpo_margin = dpo.margin(population)[:, 0]
    soft = np.full(refs.size, np.inf)
    ends = np.flatnonzero(dpo_margin >= 0)  # the path is monotone: elsewhere U is never left
    part = cells.part(ends)
    soft[ends] = _time(replace(ladders(part), log_odds=part.gap[None, :]), step_size)
    hard = _time(ladders(cells.part(slice(0, columns))), step_size)  # free of the rewards
    found = {
        "rlhf": rlhf.margin(population)[:, 0],
        "dpo": dpo_margin,
        "cpo": cpo.margin(population)[:, 0],
        "dpo_gap": np.max(np.abs(dpo.logp - rlhf.logp), axis=-1),
        "cpo_gap": np.max(np.abs(cpo.logp - rlhf.logp), axis=-1),
        "price": rlhf.value - cpo.value,
        "ordered_diverges": ordered_dpo.status == Status.DIVERGES,
        "soft_time": soft,
        "hard_time": np.tile(hard, rows),
    }
    grids = {name: values.reshape(rows, columns) for name, values in found.items()}
    return {"ref": ref, "tilt": tilt, "beta": beta, "step_size": step_size, **grids}


def _time(problems: Problems, step_size: float) -> FloatArray:
    """Return when descent has δ ≥ 0, in units of time; inf if not within 100,000 steps."""
    count = exit_lanes(namespace(problems.beta), problems, max_steps=100_000, step_size=step_size)[
        0
    ]
    return np.where(count < 0, np.inf, count * step_size)


def verdicts(data: Data) -> dict[str, Any]:
    """Return what becomes of each cell in each panel: `ALIGNED`, `LEAVES` or `STAYS`."""
    found = {}
    for name, time in (("soft", data["soft_time"]), ("hard", data["hard_time"])):
        found[name] = np.where(np.isinf(time), STAYS, np.where(time > 0, LEAVES, ALIGNED))
    found["cpo"] = np.where(data["cpo_gap"] <= 1e-9, ALIGNED, LEAVES)
    return found


def draw(ax: Any, data: Data) -> Artists:
    """Draw the verdicts with contours of time and price."""
    artists: Artists = {}
    codes = verdicts(data)
    panels = (
        ("soft", "soft_time", TIMES, 5.5, "DPO, Bradley–Terry labels:\nRLHF everywhere"),
        ("hard", "hard_time", TIMES, 4.5, "DPO, ordered pairs:\nRLHF nowhere"),
        ("cpo", "price", PRICES, 1.2, "CPO, margin 0:\nRLHF above the line"),
    )
    for axes, (name, layer, levels, height, title) in zip(ax, panels, strict=True):
        artists |= _panel(axes, data, name, codes[name], data[layer], levels, height)
        axes.set(xlabel=r"reference margin $\delta_{\mathrm{ref}}$ (nats)", title=title)
    ax[0].set_ylabel(r"tilt of the reward $\Delta r/\beta$ (nats)")
    for axes in ax[1:]:
        axes.tick_params(labelleft=False)
    notes = (
        (ax[0], -3.9, 1.4, "RLHF and DPO\nin $U$ for ever"),
        (ax[0], 1.0, 3.0, "$U$ is\nempty"),
        (ax[1], 1.0, 3.0, "$U$ is\nempty"),
        (ax[2], -0.4, 4.0, "price 0"),
    )
    artists["notes"] = [
        axes.text(x, y, text, ha="center", va="center", fontsize=SMALL)
        for axes, x, y, text in notes
    ]
    return artists


def _panel(
    ax: Any,
    data: Data,
    name: str,
    codes: Any,
    values: FloatArray,
    levels: tuple[float, ...],
    height: float,
) -> Artists:
    """Draw a panel; the contours are labelled where they cross the row at `height`."""
    from matplotlib.colors import ListedColormap

    ref, tilt = data["ref"], data["tilt"]
    image = ax.pcolormesh(
        ref, tilt, codes, cmap=ListedColormap(COLOURS), vmin=-0.5, vmax=2.5, rasterized=True
    )
    shown = np.ma.masked_where(~np.isfinite(values) | (values <= 0), values)
    lines = ax.contour(ref, tilt, shown, levels=levels, colors="0.25", linewidths=0.7)
    row = values[np.argmin(np.abs(tilt - height))]
    at = np.isfinite(row) & (row > 0)
    places = [(x, height) for x in np.interp(levels, row[at][::-1], ref[at][::-1])]
    line = ax.contour(ref, tilt, data["rlhf"], levels=[0], colors="k", linestyles="dashed")
    ax.set(xlim=(-6, 2), ylim=(0, 6))
    return {
        f"{name} verdict": image,
        f"{name} contours": lines,
        f"{name} labels": ax.clabel(
            lines, fmt="%g", fontsize=SMALL, inline_spacing=2, manual=places
        ),
        f"{name} line": line,
    }


FIGURE = Figure("phase", CAPTION, data, draw, width=TEXT, height=2.5, panels=(1, 3))
