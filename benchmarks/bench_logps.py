"""Log-probs of sequences from logits: prefeq beside TRL's selective_log_softmax.

Each case is a process of its own, which measures its error against float64, its best time on one
core, and the peak of its resident memory as a multiple of the logits. `python -m
benchmarks.bench_logps WHOSE DTYPE DIRECTION` prints that as JSON. Memory needs Linux, which alone
can reset a peak.
"""

from __future__ import annotations

import ctypes
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.record import best_of, versions

ROOT = Path(__file__).resolve().parent.parent
SEQUENCES, TOKENS, VOCABULARY = 8, 192, 49_152
LIMIT = 1.3
ROUNDS = 5


def ours() -> Callable[..., Any]:
    """Return prefeq's function."""
    from prefeq.llm.logps import sequence_logps

    return sequence_logps


def theirs() -> Callable[..., Any]:
    """Return TRL's function, and the sum over the mask that its DPOTrainer took of it."""
    from trl.trainer.utils import selective_log_softmax

    return lambda logits, labels, mask: selective_log_softmax(logits, labels, row_mask=mask).sum(1)


def theirs_in_float32() -> Callable[..., Any]:
    """Return TRL's function on logits that are made float32 first, as precision would need."""
    call = theirs()
    return lambda logits, labels, mask: call(logits.float(), labels, mask)


WHOSE = {"prefeq": ours, "trl": theirs, "trl_in_float32": theirs_in_float32}


def main(whose: str, dtype: str, direction: str) -> dict[str, Any]:
    """Measure one case in this process."""
    import torch

    torch.set_num_threads(1)
    call = WHOSE[whose]()
    draw = torch.Generator().manual_seed(20834)
    logits = torch.empty(SEQUENCES, TOKENS, VOCABULARY, dtype=getattr(torch, dtype))
    for row in logits.view(-1, VOCABULARY):
        row.copy_(torch.randn(VOCABULARY, generator=draw).mul_(4))
    labels = torch.randint(VOCABULARY, (SEQUENCES, TOKENS), generator=draw)
    mask = torch.ones(SEQUENCES, TOKENS, dtype=torch.int64)
    labels[:, ::2] = logits[:, ::2].argmax(-1)  # a model is sure of some of the tokens
    logits.requires_grad_(direction == "gradient")

    def run() -> Any:
        sums = call(logits, labels, mask)
        if direction == "gradient":
            logits.grad = None
            sums.sum().backward()
        return sums.detach()

    size = logits.numel() * logits.element_size()
    call(logits[:1, :2], labels[:1, :2], mask[:1, :2])  # what is loaded on first use
    before = settled()
    run()
    peak = resident("VmHWM") - before + size
    sums, seconds = best_of(run, ROUNDS)
    exact = torch.stack([exactly(*row) for row in zip(logits.detach(), labels, strict=True)])
    return {
        "logits_bytes": size,
        "peak_over_logits": round(peak / size, 3),
        "seconds": round(seconds, 4),
        "nanoseconds_a_logit": round(seconds / logits.numel() * 1e9, 3),
        "worst_error_nats": float((sums.double() - exact).abs().max()),
        "versions": versions(("torch", "trl")),
    }


def exactly(logits: Any, labels: Any) -> Any:
    """Return one sequence's log-prob in float64."""
    parts = zip(logits.split(32), labels.split(32), strict=True)
    return sum(z.double().log_softmax(-1).gather(-1, y[:, None]).sum() for z, y in parts)


def settled() -> int:
    """Return the bytes resident, without what was freed; VmHWM starts again from there."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return resident("VmRSS")


def resident(field: str) -> int:
    """Return a field of this process's memory, in bytes."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) * 1024


def measure(whose: str, dtype: str, direction: str) -> dict[str, Any]:
    """Run `main` in a process of its own."""
    command = [sys.executable, "-m", __spec__.name, whose, dtype, direction]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("direction", ["value", "gradient"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_logps(dtype: str, direction: str, store: Any) -> None:
    found = {whose: measure(whose, dtype, direction) for whose in WHOSE}
    for other in ("trl", "trl_in_float32"):
        ratio = found["prefeq"]["seconds"] / found[other]["seconds"]
        found[f"time_over_{other}"] = round(ratio, 3)
    store("logps", f"{direction} {dtype}", found)
    limit = LIMIT if direction == "value" else LIMIT + 1  # the gradient is of the logits' size
    assert found["prefeq"]["peak_over_logits"] <= limit
    assert found["prefeq"]["worst_error_nats"] < 1e-6 * TOKENS


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
