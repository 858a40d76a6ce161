"""Chunks of Constrained PO problems of many shapes, as lanes, and the single solver's answers.

A draw is (target, winner, loser, margin, present), what `solve_lanes` takes after xp.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import array_api_compat
import numpy as np

from prefeq.arrays import log_normalise
from prefeq.errors import InfeasibleError
from prefeq.solvers import cpo
from prefeq.solvers.batched import constrained
from prefeq.solvers.certificate import certify
from prefeq.solvers.constraints import Constraints, build

INF = np.inf
XP = array_api_compat.array_namespace(np.zeros(()))

ORDINARY = ("pair", "chain", "acyclic", "flat", "cycles", "ties", "repeated", "ragged", "met")
HARD = ("vast chain", "vast", "vast ties", "far", "close")

Problem = tuple[Any, ...]


def draw(kind: str, rng: np.random.Generator, k: int, p: int, n: int) -> Problem:
    """Return n problems of k responses and p pairs, which some policy meets."""
    nats = {"vast chain": 800.0, "vast": 400.0, "vast ties": 300.0, "far": 60.0}.get(kind, 2.0)
    shape = (p, n)
    height, target = rng.normal(0, nats, (k, n)), rng.normal(0, nats, (k, n))
    order = np.argsort(rng.random((k, n)), axis=0)
    present = np.ones(shape, dtype=bool)
    first = rng.integers(0, k, shape)
    second = (first + rng.integers(1, k, shape)) % k
    margin = rng.normal(0, nats, shape)
    if kind in ("chain", "vast chain"):
        first, second = np.arange(p)[:, None] % k + 0 * first, np.arange(1, p + 1)[:, None] % k
        present = (np.arange(p)[:, None] < k - 1) & (rng.random(shape) < 0.8)
    elif kind == "pair":
        present = np.arange(p)[:, None] == rng.integers(0, p, n)
    elif kind in ("cycles", "ties", "vast ties", "close"):  # margins below differences of heights
        height = np.round(height)
        slack = np.round(rng.exponential(nats, shape))
        slack[rng.random(shape) < {"cycles": 0.0, "close": 0.0}.get(kind, 0.5)] = 0.0
        if kind == "close":
            slack[rng.random(shape) < 0.5] = 0.0
            slack += 1e-9
        elif kind == "cycles":
            slack += 0.125
        margin = (
            np.take_along_axis(height, first, 0) - np.take_along_axis(height, second, 0) - slack
        )
    else:
        first, second = np.minimum(first, second), np.maximum(first, second)
        present = rng.random(shape) < (0.6 if kind == "ragged" else 0.95)
    if kind == "repeated":
        first[1:], second[1:] = first[:1], second[:1]
        first[p // 2 :], second[p // 2 :] = second[:1], first[:1]
        margin[p // 2 :] = (
            -np.abs(margin).max(axis=0) - np.round(rng.exponential(1, shape))[p // 2 :]
        )
    winner, loser = (np.take_along_axis(order, x + 0 * order[:1], 0) for x in (first, second))
    if kind == "flat":
        margin = np.zeros(shape)
    if kind == "met":
        target = np.round(target)
        margin = np.take_along_axis(target, winner, 0) - np.take_along_axis(target, loser, 0)
    if kind == "ragged":
        target = np.where(rng.random((k, n)) < 0.3, -INF, target)
        target[0] = 0.0
        on = [np.isfinite(np.take_along_axis(target, x, 0)) for x in (winner, loser)]
        present = present & on[0] & on[1]
    winner, loser = np.where(present, winner, 0), np.where(present, loser, 0)
    target = np.ascontiguousarray(log_normalise(target.T).T)
    return target, winner, loser, np.where(present, margin, 0.0), present


def torch_lanes(problem: Problem) -> tuple[Any, ...]:
    """Return torch's namespace and the draw as tensors."""
    import torch

    tensors = tuple(torch.from_numpy(np.ascontiguousarray(a)) for a in problem)
    return array_api_compat.array_namespace(tensors[0]), *tensors


