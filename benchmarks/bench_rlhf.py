"""RLHF against one log-softmax over the same array, and against the memory bandwidth."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from scipy.special import log_softmax

import prefeq as pq
from benchmarks import problems
from benchmarks.problems import Batch
from benchmarks.record import SEED, Clock, best_of, report
from prefeq.arrays import FloatArray

COUNT, K = 1_000_000, 8
STREAM = 16_000_000
"""Floats in each array of the bandwidth measurement: 128 MB, far more than any cache."""


def measure(
    count: int = COUNT, k: int = K, stream: int = STREAM, clock: Clock = best_of
) -> dict[str, Any]:
    """Time validation, answers, values and residuals together, and the two log-softmaxes."""
    batch = problems.drawn_in_pieces(problems.tilted, count, SEED, k=k)
    logits = batch.ref_logp + batch.reward / batch.beta[:, None]
    solution, seconds = clock(lambda: problems.solve("rlhf", batch), 5)
    peers = {}
    for name, peer in {
        "NumPy log-softmax": numpy_log_softmax,
        "SciPy log_softmax": lambda a: log_softmax(a, axis=-1),
    }.items():
        answer, took = best_of(lambda peer=peer: peer(logits), 5)
        peers[name] = {
            "seconds": took,
            "microseconds_a_problem": took / count * 1e6,
            "times_as_long": seconds / took,
            "worst_difference": float(np.max(np.abs(answer - solution.logp))),
        }
    bandwidth = stream_bandwidth(stream)
    moved = bytes_moved(batch, solution)
    return {
        **report("rlhf", batch, solution, seconds),
        "peers": peers,
        "bandwidth_bytes_a_second": bandwidth,
        "bytes_in_and_out": moved,
        "share_of_bandwidth": moved / seconds / max(bandwidth.values()),
        "share_of_bandwidth_log_softmax": 2
        * logits.nbytes
        / peers["NumPy log-softmax"]["seconds"]
        / max(bandwidth.values()),
    }


def numpy_log_softmax(logits: FloatArray) -> FloatArray:
    """One log-softmax as it is written in NumPy, with no care for -inf."""
    centred = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(centred - np.log(np.exp(centred).sum(axis=-1, keepdims=True)))


def bytes_moved(batch: Batch, solution: pq.Solution) -> int:
    """Return the bytes that have to be read and written at least: inputs once, answers once."""
    read = batch.reward.nbytes + batch.ref_logp.nbytes + batch.beta.nbytes
    written = solution.logp.nbytes + solution.value.nbytes + solution.residual.nbytes
    return int(read + written)


def stream_bandwidth(n: int) -> dict[str, float]:
    """Return bytes a second of copying and of a triad, by one thread and by two (STREAM's way).

    A copy reads one array and writes one, a + s·b in two NumPy calls reads three and writes two.
    """
    a, b, c = (np.full(n, x) for x in (1.0, 2.0, 3.0))

    def copy(part: slice) -> None:
        np.copyto(a[part], b[part])

    def triad(part: slice) -> None:
        np.multiply(c[part], 0.5, out=a[part])
        np.add(a[part], b[part], out=a[part])

    half = [slice(0, n // 2), slice(n // 2, n)]
    found = {}
    with ThreadPoolExecutor(2) as pool:
        for name, work, arrays in (("copy", copy, 2), ("triad", triad, 5)):
            for parts in ([slice(0, n)], half):
                _, took = best_of(_together(pool, work, parts), 5)
                found[f"{name}, {'two threads' if parts is half else 'one thread'}"] = (
                    arrays * a.nbytes / took
                )
    return found


def _together(
    pool: ThreadPoolExecutor, work: Callable[[slice], None], parts: list[slice]
) -> Callable[[], None]:
    def call() -> None:
        list(pool.map(work, parts))

    return call


def test_rlhf(clock: Clock, size: Any, store: Any) -> None:
    found = measure(size(COUNT), stream=size(STREAM), clock=clock)
    store("rlhf", "log-softmax", found)
    assert found["not_optimal"] == found["recheck"]["not_confirmed"] == 0
