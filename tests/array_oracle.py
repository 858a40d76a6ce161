"""What the margin and loss tests share: array libraries, and a comparison that raises."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import array_api_strict
import mpmath as mp
import numpy as np
import pytest

EPS = 2.0**-52
TINY = mp.mpf(2) ** -1074
"""The smallest positive float: what underflow may cost."""

LIBRARIES = ("numpy", "array_api_strict", "torch")


def library(name: str) -> Callable[[Any], Any]:
    """Return a function that makes a float64 array of the library from numbers."""
    if name == "numpy":
        return lambda values: np.asarray(values, dtype=np.float64)
    if name == "array_api_strict":
        return lambda values: array_api_strict.asarray(values, dtype=array_api_strict.float64)
    torch = pytest.importorskip("torch")
    return lambda values: torch.tensor(values, dtype=torch.float64)


def floats(array: Any) -> list[Any]:
    """Return the entries of an array of any library as Python numbers."""
    return np.ravel(np.asarray([array[i] for i in range(array.shape[0])])).tolist()


def require_kind(array: Any, like: Any) -> None:
    """Fail unless both arrays come from one library, and `array` is float64 of the same shape."""
    if type(array) is not type(like):
        raise AssertionError(f"{type(array)} came out where {type(like)} went in")
    if array.dtype != like.dtype:
        raise AssertionError(f"dtype {array.dtype} came out where {like.dtype} went in")
    if tuple(array.shape) != tuple(like.shape):
        raise AssertionError(f"shape {array.shape} came out where {like.shape} went in")


def require_close(got: Iterable[float], want: Iterable[Any], tolerance: Iterable[Any]) -> None:
    """Fail unless |got − want| ≤ tolerance entry by entry; infinities must agree exactly.

    A `want` beyond the largest float may be met by an infinity.
    """
    got, want, tolerance = list(got), list(want), list(tolerance)
    if not len(got) == len(want) == len(tolerance) or not got:
        raise AssertionError(f"{len(got)} answers, {len(want)} oracles, {len(tolerance)} bounds")
    for index, (g, w, tol) in enumerate(zip(got, want, tolerance, strict=True)):
        w = mp.mpf(w)
        if math.isnan(g):
            raise AssertionError(f"[{index}] is NaN where the oracle says {mp.nstr(w, 20)}")
        if math.isinf(g):
            if mp.sign(w) != math.copysign(1, g) or abs(w) < mp.mpf("1.79e308"):
                raise AssertionError(f"[{index}] {g!r} where the oracle says {mp.nstr(w, 20)}")
        elif not abs(mp.mpf(g) - w) <= tol + TINY:
            error = mp.nstr(abs(mp.mpf(g) - w), 5)
            raise AssertionError(
                f"[{index}] {g!r}, oracle {mp.nstr(w, 20)}: error {error} > {mp.nstr(tol, 5)}"
            )
