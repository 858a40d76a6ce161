"""Chunks of labelled pairs of many shapes, as lanes, and the single solver's answer to one of them.

A draw is (on, winner, loser, log_odds, mass, present), what `minimise_lanes` takes after xp.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import array_api_compat
import numpy as np
from solvers import oracle

from prefeq import graphs
from prefeq.solvers import likelihood as single

INF = np.inf
XP = array_api_compat.array_namespace(np.zeros(()))

ORDINARY = ("counts", "few counts", "consistent", "soft", "tiny", "mixed", "sparse")
HARD = ("vast", "far", "certain", "ordered", "masses", "wild")


def draw(kind: str, rng: np.random.Generator, k: int, p: int, n: int) -> tuple[Any, ...]:
    """Return n problems of k responses and p pairs: repeats, both orders, any components."""
    shape = (p, n)
    on, present = np.ones((k, n), dtype=bool), np.ones(shape, dtype=bool)
    winner = rng.integers(0, k, shape)
    loser = (winner + rng.integers(1, k, shape)) % k
    mass = 10.0 ** rng.uniform(-2, 2, shape)
    if kind in ("counts", "few counts"):
        count = rng.integers(1, 30 if kind == "counts" else 3, shape)
        wins = rng.binomial(count, 0.7)
        with np.errstate(divide="ignore"):
            odds, mass = np.log(wins) - np.log(count - wins), count / count.sum(axis=0)
    elif kind == "consistent":
        height = rng.normal(0, 10.0 ** rng.uniform(-2, 2.5, n), (k, n))
        odds = np.take_along_axis(height, winner, 0) - np.take_along_axis(height, loser, 0)
    elif kind == "mixed":
        odds = np.where(rng.random(shape) < 0.5, INF, rng.uniform(-4, 4, shape))
    elif kind == "sparse":
        on = rng.random((k, n)) < 0.8
        on[0, :] |= ~on.any(axis=0)
        here = np.take_along_axis(on, winner, 0) & np.take_along_axis(on, loser, 0)
        present = here & (rng.random(shape) < 0.5)
        odds = np.where(rng.random(shape) < 0.2, INF, rng.normal(0, 2, shape))
    elif kind == "certain":
        odds = np.where(rng.random(shape) < 0.5, INF, -INF)
    elif kind == "ordered":
        winner, loser = np.minimum(winner, loser), np.maximum(winner, loser)
        odds = np.full(shape, INF)
    elif kind == "masses":
        odds, mass = rng.normal(0, 2, shape), 10.0 ** rng.uniform(-300, 300, shape)
    elif kind == "wild":
        certain = rng.choice([-INF, INF], shape)
        odds = np.where(rng.random(shape) < 0.2, certain, rng.uniform(-800, 800, shape))
        mass = 10.0 ** rng.uniform(-300, 300, shape)
    else:
        size = {"soft": 40.0, "tiny": 1e-9, "vast": 800.0, "far": 300.0}[kind]
        odds = rng.uniform(-size, size, shape)
    winner, loser, mass = (np.where(present, a, 0) for a in (winner, loser, mass))
    return on, winner, loser, odds, mass, present


def torch_lanes(problem: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return torch's namespace and the draw as tensors."""
    import torch

    tensors = tuple(torch.from_numpy(np.ascontiguousarray(a)) for a in problem)
    return array_api_compat.array_namespace(tensors[0]), *tensors


class Truth(NamedTuple):
    """The single solver's answer, over all K responses."""

    s: np.ndarray
    component: np.ndarray
    strong: np.ndarray
    error: float
    loss: float


def truth(problem: tuple[Any, ...], lane: int) -> Truth:
    """Solve one lane with the single-problem solver, as `solvers.dpo` does."""
    on, winner, loser, odds, mass, present = (a[:, lane] for a in problem)
    vertices = np.flatnonzero(on)
    rank = np.zeros(on.size, dtype=np.int64)
    rank[vertices] = np.arange(vertices.size)
    w, lo, odds, mass = rank[winner[present]], rank[loser[present]], odds[present], mass[present]
    pairs = single.merge(vertices.size, w, lo, odds, mass)
    up, down = odds > -INF, odds < INF
    tail, head = np.concatenate([w[up], lo[down]]), np.concatenate([lo[up], w[down]])
    component = graphs.components(vertices.size, w, lo)
    strong = graphs.strong_components(vertices.size, tail, head)
    s, error = np.zeros(vertices.size), 0.0
    for part in range(int(strong.max()) + 1):
        members = np.flatnonzero(strong == part)
        if members.size > 1:
            inside = pairs.inside(members)
            s[members] = single.minimise(inside)[0]
            error = max(error, single.error_bound(inside, s[members]))
    inside = strong[pairs.winner] == strong[pairs.loser]
    t = np.where(inside, s[pairs.winner] - s[pairs.loser], np.copysign(INF, pairs.log_odds))
    full = np.zeros(on.size), np.full(on.size, -1), np.full(on.size, -1)
    for array, values in zip(full, (s, component, strong), strict=True):
        array[vertices] = values
    return Truth(*full, error, single.loss(pairs, t))


def parts(problem: tuple[Any, ...], strong: np.ndarray, lane: int) -> Any:
    """Give the members of each strong component of several responses, and its pairs' labels."""
    _, winner, loser, odds, mass, present = (a[:, lane] for a in problem)
    for part in range(int(strong.max()) + 1):
        members = np.flatnonzero(strong == part)
        rank = {int(v): i for i, v in enumerate(members)}
        rows = [
            oracle.Label(rank[int(w)], rank[int(lo)], float(x), float(m))
            for w, lo, x, m, here in zip(winner, loser, odds, mass, present, strict=True)
            if here and int(w) in rank and int(lo) in rank
        ]
        if members.size > 1:
            yield members, rows


def spread(values: np.ndarray, strong: np.ndarray) -> float:
    """Return the largest difference of values inside a strong component."""
    return max(float(np.ptp(values[strong == part])) for part in range(int(strong.max()) + 1))
