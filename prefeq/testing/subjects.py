"""What the assertions on losses share: names, pictures and instances of what they tested."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from prefeq.loss_cards import Curve, PairLoss, Pairs
from prefeq.testing.failures import Picture
from prefeq.testing.instances import Instance

DELTA = "margin δ of the policy (nats)"


def named(loss: PairLoss) -> str:
    """Return what a failure calls a loss: its name and its parameters."""
    return ", ".join([loss.name, *(f"{key}={value!r}" for key, value in loss.parameters.items())])


def curves(losses: Mapping[str, PairLoss], pair: Pairs) -> Picture:
    """Draw losses of an ordered pair over δ, at the reference margin of an instance."""
    delta, ref = float(pair.margin[0]), float(pair.ref_margin[0])
    reach = max(abs(delta), abs(ref), *(2 * loss.unit for loss in losses.values()))
    x = np.linspace(-1.3 * reach, 1.3 * reach, 401)
    lines = {}
    for name, loss in losses.items():
        y = Curve(loss).value(x, np.full(x.shape, ref))
        lines[name] = np.where(np.isfinite(y), y, np.nan)
    marks = {"δ_ref": ref, "δ of the instance": delta}
    span = (ref, 0.0) if ref < 0 else None
    return Picture(" and ".join(losses), DELTA, "loss of an ordered pair", x, lines, marks, span)


def instance(loss: PairLoss, pair: Pairs, *, tokens: bool = False) -> Instance:
    """Return pairs as tables, with the β of their loss."""
    return Instance.of_pairs(pair, loss.beta or 1.0, tokens=tokens)


def joined(first: Pairs, second: Pairs) -> Pairs:
    """Return the pairs of both in one batch."""
    both = zip(first.columns(), second.columns(), strict=True)
    return Pairs(*(np.concatenate(columns) for columns in both))


def plain(value: Any) -> float | str:
    """Return a number as it is printed."""
    return "nan" if np.isnan(value) else float(value)
