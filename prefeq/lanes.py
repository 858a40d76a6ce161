"""Lanes: a chunk of problems side by side, one a column, so that every operation runs over them.

Values of responses are (K, n), of pairs (P, n), of problems (n,): the last axis is the lane. A pair
finds its responses by *flat* indices, response·n + lane, into the reshaped (K, n) values. Float64,
int64 and bool throughout, of one array library on one device.
"""

from __future__ import annotations

from typing import Any

import array_api_compat

from prefeq._namespace import Array, namespace


def flat_index(xp: Any, index: Array) -> Array:
    """Turn response indices (P, n) into positions in a (K, n) array reshaped to one axis."""
    n = index.shape[-1]
    return index * n + xp.arange(n, dtype=xp.int64, device=device_of(index))


def device_of(array: Array) -> Any:
    """Return the device of an array."""
    return array_api_compat.device(array)


def pick(xp: Any, values: Array, flat: Array) -> Array:
    """Return the values (K, n) at flat indices (P, n) or (n,), in the shape of the indices."""
    return xp.reshape(xp.take(xp.reshape(values, (-1,)), xp.reshape(flat, (-1,))), flat.shape)


def put(xp: Any, values: Array, flat: Array, new: Array) -> None:
    """Write `new` (n,) at flat indices (n,), one in each lane, in place.

    `values` must be contiguous: as reshaping would copy it otherwise, and the copy be written.
    """
    xp.reshape(values, (-1,))[flat] = new


def add_at(xp: Any, values: Array, flat: Array, amounts: Array) -> None:
    """Add amounts (P, n) to values (K, n) at flat indices (P, n), in place; repeats add up."""
    one = xp.reshape(values, (-1,))
    for row in range(flat.shape[0]):  # within a row every lane has a place of its own
        one[flat[row, ...]] = xp.take(one, flat[row, ...]) + amounts[row, ...]


def select(array: Array, keep: Array) -> Array:
    """Return the lanes at the positions `keep` (int64), as a contiguous array."""
    return namespace(array).take(array, keep, axis=array.ndim - 1)
