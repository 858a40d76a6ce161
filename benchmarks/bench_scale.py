"""Audits of Parquet shards: two dask workers beside one process, and up to 100,000,000 rows.

Each case is a process of its own: `python -m benchmarks.bench_scale rows FOLDER SHARDS` audits the
first shards of a folder and prints JSON; `... workers FOLDER SHARDS` does it by workers, too.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import prefeq as pq
from benchmarks.bench_audit import draw
from benchmarks.bench_memory import own_peak
from benchmarks.record import SEED, best_of

ROWS, SHARDS, BETA = 100_000_000, 40, 0.1
LINEAR, BYTES = 1.25, 1e9
WORKERS = 2
COPIES = 5
"""Different shards that are drawn; the others are copies of these, to save time."""
ROOT = Path(__file__).resolve().parent.parent


def write(folder: Path, shards: int, rows: int) -> None:
    """Write Parquet shards: log-probs of both models as float32, and rewards."""
    from pyarrow import Table, parquet

    for i in range(shards):
        path = folder / f"{i:03}.parquet"
        if i < COPIES:
            columns = draw(rows, ("rewards",), SEED + i)
            table = Table.from_pydict({k: v.astype(np.float32) for k, v in columns.items()})
            parquet.write_table(table, path, compression="zstd", use_dictionary=False)
        else:
            shutil.copyfile(folder / f"{i % COPIES:03}.parquet", path)


def files(folder: str, shards: int) -> list[Path]:
    """Return the first shards."""
    return sorted(Path(folder).iterdir())[:shards]


def rows(folder: str, shards: int) -> dict[str, Any]:
    """Audit the shards once."""
    paths = files(folder, shards)
    pq.audit(paths[:1], beta=BETA)  # what is imported and cached grows with nothing
    report, seconds = best_of(lambda: pq.audit(paths, beta=BETA), 1)
    pairs = report["pairs"]
    return {
        "pairs": pairs,
        "shards": len(paths),
        "file_bytes": sum(path.stat().st_size for path in paths),
        "seconds": seconds,
        "nanoseconds_a_pair": seconds / pairs * 1e9,
        "bytes_peak": own_peak(),
        "mean_dpo_loss": report["losses"]["dpo"]["mean"],
        "violation_rate": report["violation_rate"],
    }


def workers(folder: str, shards: int) -> dict[str, Any]:
    """Audit the shards here, and by workers of one thread each; the reports are the same."""
    from distributed import LocalCluster

    paths = files(folder, shards)
    with LocalCluster(
        n_workers=WORKERS, threads_per_worker=1, processes=True, dashboard_address=":0"
    ) as cluster:
        address = cluster.scheduler_address
        pq.audit(paths[:WORKERS], beta=BETA, scheduler=address)  # workers import what they need
        one, one_seconds = best_of(lambda: pq.audit(paths, beta=BETA))
        two, two_seconds = best_of(lambda: pq.audit(paths, beta=BETA, scheduler=address))
    one_form, two_form = one.to_dict(), two.to_dict()
    return {
        "pairs": one["pairs"],
        "shards": len(paths),
        "workers": WORKERS,
        "one_process_seconds": one_seconds,
        "workers_seconds": two_seconds,
        "ratio": one_seconds / two_seconds,
        "identical": two_form == one_form,
        "median_margin": one["margin"]["quantiles"]["0.5"],
        "violation_rate": one["violation_rate"],
    }


def measure(case: str, folder: Path, shards: int) -> dict[str, Any]:
    """Run a case in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.bench_scale", case, str(folder), str(shards)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def shards(size: Any) -> Iterator[Path]:
    """Return a folder of shards, which is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="prefeq-scale-") as folder:
        write(Path(folder), SHARDS, size(ROWS) // SHARDS)
        yield Path(folder)


def test_time_is_linear_and_memory_bounded(shards: Path, store: Any) -> None:
    found = [measure("rows", shards, share) for share in (SHARDS // 4, SHARDS // 2, SHARDS)]
    for case in found:
        store("scale", f"{case['pairs']:,} rows", case)
    assert all(case["bytes_peak"] < BYTES for case in found)
    if found[0]["pairs"] >= 1_000_000:
        times = [case["nanoseconds_a_pair"] for case in found]
        assert max(times) <= LINEAR * min(times)


def test_two_workers(shards: Path, store: Any) -> None:
    pytest.importorskip("distributed")
    store("scale", "two workers", found := measure("workers", shards, SHARDS))
    assert found["identical"]


if __name__ == "__main__":
    case, folder, count = sys.argv[1:]
    print(json.dumps({"rows": rows, "workers": workers}[case](folder, int(count))))
