"""What all formats share: what a file says of itself, and how much of it is read at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from prefeq.errors import TableError
from prefeq.llm.columns import ALIASES, NAMES

ROWS, LINES = 2**17, 2**14
"""Rows read at a time: of arrays, and of text, where a row takes more room."""

KNOWN = frozenset(NAMES).union(*ALIASES.values())

Pieces = Iterator[tuple[dict[str, Any], float]]


@dataclass(frozen=True)
class Head:
    """What a file says of itself.

    Attributes
    ----------
    names
        Its columns.
    integers, numbers
        Those of integers, of any numbers; of text, those whose first row holds a number.
    rows
        How many, if it knows.
    """

    names: list[str]
    integers: frozenset[str] = frozenset()
    rows: int | None = None
    numbers: frozenset[str] = frozenset()


class RowError(TableError):
    """Something is wrong with a row, counted from 0: its reader adds the file and the line."""

    def __init__(self, row: int, what: str) -> None:
        super().__init__(f"row {row}: {what}")
        self.row, self.what = row, what
