"""An assertion on where a loss leads: no local minimum and no flat of an ordered pair in U."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from prefeq.arrays import FloatArray
from prefeq.errors import ProblemError
from prefeq.loss_cards import Curve, Field, Ranges, adapt, looked_at, ordered, trap, traps
from prefeq.testing.failures import Picture, PropertyFailure, fail
from prefeq.testing.instances import Instance
from prefeq.testing.search import negative, smallest
from prefeq.testing.subjects import DELTA, named

MANY = 512
"""Of more δ_ref than this, those at equal steps of rank are looked at, and all in regions."""


def assert_no_trap(
    loss: Any,
    *,
    ref_margins: Any = None,
    ref_limit: float | None = None,
    examples: int | None = None,
    figure: str | os.PathLike[str] | None = None,
    **parameters: Any,
) -> None:
    """Assert that an ordered pair has no local minimum and no flat in U = {δ_ref < δ < 0}.

    Gradient flow comes to rest there, and the policy still prefers the rejected response.

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
        If it has, for some δ_ref, or if it cannot be decided: a slope that is no number, or that
        is too small for a float.

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
    field, _ = looked_at(Curve(adapted), Ranges.of(adapted, ref_limit=ref_limit))
    found = trap(field)

    room = 1e-6 / field.ranges.beta  # at a threshold to the last digit the flow ends at 0
    regions = [(low, high) for low, high in found.regions if high - low > room]

    def trapped(ref: float) -> bool:
        return bool(_rest_in_u(field, np.array([ref]))[0]) and _end_in_u(field, ref) < -room

    if found.verdict is None:
        fail(_undecided(field, found.reason, found.undecided[0]), figure)
    if own is not None:
        inside = [own[(own >= low) & (own < high - room)][:1] for low, high in regions]
        some = own[np.unique(np.linspace(0, len(own) - 1, MANY).round().astype(int))]
        seen = [ref for ref in some[_rest_in_u(field, some)][:MANY].tolist() if trapped(ref)][:1]
        ref = max([*np.concatenate([*inside, seen]).tolist()], default=None)
    else:
        limit = field.ranges.ref_limit
        ref = smallest(negative(limit), trapped, examples, negative(limit, whole=True))
        if ref is None and regions:  # nothing drawn was in the region
            ref = sum(regions[-1]) / 2
    if ref is not None:
        fail(_trap_failure(field, ref, regions), figure)


def _negative(ref_margins: Any) -> FloatArray | None:
    """Return those of the reference margins that leave room for U, the mildest first."""
    if ref_margins is None:
        return None
    refs = np.unique(np.asarray(ref_margins, dtype=np.float64))
    if not refs.size or not np.isfinite(refs).all():
        raise ProblemError("ref_margins: pass at least one, all of them finite, in nats")
    return refs[refs < 0][::-1]


def _rest_in_u(field: Field, refs: FloatArray) -> Any:
    """Tell of each δ_ref whether gradient flow comes to rest in U, from a row of slopes."""
    return traps(field.rows(refs))


def _end_in_u(field: Field, ref: float) -> float:
    """Return where gradient flow comes to rest in U; 0 if it does not."""
    inside = [m for m in ordered(field, ref).minima if m[1] > ref and m[0] < 0]
    return max(inside[0][0], ref) if inside else 0.0


def _undecided(field: Field, reason: str, first: float) -> PropertyFailure:
    why = reason or "the slope is no number, or too small for a float"
    return PropertyFailure(
        "assert_no_trap",
        named(field.curve.loss),
        f"it cannot be decided: {why}",
        measured={"delta_ref of the first": first},
        theory="a flow of NaNs, or of a gradient that was rounded to 0, ends nowhere; "
        "assert_stable says where they come from, and a smaller ref_limit leaves them out",
    )


def _trap_failure(
    field: Field, ref: float, regions: Sequence[tuple[float, float]]
) -> PropertyFailure:
    curve, beta = field.curve, field.ranges.beta
    end = _end_in_u(field, ref)
    dead = bool(field.dead.all())
    measured: dict[str, Any] = {"delta_ref": ref}
    if end < 0:
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
        marks = {"δ_ref": ref} | ({"end of the flow": end} if end < 0 else {})
        lines = {"loss of an ordered pair": curve.value(delta, np.full(400, ref))}
        return Picture(curve.loss.name, DELTA, "loss", delta, lines, marks, (ref, 0.0))

    return PropertyFailure(
        "assert_no_trap",
        named(curve.loss),
        "an ordered pair is trapped: gradient flow comes to rest in U = {delta_ref < delta < 0}",
        measured=measured,
        theory=theory,
        instance=Instance.of_margins(ref, 1.0, beta, "ordered"),
        picture=picture,
    )
