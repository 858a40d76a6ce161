"""What a grid of reference margins steps over: a target that dips, or a trap, between two."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar

from prefeq.arrays import BoolArray, FloatArray
from prefeq.loss_cards.counterexample import Reading
from prefeq.loss_cards.curve import Curve, Ranges, vectorised
from prefeq.loss_cards.dependence import Dependence
from prefeq.loss_cards.field import Field
from prefeq.loss_cards.flow import traps
from prefeq.loss_cards.risk import Risk
from prefeq.loss_cards.target import Target, target

COUNT = 401
"""How many reference margins of the range the closer look has."""

MOST = 9
"""How many of those that it finds are added to the grid, for each verdict."""

_READINGS: tuple[Reading, Reading] = ("fixed", "per-label")


def looked_at(
    curve: Curve, ranges: Ranges, depends: Dependence | None = None
) -> tuple[Field, Target | None]:
    """Return the slopes on the grid of the ranges, δ_ref that it steps over added, and the target.

    A loss that is called pair by pair is not looked at closer: it is slow. Without `depends`, only
    traps are looked for, and no target.
    """
    field = Field.of(curve, ranges)
    kind = "" if depends is None else depends.kind
    if vectorised(curve.loss):
        every = ranges.including(np.linspace(-ranges.ref_limit, ranges.ref_limit, COUNT))
        # Zeros are taken for flats here; on the grid they are looked at again.
        close = Field.roughly(curve, every)
        more = [_compared(close, field, _trapped(close), _trapped(field))]
        if depends is not None:
            aims = [target(curve, at.ranges, kind) for at in (close, field)]
            more.append(_dip(curve, *aims))
            for reading in _READINGS:
                risks = [
                    Risk.of(at, reading, depends, aim)
                    for at, aim in zip((close, field), aims, strict=True)
                ]
                if risks[0] is not None and risks[1] is not None:
                    misled = [risk.needed(ranges.gaps[::4])[0] > 0 for risk in risks if risk]
                    more.append(_compared(close, field, *misled))
        found = np.concatenate(more)
        if found.size:
            field = Field.of(curve, ranges.including(found))
    return field, None if depends is None else target(curve, field.ranges, kind)


def _dip(curve: Curve, close: Target | None, known: Target | None) -> FloatArray:
    """Return the δ_ref of the lowest target, if the grid's least is above it."""
    if close is None or known is None or not close.lowest < known.lowest - 1e-9 * curve.loss.unit:
        return np.zeros(0)
    at = int(np.argmin(close.values))
    if not 0 < at < len(close.values) - 1:
        return np.zeros(0)  # it falls on, to the end of what floats can read off: no dip
    around = close.ref_margin[[at - 1, at + 1]]
    least = minimize_scalar(lambda ref: close.find(curve, float(ref)), bounds=around)
    return np.array([least.x if least.fun <= close.lowest else close.ref_margin[at]])


def _trapped(field: Field) -> BoolArray:
    """Tell for every δ_ref whether it traps; none does from 0 on."""
    found = traps(field.below_zero())
    return np.concatenate([found, np.zeros(len(field.ranges.ref_margin) - len(found), dtype=bool)])


def _compared(close: Field, field: Field, here: BoolArray, known: BoolArray) -> FloatArray:
    """Return δ_ref of the closer look that are unlike both of their neighbours on the grid."""
    refs, grid = close.ranges.ref_margin, field.ranges.ref_margin
    left = np.clip(np.searchsorted(grid, refs, side="right") - 1, 0, len(grid) - 2)
    unlike = (here != known[left]) & (here != known[left + 1]) & ~np.isin(refs, grid)
    starts = np.flatnonzero(np.diff(unlike.astype(np.int8), prepend=0) == 1)
    ends = np.flatnonzero(np.diff(unlike.astype(np.int8), append=0) == -1)
    picks = [i for a, b in zip(starts, ends, strict=True) for i in {a, (a + b) // 2, b}]
    return np.asarray(refs[sorted(picks)[:MOST]])
