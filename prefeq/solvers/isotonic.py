"""Closed forms of the block projection: one pair, and disjoint chains by pooling."""

from __future__ import annotations

import numpy as np

from prefeq.arrays import FloatArray, IntArray
from prefeq.solvers.blocks import Projection
from prefeq.solvers.bodies import Body


def project_pair(target: FloatArray, winner: int, loser: int, margin: float) -> Projection:
    """Meet δ ≥ m for one pair: log π* + (m − δ*)₊ σ(−m) on w and − (m − δ*)₊ σ(m) on l.

    The multiplier is μ = β(m − δ*)₊/(1 + e^m), and e^m μ weighs on the loser.
    """
    f = np.array(target, dtype=np.float64)
    short = margin - float(target[winner] - target[loser])
    if short <= 0:
        return Projection(f, (), 0, True)
    f[winner] += short * np.exp(-np.logaddexp(0.0, margin))
    f[loser] = f[winner] - margin
    return Projection(f, (0,), 1, True)


def project_chains(
    target: FloatArray,
    log_weight: FloatArray,
    tail: IntArray,
    head: IntArray,
    margin: FloatArray,
    chains: list[list[int]],
    tilt: float,
) -> Projection:
    """Pool adjacent violators along each chain: weighted isotonic regression in log weights.

    Along a chain with offsets s_{i+1} = s_i − m_i the values f − s must not increase; two
    neighbouring pools that do are merged into their mean under the weights e^{u + κs}.
    """
    f = np.array(target, dtype=np.float64)
    forest: list[int] = []
    for chain in chains:
        vertices = [int(tail[chain[0]]), *(int(head[e]) for e in chain)]
        offset = np.concatenate([[0.0], -np.cumsum(margin[chain])])
        pools: list[tuple[Body, int]] = []
        for i, vertex in enumerate(vertices):
            body = Body(
                float(log_weight[vertex] + tilt * offset[i]), float(target[vertex] - offset[i])
            )
            start = i
            while pools and pools[-1][0].pull < body.pull:
                before, start = pools.pop()
                body = before.join(body)
            pools.append((body, start))
        ends = [start for _, start in pools[1:]] + [len(vertices)]
        for (body, start), end in zip(pools, ends, strict=True):
            if end > start + 1:
                f[vertices[start:end]] = body.pull + offset[start:end]
                forest += chain[start : end - 1]
    return Projection(f, tuple(sorted(forest)), len(forest), True)
