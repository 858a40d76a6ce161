"""What a card holds, as a dictionary for strict JSON."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from prefeq.loss_cards.alignment import Alignment

if TYPE_CHECKING:
    from prefeq.loss_cards.card import LossCard

_PLAIN = int | float | str


def dictionary(card: LossCard) -> dict[str, Any]:
    """Return the card's measurements under the keys of `LossCard.to_dict`."""
    step, target, shape = card.first_step, card.target, card.shape
    at = step.at(-3 / card.ranges.beta)
    return {
        "loss": card.name,
        "margin_only": card.margin_only,
        "first_step": {
            "direction": step.direction,
            "ref_margin": step.ref_margin[at],
            "value": _number(step.value[at]),
            "slope": _number(step.slope[at]),
            "chosen": step.chosen,
            "rejected": step.rejected,
        },
        "minimisers": {"ordered": card.ordered, "bradley_terry": card.population},
        "target_margin": None
        if target is None
        else {
            "form": target.name,
            "ref_margin": target.ref_margin,
            "target": target.values,
            "lowest": target.lowest,
            "below_dpo": target.below_dpo,
            "tail": target.tail,
        },
        "aligned": card.aligned,
        "aligned_per_label": card.aligned_per_label,
        "trap": card.trap,
        "exit_time_ratio": card.exit_time_ratio,
        "counterexample": card.counterexample,
        "faults": [
            {"name": f.name, "severity": f.severity, "message": f.message, "instance": f.instance}
            for f in card.faults
        ],
        "parameters": {k: v for k, v in card.parameters.items() if isinstance(v, _PLAIN)},
        "beta": card.beta,
        "library": card.library,
        "gradients": card.scheme,
        "reduction": card.reduction,
        "ranges": {
            "beta": card.ranges.beta,
            "ref_margin": [-card.ranges.ref_limit, card.ranges.ref_limit],
            "reward_gap": [card.ranges.gaps[0], card.ranges.gaps[-1]],
            "margin": [card.ranges.margin[0, 0], card.ranges.margin[0, -1]],
        },
        "depends_on": {
            "kind": card.dependence.kind,
            "shift_invariant": card.dependence.shift_invariant,
            "length": card.dependence.on_length,
            "batch": card.dependence.on_batch,
            "instance": card.dependence.instance,
            "tolerance": card.dependence.tolerance,
        },
        "shape": {
            "monotone": shape.monotone,
            "convex": shape.convex,
            "smooth": shape.smooth,
            "kink": shape.kink,
            "left": shape.left,
            "right": shape.right,
            "bounded_below": shape.bounded_below,
        },
        "alignment": {
            "fixed": _reading(card.fixed),
            "per_label": _reading(card.per_label),
        },
        "trap_region": {
            "ref_margin": card.trap_region.regions,
            "instance": card.trap_region.instance,
            "undecided": card.trap_region.undecided,
        },
        "exit_times": card.exits,
        "weak_gradient": {"size": card.weak_size, "shares": card.weak},
        "same_as": card.same_as,
        "same_as_one_token": card.same_as_one_token,
        "agreement": [
            {"with": a.second_name, "same": a.same, "points": a.points, "worst": a.worst,
             "tolerance": a.tolerance, "first": a.first}
            for a in card.agreements
        ],
        "extremes": [
            {"kind": f.kind, "dtype": f.dtype, "message": f.message, "instance": f.instance,
             "beyond": f.beyond}
            for f in card.findings
        ],
        "stand_in": card.stand_in,
        "certified": card.certified,
    }  # fmt: skip


def _reading(found: Alignment) -> dict[str, Any]:
    example = found.counterexample
    return {
        "verdict": found.verdict,
        "reason": found.reason,
        "certified": found.certified,
        "counterexample": None if example is None else example.to_dict(),
    }


def _number(value: Any) -> float | None:
    return None if math.isnan(value) else float(value)
