"""Figures as they stand on a page: each says which it is, and its value to the last digit.

A figure becomes ``<data value="0.0083…" data-figure="violation_rate">0.8 %</data>``: its path in
the JSON form of the report, the number there, and the number for people. One that does not exist
becomes a dash that says so, never 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from prefeq import text
from prefeq.llm.page.markup import Html, tag
from prefeq.llm.verdict import percent

Figures = dict[str, Any]

NAME_COLUMNS = 72
"""How much of a long row name is shown."""

UNKNOWN = tag("span", "–", class_="none", title="not known from these columns")
"""What stands where a missing column prevents a figure."""


def look_up(figures: Figures, *path: str | int) -> Any:
    """Return a figure by its path; None where something on the way is None.

    >>> look_up({"losses": {"dpo": None}}, "losses", "dpo", "mean") is None
    True
    """
    found: Any = figures
    for key in path:
        if found is None:
            return None
        found = found[key]
    return found


def share(figures: Figures, *path: str | int) -> Html:
    """Return a share as percent."""
    return _shown(figures, path, percent)


def number(figures: Figures, *path: str | int) -> Html:
    """Return a number, to four digits or so."""
    return _shown(figures, path, text.number)


def count(figures: Figures, *path: str | int) -> Html:
    """Return a whole number."""
    return _shown(figures, path, lambda value: f"{value:,}")


def exact(figures: Figures, *path: str | int) -> Html:
    """Return a number that was chosen, not measured, such as β."""
    return _shown(figures, path, lambda value: f"{value:g}")


def interval(figures: Figures, *path: str | int, of: Callable[..., Html] = share) -> Html:
    """Return an interval, as text that does not break."""
    if look_up(figures, *path) is None:
        return UNKNOWN
    low, high = (of(figures, *path, end) for end in (0, 1))
    return tag("small", low, " to ", high, class_="range")


def row_name(name: int | str) -> Html:
    """Return what a row is called: all of it if it is short, else its beginning and end."""
    shown = text.fit(str(name), NAME_COLUMNS)
    whole = str(name) if shown != str(name) and len(str(name)) <= 500 else None
    return tag("code", shown, dir="auto", title=whole)


def _shown(figures: Figures, path: tuple[str | int, ...], form: Callable[[Any], str]) -> Html:
    value = look_up(figures, *path)
    if value is None:
        return UNKNOWN
    exactly = str(value) if math.isfinite(value) else ("inf" if value > 0 else "-inf")
    return tag("data", form(value), value=exactly, data_figure="/".join(map(str, path)))
