"""Batches cut into chunks: float64 arrays of one library, without the rows that are no numbers."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import array_api_compat
import numpy as np

from prefeq._namespace import Array, quiet
from prefeq.errors import ProblemError
from prefeq.llm.columns import POLICY, REFERENCE, TOKENS, Batch, Layout, is_torch

CHUNK = 2**15
"""Rows worked on at a time on a CPU: the arrays in use stay in its caches, and calls are few.

Fixed, not fitted to the machine, as sums are rounded chunk by chunk.
"""

DIFFERENCE = "their difference"
"""What is bad of a row whose numbers are finite, and whose margins are not."""


@dataclass(frozen=True)
class Chunk:
    """Rows of a batch as float64 arrays of one library; `cleaned`, all of them finite.

    Attributes
    ----------
    data
        Our names to arrays; not to be written to, as they may be the caller's own.
    kept
        Which rows of the batch these are, if some were left out.
    excluded
        (row of the batch, columns) of every row that was left out, and which of it are bad.
    """

    xp: Any
    data: Mapping[str, Array]
    rows: slice
    kept: Array | None
    excluded: list[tuple[int, tuple[str, ...]]]

    def __len__(self) -> int:
        return int(self.data[REFERENCE[0]].shape[0])

    def row(self, i: int) -> int:
        """Return the row of the batch that is row i of the chunk."""
        return int(self.rows.start) + (i if self.kept is None else int(self.kept[i]))


def chunks(batch: Batch, layout: Layout) -> Iterator[Chunk]:
    """Yield the rows of a batch in chunks of a fixed size.

    Rows whose log-probs or rewards are NaN or infinite are still in them: what is made of them
    shows it (`metrics.Measures.finite`), and then `cleaned` leaves them out. Rows whose token count
    is not a positive number, or whose label probability is none, are left out here.
    """
    missing = [name for name in layout.numbers if name not in batch.columns]
    missing += ["prompt"] if layout.prompt and "prompt" not in batch.columns else []
    if missing:
        raise ProblemError(
            f"{batch.source or 'a batch'} has no column {missing[0]}, which others have"
        )
    numbers = [batch.columns[name] for name in layout.numbers]
    like = next((values for values in numbers if is_torch(values)), None)
    size = chunk_size(batch)
    if like is None:
        _keep_freed_memory()
    for start in range(0, len(batch), size):
        yield _chunk(batch, layout, slice(start, min(start + size, len(batch))), like)


def chunk_size(batch: Batch) -> int:
    """Return how many rows of a batch are worked on at a time, on the device where they are."""
    columns = batch.columns.values()
    accelerated = any(is_torch(v) and v.device.type != "cpu" for v in columns)
    return 128 * CHUNK if accelerated else CHUNK


def aligned(batches: Iterable[Batch]) -> Iterator[Batch]:
    """Yield the same rows in batches of whole chunks, but for the last of each source.

    Consecutive batches of a source are joined where they have to be; so chunks begin at the same
    rows however a reader cuts its source. Whole chunks are not copied.
    """
    rest: Batch | None = None
    for batch in batches:
        if rest is not None and rest.place(len(rest)) != batch.place(0):
            yield rest
            rest = None
        if rest is not None:
            batch = _joined(rest, batch)
        whole = len(batch) - len(batch) % chunk_size(batch)
        if whole:
            yield batch.part(0, whole)
        rest = batch.part(whole, len(batch)) if whole < len(batch) else None
    if rest is not None:
        yield rest


def _joined(one: Batch, other: Batch) -> Batch:
    """Return two consecutive batches as one."""
    if one.columns.keys() != other.columns.keys():
        raise ProblemError(f"{one.source}: the columns change at row {other.start}")
    columns: dict[str, Any] = {}
    for name, first in one.columns.items():
        second = other.columns[name]
        if is_torch(first) and is_torch(second):
            columns[name] = array_api_compat.array_namespace(first).concat([first, second])
        elif isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
            columns[name] = np.concatenate([first, second])
        else:
            columns[name] = [*first, *second]
    return Batch(columns, one.start, one.source)


def _keep_freed_memory() -> None:
    """Let glibc's malloc keep what is freed, up to 32 MB, instead of giving it back every time.

    It does from the first time that a block of this size is freed; the pages are never touched.
    Without it the arrays of every chunk are new to the process, and page faults take half the time.
    """
    np.empty(2**21)


def _chunk(batch: Batch, layout: Layout, rows: slice, like: Any) -> Chunk:
    xp: Any = np if like is None else array_api_compat.array_namespace(like)
    data = {name: _float64(xp, batch.columns[name][rows], like) for name in layout.numbers}
    chunk = Chunk(xp, data, rows, None, [])
    doubtful = [name for name in ("label_prob", *TOKENS) if name in data]
    return cleaned(batch, chunk) if any(_out_of_range(n, data[n]) for n in doubtful) else chunk


@quiet
def cleaned(batch: Batch, chunk: Chunk) -> Chunk:
    """Return a chunk without the rows that hold no numbers.

    Raises
    ------
    ProblemError
        If a label probability is a number, but outside [0, 1].
    """
    xp, data = chunk.xp, chunk.data
    bad = {name: _bad(xp, name, values) for name, values in data.items()}
    gap = data[REFERENCE[0]] - data[REFERENCE[1]]
    if POLICY[0] in data:
        gap = (data[POLICY[0]] - data[POLICY[1]]) - gap
    known = functools.reduce(operator.or_, bad.values())
    bad[DIFFERENCE] = ~xp.isfinite(gap) & ~known  # where it has no other cause
    any_bad = known | bad[DIFFERENCE]
    (kept,), (lost,) = xp.nonzero(~any_bad), xp.nonzero(any_bad)
    excluded = [
        (chunk.rows.start + i, tuple(name for name, wrong in bad.items() if bool(wrong[i])))
        for i in lost.tolist()
    ]
    data = {name: values[kept] for name, values in data.items()}
    clean = Chunk(xp, data, chunk.rows, kept, excluded)
    if "label_prob" in data and _out_of_range("label_prob", data["label_prob"]):
        prob = data["label_prob"]
        i = int(xp.nonzero((prob < 0) | (prob > 1))[0][0])
        raise ProblemError(
            f"label_prob = {float(prob[i])} in row {batch.row_id(clean.row(i))}: a label "
            "probability is in [0, 1]"
        )
    return clean


def _out_of_range(name: str, values: Array) -> bool:
    if len(values) == 0:
        return False
    if name in TOKENS:
        return not 0 < float(values.min()) <= float(values.max()) < math.inf
    return not 0 <= float(values.min()) <= float(values.max()) <= 1


def _bad(xp: Any, name: str, values: Array) -> Array:
    wrong = ~xp.isfinite(values)
    return wrong | (values <= 0) if name in TOKENS else wrong


def _float64(xp: Any, values: Any, like: Any) -> Array:
    if like is None:
        return np.ascontiguousarray(values, dtype=np.float64)
    if like.device.type == "mps":  # which has no float64
        return xp.asarray(values.cpu() if is_torch(values) else values, dtype=xp.float64)
    return xp.asarray(values, dtype=xp.float64, device=like.device)
