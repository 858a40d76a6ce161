"""How the time a problem grows with the number of problems, of responses and of pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from benchmarks import problems
from benchmarks.recheck.answers import to_numpy
from benchmarks.record import SEED, Clock, best_of, summary

BATCHES = (10_000, 100_000, 1_000_000)
RESPONSES = (2, 3, 4, 6, 8, 10, 12)
PAIRS = (1, 2, 4, 6, 8, 12, 16)
SIDE = 10_000
"""Problems of each kind while responses or pairs vary."""
ROUNDS = 3


def sizes(solver: str, k: int, pairs: int) -> dict[str, int]:
    """Return what a draw takes: RLHF has no pairs, a chain as many as fit, DPO a tree at least."""
    if solver in ("rlhf", "cpo chains"):
        return {"k": k}
    return {"k": k, "pairs": max(pairs, k - 1) if solver == "dpo" else pairs}


Case = tuple[int, int, int]
"""Problems, responses and pairs."""


def measure(solver: str, cases: Sequence[Case], clock: Clock = best_of) -> list[dict[str, Any]]:
    """Time each case, in turns, so that a busy spell of the machine meets them all.

    The clock is for the first one, whose time is listed.
    """
    shapes = [sizes(solver, k, pairs) for _, k, pairs in cases]
    batches = [
        problems.drawn_in_pieces(problems.DRAWS[solver], case[0], SEED, **shape)
        for case, shape in zip(cases, shapes, strict=True)
    ]
    name = solver.split()[0]
    clock(lambda: problems.solve(name, batches[0]), 3)
    times, answers = [np.inf] * len(cases), [None] * len(cases)
    for _ in range(ROUNDS):
        for i, batch in enumerate(batches):
            several = min(max(BATCHES[1] // len(batch), 1), 10)
            answers[i], took = best_of(lambda batch=batch: problems.solve(name, batch), several)
            times[i] = min(times[i], took)
    return [
        described(len(batch), shape, answer, took)
        for batch, shape, answer, took in zip(batches, shapes, answers, times, strict=True)
    ]


def described(count: int, shape: dict[str, int], solution: Any, seconds: float) -> dict[str, Any]:
    """Return what is kept of one batch: its time, its residuals and statuses, its answers."""
    statuses = [str(s) for s in np.ravel(solution.status)]
    return {
        "problems": count,
        **shape,
        "seconds": seconds,
        "microseconds_a_problem": seconds / count * 1e6,
        "worst_residual": float(np.max(to_numpy(solution.residual))),
        "not_optimal": count - statuses.count("optimal"),
        "answer": summary(solution),
    }


def variation(points: list[Any]) -> float:
    """Return the longest time a problem over the shortest."""
    times = [p["microseconds_a_problem"] for p in points]
    return max(times) / min(times)


@pytest.mark.parametrize("solver", problems.DRAWS)
def test_growth_with_the_batch(solver: str, clock: Clock, size: Any, store: Any) -> None:
    points = measure(solver, [(size(count), 6, 6) for count in BATCHES], clock)
    store("growth", f"{solver}, batch", {"points": points, "variation": variation(points)})
    assert all(p["not_optimal"] == 0 for p in points)


@pytest.mark.parametrize("solver", problems.DRAWS)
def test_growth_with_the_responses(solver: str, clock: Clock, size: Any, store: Any) -> None:
    points = measure(solver, [(size(SIDE), k, k) for k in RESPONSES], clock)
    store("growth", f"{solver}, responses", {"points": points})
    assert all(p["not_optimal"] == 0 for p in points)


@pytest.mark.parametrize("solver", ["dpo", "cpo graphs"])
def test_growth_with_the_pairs(solver: str, clock: Clock, size: Any, store: Any) -> None:
    several = [pairs for pairs in PAIRS if solver != "dpo" or pairs >= 6]
    points = measure(solver, [(size(SIDE), 6, pairs) for pairs in several], clock)
    store("growth", f"{solver}, pairs", {"points": points})
    assert all(p["not_optimal"] == 0 for p in points)
