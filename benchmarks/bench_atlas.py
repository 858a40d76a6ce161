"""How long `prefeq atlas` takes for a million cells and all methods, in a process of its own."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

CELLS = 1000
LIMIT_S = 60.0
PREFIX = "verdict/"


def command(cells: int, out: Path) -> list[str]:
    """Return the command that computes, saves and draws an atlas of `cells` by `cells`."""
    axes = ["--x", f"delta_ref=-6:2:{cells}", "--y", f"beta=0.05:5:{cells}:log"]
    return [sys.executable, "-m", "prefeq", "atlas", *axes, "--out", str(out)]


def measure(folder: Path, cells: int = CELLS) -> dict[str, Any]:
    """Run the command; keep how often each method gave each verdict."""
    out = folder / "atlas"
    start = time.perf_counter()
    subprocess.run(command(cells, out), check=True, capture_output=True)
    seconds = time.perf_counter() - start
    verdicts, digest = {}, hashlib.sha256()
    with np.load(out.with_suffix(".npz")) as saved:
        for name in sorted(n for n in saved.files if n.startswith(PREFIX)):
            codes, counts = np.unique(saved[name], return_counts=True)
            assert saved[name].shape == (cells, cells)
            digest.update(saved[name].tobytes())
            verdicts[name.removeprefix(PREFIX)] = dict(
                zip(map(str, codes.tolist()), counts.tolist(), strict=True)
            )
    return {
        "cells": cells * cells,
        "seconds": seconds,
        "limit_s": LIMIT_S,
        "microseconds_a_cell": seconds / cells**2 * 1e6,
        "verdicts": verdicts,
        "sha256": digest.hexdigest()[:16],
        "bytes_saved": out.with_suffix(".npz").stat().st_size,
    }


def test_atlas(tmp_path: Path, size: Any, store: Any) -> None:
    cells = round(size(CELLS * CELLS) ** 0.5)
    store("atlas", "all methods", found := measure(tmp_path, cells))
    assert found["seconds"] < LIMIT_S
