"""Ties of the target margins: every formula of `target_formulas` against `prefeq.losses`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from prefeq import losses
from prefeq.claims.evidence import Evidence
from prefeq.claims.surrogates import Surrogate
from prefeq.claims.tie import Columns, Point, tie

SEED = 20834


def references(count: int = 140, seed: int = SEED) -> Columns:
    """Return log-probabilities of two responses (both at most 0), β and gaps, extremes first.

    Gaps have either sign: a label may say that the response with the lower reward is preferred.

    Tabular references: down to e^−40, as Eq. 17 takes their reciprocals.
    """
    rng = np.random.default_rng(seed)

    def logs(low: float, high: float) -> Any:
        return np.exp(rng.uniform(np.log(low), np.log(high), count))

    columns = {
        "winner": -logs(1e-2, 40.0),
        "loser": -logs(1e-2, 40.0),
        "beta": logs(1e-4, 1e3),
        "gap": logs(1e-3, 50.0) * np.resize([1.0, -1.0], count),
    }
    ends = ((-40.0, -1e-2, 1e-4, 1e-3), (-1e-2, -40.0, 1e3, 50.0), (-0.5, -0.5, 1.0, -1.0))
    for i, row in enumerate(ends):
        for name, value in zip(columns, row, strict=True):
            columns[name][i] = value
    return columns


def all_of(surrogate: Surrogate) -> Iterator[Evidence]:
    """Yield the ties of one surrogate: its target, critical gap and minimiser."""
    yield target(surrogate)
    yield critical_gap(surrogate)
    yield minimiser(surrogate)


def target(surrogate: Surrogate) -> Evidence:
    """The target margin against `Loss.target`."""
    return _tie(
        surrogate,
        "target",
        lambda at: surrogate.target(at["winner"], at["loser"], at["beta"]),
        lambda loss, ref, at: loss.target(ref, at["beta"]),
    )


def critical_gap(surrogate: Surrogate) -> Evidence:
    """The critical gap against `Loss.critical_gap`."""
    return _tie(
        surrogate,
        "critical gap",
        lambda at: surrogate.critical_gap(at["winner"], at["loser"], at["beta"]),
        lambda loss, ref, at: loss.critical_gap(ref, at["beta"], surrogate.flipped),
        power=1,
    )


def minimiser(surrogate: Surrogate) -> Evidence:
    """The minimiser of the population loss against `Loss.minimiser`."""
    return _tie(
        surrogate,
        "minimiser",
        lambda at: surrogate.minimiser(at["winner"], at["loser"], at["beta"], at["gap"]),
        lambda loss, ref, at: loss.minimiser(ref, at["beta"], at["gap"], surrogate.flipped),
    )


def _tie(
    surrogate: Surrogate,
    what: str,
    copy: Callable[[dict[str, Any]], Any],
    package: Callable[[losses.Loss, losses.Reference, dict[str, Any]], Any],
    power: int = 0,
) -> Evidence:
    given = "".join(f", {name} = {value}" for name, value in surrogate.parameters)
    return tie(
        f"the {what} of {surrogate.name} ({surrogate.flipped}{given}) agrees with prefeq.losses",
        lambda **at: copy(at),
        lambda **at: package(surrogate.loss(), losses.Reference(at["winner"], at["loser"]), at),
        references(),
        scale=lambda value, p: abs(value) + _size(surrogate, p) * p["beta"] ** power,
    )


def _size(surrogate: Surrogate, at: Point) -> float:
    """Return the size of the terms that cancel in a target, in nats."""
    ref = losses.Reference(at["winner"], at["loser"])
    back = losses.Reference(at["loser"], at["winner"])
    both = [abs(float(surrogate.loss().target(r, at["beta"]))) for r in (ref, back)]
    return max(both) + abs(at["winner"]) + abs(at["loser"]) + (1 + abs(at["gap"])) / at["beta"]
