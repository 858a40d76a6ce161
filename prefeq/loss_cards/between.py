"""What a grid of reference margins steps over: a target that dips, or a trap, between two."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar

from prefeq.arrays import BoolArray, FloatArray
from prefeq.loss_cards.counterexample import Reading
from prefeq.loss_cards.curve import Curve, Ranges, vectorised
from prefeq.loss_cards.dependence import Dependence
from prefeq.loss_cards.field import Field
from prefeq.loss_cards.flow import ordered, traps
from prefeq.loss_cards.risk import Risk
from prefeq.loss_cards.target import Target, target

COUNT = 401
"""How many reference margins of the range the closer look has."""

REPRESENTATIVES = 4
"""How many δ_ref are asked where their minima in U lie."""

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
        features = _features(close)
        if features[0].size:
            ranges, every = ranges.with_features(*features), every.with_features(*features)
            field, close = Field.of(curve, ranges), Field.roughly(curve, every)
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


_ABOUT = np.concatenate([-(10.0 ** -np.arange(2, 5)), [0.0], 10.0 ** -np.arange(2, 5)])


def _features(field: Field) -> tuple[FloatArray, FloatArray]:
    """Return where minima in U were seen, as δ and as δ − δ_ref, of a few δ_ref that have them.

    One that is narrow, and stays in its place, is seen at all other δ_ref then.
    """
    refs = field.ranges.ref_margin[_trapped(field)]
    if not refs.size:
        return refs, refs
    found: list[tuple[float, float]] = []
    for i in np.unique(np.linspace(0, len(refs) - 1, REPRESENTATIVES).astype(int)):
        ref, rows = float(refs[i]), field.rows(refs[i : i + 1])
        least = [m for m in ordered(field, ref).minima if m[1] > ref and m[0] < 0]
        still = rows.margin[(rows.slope == 0) & (rows.margin > ref) & (rows.margin < 0)]
        ends = [x for m in least for x in (max(m[0], ref), min(m[1], 0.0))]
        ends += still[[0, -1]].tolist() if still.size else []
        found += [(x, x - ref) for x in ends]
    pairs = np.array(found).reshape(-1, 2)
    about = _ABOUT * field.curve.loss.unit
    absolute, relative = (np.unique((x[:, None] + about).round(9)) for x in pairs.T)
    return absolute, relative


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
