"""Columns of a piece as arrays: of numbers, or of objects that are texts or integers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from prefeq.errors import TableError
from prefeq.llm.clusters import text_of
from prefeq.llm.columns import NUMBERS
from prefeq.llm.formats.base import RowError

MISSING = frozenset(("", "nan", "na", "n/a", "null", "none"))
"""What stands for a missing number in text, in small letters."""


def column(name: str, values: Any, source: str, start: int) -> Any:
    """Return a column of a batch: an array of numbers, or of objects that are text or integers."""
    if name in NUMBERS:
        return _numbers(name, values, source, start)
    integers = np.asarray(()) if isinstance(values, list) else values
    if hasattr(values, "to_pylist"):
        if values.null_count == 0 and str(values.type).startswith(("int", "uint")):
            return values.to_numpy(zero_copy_only=False)
        values = values.to_pylist()
    elif getattr(integers, "dtype", np.dtype("O")).kind in "iu":
        return values
    elif not isinstance(values, list):
        values = values.tolist()
    for i, value in enumerate(values):
        if value is None:
            raise RowError(start + i, f"has no {name}; give every row one, or none")
    plain = name == "row_id"
    texts = [v if plain and isinstance(v, int) else text_of(v) for v in values]
    answer = np.empty(len(texts), object)  # of text itself NumPy makes rows of the longest
    answer[:] = texts
    return answer


def _numbers(name: str, values: Any, source: str, start: int) -> Any:
    if hasattr(values, "to_pylist"):
        kind = str(values.type)
        if kind.startswith(("float", "double", "half", "int", "uint")):
            return values.to_numpy(zero_copy_only=False)
        if "<" in kind or kind in ("bool", "binary"):
            raise TableError(f"{source}: {name} has type {kind}: pass one number a pair")
        values = values.to_pylist()
    elif not isinstance(values, list):
        if values.dtype.kind in "fiu":
            return values
        values = values.tolist()
    try:
        array = np.array(values, np.float64)
        if array.ndim == 1:
            return array
    except (TypeError, ValueError, OverflowError):
        pass  # which one, and where, is found out now
    return np.array([_number(v, name, start + i) for i, v in enumerate(values)])


def _number(value: Any, name: str, row: int) -> float:
    """Return a number; NaN, which is counted and left out, for one that is missing."""
    if value is None or (isinstance(value, str) and value.strip().lower() in MISSING):
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError) as error:
        shown = repr(value) if len(repr(value)) <= 40 else repr(value)[:39] + "…"
        raise RowError(row, f"{name} = {shown} is not a number") from error
