"""What holds of each pair, as a Parquet file: written as batches come, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from prefeq.errors import ProblemError
from prefeq.llm.columns import Batch
from prefeq.llm.flags import batch_flags
from prefeq.llm.formats.arrow import FLAGS, need_pyarrow
from prefeq.llm.plan import Plan
from prefeq.strict_json import check_writable


class FlagsFile:
    """A context in which batches are added; at its end, unless by an error, the file is there.

    Until then the rows are in a temporary file beside it, and its footer says what it is, so that
    no audit takes it for pairs. Columns: ``source``; ``row``, counted
    from 0; ``row_id`` where the data have one; those of `pair_flags`. Rows that are no numbers are
    not in it. Without a path nothing is done.
    """

    def __init__(
        self, path: str | os.PathLike[str] | None, plan: Plan, inputs: Iterable[Path] = ()
    ) -> None:
        self.path, self.plan = None if path is None else Path(path).resolve(), plan
        self._writer: Any = None
        if self.path is None:
            return
        need_pyarrow()
        if self.path.suffix.lower() not in ("", ".parquet", ".pq"):
            raise ProblemError(
                f"{path}: flags are written as Parquet; name them {self.path.stem}.parquet"
            )
        check_writable(self.path)
        if self.path.exists() and not self.path.is_file():
            raise ProblemError(f"{self.path}: is no file; Parquet cannot be written to it")
        if self.path in {source.resolve() for source in inputs}:
            raise ProblemError(f"{self.path} would replace its own input; name another file")
        self._temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")

    def __enter__(self) -> FlagsFile:
        return self

    def add(self, batch: Batch) -> None:
        """Write the pairs of a batch."""
        if self.path is None:
            return
        parts = list(batch_flags(batch, self.plan))
        if parts:
            columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
            self._write(need_pyarrow().table(_places(batch, columns["row"]) | columns))

    def passing(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield batches that were added on their way."""
        for batch in batches:
            self.add(batch)
            yield batch

    def _write(self, table: Any) -> None:
        from pyarrow import parquet

        try:
            if self._writer is None:
                marked = table.schema.with_metadata({FLAGS: b"1"})
                self._writer = parquet.ParquetWriter(
                    self._temporary, marked, use_dictionary=["source"]
                )
            self._writer.write_table(table)
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> ProblemError:
        return ProblemError(f"{self.path}: cannot be written ({error.strerror or error})")

    def __exit__(self, kind: Any, *_: Any) -> None:
        if self.path is None:
            return
        try:
            if kind is None and self._writer is None:  # no pair at all
                pyarrow = need_pyarrow()
                rows = np.zeros(0, np.int64)
                self._write(pyarrow.table({"source": pyarrow.array([], "string"), "row": rows}))
            if self._writer is not None:
                self._writer.close()
            if kind is None:
                if self.path.exists():
                    self._temporary.chmod(self.path.stat().st_mode & 0o777)
                self._temporary.replace(self.path)
        except OSError as error:
            if kind is None:
                raise self._unwritable(error) from error
        finally:
            with suppress(OSError):
                self._temporary.unlink()


def _places(batch: Batch, rows: Any) -> dict[str, Any]:
    """Return the columns that say which pairs these are."""
    pyarrow = need_pyarrow()
    source = pyarrow.array([batch.source])
    same = pyarrow.array(np.zeros(len(rows), np.int32))
    places = {"source": pyarrow.DictionaryArray.from_arrays(same, source), "row": rows}
    if "row_id" in batch.columns:
        names = batch.columns["row_id"][rows - batch.start]
        if names.dtype.kind not in "iu":
            names = pyarrow.array(list(map(str, names)), "string")
        places["row_id"] = names
    return places
