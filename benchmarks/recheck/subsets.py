"""Gale's condition: is there a flow ≥ 0 on given edges with a given net supply at each vertex?

It asks one thing of every subset of the vertices, and there are few vertices.
"""

from __future__ import annotations

import numpy as np

from benchmarks.recheck.answers import INF, Long
from prefeq.arrays import BoolArray, IntArray


def losers(k: int, winner: IntArray, loser: IntArray, edge: BoolArray) -> IntArray:
    """Return the bit mask of the losers of each response's edges, (K, n); pairs are (n, P)."""
    need = np.zeros((k, winner.shape[0]), dtype=np.int64)
    rows = np.arange(winner.shape[0])
    for p in range(winner.shape[1]):
        need[winner[:, p], rows] |= np.where(edge[:, p], 1 << loser[:, p], 0)
    return need


def extreme_means(weight: Long, d: Long, need: IntArray) -> tuple[Long, Long]:
    """Return the largest mean of d over sets with no edge outwards, the least over none inwards.

    Means are weighted; an edge leads from its winner to its loser. A flow of multipliers ≥ 0
    brings weight·(d − c) to the winners from the losers iff largest ≤ c ≤ least.
    """
    k, n = need.shape
    mass, total = np.zeros((1 << k, n), np.longdouble), np.zeros((1 << k, n), np.longdouble)
    reach = np.zeros((1 << k, n), np.int64)
    for s in range(1, 1 << k):
        first, rest = (s & -s).bit_length() - 1, s & (s - 1)
        mass[s] = mass[rest] + weight[:, first]
        total[s] = total[rest] + weight[:, first] * d[:, first]
        reach[s] = reach[rest] | need[first]
    high, low = np.full(n, -INF), np.full(n, INF)
    everything = (1 << k) - 1
    for s in range(1, 1 << k):
        some = mass[s] > 0
        mean = total[s] / np.where(some, mass[s], 1.0)
        outwards, inwards = reach[s] & ~s, reach[everything & ~s] & s
        high = np.where(some & (outwards == 0), np.maximum(high, mean), high)
        low = np.where(some & (inwards == 0), np.minimum(low, mean), low)
    return high, low
