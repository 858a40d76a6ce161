"""Random problems of the kinds that the solver tests share, all from a NumPy generator."""

from __future__ import annotations

import numpy as np
from solvers.planted import random_pairs

import prefeq as pq


def spanning_pairs(rng: np.random.Generator, k: int, extra: int) -> np.ndarray:
    """Return a random spanning tree and `extra` more pairs, (P, 2), in random order."""
    order = rng.permutation(k)
    tree = [(int(order[i]), int(order[rng.integers(i)])) for i in range(1, k)]
    more = [tuple(rng.choice(k, 2, replace=False).tolist()) for _ in range(extra)]
    pairs = np.array(tree + more).reshape(-1, 2)
    return np.where(rng.random((len(pairs), 1)) < 0.5, pairs, pairs[:, ::-1])


def consistent(
    rng: np.random.Generator, gap: float = 20.0, max_beta: float = 1e3
) -> tuple[pq.Bandit, pq.Preferences]:
    """Return a connected Bradley-Terry problem with gaps up to `gap`, tens of nats of reference."""
    k = int(rng.integers(2, 9))
    beta = 10.0 ** rng.uniform(-6, np.log10(max_beta))
    reward = rng.uniform(0, gap, k) + rng.normal(0, 100)
    bandit = pq.Bandit(reward, rng.normal(0, 30, k), beta)
    chosen = spanning_pairs(rng, k, int(rng.integers(0, k + 1)))
    mass = 10.0 ** rng.uniform(-3, 3, len(chosen))
    labelled = pq.Preferences.bradley_terry(bandit, chosen)
    pairs = pq.Preferences(labelled.winner, labelled.loser, log_odds=labelled.log_odds, mass=mass)
    return bandit, pairs


def contradictory(rng: np.random.Generator, kind: str) -> tuple[pq.Bandit, pq.Preferences]:
    """Return a problem whose labels disagree: "counts", "soft" ±40, "vast" ±800, "mixed".

    Strongly connected, so that a finite minimiser exists; "mixed" adds ordered pairs.
    """
    while True:
        k = int(rng.integers(2, 6))
        chosen = spanning_pairs(rng, k, int(rng.integers(1, k + 2)))
        count = len(chosen)
        if kind == "counts":
            n = rng.integers(1, 30, count)
            wins = rng.binomial(n, 0.7)
            with np.errstate(divide="ignore"):
                odds, mass = np.log(wins) - np.log(n - wins), n / n.sum()
        else:
            size = 800.0 if kind == "vast" else 40.0
            odds, mass = rng.uniform(-size, size, count), 10.0 ** rng.uniform(-2, 2, count)
            if kind == "mixed":
                odds = np.where(rng.random(count) < 0.5, np.inf, odds / 10)
        bandit = pq.Bandit(rng.normal(0, 1, k), rng.normal(0, 20, k), 10.0 ** rng.uniform(-3, 3))
        pairs = pq.Preferences(chosen[:, 0], chosen[:, 1], log_odds=odds, mass=mass)
        if pairs.is_connected(bandit) and pairs.has_ford_condition(bandit):
            return bandit, pairs


def diverging(rng: np.random.Generator) -> tuple[pq.Bandit, pq.Preferences]:
    """Return a problem with ordered and soft pairs, any number of components, no minimiser."""
    while True:
        k, count = int(rng.integers(2, 10)), int(rng.integers(1, 14))
        chosen = np.array([rng.choice(k, 2, replace=False) for _ in range(count)])
        if rng.random() < 0.6:
            chosen = np.sort(chosen, axis=1)
        odds = np.where(rng.random(count) < 0.8, np.inf, rng.normal(0, 3, count))
        odds = np.where(rng.random(count) < 0.1, -np.inf, odds)
        bandit = pq.Bandit(rng.normal(0, 1, k), rng.normal(0, 5, k), 10.0 ** rng.uniform(-2, 2))
        pairs = pq.Preferences(chosen[:, 0], chosen[:, 1], log_odds=odds)
        if not pairs.has_ford_condition(bandit):
            return bandit, pairs


def constrained(
    rng: np.random.Generator,
    nats: float,
    *,
    max_responses: int = 13,
    max_pairs: int = 29,
    integers: bool | None = None,
) -> tuple[pq.Bandit, pq.Preferences, np.ndarray]:
    """Return a feasible Constrained PO problem: any graph, cycles and ties, margins of `nats`."""
    k, count = int(rng.integers(2, max_responses + 1)), int(rng.integers(1, max_pairs + 1))
    winner = rng.integers(0, k, count)
    loser = (winner + rng.integers(1, k, count)) % k
    height = rng.normal(0, nats, k)
    slack = np.where(rng.random(count) < 0.3, 0.0, rng.exponential(nats, count))
    reward, ref = rng.normal(0, nats, k), rng.normal(0, nats, k)
    if rng.random() < 0.4 if integers is None else integers:
        height, slack, reward, ref = (np.round(a) for a in (height, slack, reward, ref))
    beta = 10.0 ** rng.uniform(-3, 3)
    margin = height[winner] - height[loser] - slack
    return pq.Bandit(beta * reward, ref, beta), pq.Preferences(winner, loser), margin


def acyclic(
    rng: np.random.Generator, k: int, count: int, nats: float
) -> tuple[pq.Bandit, pq.Preferences, np.ndarray]:
    """Return a problem on a random acyclic graph with margins of any sign."""
    winner, loser = random_pairs(rng, k, count)
    winner, loser = np.minimum(winner, loser), np.maximum(winner, loser)
    bandit = pq.Bandit(rng.normal(0, nats, k), rng.normal(0, nats, k), 1.0)
    return bandit, pq.Preferences(winner, loser), rng.normal(0, nats, winner.size)
