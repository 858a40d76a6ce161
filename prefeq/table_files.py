"""Column files: CSV, JSON Lines and Parquet, with one-line errors for whatever is wrong in them."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from prefeq.errors import TableError
from prefeq.json_lines import json_rows

Columns = dict[str, list[Any]]
Found = tuple[list[str], Columns]


def read_columns(path: Path, wanted: Sequence[str]) -> Found:
    """Return the names of all columns of a file, and the raw values of those in `wanted`.

    Values of CSV are text; missing values of JSON Lines and Parquet are None.

    Raises
    ------
    TableError
        If the file is absent, empty, of an unknown kind, or not what its suffix says.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "table.jsonl"
    ...     _ = path.write_text('{"prompt": "p", "reward": 1, "note": "n"}')
    ...     read_columns(path, ["prompt", "reward"])
    (['prompt', 'reward', 'note'], {'prompt': ['p'], 'reward': [1]})
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise TableError(
            f"{path}: unknown kind of table {path.suffix!r}; use .csv, .jsonl or .parquet"
        )
    try:
        if path.is_file() and path.stat().st_size == 0:
            raise TableError(f"{path}: the file is empty; write column names and at least one row")
        return reader(path, wanted)
    except OSError as error:
        raise TableError(f"{path}: cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise TableError(f"{path}: not UTF-8 text ({error.reason}); save it as UTF-8") from error


def _read_csv(path: Path, wanted: Sequence[str]) -> Found:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            header = next(reader, [])
            rows = [row for row in reader if row]
        except csv.Error as error:
            where = f"line {reader.line_num}"
            raise TableError(f"{path}: {where} is not CSV ({error}); check the quotes") from error
    _refuse_twins(path, header, wanted)
    for i, row in enumerate(rows):
        if len(row) != len(header):
            raise TableError(
                f"{path}: row {i + 1} has {len(row)} values for {len(header)} columns; "
                "quote values that contain commas"
            )
    columns = {name: [row[c] for row in rows] for c, name in enumerate(header) if name in wanted}
    return header, columns


def _read_json_lines(path: Path, wanted: Sequence[str]) -> Found:
    rows = [row for row, _ in json_rows(path)]
    names = list(dict.fromkeys(name for row in rows for name in row))
    return names, {name: [row.get(name) for row in rows] for name in names if name in wanted}


def _read_parquet(path: Path, wanted: Sequence[str]) -> Found:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise TableError(
            f"{path}: reading Parquet needs pyarrow; pip install 'prefeq[data]'"
        ) from error
    try:
        with parquet.ParquetFile(path) as file:
            names = list(file.schema_arrow.names)
            _refuse_twins(path, names, wanted)
            return names, file.read(columns=[n for n in names if n in wanted]).to_pydict()
    except pyarrow.ArrowException as error:
        reason = " ".join(str(error).split())
        raise TableError(f"{path}: not a readable Parquet file ({reason})") from error


def _refuse_twins(path: Path, names: Sequence[str], wanted: Sequence[str]) -> None:
    for name in wanted:
        if names.count(name) > 1:
            raise TableError(f"{path}: column {name!r} appears twice; keep one of them")


_READERS: dict[str, Callable[[Path, Sequence[str]], Found]] = {
    ".csv": _read_csv,
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
    ".parquet": _read_parquet,
    ".pq": _read_parquet,
}
