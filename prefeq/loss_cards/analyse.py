"""`analyse_loss`: measure everything of a loss that its card shows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from prefeq._namespace import quiet
from prefeq.loss_cards.agreement import agreement, same_as
from prefeq.loss_cards.alignment import alignment, reference
from prefeq.loss_cards.between import looked_at
from prefeq.loss_cards.callables import Library, adapt
from prefeq.loss_cards.card import LossCard
from prefeq.loss_cards.curve import Curve, Ranges
from prefeq.loss_cards.dependence import Dependence, dependence
from prefeq.loss_cards.faults import find_faults
from prefeq.loss_cards.field import Field
from prefeq.loss_cards.flow import exit_time, first_step, ordered, trap, weak_share
from prefeq.loss_cards.minima import Landscape, landscape
from prefeq.loss_cards.names import beside
from prefeq.loss_cards.pair_loss import PairLoss
from prefeq.loss_cards.precision import extremes
from prefeq.loss_cards.risk import Risk
from prefeq.loss_cards.shape import Shape, shape
from prefeq.loss_cards.target import Target
from prefeq.margins import exit_time as dpo_exit_time

DEPTHS = (-1.0, -3.0, -10.0)
"""β·δ_ref at which exit times and weak gradients are given."""

WEAK = 0.05
"""A gradient is weak below this, in units of β: what DPO has at βx = 2.94."""


def analyse_loss(
    loss: Any,
    *,
    against: Any = None,
    library: Library = "auto",
    ref_limit: float | None = None,
    gaps: tuple[float, float] = (0.01, 10.0),
    **parameters: Any,
) -> LossCard:
    """Measure a preference loss: what it depends on, where it leads, and what is wrong with it.

    Parameters
    ----------
    loss
        A function of (chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps,
        **parameters), in NumPy or torch, returning one value a pair or their mean; a
        `prefeq.losses.Loss`; or a name: one of ours (``dpo``), of TRL's (``trl:sigmoid``, run
        through TRL's own code), ``MODULE:FUNCTION`` or ``FILE.py:FUNCTION``.
    against
        A second implementation, in the same forms, or several in a list: at the same β, and with
        those of the parameters that it takes. The first disagreement is shown, and counts as a
        fault.
    library
        ``auto``, ``numpy`` or ``torch``: with what a function is called.
    ref_limit
        Reference margins up to ±this are looked at, in nats; 10/β by default.
    gaps
        The least and the largest reward gap that are looked at.
    parameters
        Passed to the loss, such as ``beta=0.1``.

    Returns
    -------
    LossCard
        Print it, or take ``to_dict()`` or ``to_html()``.

    Raises
    ------
    ProblemError
        If the loss cannot be called so.

    Examples
    --------
    >>> import prefeq as pq
    >>> card = pq.analyse_loss("ipo", beta=0.5)
    >>> card.trap, [round(x, 6) for x in card.trap_region.regions[0]]  # from -1/(2 beta) down
    (True, [-20.0, -1.0])
    >>> def mine(chosen, rejected, ref_chosen, ref_rejected, beta=0.1):
    ...     import numpy as np
    ...     return np.log(1 + np.exp(-beta * (chosen - rejected - ref_chosen + ref_rejected)))
    >>> card = pq.analyse_loss(mine, beta=1.0)
    >>> card.same_as, [fault.name for fault in card.faults if fault.severity == "fault"][0]
    ((), 'overflow')
    """
    pair_loss = adapt(loss, library=library, **parameters)
    return card_of(
        pair_loss, _seconds(against, pair_loss, parameters), ref_limit=ref_limit, gaps=gaps
    )


def _seconds(against: Any, loss: PairLoss, parameters: Mapping[str, Any]) -> list[PairLoss]:
    several = against if isinstance(against, list | tuple) else [against]
    return [beside(other, loss, parameters) for other in several if other is not None]


@quiet
def card_of(
    loss: PairLoss,
    seconds: Sequence[PairLoss] = (),
    *,
    ref_limit: float | None = None,
    gaps: tuple[float, float] = (0.01, 10.0),
) -> LossCard:
    """Return the card of a loss that is adapted already; see `analyse_loss`."""
    depends = dependence(loss)
    measured, stand_in = _alone(loss)
    curve = Curve(measured)
    ranges = Ranges.of(measured, ref_limit=ref_limit, gaps=gaps)
    field, aim = looked_at(curve, ranges, depends)
    ranges = field.ranges
    fixed = alignment(field, "fixed", depends, aim)
    per_label = alignment(field, "per-label", depends, aim)
    trapped = trap(field)
    form = shape(field)
    findings = extremes(loss)
    agreements = tuple(agreement(loss, second) for second in seconds)
    first = (seconds[0], agreements[0]) if seconds else None
    ordered_rows = _ordered(field, form)
    beta, tokens = ranges.beta, loss.takes_tokens
    same = same_as(loss) if not loss.coupled and depends.on_batch == "no" else ()
    certified = {
        "margin_only": loss.own is not None,
        "minimisers": _exact_minimisers(field, ordered_rows),
        "aligned": fixed.certified,
        "aligned per label": per_label.certified,
        "trap": trapped.certified,
    }
    return LossCard(
        name=loss.name,
        library=loss.library,
        scheme=loss.scheme,
        reduction=loss.reduction,
        parameters=loss.parameters,
        beta=loss.beta,
        ranges=ranges,
        dependence=depends,
        shape=form,
        first_step=first_step(field),
        target=aim,
        fixed=fixed,
        per_label=per_label,
        trap_region=trapped,
        ordered=ordered_rows,
        population=_population(field, depends, aim),
        exits=tuple(_exit(curve, u / beta, beta) for u in DEPTHS),
        weak=tuple(
            {"ref_margin": u / beta, "share": weak_share(curve, u / beta, WEAK * beta)}
            for u in DEPTHS
        ),
        weak_size=WEAK * beta,
        same_as=same,
        same_as_one_token=same_as(loss, one_token=True) if tokens and not loss.coupled else same,
        agreements=agreements,
        faults=find_faults(loss, field, depends, findings, first),
        findings=findings,
        stand_in=stand_in,
        certified=certified,
        curves=_curves(curve, ranges, aim),
    )


def _alone(loss: PairLoss) -> tuple[PairLoss, str | None]:
    """Return what stands for a loss of batches: the one of ours that a pair alone equals, if any.

    Evaluating one pair a call is slow; the one of ours is the same function.
    """
    if not loss.coupled:
        return loss, None
    found = same_as(loss, one_token=True)
    if not found:
        return loss, "each pair was evaluated in a batch of its own"
    name, _, eps = found[0].partition("(eps=")
    more: dict[str, Any] = {"eps": float(eps.rstrip(")"))} if eps else {}
    same = adapt(name, beta=loss.beta or 1.0, **more)
    text = (
        f"in a batch of its own a pair has the loss of {found[0]}, on all pairs that were tried; "
    )
    return same, f"{text}curves, minima and times are of that"


def _ordered(field: Field, form: Shape) -> tuple[dict[str, Any], ...]:
    return tuple(
        {"ref_margin": ref, **_described(ordered(field, ref), form)}
        for ref in (u / field.ranges.beta for u in (-5.0, -1.0, 0.0, 2.0))
    )


def _described(seen: Landscape, form: Shape) -> dict[str, Any]:
    infinite = []
    if seen.left == "falls":
        infinite.append("unbounded below at -inf" if form.left == "falls" else "-inf")
    if seen.right == "falls":
        infinite.append("unbounded below at +inf" if form.right == "falls" else "+inf")
    return {"minima": [list(m) for m in seen.minima], "infinite": infinite}


def _population(
    field: Field, depends: Dependence, aim: Target | None
) -> tuple[dict[str, Any], ...]:
    """Return local minima under Bradley–Terry labels, bisected, for a few instances."""
    out = []
    for reading in ("fixed", "per-label"):
        risk = Risk.of(field, reading, depends, aim)
        for u in (-3.0, 0.0):
            ref = u / field.ranges.beta
            for gap in (0.5, 2.0):
                row: dict[str, Any] = {"reading": reading, "ref_margin": ref, "reward_gap": gap}
                out.append({**row, "minima": None if risk is None else _minima(risk, ref, gap)})
    return tuple(out)


def _minima(risk: Risk, ref: float, gap: float) -> list[list[float]] | None:
    grid, slopes, floor, slope = risk.along(ref, gap)
    if not np.isfinite(slopes).all():
        return None
    seen = landscape(grid, slopes, slope, floor)
    found = [list(m) for m in seen.minima]
    found += [[-math.inf, -math.inf]] if seen.left == "falls" else []
    return found + ([[math.inf, math.inf]] if seen.right == "falls" else [])


def _exit(curve: Curve, ref: float, beta: float) -> dict[str, Any]:
    time, dpo = exit_time(curve, ref), float(dpo_exit_time(ref, beta))
    inside = np.linspace(ref, 0.0, 34)[1:-1]
    slope = curve.slope(inside, np.full(inside.shape, ref))
    # Slopes of 0 throughout are a flat, or a gradient too small for a float.
    why = "never" if (slope != 0).any() else "never in floats: the gradient is 0 throughout"
    why = why if np.isfinite(slope).all() else "not known: the slope is no number"
    return {
        "ref_margin": ref, "time": time, "dpo_time": dpo, "ratio": time / dpo,
        "why": None if math.isfinite(time) else why,
    }  # fmt: skip


def _exact_minimisers(field: Field, found: Sequence[Mapping[str, Any]]) -> bool:
    """Compare with the exact minimisers of the link, where the loss is one of ours."""
    own, beta = field.curve.loss.own, field.ranges.beta
    if own is None:
        return False
    for row in found:
        ref: Any = row["ref_margin"]
        if own.target_rule.needs_logps:
            ref = reference(ref)
        exact = float(own.minimiser(ref, beta))
        reach = float(field.ranges.margin[0, -1])
        if not -reach < exact < reach:
            if row["minima"] and row["minima"][0][1] < math.inf:
                return False
        elif not row["minima"] or not np.isclose(row["minima"][0][0], exact, 1e-6, 1e-6 / beta):
            return False
    return True


def _curves(curve: Curve, ranges: Ranges, aim: Target | None) -> dict[str, Any]:
    """Return what the picture draws: the loss of δ_ref = −3/β, and the target."""
    ref = -3.0 / ranges.beta
    delta = np.linspace(-7, 4, 221) / ranges.beta
    refs = np.full(delta.shape, ref)
    value, slope = curve.value(delta, refs), curve.slope(delta, refs)
    out: dict[str, Any] = {"ref_margin": ref, "margin": delta, "value": value, "slope": slope}
    if aim is not None:
        out |= {"target_ref": aim.ref_margin, "target": aim.values}
    return out
