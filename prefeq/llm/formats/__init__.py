"""Formats of shards: what columns a file has, and some of them piece by piece.

A format has two functions: `head(path)`, from the beginning of a file (or where it keeps its
index), and `pieces(path, names)`, which yields (columns, share of the file that is done) in the
order of the rows; one of text has `line(path, row)`, too: where people find a row. No more than a
piece is held: 2¹⁷ rows, or one record batch of an Arrow file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from prefeq.llm.formats import arrays, arrow, text
from prefeq.llm.formats.base import Head, Pieces


class Format(NamedTuple):
    """How a kind of file is read."""

    kind: str
    head: Callable[[Path], Head]
    pieces: Callable[[Path, Sequence[str]], Pieces]
    line: Callable[[Path, int], int] | None = None


_CSV = Format("CSV", text.csv_head, text.csv_pieces, text.csv_line)
_JSON = Format("JSON Lines", text.json_head, text.json_pieces, text.json_line)
_PARQUET = Format("Parquet", arrow.parquet_head, arrow.parquet_pieces)
_ARROW = Format("Arrow", arrow.arrow_head, arrow.arrow_pieces)
_NPZ = Format("npz", arrays.npz_head, arrays.npz_pieces)
_SAFETENSORS = Format("safetensors", arrays.safetensors_head, arrays.safetensors_pieces)

FORMATS = {
    ".csv": _CSV,
    ".jsonl": _JSON, ".ndjson": _JSON, ".json": _JSON,
    ".parquet": _PARQUET, ".pq": _PARQUET,
    ".arrow": _ARROW, ".feather": _ARROW, ".ipc": _ARROW,
    ".npz": _NPZ,
    ".safetensors": _SAFETENSORS,
}  # fmt: skip
"""The formats, by suffix."""
