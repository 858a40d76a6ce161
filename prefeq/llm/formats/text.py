"""CSV and JSON Lines, by Python's own readers, so that what is wrong is named with its line."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from io import TextIOWrapper
from itertools import islice
from pathlib import Path

from prefeq.errors import TableError
from prefeq.json_lines import json_rows
from prefeq.llm.formats import base
from prefeq.llm.formats.base import KNOWN, Head, Pieces, RowError


def csv_head(path: Path) -> Head:
    """Return the header of a CSV file, and what its first row holds."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        names, first = next(reader, []), next(filter(None, reader), [])
    for mark, word in ((";", "semicolons"), ("\t", "tabs")):
        if len(names) == 1 and mark in names[0]:
            raise TableError(
                f"{path}: its columns are separated by {word}; save it with commas between the "
                "columns, and points in the numbers"
            )
    return Head(names, numbers=frozenset(n for n, v in zip(names, first, strict=False) if _is(v)))


def _is(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def csv_line(path: Path, row: int) -> int:
    """Return the line, counted from 1, at which a row of a CSV file ends."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        next(islice(filter(None, reader), row + 1, None), None)
        return reader.line_num


def csv_pieces(path: Path, names: Sequence[str]) -> Pieces:
    """Yield the texts of a CSV file; blank lines are no rows."""
    with path.open("rb") as raw, TextIOWrapper(raw, encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        header = next(reader, [])
        size, start = max(1, path.stat().st_size), 0
        try:
            lines = filter(None, reader)  # no blank ones
            while rows := list(islice(lines, base.LINES)):
                for i, row in enumerate(rows):
                    if len(row) != len(header):
                        raise RowError(
                            start + i,
                            f"{len(row)} values for {len(header)} columns; quote values that "
                            "contain commas, or restore the file",
                        )
                values = dict(zip(header, zip(*rows, strict=True), strict=True))
                start += len(rows)
                yield {name: list(values[name]) for name in names}, raw.tell() / size
        except csv.Error as error:
            raise TableError(f"{path}: line {reader.line_num} is not CSV ({error})") from error


def json_head(path: Path) -> Head:
    """Return the names in the first row of JSON Lines."""
    first = next((row for row, _ in json_rows(path)), {})
    numbers = (
        n for n, v in first.items() if isinstance(v, int | float) and not isinstance(v, bool)
    )
    return Head(list(first), numbers=frozenset(numbers))


def json_line(path: Path, row: int) -> int:
    """Return the line, counted from 1, of a row of JSON Lines."""
    with path.open("rb") as file:
        lines = (number for number, line in enumerate(file, 1) if line.strip())
        return next(islice(lines, row, None), 0)


def json_pieces(path: Path, names: Sequence[str]) -> Pieces:
    """Yield the values of JSON Lines; None where a row has none."""
    unread = KNOWN - set(names)
    ignored = unread & set(json_head(path).names)
    rows, size, start = json_rows(path), max(1, path.stat().st_size), 0
    while piece := list(islice(rows, base.LINES)):
        for i, (row, _) in enumerate(piece):
            late = (unread & row.keys()) - ignored
            if late:
                raise RowError(
                    start + i,
                    f"has {min(late)}, which the first row has not; give every row the same "
                    "columns (null where there is none)",
                )
        start += len(piece)
        yield {name: [row.get(name) for row, _ in piece] for name in names}, piece[-1][1] / size
