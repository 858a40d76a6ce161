"""Binary files written whole or not at all: a temporary file beside them, renamed at the end."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from prefeq.errors import ProblemError


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Give a binary file that becomes `path` when the block ends well, and vanishes otherwise.

    Raises
    ------
    ProblemError
        If it cannot be written.
    """
    target = Path(path).resolve()  # a link stays a link
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
        if target.exists():
            shutil.copymode(target, temporary)
        temporary.replace(target)
    except OSError as error:
        reason = error.strerror or error
        raise ProblemError(f"{target}: cannot be written ({reason})") from error
    finally:
        with suppress(OSError):
            temporary.unlink()
