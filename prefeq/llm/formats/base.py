"""What all formats share: what a file says of itself, and how much of it is read at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from prefeq.llm.columns import ALIASES, NAMES

ROWS, LINES = 2**17, 2**14
"""Rows read at a time: of arrays, and of text, where a row takes more room."""

KNOWN = frozenset(NAMES).union(*ALIASES.values())

Pieces = Iterator[tuple[dict[str, Any], float]]


@dataclass(frozen=True)
class Head:
    """What a file says of itself: its columns, those of integers, and its rows if it knows."""

    names: list[str]
    integers: frozenset[str] = frozenset()
    rows: int | None = None
