"""Shards that are finished, in a folder: an audit that was cut short goes on from there."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from prefeq.errors import ProblemError, TableError
from prefeq.llm.plan import Plan
from prefeq.llm.readers import Shard
from prefeq.llm.sealed import seal, unseal
from prefeq.llm.state import AuditState
from prefeq.strict_json import check_writable, write_text

ENDS = 2**16
"""Bytes at both ends of a file that are compared, beside its size and time."""

SAMPLES = 64, 2**12
"""How many blocks, evenly spaced between them, are compared too, and of how many bytes."""


class Finished:
    """The states of finished shards, a file of strict JSON each, written whole or not at all.

    Parameters
    ----------
    folder
        Made if it is not there.
    plan
        What is asked now.
    note
        Told of what is stored but cannot be used, so that its shard is read again: the shard has
        changed, the stored file is damaged, another version of prefeq wrote it.

    Examples
    --------
    >>> import tempfile
    >>> from prefeq.llm.readers import open_shards
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "a.csv")
    ...     _ = path.write_text("ref_chosen_logps,ref_rejected_logps\\n-3,-5\\n")
    ...     (shard,) = open_shards(path)
    ...     finished = Finished(Path(folder, "states"), Plan(0.1, layout=shard.layout), print)
    ...     finished.put(shard, AuditState(finished.plan), looks(shard))
    ...     found = finished.get(shard)
    ...     _ = path.write_text("ref_chosen_logps,ref_rejected_logps\\n-3,-6\\n")
    ...     found.pairs, finished.get(shard)
    /...a.csv: has changed since it was audited, and is read again
    (0, None)
    """

    def __init__(
        self, folder: str | os.PathLike[str], plan: Plan, note: Callable[[str], None]
    ) -> None:
        self.folder, self.plan, self.note = Path(folder), plan, note
        if self.folder.is_file():
            raise ProblemError(f"{folder}: is a file; name a folder for the states of shards")
        try:
            self.folder.mkdir(exist_ok=True)
        except OSError as error:
            raise ProblemError(f"{folder}: no folder for states ({error.strerror})") from error
        check_writable(self.folder / "state.json")

    def keep_apart(self, inputs: Iterable[Path]) -> None:
        """Raise unless the folder is another than those of the files that are read.

        Raises
        ------
        ProblemError
            If it holds one of them.
        """
        here = self.folder.resolve()
        if any(path.resolve().parent == here for path in inputs):
            raise ProblemError(
                f"{self.folder}: holds the pairs themselves; name another folder for the states of "
                f"shards, such as {self.folder / 'states'}"
            )

    def get(self, shard: Shard) -> AuditState | None:
        """Return the state of a shard; None if it has to be read.

        Raises
        ------
        ProblemError
            If what is stored answers another question: other options, or other columns.
        """
        path = self._path(shard)
        try:
            state, more = unseal(path.read_text("utf-8"))
            looked, columns = more["looks"], more["columns"]
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError) as error:  # ProblemErrors among them
            self.note(f"{path}: cannot be used ({error}); {shard.source} is read again")
            return None
        if looked != looks(shard):
            self.note(f"{shard.source}: has changed since it was audited, and is read again")
            return None
        asked = {**dataclasses.asdict(self.plan), "columns": dict(shard.found)}
        known = {**dataclasses.asdict(state.plan), "columns": columns}
        for name, value in asked.items():
            if known[name] != value:
                raise ProblemError(
                    f"{self.folder} holds {shard.source} audited with {name} = "
                    f"{_shown(known[name])}, and now {name} = {_shown(value)}: ask the same, or "
                    "name another folder"
                )
        return state

    def put(self, shard: Shard, state: AuditState, looked: Mapping[str, Any]) -> None:
        """Store the state of a shard, which before it was read looked so.

        Raises
        ------
        TableError
            If it was changed while it was read.
        """
        if looks(shard) != looked:
            raise TableError(f"{shard.source}: was changed while it was read; run again")
        more = {"shard": shard.source, "looks": looked, "columns": dict(shard.found)}
        write_text(self._path(shard), seal(state, **more))

    def _path(self, shard: Shard) -> Path:
        name = re.sub(r"[^\w.-]", "_", shard.path.name, flags=re.ASCII)[-80:].lstrip(".")
        digest = hashlib.blake2b(os.fsencode(shard.source), digest_size=8).hexdigest()
        return self.folder / f"{name}.{digest}.json"


def looks(shard: Shard) -> dict[str, Any]:
    """Return what a shard looks like from outside: its size, its time, a digest of samples."""
    count, length = SAMPLES
    try:
        with shard.path.open("rb") as file:
            about = os.fstat(file.fileno())
            digest = hashlib.blake2b(file.read(ENDS), digest_size=16)
            for i in range(1, count + 1):
                file.seek(i * about.st_size // (count + 1))
                digest.update(file.read(length))
            file.seek(max(0, about.st_size - ENDS))
            digest.update(file.read(ENDS))
    except OSError as error:
        raise TableError(f"{shard.path}: cannot be read ({error.strerror})") from error
    return {"size": about.st_size, "mtime_ns": about.st_mtime_ns, "samples": digest.hexdigest()}


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {item}" for name, item in value.items())
    return repr(value)
