"""A few rows to look at: the first that something befell, and the worst of a kind.

Both keep the same rows whatever the order in which chunks arrive: ties go to the smaller source,
then to the smaller row.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from prefeq._namespace import Array

FIRST, WORST = 10, 5


class Row(NamedTuple):
    """Where a row stands, and what it is called."""

    source: str
    number: int
    name: int | str


class Ranked(NamedTuple):
    """A row with the number it is ranked by, lowest first."""

    value: float
    source: str
    number: int
    name: int | str


@dataclass
class First:
    """The first rows, by source and number.

    >>> first = First()
    >>> first.add([Row("b", 1, 1), Row("a", 7, "x")])
    >>> [row.name for row in first.rows]
    ['x', 1]
    """

    rows: list[Row] = field(default_factory=list)

    def add(self, rows: Iterable[Row]) -> None:
        """Add rows."""
        self.rows = heapq.nsmallest(FIRST, [*self.rows, *rows], key=lambda row: row[:2])

    def merge(self, other: First) -> First:
        """Return the first rows of both."""
        merged = First(list(self.rows))
        merged.add(other.rows)
        return merged


@dataclass
class Worst:
    """The rows of the lowest values."""

    rows: list[Ranked] = field(default_factory=list)

    @property
    def bar(self) -> float:
        """No higher value can get in."""
        return self.rows[-1].value if len(self.rows) == WORST else math.inf

    def add(self, rows: Iterable[Ranked]) -> None:
        """Add rows."""
        self.rows = heapq.nsmallest(WORST, [*self.rows, *rows], key=lambda row: row[:3])

    def merge(self, other: Worst) -> Worst:
        """Return the worst rows of both."""
        merged = Worst(list(self.rows))
        merged.add(other.rows)
        return merged

    def candidates(self, values: Array, mask: Array | None, place: tuple[str, int]) -> list[int]:
        """Return where the few values are, within the mask, that could get in.

        `place` is that of the first value: in what comes later than all ties, no tie gets in.
        """
        full = len(self.rows) == WORST
        places = None if mask is None else _places(mask)
        among = values if places is None else values[places]
        bar = self.bar if full else _low_enough(among)
        lower = _places(among < bar if full else among <= bar)
        if len(lower) > WORST:
            lower = lower[among[lower].argsort(stable=True)[:WORST]]
        found: list[int] = lower.tolist()
        if full and place < self.rows[-1][1:3]:
            found += _places(among == bar)[:WORST].tolist()
        return found if places is None else [int(places[i]) for i in found]


def _low_enough(values: Array) -> float:
    """Return a value that some of the lowest do not exceed: all need not be sorted."""
    some = sorted(values[: 50 * WORST].tolist())
    return float(some[WORST - 1]) if len(some) >= WORST else math.inf


def first_places(mask: Array) -> list[int]:
    """Return the first places where a mask is true."""
    places: list[int] = _places(mask)[:FIRST].tolist()
    return places


def _places(mask: Array) -> Any:
    found = mask.nonzero()
    return found[0] if isinstance(found, tuple) else found[:, 0]
