"""What a loss depends on: margins, log-ratios, absolute log-probs, lengths, the batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from prefeq.arrays import FloatArray
from prefeq.loss_cards.pair_loss import EPS, PairLoss
from prefeq.loss_cards.pairs import Pairs, mixed_pairs

KINDS = {
    "relative margin": "delta - delta_ref alone",
    "margins": "delta and delta_ref",
    "policy margin": "delta alone: no reference",
    "margin and reference log-probs": "delta, and the reference's log-probs one by one",
    "log-ratios": "log pi/pi_ref of either response, one by one",
    "policy log-probs": "the policy's log-probs one by one: no reference",
    "log-probs": "the log-probs one by one",
    "nothing": "nothing: it is constant",
    "unknown": "not decided: it is no finite number on ordinary pairs",
}

_MOVES: Mapping[str, Mapping[str, float]] = {
    "both policy": {"chosen": 1.0, "rejected": 1.0},
    "both reference": {"ref_chosen": 1.0, "ref_rejected": 1.0},
    "margins together": {"chosen": 1.0, "ref_chosen": 1.0},
    "losers together": {"rejected": 1.0, "ref_rejected": 1.0},
    "reference": {"ref_chosen": 1.0},
    "reference of the loser": {"ref_rejected": 1.0},
    "policy": {"chosen": 1.0},
    "policy of the loser": {"rejected": 1.0},
}


@dataclass(frozen=True)
class Dependence:
    """What moves a loss, measured on pairs of every kind.

    Attributes
    ----------
    kind
        One of `KINDS`.
    margin_only
        Whether δ and δ_ref alone determine the loss, lengths and batch included.
    shift_invariant
        Whether adding one number to all four log-probs leaves it.
    on_length
        Whether token counts enter.
    on_batch
        Whether the value of a pair changes with the other rows: ``no``, ``yes``, or ``lengths``
        (only where these differ).
    invariant
        The largest relative change under each move of the inputs.
    instance
        The pair and the move that show why it is no loss of margins, or None.
    tolerance
        The relative change that counts as none.
    """

    kind: str
    margin_only: bool
    shift_invariant: bool
    on_length: bool
    on_batch: str
    invariant: Mapping[str, float]
    instance: Mapping[str, Any] | None
    tolerance: float

    @property
    def log_ratio(self) -> bool:
        """Whether the reference enters through log π/π_ref of each response alone."""
        return all(
            self.invariant[move] <= self.tolerance
            for move in ("margins together", "losers together")
        )

    @property
    def uses_reference(self) -> bool:
        """Whether the reference enters at all."""
        return (
            max(self.invariant["reference"], self.invariant["reference of the loser"])
            > self.tolerance
        )


def dependence(loss: PairLoss) -> Dependence:
    """Measure what a loss depends on, by moving its inputs; 24 pairs, moves of ±0.7/β.

    Examples
    --------
    >>> from prefeq.loss_cards.callables import adapt
    >>> [dependence(adapt(name)).kind for name in ("dpo", "hypo", "simpo")]
    ['relative margin', 'margins', 'policy margin']
    """
    scale = min(loss.unit, 20.0)
    pairs = mixed_pairs(24 if not loss.coupled else 8, scale=scale)
    # The total of a batch is one call; pairs are moved by different amounts, so nothing cancels.
    value = loss.value if loss.reduction == "pairs" or loss.coupled else _total(loss)
    before = value(pairs)
    spread = 0.6 + 0.8 * np.arange(len(pairs)) / len(pairs)
    tolerance = max(1e-10, 64 * EPS.get(loss.call(pairs).dtype, 0.0))
    changes, shown = {}, None
    for name, move in _MOVES.items():
        change = np.zeros(len(before))
        for sign in (-0.7, 0.45):
            moved = pairs.shifted(**{c: sign * scale * x * spread for c, x in move.items()})
            change = np.maximum(change, _relative(before, value(moved)))
        changes[name] = float(np.nanmax(change, initial=0.0))
        matters = name in ("both policy", "both reference") and changes[name] > tolerance
        if matters and shown is None:
            worst = int(np.nanargmax(change)) if len(change) == len(pairs) else 0
            by = float(0.45 * scale * spread[worst])
            moved = pairs.rows(worst).shifted(**{c: by * x for c, x in move.items()})
            shown = {
                **pairs.row(worst),
                "moved": f"{name} log-probs by {by:.4g}",
                "values": [_plain(loss.value(p)[0]) for p in (pairs.rows(worst), moved)],
            }
    still = {name: change <= tolerance for name, change in changes.items()}
    everything = pairs.shifted(**dict.fromkeys(("chosen", "rejected"), 0.45 * scale))
    everything = everything.shifted(**dict.fromkeys(("ref_chosen", "ref_rejected"), 0.45 * scale))
    shift = bool(np.nanmax(_relative(before, value(everything))) <= tolerance)
    on_length, on_batch = _lengths(loss, pairs, tolerance)
    known = bool(np.isfinite(before).any())
    by_margins = known and still["both policy"] and still["both reference"]
    return Dependence(
        _kind(still) if known else "unknown",
        by_margins and not on_length and on_batch == "no",
        shift,
        on_length,
        on_batch,
        changes,
        shown,
        tolerance,
    )


def _total(loss: PairLoss) -> Callable[[Pairs], FloatArray]:
    return lambda pairs: loss.call(pairs).values.reshape(-1)


def _kind(still: Mapping[str, bool]) -> str:
    reference = not (still["reference"] and still["reference of the loser"])
    if all(still.values()):
        return "nothing"
    if still["both policy"]:
        if not reference:
            return "policy margin"
        if not still["both reference"]:
            return "margin and reference log-probs"
        return "relative margin" if still["margins together"] else "margins"
    if not reference:
        return "policy log-probs"
    if still["margins together"] and still["losers together"]:
        return "log-ratios"
    return "log-probs"


def _lengths(loss: PairLoss, pairs: Pairs, tolerance: float) -> tuple[bool, str]:
    """Return whether lengths matter to a pair alone, and whether the batch does."""
    n = len(pairs)
    tokens = (3 + np.arange(n) % 5, 2 + np.arange(n) % 7)
    long = replace(pairs, chosen_tokens=tokens[0], rejected_tokens=tokens[1])
    few = slice(0, 6)
    before, after = loss.value(pairs.rows(few)), loss.value(long.rows(few))
    on_length = bool(np.nanmax(_relative(before, after)) > tolerance)
    if loss.coupled or not loss.takes_tokens:
        return on_length, "yes" if loss.coupled else "no"
    whole = loss.call(long).values.reshape(-1)
    # The value of each pair alone, not as if of equal lengths.
    each = np.array([float(loss.call(one).values.sum()) for one in long.singles()])
    parts = {"pairs": each, "mean": each.mean(keepdims=True), "sum": each.sum(keepdims=True)}
    change = _relative(whole, parts[loss.reduction])
    return on_length, "no" if (change <= max(tolerance, 1e-9)).all() else "lengths"


def _plain(value: Any) -> float | str:
    return "nan" if np.isnan(value) else float(value)


def _relative(first: FloatArray, second: FloatArray) -> FloatArray:
    """Return |a − b|/max(|a|, |b|, 1e-3): 0 where both are NaN, inf where one is."""
    with np.errstate(all="ignore"):
        change = np.abs(first - second) / np.maximum(
            np.abs(first), np.maximum(np.abs(second), 1e-3)
        )
    both = (np.isnan(first) & np.isnan(second)) | (first == second)
    return np.where(both, 0.0, np.where(np.isnan(change), np.inf, change))
