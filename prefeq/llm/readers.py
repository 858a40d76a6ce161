"""Shards on disk as batches: found, looked at before any work, and read piece by piece."""

from __future__ import annotations

import os
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefeq.errors import ProblemError, TableError
from prefeq.llm.columns import Batch, Layout, find, layout_of
from prefeq.llm.formats import FORMATS, Format
from prefeq.llm.formats.arrow import is_flags
from prefeq.llm.formats.base import Head, RowError
from prefeq.llm.formats.paths import files_of
from prefeq.llm.formats.values import column
from prefeq.llm.lookalikes import lookalikes

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


@dataclass(frozen=True)
class Shard:
    """A file of pairs, its columns known, its rows still to be read.

    Attributes
    ----------
    path
        The file.
    found
        {our name: its name} of the columns that are read; no others are.
    integers
        Which of these (our names) hold integers.
    rows
        How many rows it has, if it says so before they are read.
    unused
        {its name: our name} of columns of numbers that are not read but look like ours.
    """

    path: Path
    found: Mapping[str, str]
    integers: frozenset[str] = frozenset()
    rows: int | None = None
    unused: Mapping[str, str] = field(default_factory=dict)

    @property
    def source(self) -> str:
        """What rows are named by: FILE:ROW, rows counted from 0."""
        return self.path.as_posix()

    @property
    def layout(self) -> Layout:
        """Which columns there are."""
        return layout_of(self.found)

    def batches(self, track: Callable[[float], None] | None = None) -> Iterator[Batch]:
        """Yield the rows in batches, in order; `track` is told what share of the file is done.

        Raises
        ------
        TableError
            If the file is corrupt or cut short, or holds what is no number: it is named, and the
            row, and what stands there.
        """
        start, names = 0, sorted(set(self.found.values()))
        pieces = _format(self.path).pieces(self.path, names)
        while True:
            try:
                piece = next(pieces, None)
                if piece is None:
                    return
                columns = {
                    ours: column(ours, piece[0][theirs], self.source, start)
                    for ours, theirs in self.found.items()
                }
            except RowError as error:
                raise TableError(f"{self._place(error.row)}: {error.what}") from error
            except _UNREADABLE as error:
                raise _unreadable(self.path, error, start) from error
            batch = Batch(columns, start, self.source)
            start += len(batch)
            yield batch
            if track is not None:
                track(piece[1])

    def _place(self, row: int) -> str:
        """Return where a row stands, for people: of text, its line too."""
        line = _format(self.path).line
        where = "" if line is None else f" (line {line(self.path, row)})"
        return f"{self.source}: row {row}{where}"


def open_shards(
    paths: Paths,
    columns: Mapping[str, str] | None = None,
    note: Callable[[str], None] = warnings.warn,
) -> tuple[Shard, ...]:
    """Return the shards that paths name, each looked at, none read: they fit together.

    Parameters
    ----------
    paths
        A path or several: files (Parquet, CSV, JSON Lines, Arrow or Feather, safetensors, npz),
        folders (all such files in and below them; of `datasets` folders the files of the data set),
        or patterns such as ``"run/**/*.parquet"``. The order is the one given, sorted within a
        folder or pattern.
    columns
        {our name: theirs}, as for `audit`.
    note
        Told of files of flags that folders and patterns hold: they are no pairs, and passed over.

    Raises
    ------
    TableError
        If a file is absent, of an unknown kind, corrupt at its head, or named twice; if a column
        is missing; if shards differ in their columns or in kind.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     text = "ref_chosen_logps,ref_rejected_logps,note\\n-3,-5,a\\n-9,-4,b\\n"
    ...     _ = Path(folder, "pairs.csv").write_text(text)
    ...     (shard,) = open_shards(folder)
    ...     [batch.columns["ref_chosen_logps"].tolist() for batch in shard.batches()]
    [[-3.0, -9.0]]
    """
    several = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    files = [file for path in several for file in _pairs_of(Path(path), note)]
    seen: dict[str, Path] = {}
    for file in files:
        twin = seen.setdefault(os.path.realpath(file), file)
        if twin is not file:
            raise TableError(f"{file}: is named twice (as {twin}, too); name each file once")
    if not files:
        raise TableError("no files: name at least one")
    first = _format(files[0])
    for file in files:
        if _format(file) is not first:
            raise TableError(
                f"{file} is {_format(file).kind}, and {files[0]} is {first.kind}: audit one kind "
                "at a time"
            )
    shards = tuple(_opened(file, columns) for file in files)
    for shard in shards:
        _refuse_mixture(shards[0], shard)
    return shards


