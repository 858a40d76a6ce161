"""Input checking and the few log-space primitives that the tabular side shares.

Arrays of any library that follows the array API standard pass through; what is no array becomes
one of NumPy's.
"""

from __future__ import annotations

from typing import Any

import array_api_compat
import numpy as np
import numpy.typing as npt

from prefeq import _elementary as elementary
from prefeq._namespace import Array, namespace, quiet
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


def common(**named: Any) -> tuple[Any, Any]:
    """Return the (namespace, device) of the arrays among the arguments; NumPy's if there is none.

    Raises
    ------
    ProblemError
        If two come from different libraries or sit on different devices.
    """
    arrays = {name: value for name, value in named.items() if is_tensor(value)}
    strangers = [name for name, value in named.items() if isinstance(value, np.ndarray)]
    try:
        xp = array_api_compat.array_namespace(*arrays.values()) if arrays else None
    except TypeError as error:
        raise ProblemError(f"{', '.join(arrays)}: arrays of different libraries") from error
    if xp is None:
        return namespace(np.zeros(())), None
    if strangers:
        raise ProblemError(
            f"{strangers[0]} is a NumPy array and {next(iter(arrays))} is not: pass both as arrays "
            "of one library"
        )
    devices = {name: array_api_compat.device(value) for name, value in arrays.items()}
    first, device = next(iter(devices.items()))
    for name, other in devices.items():
        if other != device:
            raise ProblemError(f"{name} is on {other} and {first} on {device}: move one of them")
    return xp, device


def is_tensor(value: Any) -> bool:
    """Whether a value is an array of a library other than NumPy."""
    return not isinstance(value, np.ndarray | np.generic) and bool(
        array_api_compat.is_array_api_obj(value)
    )


def to_numpy(array: Array) -> npt.NDArray[Any]:
    """Return an array of any library on any device as one of NumPy's."""
    if not is_tensor(array):
        return np.asarray(array)
    return np.asarray(array_api_compat.to_device(_detached(array), "cpu"))


def as_float(name: str, value: Any, xp: Any = None, device: Any = None) -> Array:
    """Return `value` as a fresh float64 array, refusing complex, object and text dtypes.

    With `xp` (see `common`) what is no array yet becomes one of that library.
    """
    if is_tensor(value):
        own = namespace(value)
        if not own.isdtype(value.dtype, ("real floating", "integral", "bool")):
            raise ProblemError(f"{name} has dtype {value.dtype}: pass real numbers instead")
        return own.astype(_detached(value), own.float64, copy=True)
    array = _as_array(name, value)
    if array.dtype.kind not in "biuf":
        raise ProblemError(
            f"{name} has dtype {array.dtype}: pass real numbers (integers or floats) instead"
        )
    with np.errstate(over="ignore"):  # a long double beyond float64 becomes inf
        fresh = np.array(array, dtype=np.float64, order="C")
    return fresh if device is None else xp.asarray(fresh, device=device)


def as_index(name: str, value: Any, xp: Any = None, device: Any = None) -> Array:
    """Return `value` as a fresh int64 array, refusing anything but integers."""
    if is_tensor(value):
        own = namespace(value)
        if not own.isdtype(value.dtype, "integral"):
            raise ProblemError(f"{name} has dtype {value.dtype}: pass integer response indices")
        return own.astype(value, own.int64, copy=True)
    array = _as_array(name, value)
    if array.size == 0:
        fresh = np.zeros(array.shape, dtype=np.int64)
    elif array.dtype.kind not in "iu":
        raise ProblemError(f"{name} has dtype {array.dtype}: pass integer response indices instead")
    else:
        refuse(name, array, np.asarray(array > np.iinfo(np.int64).max), "is no response index")
        fresh = np.array(array, dtype=np.int64, order="C")
    return fresh if device is None else xp.asarray(fresh, device=device)


def _as_array(name: str, value: Any) -> npt.NDArray[Any]:
    try:
        return np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:
        why = " ".join(str(error).split())
        raise ProblemError(
            f"{name} is not a rectangular array that NumPy reads ({why}): pad short rows, and do "
            "not put tensors into lists"
        ) from error