def built(problem: Problem, lane: int) -> tuple[Constraints, np.ndarray, np.ndarray]:
    """Return one lane's constraints, its support and the pairs that own them, by index."""
    target, winner, loser, margin, present = (a[:, lane] for a in problem)
    on, rows = np.flatnonzero(np.isfinite(target)), np.flatnonzero(present)
    rank = np.zeros(target.size, dtype=np.int64)
    rank[on] = np.arange(on.size)
    w, lo, m = rank[winner[rows]], rank[loser[rows]], margin[rows]
    found = build(on, w, lo, m)
    return found, on, rows[cpo._owners(found, w, lo, m)]


class Truth(NamedTuple):
    """The single solver's answer to one lane: its policy, violation and route, log λ/β of pairs."""

    logp: np.ndarray
    violation: float
    route: str
    log_multiplier: np.ndarray


def truth(problem: Problem, lane: int) -> Truth | None:
    """Solve one lane with the single-problem solver; None if its margins contradict each other."""
    try:
        rows, on, owner = built(problem, lane)
    except InfeasibleError:
        return None
    target = problem[0][:, lane]
    projection, route = cpo._project(rows, target[on])
    logp = np.full(target.size, -INF)
    logp[on] = cpo._log_policy(rows, projection)
    proof = certify(rows, logp[on], target[on], logp[on], projection.forest)
    log_multiplier = np.full(problem[1].shape[0], -INF)
    log_multiplier[owner] = proof.log_multiplier + np.logaddexp(0.0, rows.margin)
    return Truth(logp, proof.violation, route, log_multiplier)


def size_of(logp: np.ndarray) -> float:
    """Return max(1, |log π|)."""
    return max(1.0, float(np.max(np.abs(logp[np.isfinite(logp)]))))


def pull(problem: Problem, lane: int, log_multiplier: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return, for each response, what the multipliers add to log π*, and its rounding over ε.

    Recomputed pair by pair; infinities are flows of more than e^709.
    """
    target, winner, loser, margin, present = (a[:, lane] for a in problem)
    total, size = np.zeros(target.size), np.ones(target.size)
    rows = zip(winner, loser, margin, log_multiplier, strict=True)
    with np.errstate(over="ignore", invalid="ignore"):
        for (w, lo, m, log_l), here in zip(rows, present, strict=True):
            if here and log_l > -INF:
                up, down = (np.exp(log_l - np.logaddexp(0.0, x)) for x in (m, -m))
                total[w], total[lo] = total[w] + up, total[lo] - down
                size[w] += up * (1 + abs(log_l) + abs(m))
                size[lo] += down * (1 + abs(log_l) + abs(m))
    return total, size


def solve(problem: Problem, **more: Any) -> constrained.Answer:
    """Solve a draw: no NaN, and only what is done has a violation."""
    answer = constrained.solve_lanes(XP, *problem, **more)
    for name in ("logp", "log_multiplier", "violation"):
        assert not np.isnan(getattr(answer, name)).any(), name
    assert np.all(np.isfinite(answer.violation) == answer.done)
    return answer


def check_policy(problem: Problem, answer: constrained.Answer, lane: int) -> None:
    """One lane that is done has the single solver's policy."""
    want = truth(problem, lane)
    assert want is not None, "margins that contradict each other have no answer"
    logp, on = answer.logp[:, lane], np.isfinite(want.logp)
    assert np.array_equal(np.isfinite(logp), on)
    off = float(np.max(np.abs(logp[on] - want.logp[on])))
    assert off <= 2e-11 * size_of(want.logp), off


def check_lane(problem: Problem, answer: constrained.Answer, lane: int) -> None:
    """One lane that is done has the single solver's policy, and multipliers that give it."""
    check_policy(problem, answer, lane)
    logp = answer.logp[:, lane]
    found, rounding = pull(problem, lane, answer.log_multiplier[:, lane])
    if np.all(np.isfinite(found)):
        on = np.isfinite(logp)
        rest, rounding = logp[on] - problem[0][on, lane] - found[on], rounding[on]
        least = np.argmin(rounding)
        allowed = 1e-11 * size_of(logp) + 1e-13 * (rounding + rounding[least])
        assert np.all(np.abs(rest - rest[least]) <= allowed)
    absent = answer.log_multiplier[~problem[4][:, lane], lane]
    assert np.all(absent == -INF)
