"""JSON Lines, row by row, by Python's own reader: what is wrong is named with its line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prefeq.errors import TableError


def json_rows(path: Path) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield the objects of a file, each with how many bytes were read by then.

    Blank lines are no rows.

    Raises
    ------
    TableError
        If a line is not a JSON object.
    UnicodeDecodeError
        If it is not UTF-8.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "rows.jsonl"
    ...     _ = path.write_text('{"a": 1}\\n\\n{"a": null}\\n')
    ...     list(json_rows(path))
    [({'a': 1}, 9), ({'a': None}, 22)]
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            if not text:
                continue
            try:
                row = json.loads(text)
            except (ValueError, RecursionError) as error:
                raise TableError(
                    f"{path}: line {number} is not JSON ({error}); write one object a line"
                ) from error
            if not isinstance(row, dict):
                raise TableError(
                    f"{path}: line {number} is no JSON object; write one object a line"
                )
            yield row, file.tell()