def _detached(array: Array) -> Array:
    """Return the values without their gradient (torch)."""
    return array.detach() if hasattr(array, "detach") else array


def refuse(name: str, array: Array, bad: Array, why: str) -> None:
    """Raise a `ProblemError` that names the first entry of `array` where `bad` is true."""
    if not bool(namespace(bad).any(bad)):
        return
    shown, where = to_numpy(array), to_numpy(bad)
    index = tuple(int(i) for i in np.argwhere(where)[0])
    listed = f"[{', '.join(map(str, index))}]" if index else ""
    raise ProblemError(f"{name}{listed} = {shown[index]!s}: {why}")


def batch_index(index: Any, lead: tuple[int, ...]) -> Any:
    """Return an index of the leading axes that cannot reach the axis behind them.

    Raises
    ------
    ProblemError
        If it has more parts than there are leading axes.
    """
    parts = index if isinstance(index, tuple) else (index,)
    axes = [p for p in parts if p is not ... and p is not None]
    used = sum(part.ndim if _is_mask(part) else 1 for part in axes)
    if used > len(lead):
        raise ProblemError(
            f"index {index!r}: a batch of shape {lead} has {len(lead)} axes to index"
        )
    if not any(p is ... for p in parts):
        return index
    place = next(i for i, p in enumerate(parts) if p is ...)
    return (*parts[:place], *[slice(None)] * (len(lead) - used), *parts[place + 1 :])


def _is_mask(part: Any) -> bool:
    return (is_tensor(part) and bool(namespace(part).isdtype(part.dtype, "bool"))) or (
        isinstance(part, np.ndarray) and part.dtype == np.bool_
    )


def spread_out(xp: Any, fresh: Array, shape: tuple[int, ...]) -> Array:
    """Return a fresh array broadcast to a shape, as one that may be written to."""
    if tuple(fresh.shape) == shape:
        return fresh
    full = xp.empty(shape, dtype=fresh.dtype, device=array_api_compat.device(fresh))
    full[...] = fresh  # contiguous: a copy of the broadcast view need not be
    return full


def freeze(array: Array) -> Array:
    """Mark a NumPy array read-only (other libraries have no such mark) and return it."""
    if isinstance(array, np.ndarray):
        array.setflags(write=False)
    return array


@quiet
def logsumexp(logits: Array, axis: int = -1) -> Array:
    """Return log Σ exp over an axis; rows of -inf give -inf, never NaN."""
    xp = namespace(logits)
    top = xp.max(logits, axis=axis, keepdims=True)
    safe = xp.where(xp.isfinite(top), top, xp.zeros_like(top))
    total = xp.sum(xp.exp(logits - safe), axis=axis)
    return xp.log(total) + xp.squeeze(safe, axis=axis)


def log_normalise(logits: Array, axis: int = -1) -> Array:
    """Return `logits` − logsumexp along an axis, in two steps so that large shifts cancel."""
    xp = namespace(logits)
    centred = logits - xp.max(logits, axis=axis, keepdims=True)
    return centred - xp.expand_dims(logsumexp(centred, axis), axis=axis)


@quiet
def log_sigmoid(z: Array) -> Array:
    """Return log σ(z), accurate in both tails."""
    return -elementary.softplus(namespace(z), -z)


def sigmoid(z: Array) -> Array:
    """Return σ(z) without overflow."""
    return namespace(z).exp(log_sigmoid(z))


def take(array: Array, index: Array) -> Array:
    """Return ``array[..., index]`` along the last axis, broadcasting the leading axes."""
    xp = namespace(array)
    lead = np.broadcast_shapes(tuple(array.shape[:-1]), tuple(index.shape[:-1]))
    rows = xp.broadcast_to(array, (*lead, array.shape[-1]))
    picks = xp.broadcast_to(index, (*lead, index.shape[-1]))
    return xp.take_along_axis(rows, picks, axis=-1)
