"""The same columns written in every format that is read."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import feather, parquet

Data = Mapping[str, Any]


def part(data: Data, start: int, stop: int) -> dict[str, Any]:
    return {name: values[start:stop] for name, values in data.items()}


def _lists(data: Data) -> dict[str, list[Any]]:
    return {name: np.asarray(values).tolist() for name, values in data.items()}


def _csv(path: Path, data: Data) -> None:
    columns = _lists(data)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def _jsonl(path: Path, data: Data) -> None:
    columns = _lists(data)
    rows = (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _parquet(path: Path, data: Data) -> None:
    parquet.write_table(pa.table(dict(data)), path, row_group_size=70)


def _stream(path: Path, data: Data) -> None:  # as `datasets` writes them
    table = pa.table(dict(data))
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=60)


def _feather(path: Path, data: Data) -> None:
    feather.write_feather(pa.table(dict(data)), str(path), chunksize=50)


def _npz(path: Path, data: Data) -> None:
    np.savez_compressed(path, **{name: np.asarray(values) for name, values in data.items()})


def safetensors(path: Path, data: Data) -> None:
    """Write numbers by the format's definition: a length, an index, the bytes."""
    types = {"f8": "F64", "f4": "F32", "f2": "F16", "i8": "I64", "i4": "I32", "u2": "BF16"}
    index, blocks, start = {}, [], 0
    for name, values in data.items():
        array = np.asarray(values)
        kind, block = types[array.dtype.str[1:]], array.tobytes()
        stop = start + len(block)
        index[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [start, stop]}
        blocks.append(block)
        start = stop
    head = json.dumps({"__metadata__": {"by": "a test"}, **index}).encode()
    path.write_bytes(len(head).to_bytes(8, "little") + head + b"".join(blocks))


WRITERS: dict[str, Callable[[Path, Data], None]] = {
    "csv": _csv,
    "jsonl": _jsonl,
    "parquet": _parquet,
    "arrow": _stream,
    "feather": _feather,
    "npz": _npz,
    "safetensors": safetensors,
}


def write(path: Path, data: Data) -> Path:
    """Write a file in the format that its suffix names."""
    WRITERS[path.suffix[1:]](path, data)
    return path


def saved_by_datasets(folder: Path, pieces: list[Data]) -> Path:
    """Write what `datasets.save_to_disk` writes, and a cache beside it that is not the data."""
    folder.mkdir(parents=True)
    names = [f"data-{i:05}-of-{len(pieces):05}.arrow" for i in range(len(pieces))]
    for name, piece in zip(names, pieces, strict=True):
        _stream(folder / name, piece)
    _stream(folder / "cache-0123.arrow", pieces[0])
    form = {"_data_files": [{"filename": name} for name in names], "_fingerprint": "0123"}
    (folder / "state.json").write_text(json.dumps(form))
    (folder / "dataset_info.json").write_text("{}")
    return folder
