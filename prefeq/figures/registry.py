"""What a figure is, and which there are: one module a figure, loaded when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from prefeq.errors import ProblemError
from prefeq.figures.style import COLUMN

Data: TypeAlias = dict[str, Any]
"""What a figure shows: arrays and numbers by name, computed by the solvers."""

Artists: TypeAlias = dict[str, Any]
"""What was drawn, by name."""

TITLES: Mapping[str, str] = {
    "sydney": "The loss falls, the margin stays negative",
    "escape": "How long it takes to leave the undesirable space",
    "simplex": "Where the methods end on the simplex",
    "loss_zoo": "Nine losses, and which of them trap",
    "violation_rate": "How many pairs violate the assumption",
    "targets": "Target margins: what a loss asks of the policy",
    "phase": "When is DPO RLHF?",
    "abyss": "The penalty's abyss",
}
"""The figures, in the order of the text, and what they are about."""


@dataclass(frozen=True)
class Figure:
    """One figure: its data, how they are drawn, its caption and its size.

    Attributes
    ----------
    name
        Its key in `TITLES`, its module and its file, less the suffix.
    caption
        As in a paper: the bandit, β, seeds, and what is shown. Plain text.
    data
        ``data(**options)`` computes what is shown, by the solvers, seeded: the same every time.
    draw
        ``draw(ax, data)`` draws it and returns the artists by name; `ax` is a tuple of axes, row
        by row, if there are several panels.
    width, height
        In inches; `COLUMN` or `TEXT` wide.
    panels
        Rows and columns of axes.
    """

    name: str
    caption: str
    data: Callable[..., Data]
    draw: Callable[[Any, Data], Artists]
    width: float = COLUMN
    height: float = 2.3
    panels: tuple[int, int] = (1, 1)

    @property
    def title(self) -> str:
        """What it is about, in a line."""
        return TITLES[self.name]


def names() -> tuple[str, ...]:
    """Return the names of the figures.

    >>> names()[:2]
    ('sydney', 'escape')
    """
    return tuple(TITLES)


def figure(name: str) -> Figure:
    """Return a figure by name.

    Raises
    ------
    ProblemError
        No figure has this name.

    >>> figure("abyss").title
    "The penalty's abyss"
    """
    if name not in TITLES:
        raise ProblemError(f"figure {name!r}: choose from {', '.join(TITLES)}")
    found: Figure = importlib.import_module(f"prefeq.figures.{name}").FIGURE
    return found
