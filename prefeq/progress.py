"""A progress bar on standard error, shown only when a terminal is attached."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from typing import TextIO, TypeVar

T = TypeVar("T")

WIDTH = 30
SILENT_S = 0.5
"""No bar is drawn before this many seconds: short work needs none."""


def progress(items: Sequence[T], label: str, stream: TextIO | None = None) -> Iterator[T]:
    """Yield `items`, drawing on `stream` (default: standard error) how many are done.

    Silent when `stream` is not a terminal; the line is wiped at the end, so that a log or a pipe
    never sees it.

    Examples
    --------
    >>> list(progress([1, 2, 3], "solving"))
    [1, 2, 3]
    """
    stream = sys.stderr if stream is None else stream
    if stream is None or not stream.isatty():
        yield from items
        return
    start, drawn = time.monotonic(), False
    try:
        for done, item in enumerate(items):
            if time.monotonic() - start > SILENT_S:
                drawn = True
                stream.write("\r" + _bar(label, done, len(items)))
                stream.flush()
            yield item
    finally:
        if drawn:
            stream.write("\r\x1b[K")
            stream.flush()


def _bar(label: str, done: int, total: int) -> str:
    filled = WIDTH * done // total
    return f"{label} [{'#' * filled}{'.' * (WIDTH - filled)}] {done}/{total}"
