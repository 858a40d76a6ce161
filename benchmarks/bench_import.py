"""How long `import prefeq` takes in a fresh interpreter; fails above 0.3 s."""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np

LIMIT_S = 0.3
RUNS = 15
CODE = "import time; t = time.perf_counter(); import {0}; print(time.perf_counter() - t)"
RESULT = Path(__file__).parent / "results" / "import.json"


def seconds(module: str) -> list[float]:
    """Return the import times of `module` in `RUNS` fresh interpreters, after one to warm up."""
    command = [sys.executable, "-c", CODE.format(module)]
    times = [
        float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        for _ in range(RUNS + 1)
    ]
    return times[1:]


def main(path: Path = RESULT) -> int:
    ours, base = seconds("prefeq"), seconds("numpy")
    result = {
        "prefeq_best_s": round(min(ours), 4),
        "prefeq_median_s": round(statistics.median(ours), 4),
        "numpy_best_s": round(min(base), 4),
        "limit_s": LIMIT_S,
        "runs": RUNS,
        "python": platform.python_version(),
        "numpy": np.__version__,
    }
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))
    if min(ours) > LIMIT_S:
        print(f"import prefeq took {min(ours):.3f} s, over {LIMIT_S} s", file=sys.stderr)
        return 1
    return 0


def test_import(folder: Path) -> None:
    assert main(folder / RESULT.name) == 0


if __name__ == "__main__":
    sys.exit(main())
