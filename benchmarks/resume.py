"""Campaigns that were stopped go on where they were: every job done is a line of a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Job = tuple[Any, ...]
Result = dict[str, Any]


def done_before(partial: Path, sources: str) -> dict[Job, Result]:
    """Return what was done before a campaign was stopped, by the same sources."""
    lines = partial.read_text("utf-8").splitlines() if partial.exists() else []
    found = {}
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:  # the line that was being written
            continue
        if entry["sources"] == sources:
            found[tuple(entry["job"])] = entry["result"]
    return found


@contextmanager
def kept(partial: Path, sources: str) -> Iterator[Callable[[Job, Result], None]]:
    """Give a function that keeps the result of a job: in the file as soon as it returns."""
    before = partial.read_bytes() if partial.exists() else b""
    with partial.open("a", encoding="utf-8") as log:
        if before and not before.endswith(b"\n"):  # stopped within a line; ours begins another
            log.write("\n")

        def keep(job: Job, result: Result) -> None:
            log.write(json.dumps({"sources": sources, "job": job, "result": result}) + "\n")
            log.flush()

        yield keep
