"""Two implementations of one loss: do they agree, and which is the first pair where they do not?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from prefeq.arrays import FloatArray
from prefeq.loss_cards.callables import adapt
from prefeq.loss_cards.pair_loss import PairLoss
from prefeq.loss_cards.pairs import Pairs, mixed_pairs
from prefeq.losses import LOSSES, cdpo

TOLERANCE = 1e-9
"""Relative difference of values and of gradients below which two implementations agree."""


@dataclass(frozen=True)
class Agreement:
    """How two losses compare.

    Attributes
    ----------
    first_name, second_name
        The two.
    same
        Whether values and gradients agree on every pair.
    points
        How many pairs were compared.
    worst
        The largest relative difference of values.
    tolerance
        What was allowed.
    first
        The first pair, from plain to extreme, on which they differ: the log-probs, the values and
        the slopes by log π(w) of both. None where they agree.
    """

    first_name: str
    second_name: str
    same: bool
    points: int
    worst: float
    tolerance: float
    first: Mapping[str, Any] | None

    def __str__(self) -> str:
        names = f"{self.first_name} and {self.second_name}"
        if self.same or self.first is None:
            return f"{names} agree on {self.points} pairs to {self.tolerance:g}"
        values = self.first["values"]
        return f"{names} differ on {_pair(self.first)}: {values[0]} and {values[1]}"


def agreement(
    first: Any, second: Any, pairs: Pairs | None = None, tolerance: float | None = None
) -> Agreement:
    """Compare values and gradients of two losses, pair by pair.

    Parameters
    ----------
    first, second
        Whatever `adapt` takes; with their parameters already in them, or at their defaults.
    pairs
        Where to compare; by default plain numbers first, then pairs of every kind, then margins of
        ±800 nats (`standard_pairs`), of unequal lengths where either loss is given lengths.
    tolerance
        Relative; 1e-9 by default, or what the coarser of their dtypes allows.

    Examples
    --------
    >>> import numpy as np
    >>> def mine(chosen, rejected, ref_chosen, ref_rejected, beta=0.1):
    ...     return np.logaddexp(0, -beta * (chosen - rejected))
    >>> found = agreement(mine, "dpo")
    >>> found.same, found.first["ref_chosen_logps"] == found.first["ref_rejected_logps"]
    (False, False)
    """
    one, two = adapt(first), adapt(second)
    if pairs is None:
        pairs = standard_pairs()
        pairs = pairs.of_lengths() if one.takes_tokens or two.takes_tokens else pairs
    if one.coupled or two.coupled:
        pairs = pairs.rows(slice(0, 24))
    if tolerance is None:
        tolerance = _tolerance(one, two)
    return compare(measured(one, pairs), measured(two, pairs), tolerance)


@dataclass(frozen=True, eq=False)
class Measured:
    """A loss and its values and gradients on pairs."""

    loss: PairLoss
    pairs: Pairs
    value: FloatArray
    gradient: tuple[FloatArray, FloatArray]


def measured(loss: PairLoss, pairs: Pairs) -> Measured:
    """Evaluate a loss on pairs."""
    return Measured(loss, pairs, loss.value(pairs), loss.gradient(pairs))


def compare(first: Measured, second: Measured, tolerance: float = TOLERANCE) -> Agreement:
    """Compare two losses that were evaluated on the same pairs."""
    one, two, pairs = first.loss, second.loss, first.pairs
    values = first.value, second.value
    gap = _difference(*values, floor=1e-3)
    slopes = first.gradient, second.gradient
    rate = max(float(np.nanmax(np.abs(s), initial=0.0)) for side in slopes for s in side)
    by_difference = "numpy" in (one.library, two.library)
    rough = max(one.eps, two.eps)
    loose = max(tolerance, 1e-6, 100 * rough**0.8) if by_difference else tolerance
    kinks = _kinks(one, two, pairs) if by_difference else np.zeros(len(pairs), dtype=bool)
    slope_gap = np.maximum(*(_difference(a, b, floor=rate) for a, b in zip(*slopes, strict=True)))
    wrong = (gap > tolerance) | ((slope_gap > loose) & ~kinks)
    shown = None
    if wrong.any():
        at = int(np.argmax(wrong))
        shown = {
            **pairs.row(at),
            **_tokens(pairs, at),
            "values": [_plain(v[at]) for v in values],
            "slopes": [_plain(s[0][at]) for s in slopes],
        }
    worst = float(np.max(gap, initial=0.0))
    return Agreement(
        one.name, two.name, not wrong.any(), len(pairs), worst, float(tolerance), shown
    )


def same_as(loss: PairLoss, *, one_token: bool = False) -> tuple[str, ...]:
    """Return the names of those of our losses that agree with a loss, at its own β.

    Also label-smoothed DPO, where the loss takes a ``label_smoothing`` or an ``eps``. `clip` is
    another name of `hypo` and is not listed twice. Responses have several tokens where the loss is
    told how many, unless `one_token`: a mean over tokens is a sum then.

    Examples
    --------
    >>> from prefeq.loss_cards.callables import adapt
    >>> def mean(chosen, rejected, ref_chosen, ref_rejected, chosen_tokens, rejected_tokens):
    ...     import numpy as np
    ...     x = (chosen - ref_chosen) / chosen_tokens - (rejected - ref_rejected) / rejected_tokens
    ...     return np.logaddexp(0, -x)
    >>> same_as(adapt(mean)), same_as(adapt(mean), one_token=True)
    ((), ('dpo',))
    """
    pairs = standard_pairs().rows(slice(0, 60, 2 if loss.library == "trl" else 1))
    if loss.takes_tokens and not one_token:
        pairs = pairs.of_lengths()
    own = measured(loss, pairs)
    return tuple(
        name
        for name, other in _candidates(loss)
        if compare(own, measured(other, pairs), _tolerance(loss, other)).same
    )


def _tolerance(one: PairLoss, two: PairLoss) -> float:
    rough = max(one.eps, two.eps)
    return max(TOLERANCE, 64 * rough if rough > 1e-12 else 0.0)


def _candidates(loss: PairLoss) -> Iterator[tuple[str, PairLoss]]:
    beta = loss.beta or 1.0
    for name, own in LOSSES.items():
        if name != own.name and own.name in LOSSES:
            continue
        yield name, adapt(own, beta=beta)
    for key in ("label_smoothing", "eps", "epsilon"):
        eps = loss.settings.get(key)
        if isinstance(eps, int | float) and 0 < eps < 0.5:
            yield f"cdpo(eps={eps:g})", adapt(cdpo(float(eps)), beta=beta)


def standard_pairs() -> Pairs:
    """Return the pairs of a comparison: plain, of every kind, and extreme, in this order."""
    plain = [
        (-1.0, -2.0, -2.0, -2.0), (-1.0, -2.0, -1.5, -2.0), (-3.0, -1.0, -2.0, -1.5),
        (-2.0, -2.0, -1.0, -3.0), (-2.0, -2.0, -3.0, -1.0), (-5.0, -4.0, -6.0, -2.0),
    ]  # fmt: skip
    extreme = [
        (-4.0 - a, -4.0 - b, -8.0 - c, -8.0 - d)
        for a in (0.0, 100.0, 800.0) for b in (0.0, 800.0)
        for c in (0.0, 800.0) for d in (0.0, 100.0, 800.0)
    ]  # fmt: skip
    wide, near = mixed_pairs(24, seed=11, scale=10.0), mixed_pairs(24, seed=12)
    columns = [np.concatenate(parts) for parts in zip(near.columns(), wide.columns(), strict=True)]
    head, tail = np.array(plain).T, np.array(extreme).T
    parts = [np.concatenate([head[i], columns[i], tail[i]]) for i in range(4)]
    return Pairs(*parts)


def _difference(first: FloatArray, second: FloatArray, floor: float) -> FloatArray:
    with np.errstate(all="ignore"):
        size = np.maximum(np.maximum(np.abs(first), np.abs(second)), floor)
        gap = np.abs(first - second) / size
    gap = np.where(first == second, 0.0, gap)
    return np.where(np.isnan(gap), np.inf, gap)


def _kinks(one: PairLoss, two: PairLoss, pairs: Pairs) -> Any:
    """Tell where differences straddle a kink of either loss, so that slopes need not agree."""
    near = np.zeros(len(pairs), dtype=bool)
    for loss in (one, two):
        step = 2 * loss.step
        up = loss.gradient(pairs.shifted(chosen=step))[0]
        down = loss.gradient(pairs.shifted(chosen=-step))[0]
        largest = max(float(np.nanmax(np.abs(up), initial=0.0)), 1e-300)
        with np.errstate(all="ignore"):
            near |= ~(np.abs(up - down) < 0.05 * largest)
    return near


def _plain(value: Any) -> float | str:
    value = float(value)
    return "nan" if np.isnan(value) else value


def _pair(row: Mapping[str, Any]) -> str:
    shown = (name for name in row if name.endswith(("_logps", "_tokens")))
    return ", ".join(f"{name} = {row[name]:g}" for name in shown)


def _tokens(pairs: Pairs, index: int) -> dict[str, int]:
    """Return the lengths of a pair; nothing where both are 1."""
    names = ("chosen_tokens", "rejected_tokens")
    lengths = {name: int(getattr(pairs, name)[index]) for name in names}
    return lengths if max(lengths.values()) > 1 else {}
