"""Cut a batch into chunks, and turn rows into *lanes*: one problem a column, side by side.

Reductions over a short last axis are slow, and long arrays travel through memory at every
operation. So batches are worked through in chunks that stay in a cache, transposed: the last axis
is the problem. What is held beside inputs and answers is one chunk's working set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import array_api_compat
import numpy as np

from prefeq._namespace import Array, namespace

HOST_BYTES = 2**23
"""Working set of a chunk on a CPU: within a cache, and long enough that calls cost little."""

DEVICE_BYTES = 2**30
"""Working set of a chunk on an accelerator: lanes enough to fill it, in a stated part of memory."""


def map_lanes(
    kernel: Callable[..., dict[str, Array]], rows: Mapping[str, Array], width: int
) -> dict[str, Array]:
    """Apply a kernel to the problems (B, K) of `rows`, chunk by chunk.

    The kernel takes the lanes by name, and gives lanes by name: (R, n) or (n,); what it gives for
    some chunks only is 0 in the others. `width` is how many float64 its working set holds for each
    lane.
    """
    first = next(iter(rows.values()))
    xp, device, problems = namespace(first), array_api_compat.device(first), first.shape[0]
    found: dict[str, Array] = {}
    _keep_freed_memory()
    for span in spans(problems, width, device):
        lanes = {name: to_lanes(array, span) for name, array in rows.items()}
        for name, answer in kernel(**lanes).items():
            if name not in found:
                shape = (problems, *answer.shape[:-1])
                found[name] = xp.zeros(shape, dtype=answer.dtype, device=device)
            from_lanes(found[name], span, answer)
    return found


def _keep_freed_memory() -> None:
    """Let glibc keep the arrays of one step for the next, in place of mapping them anew.

    Freeing a block that was mapped raises its thresholds to the size of the block (32 MB at most);
    no page is touched. Elsewhere this does nothing.
    """
    np.empty(4_000_000)


def spans(problems: int, width: int, device: Any = None) -> Iterator[slice]:
    """Yield slices of rows whose working set, `width` float64 a problem, fits the budget.

    At least one, so that a batch of no problems has an answer with a shape.
    """
    budget = HOST_BYTES if str(device or "cpu").startswith("cpu") else DEVICE_BYTES
    length = max(64, budget // (8 * max(width, 1)))
    for start in range(0, max(problems, 1), length):
        yield slice(start, min(start + length, problems))


def to_lanes(rows: Array, span: slice) -> Array:
    """Return rows (B, K) of a span as lanes (K, n), contiguous; (B,) as (n,)."""
    part = rows[span, ...]
    if part.ndim == 1:
        return part
    xp = namespace(part)
    n, k = part.shape
    lanes = xp.empty((k, n), dtype=part.dtype, device=array_api_compat.device(part))
    lanes[...] = xp.permute_dims(part, (1, 0))
    return lanes


def from_lanes(rows: Array, span: slice, lanes: Array) -> None:
    """Write lanes (K, n) back to rows (B, K) of a span; (n,) to (B,)."""
    rows[span, ...] = lanes if lanes.ndim == 1 else namespace(lanes).permute_dims(lanes, (1, 0))
