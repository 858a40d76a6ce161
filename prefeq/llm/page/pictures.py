"""The figures of a page: which there are, what they show, and in words what that is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from prefeq.llm.page.markup import Html
from prefeq.llm.page.svg import INK, ONE, PAPER, TWO, svg
from prefeq.llm.page.values import Figures
from prefeq.llm.plan import TRAPS
from prefeq.llm.verdict import percent

FARTHEST = 1e12
"""Numbers beyond this are not drawn."""


class Picture(NamedTuple):
    """A figure: its SVG, its caption, and in words what it shows."""

    svg: Html
    title: str
    alt: str


def pictures(figures: Figures) -> list[Picture]:
    """Return the figures that these numbers allow; none where nothing was measured."""
    if not figures["pairs"]:
        return []
    has_gap = figures["reward_gap"] is not None
    drawn = [_violations(figures) if has_gap else _labels(figures)]
    if figures["absolute_accuracy"] is not None:
        drawn.append(_accuracies(figures))
    return [picture for picture in [*drawn, _margins(figures), _targets(figures)] if picture]


def _violations(figures: Figures) -> Picture:
    entries = figures["at_other_beta"]
    places = [math.log10(entry["beta"]) for entry in entries]
    chosen = [entry["beta"] for entry in entries].index(figures["beta"])

    def paint(figure: Any) -> None:
        axes = figure.add_subplot()
        rates = [entry["violation_rate"] for entry in entries]
        _band(axes, places, rates, [e["violation_rate_interval"] for e in entries], ONE)
        axes.plot(places[chosen], rates[chosen], "o", ms=9, mfc="none", mec=INK)
        _ticks(axes, places, [f"{entry['beta']:g}" for entry in entries])
        axes.set_xlabel("β (the ring: the one asked for)")
        _percents(axes, "y")
        axes.set_ylabel("pairs that violate the assumption")

    told = ", ".join(f"{percent(e['violation_rate'])} at β = {e['beta']:g}" for e in entries)
    return Picture(
        svg(paint, 3.2), "Violation rate over β, with its interval", f"Violated: {told}."
    )


def _labels(figures: Figures) -> Picture:
    main = figures["violation_by_label_prob"]
    places = [entry["reward_gap"] for entry in main]
    others = figures["at_other_beta"]
    ends = [e for e in (others[0], others[-1]) if e["beta"] != figures["beta"]]

    def paint(figure: Any) -> None:
        axes = figure.add_subplot()
        rates = [entry["violation_rate"] for entry in main]
        spans = [entry["violation_rate_interval"] for entry in main]
        _band(axes, places, rates, spans, ONE, f"β = {figures['beta']:g}")
        for entry, line in zip(ends, (":", "--"), strict=False):
            found = entry["violation_by_label_prob"]
            at = [e["reward_gap"] for e in found], [e["violation_rate"] for e in found]
            axes.plot(*at, line, color=TWO, label=f"β = {entry['beta']:g}")
        _ticks(axes, places, [f"{entry['label_prob']:g}" for entry in main])
        axes.set_xlabel("were every label of this probability")
        _percents(axes, "y")
        axes.set_ylabel("pairs that violate the assumption")
        axes.legend()

    told = ", ".join(f"{percent(e['violation_rate'])} at {e['label_prob']:g}" for e in main)
    title = "Violation rate over the probability of the labels"
    return Picture(svg(paint, 3.2), title, f"β = {figures['beta']:g}. Violated: {told}.")


def _accuracies(figures: Figures) -> Picture:
    names = {
        "relative_accuracy": "relative accuracy\n(what trainers log)",
        "absolute_accuracy": "absolute accuracy\n(chosen preferred)",
        "undesirable_share": "undesirable space\n(better, still wrong)",
        "displaced_share": "displaced\n(both less probable)",
    }

    def paint(figure: Any) -> None:
        axes = figure.add_subplot()
        for row, name in enumerate(names):
            rate, (low, high) = figures[name], figures[f"{name}_interval"]
            colour = ONE if name.endswith("accuracy") else TWO
            axes.barh(row, rate, height=0.55, color=colour)
            axes.plot([low, high], [row, row], color=INK, lw=1.5)
            axes.text(max(rate, high) + 0.02, row, percent(rate), va="center")
        axes.set_yticks(range(len(names)), list(names.values()))
        axes.invert_yaxis()
        axes.set_xlim(0, 1.2)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25", "50", "75", "100 %"])
        axes.grid(visible=False, axis="y")

    told = "; ".join(f"{what.split(chr(10))[0]} {percent(figures[n])}" for n, what in names.items())
    title = "Relative accuracy beside absolute accuracy"
    return Picture(svg(paint, 2.9), title, _sentence(told))


def _margins(figures: Figures) -> Picture | None:
    margins = {"reference margin": "ref_margin", "policy margin": "margin"}
    rows = {what: figures[name]["quantiles"] for what, name in margins.items() if figures[name]}
    gap = {"critical gap": figures["critical_gap"]["quantiles"]}
    if not (_drawable(rows) and _drawable(gap)):
        return None

    def paint(figure: Any) -> None:
        above, below = figure.subplots(2, 1, height_ratios=(max(len(rows), 1.3), 1.3))
        _boxes(above, rows, ONE)
        above.set_xlabel("nats")
        _boxes(below, gap, TWO)
        below.set_xlabel("reward gap Δr that has to be exceeded")

    told = "; ".join(
        f"{what}: median {found['0.5']:.3g}, from {found['0.05']:.3g} (5 %) to "
        f"{found['0.95']:.3g} (95 %)"
        for what, found in (rows | gap).items()
    )
    title = "Margins and critical gaps: median, half of the pairs (thick), 5 to 95 % (thin)"
    return Picture(svg(paint, 2.2 + 0.5 * len(rows)), title, _sentence(told))


def _targets(figures: Figures) -> Picture | None:
    losses = figures["losses"]
    rows = {name: loss["target"]["quantiles"] for name, loss in losses.items()}
    if not _drawable(rows):
        return None
    # What `easy` takes off can be a thousand times the margins: its line then leaves the picture.
    rest = [abs(found[s]) for n, found in rows.items() if n != "easy" for s in ("0.05", "0.95")]

    def paint(figure: Any) -> None:
        from matplotlib.patches import Patch

        left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1.25, 1))
        _boxes(left, rows, ONE)
        low, high = left.get_xlim()
        left.set_xlim(max(low, -3 * max(rest) - 1), high)
        left.set_xlabel("target margin, nats")
        for row, (name, loss) in enumerate(losses.items()):
            right.barh(row - 0.18, loss["negative_target_share"], height=0.34, color=ONE)
            if name in TRAPS:
                right.barh(row + 0.2, loss["trap_share"], height=0.34, color=TWO)
        right.set_xlabel("% of pairs")
        _percents(right, "x", "")
        right.tick_params(left=False)
        right.grid(visible=False, axis="y")
        marks = [Patch(color=ONE, label="target below 0"), Patch(color=TWO, label="trapped")]
        figure.legend(handles=marks, loc="outside upper center", ncols=2)

    told = "; ".join(
        f"{name}: {percent(loss['negative_target_share'])} targets below 0, "
        f"{percent(loss['trap_share'])} trapped"
        for name, loss in losses.items()
    )
    return Picture(svg(paint, 4.0), "What each loss asks for, and where it traps pairs", f"{told}.")


def _boxes(axes: Any, rows: dict[str, Any], colour: str) -> None:
    """Draw a line of quantiles a row."""
    from matplotlib.ticker import FuncFormatter

    for row, found in enumerate(rows.values()):
        axes.plot([found["0.05"], found["0.95"]], [row, row], color=colour, lw=1.5)
        ends = [found["0.25"], found["0.75"]]
        axes.plot(ends, [row, row], color=colour, lw=7, solid_capstyle="butt")
        axes.plot(found["0.5"], row, "o", ms=6, mfc=PAPER, mec=INK)
    axes.axvline(0, color=INK, lw=0.8, ls=(0, (4, 3)))
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.locator_params(axis="x", nbins=4)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))


def _band(
    axes: Any,
    places: Sequence[float],
    rates: Sequence[float],
    spans: Sequence[Sequence[float]],
    colour: str,
    label: str | None = None,
) -> None:
    lows, highs = zip(*spans, strict=True)
    axes.fill_between(places, lows, highs, color=colour, alpha=0.25, lw=0)
    axes.plot(places, rates, "o-", ms=4, color=colour, label=label)


def _ticks(axes: Any, places: Sequence[float], names: Sequence[str]) -> None:
    """Label places, but none that would stand in another's way."""
    apart, shown = (max(places) - min(places)) / 8.5, list[int]()
    for i, place in enumerate(places):
        if not shown or place - places[shown[-1]] >= apart:
            shown.append(i)
    axes.set_xticks([places[i] for i in shown], [names[i] for i in shown])


def _percents(axes: Any, axis: str, unit: str = " %") -> None:
    from matplotlib.ticker import FuncFormatter

    scale = getattr(axes, f"{axis}axis")
    _, high = getattr(axes, f"get_{axis}lim")()
    getattr(axes, f"set_{axis}lim")(0, min(max(high, 0.01), 1.02))
    axes.locator_params(axis=axis, nbins=4 if axis == "x" else 5)
    scale.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}{unit}"))


def _drawable(rows: dict[str, Any]) -> bool:
    """Tell whether all numbers that would be drawn can be."""
    return all(abs(found[s]) < FARTHEST for found in rows.values() for s in ("0.05", "0.95"))


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
