"""Assertions on where a loss leads: aligned under Bradley–Terry labels, no trap in U."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from prefeq.arrays import FloatArray
from prefeq.errors import ProblemError
from prefeq.loss_cards import (
    Curve,
    Field,
    Ranges,
    adapt,
    alignment,
    dependence,
    landscape,
    ordered,
    target,
    trap,
)
from prefeq.loss_cards.alignment import Risk, lowest
from prefeq.loss_cards.curve import label_weights
from prefeq.testing.failures import Picture, PropertyFailure, fail
from prefeq.testing.instances import Instance
from prefeq.testing.search import negative, reward_gaps, smallest
from prefeq.testing.subjects import DELTA, named


def assert_no_trap(
    loss: Any,
    *,
    ref_margins: Any = None,
    ref_limit: float | None = None,
    examples: int | None = None,
    figure: str | os.PathLike[str] | None = None,
    **parameters: Any,
) -> None:
    """Assert that gradient flow of an ordered pair never ends in U = {δ_ref < δ < 0}.

    Parameters
    ----------
    loss
        A callable, a name, or one of `prefeq.losses`.
    ref_margins
        The δ_ref that count, in nats: those of your data, say. By default the whole range: a grid,
        thresholds between its points, then what Hypothesis draws.
    ref_limit
        The largest |δ_ref|, in nats; 10/β by default, that of `ref_margins` if there are any.
    examples
        How many δ_ref Hypothesis draws; ``max_examples`` of its profile by default.
    figure
        A .png, .svg or .pdf to draw a failure to.
    parameters
        Keyword arguments of the loss.

    Raises
    ------
    PropertyFailure
        If it does, for some δ_ref, or if it cannot be decided (a slope that is no number).

    Examples
    --------
    >>> assert_no_trap("dpo", beta=0.1)
    >>> assert_no_trap("ipo", beta=0.1, ref_margins=[-2.0, -4.9, 3.0])
    >>> assert_no_trap("ipo", beta=0.1, ref_margins=[-2.0, -5.1, 3.0])
    Traceback (most recent call last):
        ...
    prefeq.testing.failures.PropertyFailure: assert_no_trap(ipo, beta=0.1): an ordered pair...
    """
    __tracebackhide__ = True
    adapted, own = adapt(loss, **parameters), _negative(ref_margins)
    if own is not None:
        if not own.size:
            return  # U is empty for every one of them
        ref_limit = max(-float(own[-1]), ref_limit or 0.0)
    field = Field.of(Curve(adapted), Ranges.of(adapted, ref_limit=ref_limit))
    found = trap(field)

    room = 1e-6 / field.ranges.beta  # at a threshold to the last digit the flow ends at 0
    regions = [(low, high) for low, high in found.regions if high - low > room]

    def trapped(ref: float) -> bool:
        end = _end_in_u(field, ref) if _rests_in_u(field, ref) else None
        return end is not None and end < -room

    if found.verdict is None:
        why = found.reason or "the slope is no number, or 0 throughout"
        claim = f"it cannot be decided: {why}"
        where = {"delta_ref of the first": found.undecided[0]}
        theory = "a flow of NaNs ends nowhere; assert_stable says where they come from"
        failure = PropertyFailure(
            "assert_no_trap", named(field.curve.loss), claim, measured=where, theory=theory
        )
        fail(failure, figure)
    if own is not None:
        inside = [(own >= low) & (own < high - room) for low, high in regions]
        hit = np.any(inside, axis=0) if inside else np.zeros(own.shape, dtype=bool)
        ref = next(iter(own[hit].tolist()), None)
    else:
        ref = smallest(negative(field.ranges.ref_limit), trapped, examples)
        if ref is None and regions:  # nothing drawn was in the region
            ref = sum(regions[-1]) / 2
    if ref is not None:
        fail(_trap_failure(field, ref, regions), figure)


def assert_aligned(
    loss: Any,
    *,
    labels: Literal["fixed", "per-label"] = "fixed",
    ref_limit: float | None = None,
    gaps: tuple[float, float] = (0.01, 10.0),
    examples: int | None = None,
    figure: str | os.PathLike[str] | None = None,
    **parameters: Any,
) -> None:
    """Assert that under Bradley–Terry labels every local minimum has δ > 0, for every Δr > 0.

    Parameters
    ----------
    loss
        A callable, a name, or one of `prefeq.losses`.
    labels
        What a flipped label does: ``fixed`` keeps the target margin, ``per-label`` (what trainers
        do) exchanges chosen and rejected throughout.
    ref_limit, gaps
        The range: |δ_ref| in nats, 10/β by default, and the least and the largest Δr.
    examples
        How many (δ_ref, Δr) Hypothesis draws beside the grid.
    figure, parameters
        As in `assert_no_trap`.

    Raises
    ------
    PropertyFailure
        If one does not, or if it cannot be decided.

    Examples
    --------
    >>> assert_aligned("hypo", beta=0.1)
    >>> assert_aligned("hypo", beta=0.1, labels="per-label", gaps=(0.7, 10.0))  # ln 2 < 0.7
    """
    __tracebackhide__ = True
    if labels not in ("fixed", "per-label"):
        raise ProblemError(f"labels = {labels!r}: choose 'fixed' or 'per-label'")
    adapted = adapt(loss, **parameters)
    curve = Curve(adapted)
    field = Field.of(curve, Ranges.of(adapted, ref_limit=ref_limit, gaps=gaps))
    depends = dependence(adapted)
    aim = target(curve, field.ranges, relative=depends.kind == "relative margin")
    found = alignment(field, labels, depends, aim)
    risk = Risk.of(field, labels, depends, aim)
    subject = f"{named(adapted)}, labels={labels!r}"
    if found.verdict is None or risk is None:
        claim = f"it cannot be decided: {found.reason}"
        theory = (
            "labels='per-label' needs no target margin; assert_stable finds slopes that are no "
            "number"
        )
        failure = PropertyFailure("assert_aligned", subject, claim, measured={}, theory=theory)
        fail(failure, figure)
    limit = field.ranges.ref_limit

    def misled(point: tuple[float, float]) -> bool:
        if _lowest(risk, *point, exact=False) >= 0:
            return False
        return _lowest(risk, *point) < -1e-6 / field.ranges.beta

    point = smallest(_points(limit, gaps), misled, examples)
    if point is None and found.verdict:
        return
    if point is None and found.counterexample is not None:
        point = (found.counterexample.ref_margin, float(found.counterexample.gap))
    least = None if aim is None else aim.lowest
    fail(_alignment_failure(risk, point, subject, least), figure)


def _points(limit: float, gaps: tuple[float, float]) -> Any:
    from hypothesis import strategies as st

    from prefeq.strategies import nats

    return st.tuples(negative(limit) | nats(limit), reward_gaps(*gaps))


def _negative(ref_margins: Any) -> FloatArray | None:
    """Return those of the reference margins that leave room for U, the mildest first."""
    if ref_margins is None:
        return None
    refs = np.unique(np.asarray(ref_margins, dtype=np.float64))
    if not refs.size or not np.isfinite(refs).all():
        raise ProblemError("ref_margins: pass at least one, all of them finite, in nats")
    return refs[refs < 0][::-1]


def _rests_in_u(field: Field, ref: float) -> bool:
    """Tell whether gradient flow comes to rest in U, from one row of slopes: no bisection."""
    grid = field.ranges.row(np.array([ref]))[0]
    slope = field.curve.slope(grid, np.full(grid.shape, ref))
    seen = landscape(grid, slope, noise=field.curve.noise)
    return any(m[1] > ref and m[0] < 0 for m in seen.minima)


def _end_in_u(field: Field, ref: float) -> float | None:
    """Return where gradient flow from the reference comes to rest in U, or None."""
    inside = [m for m in ordered(field, ref).minima if m[1] > ref and m[0] < 0]
    return max(inside[0][0], ref) if inside else None


def _lowest(risk: Risk, ref: float, gap: float, *, exact: bool = True) -> float:
    """Return the lowest local minimum of a risk; its sign alone, unless `exact`."""
    slope = _slope(risk, ref, gap)
    if slope is None:
        return math.inf
    grid = risk.field.ranges.row(np.array([ref]))[0]
    # 0 is on the grid: no bracket straddles it.
    seen = landscape(grid, slope(grid), slope if exact else None, risk.field.curve.noise)
    return math.inf if seen.undecided else lowest(seen)


def _slope(risk: Risk, ref: float, gap: float) -> Callable[[FloatArray], FloatArray] | None:
    """Return the slope of a risk over δ, its target looked up once; None without one."""
    if risk.target is None:
        return lambda delta: risk.slope(delta, ref, gap)
    curve, (q, rest) = risk.field.curve, label_weights(gap)
    aim = risk.target.find(curve, ref)

    def slope(delta: FloatArray) -> FloatArray:
        refs = np.full(delta.shape, ref)
        return np.asarray(q * curve.slope(delta, refs) - rest * curve.slope(2 * aim - delta, refs))

    return slope if math.isfinite(aim) else None


def _trap_failure(
    field: Field, ref: float, regions: Sequence[tuple[float, float]]
) -> PropertyFailure:
    curve, beta = field.curve, field.ranges.beta
    end = _end_in_u(field, ref)
    dead = bool(field.dead.all())
    measured: dict[str, Any] = {"delta_ref": ref}
    if end is not None:
        measured["delta at the end of the flow"] = end
    if regions:
        measured["delta_ref that trap, from the range's end"] = " and ".join(
            f"({low:.6g}, {high:.6g})" for low, high in regions
        )
    theory = (
        "a loss with a finite target pulls the margin there and no further: where that is below 0, "
        "the trained policy still prefers the rejected response"
    )
    if dead:
        theory = (
            "a loss whose gradient is 0 everywhere trains nothing: is the policy detached, or the "
            "loss clamped?"
        )

    def picture() -> Picture:
        delta = np.linspace(1.6 * ref, max(-0.6 * ref, 1.0), 400)
        marks = {"δ_ref": ref} | ({"end of the flow": end} if end is not None else {})
        lines = {"loss of an ordered pair": curve.value(delta, np.full(400, ref))}
        return Picture(curve.loss.name, DELTA, "loss", delta, lines, marks, (ref, 0.0))

    return PropertyFailure(
        "assert_no_trap",
        named(curve.loss),
        "an ordered pair is trapped: gradient flow from pi_ref ends in U = {delta_ref < delta < 0}",
        measured=measured,
        theory=theory,
        instance=Instance.of_margins(ref, 1.0, beta, "ordered"),
        picture=picture,
    )


def _alignment_failure(
    risk: Risk, point: tuple[float, float] | None, subject: str, least: float | None
) -> PropertyFailure:
    ranges = risk.field.ranges
    if point is None:  # on the grid alone, and no single instance reproduces it
        worst = int(np.argmax(risk.needed()[0]))
        point = (float(ranges.ref_margin[worst]), float(risk.needed()[0][worst]))
    ref, gap = point
    low = _lowest(risk, ref, gap)
    measured: dict[str, Any] = {"delta_ref": ref, "reward gap": gap, "lowest local minimum": low}
    measured["delta* of RLHF"] = ref + gap / ranges.beta
    if least is not None:
        measured["lowest target margin in range"] = (
            least if abs(least * ranges.beta) > 1e-9 else 0.0
        )
    theory = {
        "fixed": "with the target t fixed a convex loss is aligned for every reward gap > 0 iff "
        "t >= 0; DPO, with t = delta_ref, iff delta_ref > -gap/beta",
        "per-label": "with the target recomputed for a flipped label, a softplus loss is aligned "
        "iff the gap is above softplus(-beta t(w, l)) - softplus(-beta t(l, w)); DPO's bound is "
        "-beta delta_ref",
    }[risk.reading]

    def picture() -> Picture:
        left = min(low if math.isfinite(low) else ref, ref, -1 / ranges.beta)
        delta: FloatArray = np.linspace(1.3 * left, max(-0.5 * left, 2 / ranges.beta), 400)
        marks = {"δ_ref": ref} | ({"lowest minimum": low} if math.isfinite(low) else {})
        lines = {f"risk at Δr = {gap:.4g}": risk.value(delta, ref, gap)}
        span = (ref, 0.0) if ref < 0 else None
        return Picture(risk.field.curve.loss.name, DELTA, "risk", delta, lines, marks, span)

    return PropertyFailure(
        "assert_aligned",
        subject,
        "under Bradley-Terry labels a local minimum has delta <= 0 though the reward gap is > 0",
        measured=measured,
        theory=theory,
        instance=Instance.of_margins(ref, gap, ranges.beta, "bradley-terry"),
        picture=picture,
    )
