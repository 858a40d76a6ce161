"""Exact DPO against the Bradley-Terry fits of choix and scikit-learn, on the same counts."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from benchmarks import peers, problems
from benchmarks.bench_cpo import race
from benchmarks.problems import Batch
from benchmarks.recheck.answers import Answers
from benchmarks.recheck.dpo import largest_gradient
from benchmarks.record import SEED, Clock, best_of, report
from prefeq.arrays import FloatArray

COUNT, SAMPLE, EACH = 100_000, 100, 10


def measure(count: int = COUNT, sample: int = SAMPLE, clock: Clock = best_of) -> dict[str, Any]:
    """Solve a batch, and fit its first problems by every peer; times are per problem."""
    batch = problems.drawn_in_pieces(problems.counted, count, SEED)
    solution, seconds = clock(lambda: problems.solve("dpo", batch), 3)
    found = report("dpo", batch, solution, seconds)
    found["comparisons_a_pair"] = EACH
    found["largest_gradient"] = float(np.max(largest_gradient(batch, Answers.of(solution))))
    few = batch[:sample]
    found["peers"] = against(few, strengths(few, solution.logp[:sample]), seconds / count)
    return found


def strengths(batch: Batch, logp: FloatArray) -> FloatArray:
    """Return s = β log(π/π_ref), of mean zero."""
    s = batch.beta[:, None] * (logp - batch.ref_logp)
    return np.asarray(s - np.mean(s, axis=-1, keepdims=True))


def against(batch: Batch, s: FloatArray, seconds: float) -> dict[str, Any]:
    """Time every peer on a batch and compare the strengths."""
    arguments = peers.dpo_arguments(batch, EACH)
    return {
        name: race(peer, arguments, s, np.asarray, seconds)
        for name, peer in {
            "choix, opt_pairwise": peers.choix_newton,
            "choix, opt_pairwise, BFGS": partial(peers.choix_newton, method="BFGS"),
            "choix, ilsr_pairwise_dense": peers.choix_spectral,
            "scikit-learn, default": peers.logistic,
            "scikit-learn, Newton, tight": peers.logistic_newton,
        }.items()
    }


def test_dpo(clock: Clock, size: Any, store: Any) -> None:
    store("dpo", "counts", found := measure(size(COUNT), size(SAMPLE), clock))
    assert found["not_optimal"] == found["recheck"]["not_confirmed"] == 0
    assert found["largest_gradient"] <= 1e-10
