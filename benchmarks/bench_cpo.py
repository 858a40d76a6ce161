"""Constrained PO against cvxpy with Clarabel, and against SciPy, on the same problems."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks import peers, problems
from benchmarks.problems import Batch
from benchmarks.recheck.answers import log_target
from benchmarks.recheck.cpo import textbook_violation
from benchmarks.record import SEED, Clock, best_of, report
from prefeq.arrays import FloatArray

COUNT, SAMPLE = 100_000, 300
CASES = {"chains": "cpo chains", "graphs": "cpo graphs"}


def measure(
    case: str, count: int = COUNT, sample: int = SAMPLE, clock: Clock = best_of
) -> dict[str, Any]:
    """Solve a batch, and its first problems by every peer; times are per problem."""
    batch = problems.drawn_in_pieces(problems.DRAWS[CASES[case]], count, SEED)
    solution, seconds = clock(lambda: problems.solve("cpo", batch), 3)
    found = report("cpo", batch, solution, seconds)
    found["worst_textbook_kkt"] = float(np.max(textbook_violation(batch, solution)))
    found["peers"] = against(batch[:sample], solution.logp[:sample], seconds / count)
    return found


def against(batch: Batch, logp: FloatArray, seconds: float) -> dict[str, Any]:
    """Time every peer on a batch and compare the policies."""
    k, pairs = batch.reward.shape[-1], batch.winner.shape[-1]
    arguments = peers.cpo_arguments(batch, log_target(batch).astype(np.float64))
    return {
        name: race(peer, arguments, np.exp(logp), np.exp, seconds)
        for name, peer in {
            "cvxpy + Clarabel, rebuilt": peers.Conic(k, pairs, reuse=False),
            "cvxpy + Clarabel, reused": peers.Conic(k, pairs),
            "cvxpy + Clarabel, reused, tight": peers.Conic(k, pairs, options=peers.TIGHT),
            "SciPy, dual by L-BFGS-B": peers.dual,
        }.items()
    }


def race(
    peer: peers.Peer, arguments: list[Any], ours: FloatArray, form: Any, seconds: float
) -> dict[str, Any]:
    """Return a peer's time a problem, the ratio to ours, and how far its answers are from ours.

    Each problem counts with the best of its times in three passes.
    """
    conic = peer if isinstance(peer, peers.Conic) else None
    times, inside = [], []
    with peers.quiet():
        peer(*arguments[0])  # imports
    with peers.quiet(), peers.one_thread():
        for _ in range(3):
            if conic:
                conic.doubts.clear()
                conic.inside.clear()
            found = [best_of(lambda one=one: peer(*one), 1) for one in arguments]
            times.append([took for _, took in found])
            inside.append(list(conic.inside) if conic else [])
    each = float(np.mean(np.min(times, axis=0)))
    gap = np.max(np.abs(form(np.array([answer for answer, _ in found])) - ours), axis=-1)
    sure = ~np.array(conic.doubts) if conic else np.ones(len(gap), dtype=bool)
    result = {
        "problems": len(arguments),
        "microseconds_a_problem": each * 1e6,
        "ratio": each / seconds,
        "worst_difference": float(np.max(gap[sure], initial=0.0)),
        "median_difference": float(np.median(gap)),
    }
    if conic:
        result["called_inaccurate_by_itself"] = int(np.sum(~sure))
        result["inside_clarabel_microseconds"] = float(np.median(np.min(inside, axis=0))) * 1e6
    return result


@pytest.mark.parametrize("case", CASES)
def test_cpo(case: str, clock: Clock, size: Any, store: Any) -> None:
    store("cpo", case, found := measure(case, size(COUNT), size(SAMPLE), clock))
    assert found["not_optimal"] == found["recheck"]["not_confirmed"] == 0
    assert found["worst_residual"] <= 1e-9
