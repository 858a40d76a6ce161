"""The door of the array-API functions: any array library or plain numbers in, float64 out."""

from __future__ import annotations

import math
from functools import cache
from numbers import Real
from typing import Any, TypeAlias

import array_api_compat
import numpy as np

from prefeq.errors import ProblemError

Array: TypeAlias = Any
"""A real array of any library that follows the array API standard, or a Python number."""

LN2 = math.log(2)

quiet = np.errstate(all="ignore")
"""Decorator: infinities are answers here, not accidents (only NumPy would warn of them)."""


def namespace(array: Array) -> Any:
    """Return the array namespace of one array (or of a Python number: NumPy's)."""
    if isinstance(array, np.ndarray | np.generic | Real):  # most are: save the lookup
        return _numpy()
    return array_api_compat.array_namespace(array)


@cache
def _numpy() -> Any:
    return array_api_compat.array_namespace(np.zeros(()))  # loads half of NumPy: on first use only


def real(**named: Array) -> tuple[Any, ...]:
    """Return (namespace, arrays…): the arguments as float64 of one library, on one device.

    Raises
    ------
    ProblemError
        If an argument holds a NaN or is not real, if two come from different libraries, or if
        their shapes do not broadcast.
    """
    arrays = [value for value in named.values() if not _is_plain(value)]
    try:
        xp = array_api_compat.array_namespace(*arrays) if arrays else _numpy()
    except TypeError as error:
        raise ProblemError(
            f"{', '.join(named)} must be numbers or arrays of one library: {error}"
        ) from error
    device = array_api_compat.device(arrays[0]) if arrays else None
    values = tuple(_float64(xp, name, value, device) for name, value in named.items())
    try:
        np.broadcast_shapes(*(tuple(value.shape) for value in values))
    except ValueError as error:
        shapes = ", ".join(
            f"{name} {tuple(value.shape)}" for name, value in zip(named, values, strict=True)
        )
        raise ProblemError(
            f"shapes do not broadcast: {shapes}; pass arrays of equal shape"
        ) from error
    return (xp, *values)


def require(xp: Any, name: str, value: Array, good: Array, why: str) -> None:
    """Raise a `ProblemError` that names the first entry of `value` where `good` is false."""
    if bool(xp.all(good)):
        return
    bad = xp.astype(xp.reshape(xp.logical_not(good), (-1,)), xp.int8)
    flat = int(xp.argmax(bad))
    index = ", ".join(str(int(i)) for i in np.unravel_index(flat, tuple(value.shape)))
    where = f"[{index}]" if index else ""
    raise ProblemError(f"{name}{where} = {float(xp.reshape(value, (-1,))[flat])}: {why}")


def require_positive(xp: Any, **named: Array) -> None:
    """Require every entry to be positive and finite."""
    for name, value in named.items():
        good = xp.logical_and(value > 0, xp.isfinite(value))
        require(xp, name, value, good, "must be positive and finite")


def answer(xp: Any, name: str, value: Array) -> Array:
    """Return `value`, scalars as scalars, unless it holds a NaN: that is never an answer."""
    why = "undefined, as infinities cancel or overflow in it; pass finite, smaller numbers"
    require(xp, name, value, xp.logical_not(xp.isnan(value)), why)
    return scalar(value)


def scalar(value: Array) -> Array:
    """Return `value`; a 0-d NumPy array, which some operations leave behind, as a number."""
    return value[()] if value.ndim == 0 else value


def _is_plain(value: Array) -> bool:
    return isinstance(value, (Real, list, np.bool_))


def _float64(xp: Any, name: str, value: Array, device: Any) -> Array:
    if isinstance(value, list):
        try:
            value = np.asarray(value, dtype=np.float64).tolist()
        except (TypeError, ValueError) as error:
            raise ProblemError(f"{name} is not a rectangular list of numbers: {error}") from error
    if _is_plain(value):
        value = value if isinstance(value, list) else float(value)
        value = xp.asarray(value, dtype=xp.float64, device=device)
    elif not xp.isdtype(value.dtype, ("real floating", "integral", "bool")):
        raise ProblemError(f"{name} has dtype {value.dtype}: pass real numbers instead")
    value = xp.astype(value, xp.float64, copy=False)
    not_nan = xp.logical_not(xp.isnan(value))
    require(xp, name, value, not_nan, "not a number; remove it or mask it first")
    return value
