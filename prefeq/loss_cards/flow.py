"""Gradient flow of one ordered pair: its first step, where it ends in U, and how long it takes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from prefeq.arrays import BoolArray, FloatArray
from prefeq.loss_cards.alignment import reference
from prefeq.loss_cards.curve import Curve
from prefeq.loss_cards.field import CONSTANT_ALONE, Field, Rows
from prefeq.loss_cards.minima import Landscape, landscape, signs
from prefeq.loss_cards.pairs import Pairs
from prefeq.losses import Loss
from prefeq.margins import exit_time as dpo_exit_time


@dataclass(frozen=True, eq=False)
class FirstStep:
    """Value and gradient at π = π_ref.

    Attributes
    ----------
    direction
        ``up``, ``down``, ``none`` (no gradient) or ``mixed`` (it depends on δ_ref).
    ref_margin, value, slope
        δ_ref, and f and df/dδ at δ = δ_ref, ``(R,)``.
    chosen, rejected
        Signs of the change of log π(w) and of log π(l) that the loss asks for, −1, 0, 1, or None
        where it depends on δ_ref.
    """

    direction: str
    ref_margin: FloatArray
    value: FloatArray
    slope: FloatArray
    chosen: int | None
    rejected: int | None

    def at(self, ref_margin: float) -> int:
        """Return the place of a reference margin in the lists."""
        return int(np.argmin(np.abs(self.ref_margin - ref_margin)))


def first_step(field: Field) -> FirstStep:
    """Return which way the loss moves the margin from the reference, for every δ_ref in range."""
    refs = field.ranges.ref_margin
    pairs = Pairs.two_responses(refs, refs)
    chosen, rejected = field.curve.loss.gradient(pairs)
    slope, value = field.curve.slope(refs, refs), field.curve.value(refs, refs)
    good = np.isfinite(slope) & ~field.dead
    _, faint = field.curve.slope_and_floor(refs, refs)
    moves = [_without_rounding(x, good, faint) for x in (slope, chosen, rejected)]
    kinds = set(np.sign(moves[0][good if good.any() else slice(None)]).tolist())
    names = {-1.0: "up", 0.0: "none", 1.0: "down"}
    direction = names[kinds.pop()] if len(kinds) == 1 and kinds <= set(names) else "mixed"
    asked = [_common(-side[good]) for side in moves[1:]]
    return FirstStep(direction, refs, value, slope, asked[0], asked[1])


def _without_rounding(values: FloatArray, good: BoolArray, faint: FloatArray) -> FloatArray:
    """Return zeros for values that are all below what rounding leaves; else the values."""
    still = good.any() and (np.abs(values[good]) < faint[good]).all()
    return np.zeros_like(values) if still else values


def _common(values: FloatArray) -> int | None:
    kinds = {int(x) for x in np.sign(values[np.isfinite(values)])}
    return kinds.pop() if len(kinds) == 1 else None


def ordered(field: Field, ref_margin: float) -> Landscape:
    """Return the local minima of an ordered pair, bisected, at one reference margin."""
    rows = field.rows(np.array([ref_margin]))

    def slope(delta: FloatArray) -> FloatArray:
        return field.curve.slope(delta, np.full(delta.shape, ref_margin))

    return landscape(rows.margin[0], rows.slope[0], slope, rows.floor[0])


@dataclass(frozen=True, eq=False)
class Trap:
    """Where gradient flow of an ordered pair can end in U = {δ_ref < δ < 0}.

    Attributes
    ----------
    verdict
        Whether a finite local minimum or a flat lies in U for some δ_ref in range; None if it was
        not decided, as where the code's gradient is 0 throughout.
    regions
        (low, high) of δ_ref that trap, in nats, bisected; −`ref_limit` where the range ends.
    instance
        δ_ref and the minimum in U, of the region's middle.
    certified
        Whether `Loss.traps` says the same at every δ_ref (losses of ours).
    undecided
        δ_ref where the slope was no number, 0 throughout, or too small for a float inside U.
    reason
        Why the loss cannot be decided, where it is not that.
    """

    verdict: bool | None
    regions: tuple[tuple[float, float], ...]
    instance: Mapping[str, Any] | None
    certified: bool
    undecided: tuple[float, ...]
    reason: str = ""


def trap(field: Field) -> Trap:
    """Find the reference margins whose U holds a local minimum, and the thresholds.

    To 1e-9/β, and to 3e-6/β where differences of values smear a kink at δ = 0.
    """
    curve, ranges = field.curve, field.ranges
    refs = ranges.ref_margin[ranges.ref_margin < 0]
    if field.constant_alone:
        return Trap(None, (), None, False, tuple(refs.tolist()), CONSTANT_ALONE)
    rows, dead = field.below_zero(), field.dead[: len(refs)]
    here = traps(rows)
    everything = bool(field.dead.all())
    inside = (rows.margin >= refs[:, None]) & (rows.margin <= 0)
    unknown = inside & ~np.isfinite(rows.slope)
    lost = unknown.any(axis=1) | (dead & (not everything))
    here = (here & ~lost) | (dead & everything)
    lost |= ~here & (rows.lost & inside & (rows.margin < 0)).any(axis=1)
    own = curve.loss.own
    certified = False
    if own is not None:
        low, exact, high = (_exact(own, refs * x, ranges.beta) for x in (1 - 1e-9, 1, 1 + 1e-9))
        # At a threshold to the last digit the minimum is at 0, on either side.
        certified = bool(np.all((exact == here) | (low != high)))
        here = exact
        lost = np.zeros_like(lost)  # the closed form decides where floats cannot
    regions = _regions(field, refs, here, everything)
    verdict: bool | None = bool(here.any()) or (None if lost.any() else False)
    instance = None
    if here.any():
        at = int(np.flatnonzero(here)[here.sum() // 2])
        seen = ordered(field, float(refs[at]))
        least = [m for m in seen.minima if m[1] > refs[at] and m[0] < 0]
        if least:
            instance = {"ref_margin": float(refs[at]), "minimum": list(least[0])}
    return Trap(verdict, regions, instance, certified, tuple(refs[lost].tolist()))


def traps(rows: Rows) -> BoolArray:
    """Tell for each δ_ref whether its slope comes to rest in U, arriving there from the left.

    The slope at the reference is looked at, too, unless it may be rounding: a minimum just above is
    one in U, and a flat that begins there.
    """
    found = np.zeros(len(rows.ref_margin), dtype=bool)
    loud = (np.abs(rows.slope) >= rows.floor) | (rows.slope == 0)
    every, near = signs(rows.slope, rows.floor), -rows.edge / 2
    for i, ref in enumerate(rows.ref_margin):
        kept = np.concatenate([np.diff(rows.margin[i]) > 0, [True]])
        delta, sign = rows.margin[i][kept], every[i][kept]
        zero = (sign == 0) & ~rows.lost[i][kept] & np.isfinite(rows.slope[i][kept])
        onward = zero & np.append(zero[1:], False)
        flat = onward | (zero & np.append(False, zero[:-1]))  # one zero alone is no flat
        ends = np.where(flat, 1, sign)  # arriving at a flat is arriving
        inside = ((delta > ref) | (loud[i][kept] & (delta == ref))) & (delta < near[i])
        stays = onward & inside
        # What is reached after the last point before 0 is reached at 0.
        moves = (ends != 0) & inside
        arrives = (ends[moves][:-1] < 0) & (ends[moves][1:] > 0)
        found[i] = bool(stays.any() or arrives.any())
    return found


def _exact(own: Loss, refs: FloatArray, beta: float) -> Any:
    needs = own.target_rule.needs_logps
    return np.array([bool(own.traps(reference(r) if needs else r, beta)) for r in refs.tolist()])


def _regions(
    field: Field, refs: FloatArray, here: Any, everything: bool
) -> tuple[tuple[float, float], ...]:
    limit = field.ranges.ref_limit
    edges = np.flatnonzero(here[1:] != here[:-1])
    cuts = [] if everything else [_threshold(field, refs[i], refs[i + 1], here[i]) for i in edges]
    states = [bool(here[0])]
    for _ in cuts:
        states.append(not states[-1])
    ends = [-limit, *cuts, 0.0]
    return tuple((ends[i], ends[i + 1]) for i, state in enumerate(states) if state and here.any())


def _threshold(field: Field, low: float, high: float, below: bool) -> float:
    """Bisect the δ_ref at which the trap appears or disappears."""
    for _ in range(9):
        refs = np.linspace(low, high, 12)[1:-1]
        state = traps(field.rows(refs)) != below
        first = int(np.argmax(state)) if state.any() else len(refs)
        low, high = (
            float(refs[first - 1]) if first else low,
            float(refs[first]) if first < len(refs) else high,
        )
    return float((low + high) / 2)


_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(12)


def exit_time(curve: Curve, ref_margin: float, panels: int = 48) -> float:
    """Return T = ∫ dδ/(−2 df/dδ) from δ_ref to 0: gradient flow on softmax logits, mass 1.

    Gauss–Legendre on panels; inf if the flow does not get there, 0 for δ_ref ≥ 0.

    Examples
    --------
    >>> from prefeq.loss_cards.callables import adapt
    >>> round(exit_time(Curve(adapt("dpo", beta=1.0)), -3.0), 6)
    11.042768
    """
    if ref_margin >= 0:
        return 0.0
    edges = np.linspace(ref_margin, 0.0, panels + 1)
    half = np.diff(edges) / 2
    delta = (edges[:-1] + half)[:, None] + half[:, None] * _NODES
    slope = curve.slope(delta, np.full(delta.shape, ref_margin))
    if not np.isfinite(slope).all() or (slope >= 0).any():
        return math.inf
    with np.errstate(over="ignore"):
        return float((half[:, None] * _WEIGHTS / (-2 * slope)).sum())


def exit_time_ratio(curve: Curve, ref_margin: float, beta: float) -> float:
    """Return the exit time over that of DPO, whose closed form is `prefeq.margins.exit_time`."""
    time = exit_time(curve, ref_margin)
    return time / float(dpo_exit_time(ref_margin, beta)) if math.isfinite(time) else math.inf


def weak_share(curve: Curve, ref_margin: float, size: float, count: int = 400) -> float:
    """Return the share of U = (δ_ref, 0), by length, where |df/dδ| is below a size.

    Examples
    --------
    >>> from prefeq.loss_cards.callables import adapt
    >>> round(weak_share(Curve(adapt("dpo", beta=1.0)), -10.0, 0.05), 3)  # 1 - logit(.95)/10
    0.705
    """
    delta = ref_margin * (1 - (np.arange(count) + 0.5) / count)
    slope = curve.slope(delta, np.full(count, ref_margin))
    return float((~(np.abs(slope) >= size)).mean())
