"""Batches of problems that the benchmarks share, drawn as whole arrays; the same on every run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

import prefeq as pq
from prefeq.arrays import BoolArray, FloatArray, IntArray

PIECE = 50_000
"""Problems drawn at a time."""


@dataclass(frozen=True)
class Batch:
    """B problems as the arrays a user would pass: nothing of prefeq has touched them yet.

    ``reward`` and ``ref_logp`` (B, K), ``beta`` (B,), all else (B, P); zero mass: no such pair.
    """

    reward: FloatArray
    ref_logp: FloatArray
    beta: FloatArray
    winner: IntArray
    loser: IntArray
    log_odds: FloatArray
    mass: FloatArray
    margin: FloatArray

    def __len__(self) -> int:
        return self.reward.shape[0]

    def __getitem__(self, index: Any) -> Batch:
        """Return some of the problems, as a batch."""
        return Batch(*(getattr(self, f.name)[index] for f in fields(self)))

    @property
    def present(self) -> BoolArray:
        return np.asarray(self.mass > 0)

    def bandit(self) -> pq.Bandit:
        return pq.Bandit(self.reward, self.ref_logp, self.beta)

    def preferences(self) -> pq.Preferences:
        return pq.Preferences(self.winner, self.loser, log_odds=self.log_odds, mass=self.mass)


def solve(solver: str, batch: Batch) -> pq.Solution:
    """Solve a batch from its arrays: validation, answers, values and residuals."""
    bandit = batch.bandit()
    if solver == "rlhf":
        return pq.solve_rlhf(bandit)
    pairs = batch.preferences()
    if solver == "dpo":
        return pq.solve_dpo(bandit, pairs)
    return pq.solve_cpo(bandit, pairs, batch.margin)


def tilted(count: int, seed: int, k: int = 8, pairs: int = 0) -> Batch:
    """Draw bandits of K responses, rewards and references a few nats wide."""
    rng = np.random.default_rng(seed)
    beta = 10 ** rng.uniform(-1, 1, size=count)
    none = np.zeros((count, pairs), dtype=np.int64)
    zero = np.zeros((count, pairs))
    return Batch(
        reward=beta[:, None] * rng.normal(scale=1.5, size=(count, k)),
        ref_logp=rng.normal(scale=1.5, size=(count, k)),
        beta=beta,
        winner=none,
        loser=none,
        log_odds=zero,
        mass=zero,
        margin=zero,
    )


def chains(count: int, seed: int, k: int = 6) -> Batch:
    """Draw one pair, or a chain of up to K − 1, with margins of a nat or so: half and half."""
    rng = np.random.default_rng(seed)
    order = _shuffled(rng, count, k)
    length = np.where(rng.random(count) < 0.5, 1, rng.integers(min(2, k - 1), k, size=count))
    return replace(
        tilted(count, seed + 1, k),
        winner=order[:, :-1],
        loser=order[:, 1:],
        log_odds=np.full((count, k - 1), np.inf),
        mass=(np.arange(k - 1) < length[:, None]) / length[:, None],
        margin=rng.normal(size=(count, k - 1)),
    )


def acyclic(count: int, seed: int, k: int = 6, pairs: int = 6) -> Batch:
    """Draw P random pairs, ordered along a random ranking, with margins of a nat or so."""
    rng = np.random.default_rng(seed)
    first, second = _two(rng, count, k, pairs)
    rank = _shuffled(rng, count, k)
    ahead = np.take_along_axis(rank, first, -1) < np.take_along_axis(rank, second, -1)
    return replace(
        tilted(count, seed + 1, k),
        winner=np.where(ahead, first, second),
        loser=np.where(ahead, second, first),
        log_odds=np.full((count, pairs), np.inf),
        mass=np.full((count, pairs), 1.0 / pairs),
        margin=rng.normal(size=(count, pairs)),
    )


def counted(count: int, seed: int, k: int = 6, pairs: int = 8, each: int = 10) -> Batch:
    """Draw Bradley-Terry counts, `each` of every pair, on connected graphs with a finite fit.

    A random tree and P − K + 1 more pairs; strengths of about a nat; counts that leave the fit
    without a minimiser (Ford's condition) are drawn again, with strengths a little closer.
    """
    rng = np.random.default_rng(seed)
    if pairs < k - 1:
        raise ValueError(f"{pairs} pairs do not connect {k} responses")
    order = _shuffled(rng, count, k)
    first, second = _two(rng, count, k, pairs)
    for i in range(1, k):
        back = (rng.random(count) * i).astype(np.int64)[:, None]
        first[:, i - 1] = order[:, i]
        second[:, i - 1] = np.take_along_axis(order, back, -1)[:, 0]
    strength = rng.normal(size=(count, k))
    gap = np.take_along_axis(strength, first, -1) - np.take_along_axis(strength, second, -1)
    wins = np.zeros((count, pairs), dtype=np.int64)
    todo = np.arange(count)
    while todo.size:
        wins[todo] = rng.binomial(each, 1.0 / (1.0 + np.exp(-gap[todo])))
        gap[todo] *= 0.95
        todo = todo[~beaten_by_all(k, first[todo], second[todo], wins[todo], each)]
    with np.errstate(divide="ignore"):  # all wins, or none, is a certain label
        log_odds = np.log(wins) - np.log(each - wins)
    return replace(
        tilted(count, seed + 1, k),
        winner=first,
        loser=second,
        log_odds=log_odds,
        mass=np.full((count, pairs), 1.0 / pairs),
        margin=np.zeros((count, pairs)),
    )


def beaten_by_all(
    k: int, first: IntArray, second: IntArray, wins: IntArray, each: int
) -> BoolArray:
    """Tell for which problems a chain of wins leads from every response to every other."""
    rows = np.arange(first.shape[0])
    reach = np.zeros((first.shape[0], k, k), dtype=bool)
    for p in range(first.shape[1]):
        reach[rows, first[:, p], second[:, p]] |= wins[:, p] > 0
        reach[rows, second[:, p], first[:, p]] |= wins[:, p] < each
    reach[:, range(k), range(k)] = True
    for via in range(k):
        reach |= reach[:, :, via, None] & reach[:, None, via, :]
    return np.asarray(reach.all(axis=(1, 2)))


DRAWS: dict[str, Callable[..., Batch]] = {
    "rlhf": tilted,
    "dpo": counted,
    "cpo chains": chains,
    "cpo graphs": acyclic,
}


def drawn_in_pieces(draw: Callable[..., Batch], count: int, seed: int, **sizes: int) -> Batch:
    """Draw a large batch in pieces, so that drawing it takes no more memory than keeping it."""
    whole: Batch | None = None
    for start in range(0, count, PIECE):
        stop = min(start + PIECE, count)
        part = draw(stop - start, seed + start, **sizes)
        if whole is None:
            whole = Batch(*(_blank(count, getattr(part, f.name)) for f in fields(Batch)))
        for f in fields(Batch):
            getattr(whole, f.name)[start:stop] = getattr(part, f.name)
    assert whole is not None
    return whole


def _blank(count: int, like: Any) -> Any:
    return np.empty((count, *like.shape[1:]), dtype=like.dtype)


def _shuffled(rng: np.random.Generator, count: int, k: int) -> IntArray:
    """Return `count` random orders of K responses."""
    return np.argsort(rng.random((count, k)), axis=-1).astype(np.int64)


def _two(rng: np.random.Generator, count: int, k: int, pairs: int) -> tuple[IntArray, IntArray]:
    """Return two different responses for each pair."""
    first = rng.integers(k, size=(count, pairs))
    return first, (first + rng.integers(1, k, size=(count, pairs))) % k
