"""SVG that belongs to its page: its colours and letters, no size, the same from every run."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

from prefeq.llm.page.markup import Html

COLOURS = {
    "ink": "#0a0b01",
    "grid": "#0a0b02",
    "one": "#0a0b03",
    "two": "#0a0b04",
    "paper": "#0a0b05",
}
"""Stand-ins: on the page they become ``var(--ink)`` and so on, which light and dark schemes set."""

INK, GRID, ONE, TWO, PAPER = COLOURS.values()

STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 10.0,
    "axes.labelsize": 10.0,
    "axes.edgecolor": GRID,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.5,
    "xtick.color": GRID,
    "xtick.labelcolor": INK,
    "ytick.color": GRID,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 9.0,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "svg.fonttype": "none",  # text stays text: small, read aloud, found by a search
    "svg.hashsalt": "prefeq",
}

WIDTH = 5.0
"""Inches; drawn as wide as a phone, so that nothing has to be read through a magnifying glass."""


def svg(paint: Callable[[Any], None], height: float) -> Html:
    """Return a figure as SVG without a size of its own, in the colours and letters of the page."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    file = io.StringIO()
    with mpl.rc_context():
        mpl.rcdefaults()  # the user's style is for the user's figures
        mpl.rcParams.update(STYLE)
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        paint(figure)
        names = ("Date", "Creator", "Format", "Type")
        figure.savefig(file, format="svg", metadata=dict.fromkeys(names))
    drawn = file.getvalue()
    drawn = drawn[drawn.index("<svg") :].strip()
    drawn = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", drawn, flags=re.DOTALL)
    drawn = re.sub(r' (?:width|height)="[\d.]+pt"', "", drawn, count=2)
    drawn = re.sub(r"font: ([\d.]+px) [^;\"]+", r"font: \1 var(--letters)", drawn)
    drawn = re.sub(r"font-family: [^;\"]+", "font-family: var(--letters)", drawn)
    drawn = re.sub(r"\n\s*", "\n", drawn)
    for name, stand_in in COLOURS.items():
        drawn = drawn.replace(stand_in, f"var(--{name})")
    return Html(drawn)


def named(svg: Html, number: int) -> Html:
    """Return the SVG for a page on which others stand: its ids are its own, and it has a name."""
    own = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>figure{number}-", svg)
    label = f' role="img" aria-labelledby="figure{number}-title figure{number}-alt" '
    return Html(own.replace("<svg ", f"<svg{label}", 1))
