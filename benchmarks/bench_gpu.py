"""The same batches on torch CUDA in float64, against NumPy on two cores of the same machine."""

from __future__ import annotations

import os
from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from benchmarks import problems
from benchmarks.bench_rlhf import bytes_moved
from benchmarks.problems import Batch
from benchmarks.recheck.answers import to_numpy
from benchmarks.record import SEED, Clock, best_of, report

COUNTS = {"rlhf": 1_000_000, "dpo": 100_000, "cpo chains": 100_000, "cpo graphs": 100_000}
BIG = 1_000_000


def gpu() -> bool:
    """Whether torch is here and sees a GPU."""
    try:
        import torch
    except ImportError:
        return False
    return bool(torch.cuda.is_available())


def moved(batch: Batch, device: str) -> Batch:
    """Return a batch as torch tensors on a device."""
    import torch

    return Batch(*(torch.from_numpy(getattr(batch, f.name)).to(device) for f in fields(Batch)))


def measure(
    solver: str, count: int, device: str = "cuda", clock: Clock = best_of
) -> dict[str, Any]:
    """Solve a batch by NumPy and by torch, and compare the answers."""
    import torch

    name = solver.split()[0]
    batch = problems.drawn_in_pieces(problems.DRAWS[solver], count, SEED)
    there = moved(batch, device)

    def solve() -> Any:
        solution = problems.solve(name, there)
        if device == "cuda":
            torch.cuda.synchronize()
        return solution

    solve()  # the first call loads kernels
    solution, seconds = clock(solve, 5)
    host, host_seconds = best_of(lambda: problems.solve(name, batch), 2)
    ours, theirs = to_numpy(solution.logp), to_numpy(host.logp)
    size = np.maximum(1.0, np.max(np.abs(theirs), axis=-1, keepdims=True))
    gap = np.where(ours == theirs, 0.0, np.abs(ours - theirs) / size)
    bandwidth = copy_bandwidth(device)
    return {
        **report(name, batch, solution, seconds),
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "problems_a_second": count / seconds,
        "problems_a_second_numpy": count / host_seconds,
        "ratio": host_seconds / seconds,
        "worst_difference": float(np.max(gap)),
        "bandwidth_bytes_a_second": bandwidth,
        "share_of_bandwidth": bytes_moved(batch, host) / seconds / bandwidth,
    }


def copy_bandwidth(device: str, n: int = 100_000_000) -> float:
    """Return the bytes a second that a copy on the device reads and writes."""
    import torch

    n = n if device == "cuda" else n // 100
    a, b = (torch.full((n,), x, dtype=torch.float64, device=device) for x in (1.0, 2.0))

    def copy() -> None:
        for _ in range(10):
            a.copy_(b)
        if device == "cuda":
            torch.cuda.synchronize()

    copy()
    return 10 * 16 * n / best_of(copy, 5)[1]


@pytest.fixture
def two_cores() -> Any:
    """Keep this process to two of the cores it may use."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:2])
    yield
    os.sched_setaffinity(0, before)


CASES = [(solver, count) for solver, few in COUNTS.items() for count in sorted({few, BIG})]


@pytest.mark.skipif(not gpu(), reason="torch sees no GPU here")
@pytest.mark.usefixtures("two_cores")
@pytest.mark.parametrize(("solver", "count"), CASES)
def test_gpu(solver: str, count: int, clock: Clock, size: Any, store: Any) -> None:
    found = measure(solver, size(count), clock=clock)
    store("gpu", f"{solver}, {count}", found)
    assert found["recheck"]["not_confirmed"] == 0
    assert found["worst_difference"] <= 1e-9


def measure_core(count: int, device: str = "cuda") -> dict[str, Any]:
    """Time the fused pass of an audit over fp32 columns, and all of the audit's figures."""
    import torch

    import prefeq as pq

    generator = torch.Generator(device).manual_seed(SEED)
    names = ("chosen_logps", "rejected_logps", "ref_chosen_logps", "ref_rejected_logps")
    columns = {name: -100 * torch.rand(count, generator=generator, device=device) for name in names}

    def core() -> Any:
        return pq.llm.core_pass(**columns, beta=0.1)  # its answer is on the host: it has waited

    core()  # the first call compiles
    found, seconds = best_of(core, 5)
    report, whole = best_of(lambda: pq.audit(columns, beta=0.1), 2)
    mean = report["losses"]["dpo"]["mean"]
    same = all(found[name] == report[name] for name in ("relative_accuracy", "undesirable_share"))
    bandwidth = copy_bandwidth(device)
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "pairs": count,
        "seconds": seconds,
        "seconds_of_all_figures": whole,
        "bandwidth_bytes_a_second": bandwidth,
        "share_of_bandwidth": 16 * count / seconds / bandwidth,
        "shares_are_the_audits": same,
        "worst_difference": abs(found["mean_dpo_loss"] - mean) / mean,
    }


@pytest.mark.skipif(not gpu(), reason="torch sees no GPU here")
def test_audit_core(size: Any, store: Any) -> None:
    store("gpu_audit", "core", found := measure_core(size(100_000_000)))
    assert found["shares_are_the_audits"]
    assert found["worst_difference"] <= 1e-12
