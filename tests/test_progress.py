"""The progress bar: there on a terminal, and nowhere else."""

from __future__ import annotations

import io
from typing import Any

from prefeq import progress as module
from prefeq.progress import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_pipe_sees_nothing(monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "SILENT_S", -1.0)
    stream = io.StringIO()
    assert list(progress(range(5), "solving", stream)) == [0, 1, 2, 3, 4]
    assert stream.getvalue() == ""


def test_a_terminal_sees_a_bar_that_is_wiped(monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "SILENT_S", -1.0)
    stream = Terminal()
    assert list(progress("abcd", "solving", stream)) == list("abcd")
    frames = stream.getvalue().split("\r")
    assert frames[1] == "solving [" + "." * 30 + "] 0/4"
    assert frames[4] == "solving [" + "#" * 22 + "." * 8 + "] 3/4"
    assert frames[-1] == "\x1b[K"


def test_short_work_shows_no_bar() -> None:
    stream = Terminal()
    assert list(progress([1], "solving", stream)) == [1]
    assert stream.getvalue() == ""
