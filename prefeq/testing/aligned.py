"""An assertion on where a loss leads: aligned under Bradley–Terry labels."""

from __future__ import annotations

import math
import os
from typing import Any, Literal

import numpy as np

from prefeq.arrays import FloatArray
from prefeq.errors import ProblemError
from prefeq.loss_cards import Curve, Ranges, adapt, alignment, dependence, looked_at
from prefeq.loss_cards.risk import Risk, lowest_at
from prefeq.testing.failures import Picture, PropertyFailure, fail
from prefeq.testing.instances import Instance
from prefeq.testing.search import negative, reward_gaps, smallest
from prefeq.testing.subjects import DELTA, named


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
    depends = dependence(adapted)
    ranges = Ranges.of(adapted, ref_limit=ref_limit, gaps=gaps)
    field, aim = looked_at(Curve(adapted), ranges, depends)
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
        if lowest_at(risk, *point, exact=False) >= 0:
            return False
        return lowest_at(risk, *point) < -1e-6 / field.ranges.beta

    point = smallest(_points(limit, gaps), misled, examples, _points(limit, gaps, whole=True))
    if point is None and found.verdict:
        return
    if point is None and found.counterexample is not None:
        point = (found.counterexample.ref_margin, float(found.counterexample.gap))
    least = None if aim is None else aim.lowest
    fail(_alignment_failure(risk, point, subject, least), figure)


def _points(limit: float, gaps: tuple[float, float], whole: bool = False) -> Any:
    from hypothesis import strategies as st

    from prefeq.strategies import nats

    refs = negative(limit, whole=True) if whole else negative(limit) | nats(limit)
    return st.tuples(refs, reward_gaps(*gaps))


def _alignment_failure(
    risk: Risk, point: tuple[float, float] | None, subject: str, least: float | None
) -> PropertyFailure:
    ranges = risk.field.ranges
    if point is None:  # on the grid alone, and no single instance reproduces it
        worst = int(np.argmax(risk.needed()[0]))
        point = (float(ranges.ref_margin[worst]), float(risk.needed()[0][worst]))
    ref, gap = point
    low = lowest_at(risk, ref, gap)
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
