"""Reading a bundle that anybody may have written: strict JSON, no surprises."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any, NoReturn

from prefeq.errors import ProblemError

LARGEST_FILE = 64 * 2**20


def read_strict(path: str | os.PathLike[str]) -> Any:
    """Return the JSON value of a file, or of the ``evidence.json`` in a folder.

    Raises
    ------
    ProblemError
        If the file cannot be read, is not JSON, repeats a key in one object, or holds NaN or an
        infinity.
    """
    file = Path(path)
    if file.is_dir():
        file /= "evidence.json"
    try:
        if file.is_file() and file.stat().st_size > LARGEST_FILE:
            raise ProblemError(f"{file}: more than {LARGEST_FILE // 2**20} MiB, not a bundle")
        text = file.read_text("utf-8")
    except OSError as error:
        raise ProblemError(f"{file}: cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise ProblemError(f"{file}: not UTF-8 text ({error.reason})") from error
    try:
        return parse_strict(text)
    except ProblemError as error:
        raise ProblemError(f"{file}: {error}") from None


def parse_strict(text: str) -> Any:
    """Return the value of strict JSON text.

    Examples
    --------
    >>> parse_strict('{"a": 1, "a": 2}')
    Traceback (most recent call last):
    prefeq.errors.ProblemError: the key 'a' stands twice in one object
    """
    try:
        return json.loads(
            text, object_pairs_hook=_object, parse_constant=_constant, parse_float=_finite
        )
    except ProblemError:
        raise
    except json.JSONDecodeError as error:
        raise ProblemError(f"not JSON (line {error.lineno}: {error.msg})") from None
    except (ValueError, RecursionError) as error:  # an integer of thousands of digits; deep nesting
        raise ProblemError(f"not JSON of a sensible size ({error})") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ProblemError(f"the key {key!r} stands twice in one object")
        found[key] = value
    return found


def _constant(name: str) -> NoReturn:
    raise ProblemError(f"{name} is not a number of strict JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ProblemError(f"the number {text[:40]} is out of range")
    return value