def is_paths(data: Any) -> bool:
    """Tell whether this names files: a path, or a list of paths.

    >>> is_paths("pairs.parquet"), is_paths([Path("a.npz")]), is_paths({"prompt": []}), is_paths([])
    (True, True, False, False)
    """
    if isinstance(data, str | os.PathLike):
        return True
    several = isinstance(data, list | tuple) and len(data) > 0
    return several and all(isinstance(path, str | os.PathLike) for path in data)


class ShareDone:
    """Tells `track` what share of the bytes of some shards is done."""

    def __init__(self, shards: Iterable[Shard], track: Callable[[float], None] | None) -> None:
        self.sizes = {shard.source: shard.path.stat().st_size for shard in shards}
        self.total, self.done = max(1, sum(self.sizes.values())), 0
        self.track = track

    def part(self, shard: Shard) -> Callable[[float], None]:
        """Return what is told which share of a shard is done."""

        def tell(share: float) -> None:
            if self.track is not None:
                bytes_done = self.done + min(1.0, share) * self.sizes[shard.source]
                self.track(bytes_done / self.total)

        return tell

    def finish(self, shard: Shard) -> None:
        """Take in that a shard is done."""
        self.done += self.sizes.pop(shard.source)
        if self.track is not None:
            self.track(self.done / self.total)


def _pairs_of(path: Path, note: Callable[[str], None]) -> list[Path]:
    """Return the files that a path stands for, but not what an audit wrote among them."""
    files = files_of(path)
    ours = [f for f in files if f.suffix.lower() in (".parquet", ".pq") and is_flags(f)]
    if ours and len(ours) == len(files):
        raise TableError(
            f"{ours[0]}: holds the flags that an audit wrote, no pairs; name what was audited"
        )
    for file in ours:
        note(f"{file}: holds the flags that an audit wrote, no pairs, and is passed over")
    return [file for file in files if file not in ours]


PACKED = (".gz", ".bz2", ".xz", ".zst", ".zip", ".tar")


def _format(path: Path) -> Format:
    found = FORMATS.get(path.suffix.lower())
    if found is None and path.suffix.lower() in PACKED:
        raise TableError(f"{path}: packed files are not read; unpack it first")
    if found is None:
        raise TableError(
            f"{path}: unknown kind of file {path.suffix!r}; we read {', '.join(FORMATS)}"
        )
    return found


def _opened(path: Path, columns: Mapping[str, str] | None) -> Shard:
    try:
        if path.stat().st_size == 0:
            raise TableError(f"{path}: the file is empty; restore or remove it")
        head: Head = _format(path).head(path)
    except _UNREADABLE as error:
        raise _unreadable(path, error, None) from error
    try:
        found = find(head.names, columns)
    except ProblemError as error:
        raise TableError(f"{path}: {error}") from error
    for theirs in found.values():
        if head.names.count(theirs) > 1:
            raise TableError(f"{path}: column {theirs!r} appears twice; keep one of them")
    integers = frozenset(ours for ours, theirs in found.items() if theirs in head.integers)
    unused = lookalikes(head.names, found, lambda name: name in head.numbers)
    return Shard(path, found, integers, head.rows, unused)


def _refuse_mixture(first: Shard, shard: Shard) -> None:
    odd = sorted(first.found.keys() ^ shard.found.keys())
    if odd:
        one, other = (first, shard) if odd[0] in first.found else (shard, first)
        raise TableError(
            f"{other.source} has no column {odd[0]}, which {one.source} has: audit them apart, or "
            "give all of them the same columns"
        )
    for name in ("prompt", "row_id"):
        if (name in first.integers) != (name in shard.integers):
            one, other = (first, shard) if name in first.integers else (shard, first)
            raise TableError(
                f"{name} is an integer in {one.source}, and is not in {other.source}: store it "
                "alike in all files"
            )


_UNREADABLE = (OSError, ValueError, KeyError, TypeError, EOFError, ArithmeticError,
               NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error)  # fmt: skip
"""What the libraries raise on bad files; pyarrow's errors are among these."""


def _unreadable(path: Path, error: Exception, row: int | None) -> Exception:
    if isinstance(error, ProblemError):
        return error
    if isinstance(error, UnicodeDecodeError):
        return TableError(
            f"{path}: is not UTF-8 (byte {error.object[error.start]:#04x}); save it as UTF-8: "
            "iconv -f latin1 -t utf-8"
        )
    reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or repr(error)
    where = "" if row is None else f" from row {row} on"
    return TableError(
        f"{path}: cannot be read{where} ({reason}); restore the file, or leave it out"
    )
