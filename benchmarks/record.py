"""How benchmarks take times, and where they write what they measured, and on what machine."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

import prefeq as pq
from benchmarks.problems import Batch
from benchmarks.recheck import judge
from benchmarks.recheck.answers import to_numpy

RESULTS = Path(__file__).parent / "results"
SEED = 20834

T = TypeVar("T")


class Clock(Protocol):
    """Calls a function some times; returns its last answer and the best of the times."""

    def __call__(self, call: Callable[[], T], rounds: int = 3) -> tuple[T, float]: ...


def best_of(call: Callable[[], T], rounds: int = 3) -> tuple[T, float]:
    """Return the last answer and the shortest of `rounds` times: noise only ever adds."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        answer = call()
        times.append(time.perf_counter() - start)
    return answer, min(times)


def report(solver: str, batch: Batch, solution: pq.Solution, seconds: float) -> dict[str, Any]:
    """Return what is stored of a batch that was solved: time, residual, recheck and answer."""
    judgement = judge(solver, batch, solution)
    status = Counter(str(s) for s in np.ravel(solution.status))
    count = len(batch)
    return {
        "problems": count,
        "responses": batch.reward.shape[-1],
        "pairs": batch.winner.shape[-1],
        "seconds": seconds,
        "microseconds_a_problem": seconds / count * 1e6,
        "worst_residual": float(np.max(to_numpy(solution.residual))),
        "statuses": dict(sorted(status.items())),
        "not_optimal": count - status["optimal"],
        "routes": dict(sorted(Counter(map(str, np.ravel(solution.route))).items())),
        "recheck": {
            "worst_violation": float(np.max(judgement.violation)),
            "not_confirmed": int(np.sum(judgement.doubtful)),
        },
        "answer": summary(solution),
    }


def summary(solution: pq.Solution) -> dict[str, Any]:
    """Return two means of the answers and a digest of log π to six decimals."""
    logp, value = to_numpy(solution.logp), to_numpy(solution.value)
    finite = logp[np.isfinite(logp)]
    rounded = np.round(logp, 6) + 0.0  # no -0.0
    return {
        "mean_value": float(np.mean(value[np.isfinite(value)])),
        "mean_log_pi": float(np.mean(finite)),
        "sha256": hashlib.sha256(rounded.tobytes()).hexdigest()[:16],
    }


def machine() -> str:
    """Return the machine in generic words: cores, make and vector units, no names."""
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        text = ""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    make = re.search(r"model name\s*:\s*(.*)", text)
    name = " ".join(make[1].split()) if make else platform.machine()
    units = [word for flag, word in (("avx512f", "AVX-512"), ("avx2", "AVX2")) if flag in text]
    article = "an" if name[:1] in "AEIOU" else "a"
    return f"{cores} cores of {article} {name}" + (f" ({units[0]})" if units else "")


def versions(names: Iterable[str]) -> dict[str, str]:
    """Return the versions of Python and of the packages that are installed."""
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


PACKAGES = ("numpy", "scipy", "cvxpy", "clarabel", "choix", "scikit-learn", "torch")


def store(folder: Path, name: str, case: str, found: dict[str, Any]) -> None:
    """Put one case into NAME.json of the folder, all others kept."""
    path = folder / f"{name}.json"
    old = json.loads(path.read_text("utf-8")) if path.exists() else {"cases": {}}
    whole = {
        "machine": machine(),
        "versions": versions(PACKAGES),
        "cases": dict(sorted({**old["cases"], case: found}.items())),
    }
    write(path, whole)


def write(path: Path, whole: dict[str, Any]) -> None:
    """Write a JSON file in one go."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(whole, indent=2, allow_nan=False) + "\n", "utf-8")
    part.replace(path)
