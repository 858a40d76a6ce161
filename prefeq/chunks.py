"""Cut a batch into chunks, and turn rows into *lanes*: one problem a column, side by side.

Reductions over a short last axis are slow, and long arrays travel through memory at every
operation. So batches are worked through in chunks that stay in a cache, transposed: the last axis
is the problem. What is held beside inputs and answers is one chunk's working set.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prefeq._namespace import Array, namespace

HOST_BYTES = 2**21
"""Working set of a chunk on a CPU: what a core's second-level cache holds, about."""

DEVICE_BYTES = 2**30
"""Working set of a chunk on an accelerator: lanes enough to fill it, in a stated part of memory."""


def spans(problems: int, width: int, device: Any = None) -> Iterator[slice]:
    """Yield slices of `problems` rows whose working set, `width` float64 each, fits the budget."""
    budget = HOST_BYTES if str(device or "cpu").startswith("cpu") else DEVICE_BYTES
    length = max(64, budget // (8 * max(width, 1)))
    for start in range(0, problems, length):
        yield slice(start, min(start + length, problems))


def to_lanes(rows: Array, span: slice) -> Array:
    """Return rows (B, K) of a span as lanes (K, n), contiguous; (B,) as (n,)."""
    part = rows[span, ...]
    if part.ndim == 1:
        return part
    xp = namespace(part)
    lanes = xp.empty((part.shape[1], part.shape[0]), dtype=part.dtype, device=_device(part))
    lanes[...] = xp.permute_dims(part, (1, 0))
    return lanes


def from_lanes(rows: Array, span: slice, lanes: Array) -> None:
    """Write lanes (K, n) back to rows (B, K) of a span; (n,) to (B,)."""
    rows[span, ...] = lanes if lanes.ndim == 1 else namespace(lanes).permute_dims(lanes, (1, 0))


def _device(array: Array) -> Any:
    import array_api_compat

    return array_api_compat.device(array)
