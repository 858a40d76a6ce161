"""Planted optima: choose the answer and its multipliers, then build the problem around them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

import prefeq as pq


@dataclass(frozen=True)
class Planted:
    """A problem with its known answer."""

    bandit: pq.Bandit
    preferences: pq.Preferences
    margin: np.ndarray
    logp: np.ndarray
    multipliers: np.ndarray


def random_pairs(rng: np.random.Generator, k: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return distinct unordered pairs in random order and direction."""
    low, high = np.triu_indices(k, 1)
    chosen = rng.permutation(low.size)[:count]
    flip = rng.random(chosen.size) < 0.5
    low, high = low[chosen], high[chosen]
    return np.where(flip, high, low), np.where(flip, low, high)


def log_normalise(logits: np.ndarray) -> np.ndarray:
    top = np.max(logits)
    return logits - top - np.log(np.sum(np.exp(logits - top)))


def constrained(
    rng: np.random.Generator,
    k: int,
    count: int,
    *,
    nats: float = 3.0,
    beta: float = 1.0,
    tight: float = 0.6,
    push: float = 3.0,
) -> Planted:
    """Plant a Constrained PO optimum: r = β(log π − log π_ref) − Aᵀλ for the scaled rows.

    λ > 0 on about the share `tight` of the pairs, whose margin is δ itself; slack elsewhere. `nats`
    is the scale of log π and log π_ref: at 800 the policy sits on the edge of the simplex.
    """
    winner, loser = random_pairs(rng, k, count)
    logp, ref = (log_normalise(rng.normal(0, nats, k)) for _ in range(2))
    delta = logp[winner] - logp[loser]
    active = rng.random(winner.size) < tight
    margin = np.where(active, delta, delta - rng.exponential(nats, winner.size))
    scaled = np.where(active, rng.exponential(push, winner.size), 0.0)
    pull = np.zeros(k)
    np.add.at(pull, winner, scaled * np.exp(-np.logaddexp(0.0, margin)))
    np.subtract.at(pull, loser, scaled * np.exp(-np.logaddexp(0.0, -margin)))
    reward = beta * (logp - ref - pull + rng.normal(0, 5))
    bandit = pq.Bandit(reward, ref, beta)
    return Planted(bandit, pq.Preferences(winner, loser), margin, logp, beta * scaled)


def likelihood(
    rng: np.random.Generator, k: int, extra: int, *, nats: float = 3.0, beta: float = 1.0
) -> tuple[pq.Bandit, pq.Preferences, np.ndarray]:
    """Plant a DPO optimum with labels that contradict each other: (bandit, preferences, s).

    s is chosen; every pair starts at the consistent label L = s_w − s_l, and a flow φ round random
    cycles then shifts the win masses, m q = m σ(t) + φ: its divergence is zero, so s stays optimal.
    """
    s = rng.normal(0, nats, k)
    order = rng.permutation(k)
    edges = {(min(a, b), max(a, b)) for a, b in zip(order[1:], order[:-1], strict=True)}
    while len(edges) < min(k - 1 + extra, k * (k - 1) // 2):
        a, b = sorted(rng.choice(k, 2, replace=False).tolist())
        edges.add((a, b))
    winner, loser = (np.array(x) for x in zip(*sorted(edges), strict=True))
    mass = 10.0 ** rng.uniform(-2, 2, winner.size)
    t = s[winner] - s[loser]
    win, lose = (np.log(mass) - np.logaddexp(0.0, -z) for z in (t, -t))
    index = {edge: i for i, edge in enumerate(sorted(edges))}
    for _ in range(extra):
        cycle = _random_cycle(rng, k, set(index))
        if not cycle:
            break
        steps = [(index[min(a, b), max(a, b)], a < b) for a, b in cycle]
        room = min(min(win[i], lose[i]) for i, _ in steps)
        flow = room + np.log(rng.uniform(0.1, 0.6))
        for i, forward in steps:
            up, down = (win, lose) if forward else (lose, win)
            up[i] = np.logaddexp(up[i], flow)
            down[i] += np.log1p(-np.exp(flow - down[i]))
    bandit = pq.Bandit(rng.normal(0, 1, k), rng.normal(0, nats, k), beta)
    return bandit, pq.Preferences(winner, loser, log_odds=win - lose, mass=mass), s - np.mean(s)


def _random_cycle(rng, k: int, edges: set[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return a directed cycle (a, b), (b, c), ... of the graph found by a random walk, or []."""
    links = {v: [a + b - v for a, b in edges if v in (a, b)] for v in range(k)}
    for _ in range(20):
        walk = [int(rng.integers(k))]
        while len(walk) < 3 * k:
            onward = [v for v in links[walk[-1]] if len(walk) < 2 or v != walk[-2]]
            if not onward:
                break
            step = int(rng.choice(onward))
            if step in walk:
                ring = [*walk[walk.index(step) :], step]
                return list(pairwise(ring))
            walk.append(step)
    return []
