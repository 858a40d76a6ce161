"""A phase diagram as small multiples: one panel a method, the same axes for all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from prefeq import margins
from prefeq.atlas.atlas import (
    ALIGNED,
    CODES,
    MISALIGNED,
    NO_OPTIMUM,
    NOT_COMPUTED,
    WEAK,
    Atlas,
)
from prefeq.atlas.axes import FIXED_ONLY, PARAMETERS, Axis
from prefeq.atlas.files import replacing
from prefeq.atlas.methods import METHODS
from prefeq.errors import ProblemError

FORMATS = ("png", "svg", "pdf")

COLOURS = {
    ALIGNED: "#d6e9f5",
    WEAK: "#74add1",
    MISALIGNED: "#c2571a",
    NO_OPTIMUM: "#22163f",
    NOT_COMPUTED: "#ffffff",
}
"""Told apart by hue, by any colour-blind reader, and in grey by their lightness."""

STYLE: Any = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.linewidth": 0.6,
    "legend.frameon": False,
    "savefig.dpi": 200,
    "pdf.fonttype": 42,
    "svg.hashsalt": "prefeq",
}

FINEST = 300
"""Boundary lines are traced on at most this many values an axis."""


def draw(atlas: Atlas, *paths: str | os.PathLike[str]) -> None:
    """Draw every verdict and layer of an atlas, and save the picture, in a format by each suffix.

    Raises
    ------
    ProblemError
        A suffix other than .png, .svg and .pdf, or a file that cannot be written.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    for path in paths:
        if Path(path).suffix[1:] not in FORMATS:
            raise ProblemError(f"{path}: draw to one of .{', .'.join(FORMATS)}")
    with mpl.rc_context(STYLE):
        figure = Figure(layout="constrained")
        FigureCanvasAgg(figure)
        panels(figure, atlas)
        for path in paths:
            kind = Path(path).suffix[1:]
            stamp = {"png": "Software", "svg": "Date", "pdf": "CreationDate"}[kind]
            with replacing(path) as file:
                figure.savefig(file, format=kind, metadata={stamp: None})


