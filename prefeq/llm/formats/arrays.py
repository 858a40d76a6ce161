"""npz and safetensors: columns one after the other, of which slices are read side by side."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from prefeq.errors import TableError
from prefeq.llm.formats import base
from prefeq.llm.formats.base import KNOWN, Head, Pieces


class _Column(NamedTuple):
    """Where an array of one dimension stands: its type, its length, and where it begins."""

    dtype: np.dtype[Any]
    rows: int
    start: int
    name: str = ""


def _one_length(path: Path, columns: dict[str, _Column], names: Sequence[str]) -> int:
    rows = {name: columns[name].rows for name in names}
    if len(set(rows.values())) > 1:
        sizes = ", ".join(f"{name} {n}" for name, n in rows.items())
        raise TableError(f"{path}: columns of unequal length: {sizes}")
    return next(iter(rows.values()), 0)


def _columns_head(columns: dict[str, _Column]) -> Head:
    integers = frozenset(name for name, c in columns.items() if c.dtype.kind in "iu")
    rows = next((c.rows for name, c in columns.items() if name in KNOWN), None)
    flat = (name for name, c in columns.items() if c.dtype.kind in "fiu" and c.rows >= 0)
    return Head(list(columns), integers, rows, frozenset(flat))


def _flat(path: Path, name: str, shape: Sequence[int]) -> int:
    """Return the length of an array; -1 if it has not one dimension and cannot be a column."""
    if len(shape) != 1 and name in KNOWN:
        raise TableError(f"{path}: {name} has shape {tuple(shape)}: pass one number a pair")
    return shape[0] if len(shape) == 1 else -1


def _npz_columns(path: Path) -> dict[str, _Column]:
    columns = {}
    with zipfile.ZipFile(path) as archive:
        for entry in archive.namelist():
            name = entry.removesuffix(".npy")
            with archive.open(entry) as member:
                version = np.lib.format.read_magic(member)
                read = np.lib.format.read_array_header_1_0
                read = read if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, _, dtype = read(member)
                start = member.tell()
            if dtype.hasobject and name in KNOWN:
                raise TableError(f"{path}: {name} holds pickled objects, which are not loaded")
            columns[name] = _Column(dtype, _flat(path, name, shape), start, entry)
    return columns


def npz_head(path: Path) -> Head:
    """Return what an npz archive holds."""
    return _columns_head(_npz_columns(path))


def npz_pieces(path: Path, names: Sequence[str]) -> Pieces:
    """Yield the arrays of an npz archive; pickles are never loaded."""
    columns = _npz_columns(path)
    rows = _one_length(path, columns, names)
    with zipfile.ZipFile(path) as archive, ExitStack() as stack:
        members = {name: stack.enter_context(archive.open(columns[name].name)) for name in names}
        for name, member in members.items():
            member.read(columns[name].start)
        for start in range(0, rows, base.ROWS):
            count = min(base.ROWS, rows - start)
            yield (
                {name: _read(m, columns[name].dtype, count) for name, m in members.items()},
                (start + count) / rows,
            )
        for name, member in members.items():  # at its end the checksum is compared
            if member.read(1):
                raise TableError(f"{path}: {name} is longer than it says; restore the file")


_TENSORS = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1",
}  # fmt: skip


def _safetensors_columns(path: Path) -> dict[str, tuple[_Column, str]]:
    """Return where the tensors stand; the format is 8 bytes, a JSON index and the numbers."""
    size, columns = path.stat().st_size, {}
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(size - 8, 10**8):
            raise TableError(f"{path}: is no safetensors file, or cut short; restore it")
        index = json.loads(file.read(length))
    for name, entry in index.items():
        if name == "__metadata__":
            continue
        kind, (start, stop) = entry["dtype"], entry["data_offsets"]
        if kind not in _TENSORS:
            if name in KNOWN:
                raise TableError(f"{path}: {name} has type {kind}; store it as F32 or BF16")
            kind = "U8"
        dtype, shape = np.dtype(_TENSORS[kind]), entry["shape"]
        rows = _flat(path, name, shape)
        whole = 0 <= start <= stop <= size - 8 - length
        if not whole or (name in KNOWN and stop - start != math.prod(shape) * dtype.itemsize):
            raise TableError(f"{path}: {name} is cut short, or not where it should be; restore it")
        columns[name] = (_Column(dtype, rows, 8 + length + start), kind)
    return columns


def safetensors_head(path: Path) -> Head:
    """Return what a safetensors file holds."""
    found = _safetensors_columns(path)
    head = _columns_head({name: column for name, (column, _) in found.items()})
    return Head(head.names, head.integers - {n for n, (_, k) in found.items() if k == "BF16"},
                head.rows, head.numbers)  # fmt: skip


def safetensors_pieces(path: Path, names: Sequence[str]) -> Pieces:
    """Yield the tensors of a safetensors file; bfloat16 as float32."""
    found = _safetensors_columns(path)
    rows = _one_length(path, {name: column for name, (column, _) in found.items()}, names)
    with path.open("rb") as file:
        for start in range(0, rows, base.ROWS):
            count, values = min(base.ROWS, rows - start), {}
            for name in names:
                column, kind = found[name]
                file.seek(column.start + start * column.dtype.itemsize)
                part = _read(file, column.dtype, count)
                wide = kind == "BF16"  # the upper half of a float32
                values[name] = (part.astype("<u4") << 16).view("<f4") if wide else part
            yield values, (start + count) / rows


def _read(file: Any, dtype: np.dtype[Any], count: int) -> Any:
    data = file.read(count * dtype.itemsize)
    if len(data) != count * dtype.itemsize:
        raise EOFError("it ends too early")
    return np.frombuffer(data, dtype)
