"""Gradient descent on ladders of ordered pairs, in steps of 1/Lip from the reference.

The path of DPO in x = δ − δ_ref does not depend on δ_ref or the rewards (claim relative-advantage),
and with steps of 1/Lip neither does that of βx on β: one run for each K serves every cell.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from prefeq import chunks, margins
from prefeq._namespace import namespace, quiet
from prefeq.arrays import FloatArray
from prefeq.atlas.ladder import Cells
from prefeq.losses import CLIP
from prefeq.solvers.batched.descent import descend_lanes
from prefeq.solvers.batched.walk import Problems, lipschitz_lanes


def ordered_least(cells: Cells) -> FloatArray:
    """Return the least margin after the steps of DPO."""
    least: FloatArray = cells.delta_ref + path(cells.k, cells.steps)[-1] / cells.beta
    return least


def clipped_least(cells: Cells) -> FloatArray:
    """Return the least margin after the steps of HyPO: t = max(δ_ref, 0), DPO where δ_ref ≥ 0."""
    least = ordered_least(cells)
    clipped = np.flatnonzero(cells.delta_ref < 0)
    for span in chunks.spans(clipped.size, 16 * cells.k):
        part = cells.part(clipped[span])
        problems = ladders(part, CLIP.target(part.delta_ref, part.beta))
        run = descend_lanes(
            namespace(part.beta), problems, max_steps=cells.steps, records=lambda _: False
        )
        least[clipped[span]] = np.min(run.margin[-1], axis=0)
    return least


@quiet
def exits(cells: Cells) -> tuple[FloatArray, FloatArray]:
    """Return when every pair has left U: in steps of 1/Lip, and in the time of gradient flow.

    Two responses: by the law of the flow, at any time. More: counted by descent, +inf if not within
    the steps; the time is the steps' then. 0 where δ_ref ≥ 0.
    """
    if cells.k == 2:
        time = margins.exit_time(cells.delta_ref, cells.beta)
        return time * lipschitz(cells), time
    reached = np.maximum.accumulate(path(cells.k, cells.steps))
    count = np.searchsorted(reached, -cells.beta * cells.delta_ref).astype(np.float64)
    count[count == reached.size] = np.inf
    return count, count / lipschitz(cells)


@lru_cache(maxsize=128)
def path(k: int, steps: int) -> FloatArray:
    """Return the least βx over the pairs of a ladder after 0 … `steps` steps of DPO."""
    one = np.ones(1)
    unit = Cells(k, 0 * one, one, one, one, one, steps, "fixed", 1.0, 1.0)
    run = descend_lanes(namespace(one), ladders(unit), max_steps=steps, records=lambda _: True)
    least: FloatArray = np.min(run.margin[:, :, 0], axis=1)
    least.setflags(write=False)
    return least


def lipschitz(cells: Cells) -> FloatArray:
    """Return Lip of the ladders, by which a step is 1/Lip long."""
    found: FloatArray = lipschitz_lanes(namespace(cells.beta), ladders(cells))
    return found


def ladders(cells: Cells, target: FloatArray | None = None) -> Problems:
    """Return the ladders in lanes, ordered pairs, with one target margin for all pairs of each."""
    n, pairs = cells.beta.size, cells.k - 1
    rung = np.zeros((pairs, n), dtype=np.int64) + np.arange(pairs)[:, None]
    one = np.ones((pairs, n))
    return Problems(
        ref_logp=-cells.delta_ref * np.arange(cells.k)[:, None],
        beta=cells.beta,
        winner=rung,
        loser=rung + 1,
        log_odds=np.inf * one,
        mass=cells.mass * one,
        present=one > 0,
        target=None if target is None else target * one,
    )
