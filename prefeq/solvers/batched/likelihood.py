"""The Bradley-Terry likelihood behind DPO, for all lanes of a chunk: Newton, then a proof.

Lane by lane the problem and its answer are those of `solvers.likelihood`: on each strong component
of "i beat j with positive mass", the s of mean zero that minimises Σ m [q softplus(−t) + (1−q)
softplus(t)], t = s_w − s_l. Newton starts from the labels' own weighted least squares, which is the
answer where they are consistent. It runs in plain arithmetic (`narrow`), and in logarithms (`wide`)
in the lanes where that proves nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from prefeq import component_lanes as components
from prefeq._namespace import Array, quiet
from prefeq.lanes import device_of
from prefeq.solvers.batched.comparisons import Pairs, narrow, wide
from prefeq.solvers.batched.narrow import Narrow
from prefeq.solvers.batched.newton import minimiser
from prefeq.solvers.batched.wide import Wide

TOLERANCE = 4e-10
"""Largest error of a lane that is done, relative to max(1, |s|)."""

NARROW_STEPS, WIDE_STEPS = 200, 400
"""When to give a lane up."""


@dataclass(frozen=True)
class Minimum:
    """Where the likelihoods of n lanes are least, as far as that is proved.

    `s` (K, n) has mean zero on each strong component (0 elsewhere). `error` (n,) bounds the error
    of any difference of s inside a strong component, inf if there is no proof. `loss` (n,) is that
    at s, where pairs between strong components count as 0, their infimum. `steps` (n,) are
    Newton's. Where a lane is not `done`, s and loss are no answer.
    """

    s: Array
    error: Array
    loss: Array
    steps: Array
    done: Array


@dataclass(frozen=True)
class Answer(Minimum):
    """The minimum and the graph's components that it is one of.

    `component` and `strong` (K, n) number the components of the graph, and the strong ones, 0, 1,
    2, … by their first responses; -1 off the support.
    """

    component: Array
    strong: Array


@quiet
def minimise_lanes(
    xp: Any, on: Array, winner: Array, loser: Array, log_odds: Array, mass: Array, present: Array
) -> Answer:
    """Minimise the likelihoods of n problems with supports `on` (K, n) and pairs (P, n).

    Labels L are nats and may be ±inf; pairs that are `present` have positive masses and name two
    responses of the support. Nothing is raised: what cannot be proved is not `done`.

    Examples
    --------
    >>> import array_api_compat
    >>> import numpy as np
    >>> lane = lambda *values: np.array(values)[:, None]
    >>> xp = array_api_compat.array_namespace(lane(0))
    >>> pairs = lane(0, 1), lane(1, 2), lane(1.5, 3.0), lane(1.0, 4.0), lane(True, True)
    >>> answer = minimise_lanes(xp, lane(True, True, True), *pairs)
    >>> answer.s[:, 0].tolist(), answer.done.tolist()
    ([2.0, 0.5, -2.5], [True])
    """
    pairs = Pairs.of(xp, on.shape[0], winner, loser, log_odds, mass, present)
    won, faint = pairs.masses(xp)
    beats = won > 0
    joined = components.joined(xp, beats)
    two_way = bool(xp.all(beats == xp.permute_dims(beats, (1, 0, 2))))
    strong = joined if two_way else components.mutual(xp, beats)
    component = components.labels(xp, joined, on)
    label = component if two_way else components.labels(xp, strong, on)
    found = _minimum(xp, pairs, won, strong, faint)
    return Answer(**_columns(found), component=component, strong=label)


def _minimum(xp: Any, pairs: Pairs, won: Array, strong: Array, faint: Array) -> Minimum:
    if pairs.triangle.size < 2:
        return _unknown(xp, pairs.triangle.size, faint, 0.0)
    network, lanes = narrow(xp, pairs, won, strong), xp.nonzero(~faint)[0]
    if lanes.shape[0] == faint.shape[0]:
        found = _solve(xp, network, strong, pairs.top, NARROW_STEPS)
    else:
        found = _unknown(xp, pairs.triangle.size, faint, xp.inf)
        same, top = xp.take(strong, lanes, axis=2), xp.take(pairs.top, lanes)
        _write(found, lanes, _solve(xp, network.select(xp, lanes), same, top, NARROW_STEPS))
    lanes = xp.nonzero(~found.done)[0]
    if lanes.shape[0]:
        pairs, same = pairs.select(xp, lanes), xp.take(strong, lanes, axis=2)
        _write(found, lanes, _solve(xp, wide(xp, pairs, same), same, pairs.top, WIDE_STEPS))
    return found


def _solve(xp: Any, network: Narrow | Wide, same: Array, top: Array, max_steps: int) -> Minimum:
    s, steps = minimiser(xp, network, max_steps)
    s = components.centred(xp, s, same)
    error = error_bound(xp, s.shape[0], network.largest_step(xp, s))
    size = xp.max(xp.abs(s), axis=0)
    done = error <= TOLERANCE * xp.maximum(size, xp.ones_like(size))
    return Minimum(s, error, network.loss(xp, s, top), steps, done)


def error_bound(xp: Any, size: int, nu: Array) -> Array:
    """Bound max |(s_i − s_j) − (s*_i − s*_j)| by 2ν if ν ≤ 1/(6(K−1)); inf otherwise.

    ν is the largest difference in the Newton step at s, its rounding included; NaN bounds nothing.
    The proof is in `solvers.likelihood.error_bound`. (The step is 0 at the first response of every
    strong component: its spread over all responses is at least that over any one component.)
    """
    return xp.where(nu * (6.0 * (size - 1)) <= 1, 2 * nu, xp.full_like(nu, xp.inf))


def _unknown(xp: Any, size: int, faint: Array, error: float) -> Minimum:
    """Return s = 0 with the given error, which is known only if there is nothing to solve."""
    zero = xp.zeros(faint.shape, dtype=xp.float64, device=device_of(faint))
    s = xp.zeros((size, *faint.shape), dtype=xp.float64, device=device_of(faint))
    return Minimum(s, zero + error, zero, xp.astype(zero, xp.int64), zero >= error)


def _write(found: Minimum, lanes: Array, part: Minimum) -> None:
    """Write the answers of some lanes over the former ones, in place."""
    old, new = _columns(found), _columns(part)
    for name, column in old.items():
        column[..., lanes] = new[name]


def _columns(found: Minimum) -> dict[str, Array]:
    return {field.name: getattr(found, field.name) for field in fields(found)}
