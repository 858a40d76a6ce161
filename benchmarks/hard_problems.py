"""Hard problems for the campaign: 800 nats, β from 1e-3 to 1e3, ties, margins that all but clash.

Every batch mixes all kinds: one response or several, ragged supports, pairs of zero mass, the same
pair again and turned round, chains, forests, cycles that sum to zero, to a hair above or below it,
or far above, and constraints that the RLHF policy meets exactly (degenerate duals).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from benchmarks.problems import Batch
from prefeq.arrays import BoolArray, FloatArray, IntArray

NATS = 800.0
K, P = 8, 12
HAIRS = (1e-9, 1e-11, 1e-12, 3e-13, 1e-13, 1e-14)
"""What cycles are lifted or lowered by: the toll for rounding is 1e-12 an edge, or more."""

Rng = np.random.Generator


def draw(solver: str, count: int, seed: int) -> Batch:
    """Draw a batch for "rlhf", "dpo" or "cpo"."""
    rng = np.random.default_rng(seed)
    batch, size, order = _bandits(rng, count)
    if solver == "rlhf":
        return batch
    batch = _pairs(rng, batch, size, order)
    return _labelled(rng, batch) if solver == "dpo" else _margined(rng, batch)


def _scale(rng: Rng, count: int) -> FloatArray:
    """Draw a size up to 800 nats, one a problem: of any decade from 1e-3, or of the last."""
    decades = 10 ** rng.uniform(-3, np.log10(NATS), size=(count, 1))
    return np.where(rng.random((count, 1)) < 0.6, decades, rng.uniform(0, NATS, (count, 1)))


def _wide(rng: Rng, count: int, n: int) -> FloatArray:
    """Draw numbers within ±800: of any size; in a fifth of the rows whole ones, in another 0."""
    values = rng.uniform(-1, 1, size=(count, n)) * _scale(rng, count)
    kind = rng.integers(5, size=(count, 1))
    values = np.where(kind == 0, np.round(values), values)
    return np.where(kind == 1, 0.0, values)


def _bandits(rng: Rng, count: int) -> tuple[Batch, IntArray, IntArray]:
    """Draw bandits of 1 to K responses; return them, their sizes and the responses in order."""
    size = np.max(rng.integers(1, K + 1, size=(2, count)), axis=0)
    order = np.argsort(rng.random((count, K)), axis=-1).astype(np.int64)
    on = np.argsort(order, axis=-1) < size[:, None]
    beta = 10 ** rng.uniform(-3, 3, size=count)
    none = np.zeros((count, P), dtype=np.int64)
    batch = Batch(
        reward=beta[:, None] * _wide(rng, count, K),
        ref_logp=np.where(on, _wide(rng, count, K), -np.inf),
        beta=beta,
        winner=none,
        loser=none,
        log_odds=np.full((count, P), np.inf),
        mass=np.zeros((count, P)),
        margin=np.zeros((count, P)),
    )
    return batch, size, order


def _pairs(rng: Rng, batch: Batch, size: IntArray, order: IntArray) -> Batch:
    """Draw pairs: one, a chain, a tree and more, random ones; some twice, some turned round."""
    n, room = len(batch), np.maximum(size, 2)[:, None]
    first = (rng.random((n, P)) * room).astype(np.int64)
    second = (first + 1 + (rng.random((n, P)) * (room - 1)).astype(np.int64)) % room
    shape = rng.choice(4, p=[0.1, 0.15, 0.35, 0.4], size=(n, 1))
    step = np.arange(P)
    inside = step < size[:, None] - 1
    tree = (rng.random((n, P)) * (step + 1)).astype(np.int64)
    chain = inside & (shape == 1)
    first = np.where(chain, step, np.where(inside & (shape == 2), np.minimum(step + 1, K), first))
    second = np.where(chain, step + 1, np.where(inside & (shape == 2), tree, second))
    first, second = np.where(shape == 1, np.minimum(first, K - 1), first), np.minimum(second, K - 1)
    winner, loser = (np.take_along_axis(order, index, -1) for index in (first, second))
    for p in range(1, P):  # the pair before, again or turned round
        again = rng.random(n) < 0.15
        turned = rng.random(n) < 0.5
        old = winner[:, p - 1].copy(), loser[:, p - 1].copy()
        winner[:, p] = np.where(again, np.where(turned, old[1], old[0]), winner[:, p])
        loser[:, p] = np.where(again, np.where(turned, old[0], old[1]), loser[:, p])
    wanted = np.where(shape == 0, 1, np.max(rng.integers(P + 1, size=(2, n, 1)), axis=0))
    wanted = np.where(shape == 1, np.minimum(wanted, size[:, None] - 1), wanted)
    there = (step < wanted) & (size[:, None] > 1) & (rng.random((n, P)) > 0.05)
    mass = 10 ** (rng.uniform(-6, 6, size=(n, P)) * (rng.random((n, 1)) < 0.5))
    return replace(batch, winner=winner, loser=loser, mass=np.where(there, mass, 0.0))


def _labelled(rng: Rng, batch: Batch) -> Batch:
    """Draw labels: Bradley-Terry, unrelated, counted, tied, and certain ones among them."""
    n = len(batch)
    strength = _wide(rng, n, K) / 2
    fair = _take(strength, batch.winner) - _take(strength, batch.loser)
    free = _wide(rng, n, P)
    each = rng.integers(1, 30, size=(n, P))
    wins = rng.binomial(each, 1 / (1 + np.exp(-np.clip(fair, -700, 700))))
    with np.errstate(divide="ignore"):
        counted = np.log(wins) - np.log(each - wins)
    kind = rng.integers(5, size=(n, 1))
    odds = np.select([kind <= 1, kind == 2, kind == 3], [fair, free, counted], 0.0)
    certain = (rng.random((n, P)) < 0.3) & (rng.random((n, 1)) < 0.3)
    odds = np.where(certain, np.where(rng.random((n, P)) < 0.5, np.inf, -np.inf), odds)
    return replace(batch, log_odds=odds)


def _margined(rng: Rng, batch: Batch) -> Batch:
    """Draw margins: see the kinds below; cyclic pairs are turned to follow a ranking for some."""
    n = len(batch)
    kind = rng.integers(8, size=(n, 1))
    target = _rlhf(batch)
    height = np.where(kind == 4, np.round(_wide(rng, n, K) / 2), _wide(rng, n, K) / 2)
    height = np.where((kind == 5) | (kind == 6), target, height)
    winner, loser = _along(batch, np.where(kind <= 2, rng.random((n, K)), 0.0))
    batch = replace(batch, winner=winner, loser=loser)
    rise = _take(height, winner) - _take(height, loser)
    loose = np.abs(_wide(rng, n, P)) * (rng.random((n, P)) < 0.4)
    hair = rng.choice(HAIRS, size=(n, 1)) * rng.choice([-1, 1], size=(n, 1))
    hairs = (
        hair
        * (rng.random((n, P)) < 0.5)
        * np.maximum(1.0, np.abs(rise)) ** rng.integers(2, size=(n, 1))
    )
    free = _wide(rng, n, P)
    margin = np.select(
        [
            kind <= 1,  # acyclic, any margins
            kind == 2,  # acyclic, all zero: isotonic regression
            kind == 3,  # any graph, a hair off zero-sum cycles
            kind == 4,  # any graph, cycles of exactly zero, or slack ones
            kind == 5,  # exactly what RLHF has: multipliers of zero
            kind == 6,  # the same, a hair off
        ],
        [free, 0.0, rise + hairs, rise - loose, rise, rise + hairs],
        free,  # any graph, any margins: infeasible as a rule
    )
    zero = (kind == 7) & (rng.random((n, 1)) < 0.5)  # ties in both orders
    return replace(batch, margin=np.clip(np.where(zero, 0.0, margin), -NATS, NATS))


def _along(batch: Batch, rank: FloatArray) -> tuple[IntArray, IntArray]:
    """Turn pairs that go against a ranking; ranks of 0 leave them as they are."""
    against = _take(rank, batch.winner) > _take(rank, batch.loser)
    winner = np.where(against, batch.loser, batch.winner)
    return winner, np.where(against, batch.winner, batch.loser)


def _rlhf(batch: Batch) -> FloatArray:
    """Return log π* up to a constant, 0 off-support."""
    on: BoolArray = np.isfinite(batch.ref_logp)
    return np.where(on, np.where(on, batch.ref_logp, 0.0) + batch.reward / batch.beta[:, None], 0.0)


def _take(values: FloatArray, index: IntArray) -> FloatArray:
    return np.take_along_axis(values, index, axis=-1)
