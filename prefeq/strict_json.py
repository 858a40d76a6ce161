"""Strict JSON: no NaN, infinities as the strings "-inf" and "inf", files written whole or not."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from prefeq.errors import ProblemError


def to_plain(value: Any) -> Any:
    """Return `value` as dicts, lists, strings, ints, finite floats, bools and None.

    NumPy scalars and arrays become Python ones; ±inf become "inf" and "-inf".

    Raises
    ------
    ProblemError
        On a NaN, which no result may hold, and on anything that JSON has no word for.

    Examples
    --------
    >>> import numpy as np
    >>> to_plain({"logp": np.array([-0.5, -np.inf]), "K": np.int64(2)})
    {'logp': [-0.5, '-inf'], 'K': 2}
    """
    if hasattr(value, "tolist"):  # a NumPy array or scalar
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, float):
        if math.isnan(value):
            raise ProblemError("a result is NaN, which strict JSON cannot hold; please report this")
        return value if math.isfinite(value) else ("inf" if value > 0 else "-inf")
    if value is None or isinstance(value, str | int | bool):
        return value
    raise ProblemError(f"{type(value).__name__} has no JSON form; convert it first")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` to `path` as strict JSON: all of it, or, on any error, nothing.

    The text goes to a temporary file in the same directory, which then replaces `path` in one step;
    an earlier file at `path` stays as it was until then.

    Raises
    ------
    ProblemError
        If `value` has no strict JSON form or the file cannot be written.
    """
    text = json.dumps(to_plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_text(path, text)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` to `path` in UTF-8, likewise whole or not at all."""
    target = Path(path).resolve()  # a link stays a link
    temporary = None
    try:
        if target.exists() and not target.is_file():  # /dev/stdout, a pipe: never replaced
            target.write_text(text, encoding="utf-8")
            return
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
        temporary = Path(name)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        temporary.chmod(_mode(target))
        temporary.replace(target)
        temporary = None
    except (OSError, UnicodeEncodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ProblemError(f"{target}: cannot be written ({reason})") from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink()


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise a `ProblemError` if `path` could not be written: better before long work than after."""
    target = Path(path).resolve()
    if target.is_dir():
        raise ProblemError(f"{target}: cannot be written (it is a directory); name a file")
    place = target if target.exists() and not target.is_file() else target.parent
    if not place.exists():
        raise ProblemError(f"{target}: cannot be written (no such directory); make it first")
    if not os.access(place, os.W_OK):
        raise ProblemError(f"{target}: cannot be written (permission denied); choose another place")


def _mode(target: Path) -> int:
    """Return the permissions that a plain ``open(target, "w")`` would leave."""
    if target.exists():
        return target.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