def panels(figure: Any, atlas: Atlas) -> dict[str, Any]:
    """Fill a figure with the panels, layers in the last column; return their axes by name."""
    layers = [name for name in ("price", "exit_steps") if name in atlas.layers]
    across = min(3, len(atlas.verdict))
    down = max(-(-len(atlas.verdict) // max(across, 1)), len(layers))
    ratios = [1.0] * across + [1.3] * bool(layers)
    figure.set_size_inches(0.7 + 2.0 * sum(ratios), 1.1 + 2.1 * down)
    grid = figure.add_gridspec(down, len(ratios), width_ratios=ratios)
    places = {name: divmod(i, across) for i, name in enumerate(atlas.verdict)}
    places |= {name: (i, across) for i, name in enumerate(layers)}
    found = {}
    for name, (row, column) in places.items():
        axes = found[name] = figure.add_subplot(grid[row, column])
        if name in atlas.verdict:
            _verdicts(axes, atlas, name)
        else:
            _layer(figure, axes, atlas, name)
        _assumption(axes, atlas)
        _scales(axes, atlas)
        lowest, first = (row + 1, column) not in places.values(), column in (0, across)
        axes.tick_params(labelbottom=lowest, labelleft=first)
        axes.set_xlabel(atlas.x.parameter.label if lowest else "")
        axes.set_ylabel(atlas.y.parameter.label if first else "")
    _legend(figure, atlas)
    return found


def _verdicts(axes: Any, atlas: Atlas, name: str) -> None:
    from matplotlib.colors import to_rgba

    codes = atlas.verdict[name]
    image = np.zeros((*codes.shape, 4), dtype=np.uint8)
    for code, colour in COLOURS.items():
        image[codes == code] = np.round(255 * np.array(to_rgba(colour)))
    axes.imshow(image, **_filling(axes))
    title = METHODS[name].title.format(steps=atlas.steps)
    axes.set_title(f"{title}\n{100 * atlas.share(name):.1f} % aligned")


def _layer(figure: Any, axes: Any, atlas: Atlas, name: str) -> None:
    """Show a layer on a log scale; where it is zero, the panel has the colour of aligned cells."""
    import matplotlib as mpl
    from matplotlib.colors import LogNorm

    values = atlas.layers[name]
    sizes = values[(values > 0) & np.isfinite(values)]
    high = float(np.max(sizes, initial=1e-300))
    if name == "price":
        title, label = "price of alignment\nJ(RLHF) - J(CPO)", "units of reward"
        low, extend = max(float(np.min(sizes, initial=high)), 1e-4 * high), "min"
    else:
        title, label = "ordered DPO has left U\nafter so many steps", "steps of 1/Lip"
        low, high, extend = 1.0, max(min(high, 1e4 * atlas.steps), 10.0), "both"
    colours = mpl.colormaps["cividis"].with_extremes(over=COLOURS[MISALIGNED])
    shown = np.ma.masked_less_equal(np.minimum(values, 10 * high), 0.0)
    norm = LogNorm(min(low, 0.5 * high), high)
    image = axes.imshow(shown, cmap=colours, norm=norm, **_filling(axes))
    axes.set_title(title)
    axes.set_facecolor(COLOURS[ALIGNED])
    figure.colorbar(image, ax=axes, extend=extend, label=label, pad=0.03)
    if name == "exit_steps":
        _contour(axes, atlas, np.log(np.maximum(values, 1e-9) / atlas.steps), "solid")


def _filling(axes: Any) -> dict[str, Any]:
    """Return how an image fills its panel: the cells are evenly spaced on the panel's own scale."""
    return {
        "extent": (0, 1, 0, 1),
        "transform": axes.transAxes,
        "origin": "lower",
        "aspect": "auto",
        "interpolation": "nearest",
    }


def _assumption(axes: Any, atlas: Atlas) -> None:
    """Draw the line δ* = 0, above which RLHF aligns every pair (Assumption 3.1)."""
    ref, gap, beta = (atlas.value(name) for name in ("delta_ref", "gap", "beta"))
    _contour(axes, atlas, np.asarray(margins.optimal_margin(ref, gap, beta)), "dashed")


def _contour(axes: Any, atlas: Atlas, values: Any, line: str) -> None:
    """Trace where values change sign."""
    from matplotlib.patheffects import withStroke

    rows, columns = (_thin(axis) for axis in (atlas.y, atlas.x))
    part = np.clip(values[np.ix_(rows, columns)], -1e30, 1e30)
    if np.min(part) < 0 < np.max(part):
        x, y = atlas.x.values[columns], atlas.y.values[rows]
        drawn = axes.contour(x, y, part, levels=[0.0], colors="k", linewidths=0.9, linestyles=line)
        drawn.set_path_effects([withStroke(linewidth=2.0, foreground="w")])  # seen on dark cells


def _thin(axis: Axis) -> Any:
    count = axis.values.size
    return np.unique(np.linspace(0, count - 1, min(count, FINEST)).round().astype(int))


def _scales(axes: Any, atlas: Atlas) -> None:
    for axis, which in ((atlas.x, "x"), (atlas.y, "y")):
        axes.set(**{f"{which}scale": "log" if axis.log else "linear", f"{which}lim": axis.edges()})
        if axis.name == "K":
            getattr(axes, f"{which}axis").get_major_locator().set_params(integer=True)


def _legend(figure: Any, atlas: Atlas) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    present = set().union(*(np.unique(codes).tolist() for codes in atlas.verdict.values()))
    handles: list[Any] = [
        Patch(facecolor=COLOURS[code], edgecolor="0.4", linewidth=0.5, label=text)
        for code, text in CODES.items()
        if code in present
    ]
    handles.append(Line2D([], [], color="k", linestyle="dashed", label=r"$\delta^*=0$"))
    if "exit_steps" in atlas.layers:
        handles.append(Line2D([], [], color="k", label=f"{atlas.steps} steps"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    known = {**PARAMETERS, **FIXED_ONLY}
    settings = (f"{known[name].symbol} = {value:g}" for name, value in atlas.fixed.items())
    figure.suptitle(",  ".join(settings), fontsize=8)
