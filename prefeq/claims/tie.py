"""Ties: a formula of `formulas`, evaluated in balls, against the package's own function.

A tie holds if the two agree at every one of at least 100 points, the extremes of the domain
included. It is what makes a verdict move when somebody breaks the package.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from flint import ctx

from prefeq.arrays import FloatArray
from prefeq.claims.ball import DISPLAY_BITS, ball
from prefeq.claims.evidence import Evidence, outcome_of

MIN_POINTS = 100
SEED = 20834
RELATIVE = 1e-12
NARROW = 1e-60
NATS = 800.0
BETA = (1e-6, 1e6)

Columns = dict[str, FloatArray]
Point = Mapping[str, float]


def points(*names: str, count: int = 144, seed: int = SEED) -> Columns:
    """Return test points: every corner of the domain, then random ones that fill it on log scales.

    Known names: ``delta, delta_ref, x, margin`` (±800 nats), ``delta_below`` (negative only),
    ``beta`` and ``mass`` (1e-6 to 1e6, and 1e-3 to 1), ``gap`` (Δr/β up to ±800 nats; needs
    ``beta``), ``q`` (0 to 1), ``eps`` (0 to ½), ``z`` (±800), ``t`` (0 to 800).

    >>> made = points("delta_ref", "gap", "beta")
    >>> len(made["beta"]) >= 100, float(made["beta"].min()), float(made["delta_ref"].max())
    (True, 1e-06, 800.0)
    """
    rng = np.random.default_rng(seed)
    corners = list(itertools.product(*(_ENDS[name] for name in names)))
    middle = max(count, MIN_POINTS) - len(corners) if len(corners) < count else MIN_POINTS
    columns: Columns = {}
    for i, name in enumerate(names):
        ends = np.array([corner[i] for corner in corners])
        columns[name] = np.concatenate([ends, _DRAW[name](rng, middle)])
    if "gap" in columns:
        columns["gap"] = columns["gap"] * columns["beta"]
    return columns


def tie(
    name: str,
    copy: Callable[..., Any],
    package: Callable[..., Any],
    at: Columns,
    *,
    scale: Callable[[float, Point], float] | None = None,
) -> Evidence:
    """Compare `copy` (one ball a point) with `package` (whole columns) at all points.

    Parameters
    ----------
    name
        What is tied to what, as the summary says it.
    scale
        From (value, point) the size that errors are measured against: 1e-12 of it is allowed. By
        default |value|; larger where the formula itself cancels or is ill-conditioned.
    """
    count = len(next(iter(at.values())))
    try:
        got = np.broadcast_to(np.asarray(package(**at), dtype=np.float64), (count,))
    except Exception as error:  # whatever it raises, the tie is broken
        return _evidence(name, False, count, f"{type(error).__name__}: {error}")
    for i in range(count):
        point = {key: float(column[i]) for key, column in at.items()}
        with ctx.workprec(DISPLAY_BITS):
            want = copy(**{key: ball(value) for key, value in point.items()})
            low, high = float(want.lower()), float(want.upper())
        size = abs(high) if scale is None else scale(high, point)
        slack = RELATIVE * size + 1e-300
        if not high - low <= slack + NARROW:
            return _evidence(name, False, count, f"too wide a ball to compare with at {point}")
        if not low - slack <= got[i] <= high + slack:
            return _evidence(name, False, count, f"{got[i]!r} is not {high!r} at {point}")
    return _evidence(name, count >= MIN_POINTS, count, "too few points")


def tie_decision(
    name: str, copy: Callable[..., bool | None], package: Callable[..., Any], at: Columns
) -> Evidence:
    """Compare a yes-or-no of exact arithmetic (None where it is too close to call) likewise."""
    count = len(next(iter(at.values())))
    try:
        got = np.broadcast_to(np.asarray(package(**at), dtype=np.bool_), (count,))
    except Exception as error:
        return _evidence(name, False, count, f"{type(error).__name__}: {error}")
    decided = []
    for i in range(count):
        point = {key: float(column[i]) for key, column in at.items()}
        want = copy(**point)
        if want is None:
            continue
        if want != bool(got[i]):
            return _evidence(name, False, count, f"{bool(got[i])} is not {want} at {point}")
        decided.append(want)
    both = len(decided) >= MIN_POINTS and 0 < sum(decided) < len(decided)
    return _evidence(name, both, len(decided), "too few points, or all of one kind")


def _evidence(name: str, holds: bool, count: int, why: str) -> Evidence:
    summary = f"{name} at {count} points" if holds else f"{name} is broken: {why}"
    data = {"runs": {"count": count, "seed": SEED}, "inputs": {"relative": RELATIVE}}
    return Evidence("tie", summary, outcome_of(holds), data=data)


def _signed(rng: np.random.Generator, n: int) -> FloatArray:
    size = np.exp(rng.uniform(np.log(1e-3), np.log(NATS), n))
    return np.asarray(size * rng.choice([-1.0, 1.0], n))


def _log_uniform(low: float, high: float) -> Callable[[np.random.Generator, int], FloatArray]:
    return lambda rng, n: np.asarray(np.exp(rng.uniform(np.log(low), np.log(high), n)))


_ENDS: dict[str, tuple[float, ...]] = {
    **dict.fromkeys(("delta", "delta_ref", "x", "margin", "z", "gap"), (-NATS, 0.0, NATS)),
    "delta_below": (-NATS, -1e-3),
    "t": (0.0, NATS),
    "beta": BETA,
    "mass": (1e-3, 1.0),
    "q": (0.0, 1.0),
    "eps": (1e-6, 0.49),
}
_DRAW: dict[str, Callable[[np.random.Generator, int], FloatArray]] = {
    **dict.fromkeys(("delta", "delta_ref", "x", "margin", "z", "gap"), _signed),
    "delta_below": lambda rng, n: -np.abs(_signed(rng, n)),
    "t": lambda rng, n: np.abs(_signed(rng, n)),
    "beta": _log_uniform(*BETA),
    "mass": _log_uniform(1e-3, 1.0),
    "q": lambda rng, n: np.asarray(rng.uniform(0.0, 1.0, n)),
    "eps": lambda rng, n: np.asarray(rng.uniform(0.01, 0.49, n)),
}
