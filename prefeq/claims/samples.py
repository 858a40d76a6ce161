"""Random problems, replayed from a seed, on which theorems are asserted through the solvers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from prefeq import bandit as bandits
from prefeq import preferences
from prefeq.claims.evidence import Evidence, outcome_of

SEED = 20834

Problem = tuple[bandits.Bandit, preferences.Preferences]


def asserted(
    what: str, problems: Iterator[Problem], theorem: Callable[..., bool], seed: int = SEED
) -> Evidence:
    """Assert a theorem on each problem; the first that breaks it makes the evidence fail."""
    count = 0
    for bandit, prefs in problems:
        count += 1
        if not theorem(bandit, prefs):
            summary = f"{what}: broken by random problem {count} (seed {seed})"
            return Evidence("sample", summary, "fails", data=_runs(count, seed))
    summary = f"{what} on {count} random problems"
    return Evidence("sample", summary, outcome_of(count > 0), data=_runs(count, seed))


def _runs(count: int, seed: int) -> dict[str, object]:
    return {"runs": {"count": count, "seed": seed}}


def connected(count: int, seed: int = SEED, labels: str = "bradley-terry") -> Iterator[Problem]:
    """Yield random problems with a random spanning tree of pairs and a few more."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        bandit = _bandit(rng)
        order = rng.permutation(bandit.K)
        tree = [(order[i], order[rng.integers(i)]) for i in range(1, bandit.K)]
        extra = [rng.choice(bandit.K, 2, replace=False) for _ in range(rng.integers(3))]
        yield bandit, _labelled(bandit, [*tree, *extra], labels, rng)


def acyclic(count: int, seed: int = SEED, labels: str = "ordered") -> Iterator[Problem]:
    """Yield random problems whose pairs follow a random order of the responses."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        bandit = _bandit(rng)
        rank = rng.permutation(bandit.K)
        pairs = [
            (i, j) if rank[i] < rank[j] else (j, i)
            for i in range(bandit.K)
            for j in range(i)
            if rng.random() < 0.6
        ]
        yield bandit, _labelled(bandit, pairs or [(0, 1)], labels, rng)


def _bandit(rng: np.random.Generator) -> bandits.Bandit:
    size = int(rng.integers(2, 6))
    beta = float(np.exp(rng.uniform(-2.0, 2.0)))
    return bandits.Bandit(rng.normal(0.0, 2.0, size), rng.normal(0.0, 2.0, size), beta)


def _labelled(
    bandit: bandits.Bandit, pairs: Sequence[object], labels: str, rng: np.random.Generator
) -> preferences.Preferences:
    index = np.array(pairs, dtype=np.int64)
    mass = rng.uniform(0.2, 1.0, len(index))
    if labels == "ordered":
        return preferences.Preferences(index[:, 0], index[:, 1], mass=mass)
    gap = bandit.reward[index[:, 0]] - bandit.reward[index[:, 1]]
    return preferences.Preferences(index[:, 0], index[:, 1], log_odds=gap, mass=mass)
