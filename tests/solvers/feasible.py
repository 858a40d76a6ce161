"""Random Constrained PO problems that some policy meets, and helpers to compare answers."""

from __future__ import annotations

import numpy as np
from solvers import oracle

import prefeq as pq
from prefeq.solvers import constraints


def problem(rng, nats: float, k_max: int = 9, p_max: int = 16):
    """Draw a bandit, pairs with duplicates and cycles, and margins that some policy meets."""
    k, p = int(rng.integers(2, k_max + 1)), int(rng.integers(1, p_max + 1))
    beta = 10.0 ** rng.uniform(-1, 1)
    winner = rng.integers(0, k, p)
    loser = (winner + rng.integers(1, k, p)) % k
    kind = rng.choice(["acyclic", "flat", "potential", "rigid"])
    if kind in ("acyclic", "flat"):
        winner, loser = np.minimum(winner, loser), np.maximum(winner, loser)
        margin = rng.normal(0, nats / 2, p) if kind == "acyclic" else np.zeros(p)
    else:  # rigid: the zero-sum cycles are exact, in integers
        height = np.round(rng.normal(0, nats / 2, k))
        share = 0.5 if kind == "rigid" else 1.0
        slack = np.round(rng.exponential(nats / 2, p)) * (rng.random(p) < share)
        margin = height[winner] - height[loser] - slack
    ref, tilt = rng.normal(0, nats / 2, (2, k))
    return pq.Bandit(beta * tilt, ref, beta), pq.Preferences(winner, loser), margin


def truth(bandit, pairs, margin) -> np.ndarray:
    """Return log π by brute force over the active sets, in mpmath."""
    target, _ = oracle.rlhf(bandit.reward, bandit.ref_logp, bandit.beta)
    rows = [oracle.Pair(*row) for row in zip(pairs.winner, pairs.loser, margin, strict=True)]
    return np.array([float(v) for v in oracle.cpo(target, rows)])


def scale(*arrays) -> float:
    return max(1.0, *(float(np.max(np.abs(a), initial=0.0)) for a in arrays))


def kl(p: np.ndarray, q: np.ndarray) -> float:
    return float(np.sum(np.exp(p) * (p - q)))


def built(bandit, pairs, margin) -> constraints.Constraints:
    margin = np.broadcast_to(np.asarray(margin, dtype=float), pairs.winner.shape)
    return constraints.build(np.arange(bandit.K), pairs.winner, pairs.loser, margin)
