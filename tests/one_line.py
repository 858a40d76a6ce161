"""What the command line owes its users on bad input: one line, and exit code 2."""

from __future__ import annotations

from typing import Any

from prefeq import cli


def refused(capsys: Any, args: list[Any], *words: str) -> None:
    """Raise unless the command exits 2 with one line of error that holds all the words."""
    assert cli.main([str(arg) for arg in args]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("prefeq: error: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    for word in words:
        assert word in err, f"{word!r} is not in {err!r}"
