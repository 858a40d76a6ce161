"""Input checking and the few log-space primitives that the tabular side shares (NumPy only)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from prefeq.errors import ProblemError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

MAX_NATS = 1e100
"""Largest spread of log-probabilities or of reward / beta that is accepted: sums of squares of
such numbers still fit a float64, so no later step can overflow into a NaN. β and 1/β, finite label
log-odds and margins stay within it too."""

MAX_MASS = 1e300
"""Largest mass of a pair: sums of masses still fit a float64."""


def as_float(name: str, value: Any) -> FloatArray:
    """Return `value` as a fresh float64 array, refusing complex, object and text dtypes."""
    array = _as_array(name, value)
    if array.dtype.kind not in "biuf":
        raise ProblemError(
            f"{name} has dtype {array.dtype}: pass real numbers (integers or floats) instead"
        )
    with np.errstate(over="ignore"):  # a long double beyond float64 becomes inf
        return np.array(array, dtype=np.float64)


def as_index(name: str, value: Any) -> IntArray:
    """Return `value` as a fresh int64 array, refusing anything but integers."""
    array = _as_array(name, value)
    if array.size == 0:
        return np.zeros(array.shape, dtype=np.int64)
    if array.dtype.kind not in "iu":
        raise ProblemError(f"{name} has dtype {array.dtype}: pass integer response indices instead")
    refuse(name, array, np.asarray(array > np.iinfo(np.int64).max), "is no response index")
    return np.array(array, dtype=np.int64)


def _as_array(name: str, value: Any) -> npt.NDArray[Any]:
    try:
        return np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:
        why = " ".join(str(error).split())
        raise ProblemError(
            f"{name} is not a rectangular array that NumPy reads ({why}): pad short rows, and pass "
            "tensors as x.detach().cpu().double()"
        ) from error


def refuse(name: str, array: npt.NDArray[Any], bad: BoolArray, why: str) -> None:
    """Raise a `ProblemError` that names the first entry of `array` where `bad` is true."""
    if not bad.any():
        return
    index = tuple(int(i) for i in np.argwhere(bad)[0])
    where = f"[{', '.join(map(str, index))}]" if index else ""
    raise ProblemError(f"{name}{where} = {array[index]!s}: {why}")


def freeze(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Mark an array read-only and return it."""
    array.setflags(write=False)
    return array


def logsumexp(logits: FloatArray) -> FloatArray:
    """Return log Σ exp over the last axis; rows of -inf give -inf, never NaN."""
    top = np.max(logits, axis=-1, keepdims=True)
    safe = np.where(np.isfinite(top), top, 0.0)
    total = np.sum(np.exp(logits - safe), axis=-1)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(total) + safe[..., 0])


def log_normalise(logits: FloatArray) -> FloatArray:
    """Return `logits` − logsumexp along the last axis, in two steps so that large shifts cancel."""
    top = np.max(logits, axis=-1, keepdims=True)
    centred = logits - top
    return np.asarray(centred - logsumexp(centred)[..., None])


def log_sigmoid(z: FloatArray) -> FloatArray:
    """Return log σ(z), accurate in both tails."""
    return np.asarray(-np.logaddexp(0.0, -z))


def sigmoid(z: FloatArray) -> FloatArray:
    """Return σ(z) without overflow."""
    return np.exp(log_sigmoid(z))


def take(array: FloatArray, index: IntArray) -> FloatArray:
    """Return ``array[..., index]`` along the last axis, broadcasting the leading axes."""
    lead = np.broadcast_shapes(array.shape[:-1], index.shape[:-1])
    rows = np.broadcast_to(array, lead + array.shape[-1:])
    picks = np.broadcast_to(index, lead + index.shape[-1:])
    return np.take_along_axis(rows, picks, axis=-1)
