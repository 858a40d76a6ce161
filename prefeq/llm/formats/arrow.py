"""Parquet, and Arrow's files and streams, by pyarrow: only the columns that are wanted."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from prefeq.errors import TableError
from prefeq.llm.formats import base
from prefeq.llm.formats.base import Head, Pieces

BUFFER = 2**20
"""Bytes of a Parquet column that are read at a time."""

FLAGS = b"prefeq.flags"
"""What the footer of a file of flags holds, so that it is not taken for pairs."""


def is_flags(path: Path) -> bool:
    """Tell whether a Parquet file is one of `FlagsFile`, by its footer; no pyarrow is needed."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 8))
            length = int.from_bytes(file.read(4), "little")
            if file.read(4) != b"PAR1" or length > size - 8:
                return False
            file.seek(size - 8 - length)
            return FLAGS in file.read(length)
    except OSError:
        return False


def need_pyarrow() -> Any:
    """Return pyarrow; raise a `TableError` that says how to install it."""
    try:
        import pyarrow
    except ImportError as error:
        raise TableError("Parquet and Arrow need pyarrow; pip install 'prefeq[data]'") from error
    return pyarrow


def _arrow_type_head(schema: Any, rows: int | None) -> Head:
    types = need_pyarrow().types
    integers = {field.name for field in schema if types.is_integer(field.type)}
    floats = {field.name for field in schema if types.is_floating(field.type)}
    return Head(list(schema.names), frozenset(integers), rows, frozenset(integers | floats))


def parquet_head(path: Path) -> Head:
    """Return what a Parquet file's footer says."""
    need_pyarrow()
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        return _arrow_type_head(file.schema_arrow, file.metadata.num_rows)


def parquet_pieces(path: Path, names: Sequence[str]) -> Pieces:
    """Yield Arrow arrays; page checksums are compared where there are any.

    Column by column through a small buffer: otherwise pyarrow first reads all row groups whole.
    """
    from pyarrow import parquet

    with parquet.ParquetFile(
        path, pre_buffer=False, buffer_size=BUFFER, page_checksum_verification=True
    ) as file:
        total, done = max(1, file.metadata.num_rows), 0
        for batch in file.iter_batches(base.ROWS, columns=list(names)):
            done += batch.num_rows
            yield {name: batch.column(name) for name in names}, done / total
        if done != file.metadata.num_rows:
            raise TableError(f"{path}: {done:,} rows, but its footer says {total:,}; restore it")


def _arrow_batches(path: Path, names: Sequence[str] | None) -> Iterator[Any]:
    """Yield the schema of an Arrow file or stream (`datasets` writes these), then its batches."""
    ipc = need_pyarrow().ipc
    with need_pyarrow().OSFile(os.fspath(path)) as file:
        magic = file.read(6)
        file.seek(0)
        if magic[:4] == b"FEA1":
            raise TableError(f"{path}: is of Feather's first version; write it as Parquet")
        whole = magic == b"ARROW1"
        reader = (ipc.open_file if whole else ipc.open_stream)(file)
        schema = reader.schema
        yield schema
        if names is None:
            return
        fields = sorted(schema.get_field_index(name) for name in names)
        options = ipc.IpcReadOptions(included_fields=fields)
        file.seek(0)
        reader = (ipc.open_file if whole else ipc.open_stream)(file, options=options)
        if whole:
            yield from (reader.get_batch(i) for i in range(reader.num_record_batches))
        else:
            yield from ((batch, file.tell()) for batch in reader)


def arrow_head(path: Path) -> Head:
    """Return the schema of an Arrow file or stream."""
    return _arrow_type_head(next(_arrow_batches(path, None)), None)


def arrow_pieces(path: Path, names: Sequence[str]) -> Pieces:
    """Yield the arrays of an Arrow file or stream."""
    batches, size, read = _arrow_batches(path, names), max(1, path.stat().st_size), 0
    next(batches)
    for batch in batches:
        if isinstance(batch, tuple):
            batch, read = batch
        else:
            read = min(size, read + batch.nbytes)
        for start in range(0, batch.num_rows, base.ROWS):
            part = batch.slice(start, base.ROWS)
            columns = {name: part.column(part.schema.get_field_index(name)) for name in names}
            yield columns, read / size
