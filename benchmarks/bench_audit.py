"""The audit of ten million pairs in memory, beside one bare mean DPO loss of the same arrays.

Each case is a process of its own: `python -m benchmarks.bench_audit CASE PAIRS` prints JSON. The
bare loss is ``np.logaddexp(0, -beta * ((a - b) - (c - d))).mean()``; the audit is all of its
figures, from arrays to the dict of a report.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import prefeq as pq
from benchmarks.bench_memory import own_peak
from benchmarks.record import SEED, best_of

PAIRS, BETA, ROUNDS = 10_000_000, 0.1, 3
LIMIT, EXTRA_BYTES = 4.0, 300e6
GROUPS = {
    "reference and policy": (),
    "and rewards": ("rewards",),
    "and label probabilities": ("labels",),
    "and rewards and token counts": ("rewards", "tokens"),
    "and rewards and prompts": ("rewards", "prompts"),
}
UNBOUNDED = {"and rewards and prompts"}
"""Cases whose state grows with the data, by what `prefeq.llm.clusters` says; no limit is set."""
ROOT = Path(__file__).resolve().parent.parent


def draw(count: int, groups: tuple[str, ...], seed: int = SEED) -> dict[str, Any]:
    """Return columns as a language model gives them, drawn in place: nothing is freed later."""
    rng = np.random.default_rng(seed)
    columns: dict[str, Any] = {}
    for side in ("chosen", "rejected"):
        ref = rng.standard_gamma(4.0, count)
        ref *= -40.0
        policy = rng.standard_normal(count)
        policy *= 5.0
        policy -= 3.0 if side == "chosen" else 8.0
        policy += ref
        columns |= {f"{side}_logps": policy, f"ref_{side}_logps": ref}
        if "rewards" in groups:
            columns[f"{side}_reward"] = rng.standard_normal(count)
        if "tokens" in groups:
            columns[f"{side}_tokens"] = rng.integers(20, 400, count)
    if "labels" in groups:
        columns["label_prob"] = rng.random(count)
    if "prompts" in groups:
        columns["prompt"] = np.arange(count) // 8
    return columns


def bare(columns: dict[str, Any]) -> float:
    """Return the mean DPO loss, as anyone would write it."""
    a, b = columns["chosen_logps"], columns["rejected_logps"]
    c, d = columns["ref_chosen_logps"], columns["ref_rejected_logps"]
    return float(np.logaddexp(0, -BETA * ((a - b) - (c - d))).mean())


def main(case: str, count: int) -> dict[str, Any]:
    """Draw, audit, and compare with the bare loss."""
    pq.audit(draw(1000, GROUPS[case]), beta=BETA)  # what is imported and cached is no input
    columns = draw(count, GROUPS[case])
    before = own_peak()
    report = pq.audit(columns, beta=BETA)
    extra = own_peak() - before  # before the bare loss, whose temporaries are larger
    seconds = bare_seconds = math.inf
    for _ in range(ROUNDS):  # in turn: what else runs meanwhile slows both
        report, time = best_of(lambda: pq.audit(columns, beta=BETA), 1)
        mean, bare_time = best_of(lambda: bare(columns), 1)
        seconds, bare_seconds = min(seconds, time), min(bare_seconds, bare_time)
    found = report["losses"]["dpo"]["mean"]
    assert math.isclose(found, mean, rel_tol=1e-12)
    return {
        "pairs": count,
        "columns": len(columns),
        "input_bytes": sum(values.nbytes for values in columns.values()),
        "seconds": seconds,
        "bare_seconds": bare_seconds,
        "ratio": seconds / bare_seconds,
        "nanoseconds_a_pair": seconds / count * 1e9,
        "extra_peak_bytes": extra,
        "mean_dpo_loss": found,
        "violation_rate": report["violation_rate"],
    }


def measure(case: str, count: int = PAIRS) -> dict[str, Any]:
    """Run `main` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.bench_audit", case, str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("case", GROUPS)
def test_audit(case: str, size: Any, store: Any) -> None:
    store("audit", case, found := measure(case, size(PAIRS)))
    if case not in UNBOUNDED and found["pairs"] >= 1_000_000:
        assert found["ratio"] <= LIMIT
        assert found["extra_peak_bytes"] <= EXTRA_BYTES


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]))))
