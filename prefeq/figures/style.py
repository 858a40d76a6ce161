"""How every figure looks: widths, fonts, and one colour, dash and marker for each method.

The colours are those of Okabe and Ito, told apart by any colour-blind reader; the dashes do the
same in grey. The font ships with matplotlib, so that a figure is the same on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

COLUMN, TEXT = 3.25, 6.75
"""The widths of a column and of the text of an ICML or NeurIPS paper, in inches."""

SMALL = 6.5
"""The smallest font that stays readable in print, in points: for notes inside a panel."""

STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 7.5,
    "mathtext.fontset": "dejavusans",
    "axes.labelsize": 7.5,
    "axes.titlesize": 7.5,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
    "legend.frameon": False,
    "legend.fontsize": SMALL,
    "legend.handlelength": 2.4,
    "lines.linewidth": 1.3,
    "lines.markersize": 3.5,
    "savefig.dpi": 300,
    "pdf.fonttype": 42,  # TrueType, embedded: text that can be searched, and no Type 3
    "svg.fonttype": "path",  # outlines: the same in every viewer, whatever fonts it has
    "svg.hashsalt": "prefeq",
}

BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILION, PURPLE = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
GREY = "0.45"

UNDESIRABLE: dict[str, Any] = {"facecolor": "#F7E3B8", "edgecolor": "none", "zorder": 0}
"""The shade of the undesirable space U."""


def _line(color: str, linestyle: Any, marker: str) -> Mapping[str, Any]:
    return {"color": color, "linestyle": linestyle, "marker": marker}


METHODS: Mapping[str, Mapping[str, Any]] = {
    "rlhf": _line(BLACK, (0, (4, 2)), "s"),
    "dpo": _line(BLUE, "solid", "o"),
    "hypo": _line(GREEN, (0, (6, 1.5, 1, 1.5)), "^"),
    "smooth": _line(SKY, (0, (2, 1)), "v"),
    "cpo": _line(VERMILION, (0, (8, 2)), "D"),
    "penalty": _line(PURPLE, (0, (3, 1, 1, 1, 1, 1)), "P"),
    "ipo": _line(ORANGE, (0, (1, 1)), "X"),
    "hinge": _line(GREY, (0, (5, 1, 1, 1)), "<"),
    "cdpo": _line(PURPLE, (0, (1, 2)), ">"),
    "simpo": _line(BLACK, (0, (1, 1.5)), "*"),
    "eq17": _line(VERMILION, (0, (2, 2)), "p"),
    "easy": _line(ORANGE, (0, (8, 2, 2, 2)), "h"),
}
"""The colour, dash and marker of each method."""

METHODS_LABELS: Mapping[str, str] = {
    "rlhf": "RLHF",
    "dpo": "DPO",
    "hypo": "HyPO",
    "smooth": "smooth",
    "cpo": "CPO",
    "penalty": "penalty",
    "ipo": "IPO",
    "hinge": "hinge",
    "cdpo": "cDPO",
    "simpo": "SimPO",
    "eq17": "Eq. 17",
    "easy": "easy",
}


def line(method: str, **changes: Any) -> dict[str, Any]:
    """Return the keyword arguments of ``ax.plot`` for a method: colour, dash and label, no marker.

    >>> line("dpo", linewidth=2)
    {'color': '#0072B2', 'linestyle': 'solid', 'label': 'DPO', 'linewidth': 2}
    """
    look = {key: value for key, value in METHODS[method].items() if key != "marker"}
    return {**look, "label": METHODS_LABELS[method], **changes}


def points(method: str, **changes: Any) -> dict[str, Any]:
    """Return the keyword arguments of ``ax.plot`` for single points of a method.

    >>> points("cpo")
    {'color': '#D55E00', 'linestyle': 'none', 'marker': 'D', 'label': 'CPO'}
    """
    look = {**METHODS[method], "linestyle": "none"}
    return {**look, "label": METHODS_LABELS[method], **changes}


@contextmanager
def styled() -> Iterator[None]:
    """Draw with matplotlib's defaults and `STYLE`, whatever the reader's own settings."""
    import matplotlib.style

    with matplotlib.style.context(["default", STYLE]):
        yield
