"""The peak memory of a process that draws a million problems and solves them, inputs included.

`python -m benchmarks.bench_memory SOLVER PROBLEMS K P` measures itself and prints JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import problems
from benchmarks.bench_growth import sizes

COUNT, K, P = 1_000_000, 8, 8
LIMIT = 4e9
MODULE = "benchmarks.bench_memory"
ROOT = Path(__file__).resolve().parent.parent


def own_peak() -> int:
    """Return the largest resident size that this process has had, in bytes.

    Linux's rusage starts a program at the size of the process that launched it; VmHWM does not.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def main(solver: str, count: int, k: int, pairs: int) -> dict[str, Any]:
    """Draw and solve; return the peak after importing, after drawing and after solving."""
    imported = own_peak()
    draw, shape = problems.DRAWS[solver], sizes(solver, k, pairs)
    batch = problems.drawn_in_pieces(draw, count, 1, **shape)
    drawn = own_peak()
    solution = problems.solve(solver.split()[0], batch)
    return {
        "problems": count,
        **shape,
        "bytes_imported": imported,
        "bytes_drawn": drawn,
        "bytes_peak": own_peak(),
        "worst_residual": float(solution.residual.max()),
    }


def measure(solver: str, count: int = COUNT, k: int = K, pairs: int = P) -> dict[str, Any]:
    """Run `main` in a process of its own."""
    command = [sys.executable, "-m", MODULE, solver, str(count), str(k), str(pairs)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("solver", problems.DRAWS)
def test_memory(solver: str, size: Any, store: Any) -> None:
    store("memory", solver, found := measure(solver, size(COUNT)))
    assert found["bytes_peak"] < LIMIT


if __name__ == "__main__":
    name, *numbers = sys.argv[1:]
    print(json.dumps(main(name, *(int(x) for x in numbers))))
