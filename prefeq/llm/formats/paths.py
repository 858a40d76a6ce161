"""Which files a path stands for."""

from __future__ import annotations

import glob
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefeq.errors import TableError
from prefeq.llm.formats import FORMATS


def files_of(path: Path) -> list[Path]:
    """Return the files that a path stands for."""
    if path.is_dir():
        files = _in_folder(path)
        if not files:
            raise TableError(f"{path}: holds no file of pairs; we read {', '.join(FORMATS)}")
        return files
    if path.exists():
        return [path]
    if glob.has_magic(str(path)):
        found = sorted(map(Path, glob.glob(str(path), recursive=True)))
        if found:
            return [file for each in found for file in files_of(each)]
        raise TableError(f"{path}: no file has such a name")
    if str(path) == "-":
        raise TableError("-: standard input is not read; save it to a file, and name that")
    if url := re.match(r"([a-z][a-z0-9+.-]+):/+(?=.)", str(path)):
        shown = f"{url[1]}://{str(path)[url.end() :]}"
        raise TableError(f"{shown}: URLs are not read; download it first, and name the file")
    raise TableError(f"{path}: no such file or folder")


def _in_folder(folder: Path) -> list[Path]:
    """Return the shards of a folder; of one that `datasets` saved, those of the data set."""
    splits, state = folder / "dataset_dict.json", folder / "state.json"
    if splits.is_file():
        names = _listed(splits, lambda form: form["splits"])
        if len(names) != 1:
            raise TableError(f"{folder}: has splits {', '.join(names)}; name one: {folder}/SPLIT")
        return _in_folder(folder / names[0])
    if state.is_file() and (folder / "dataset_info.json").is_file():
        names = _listed(state, lambda form: [file["filename"] for file in form["_data_files"]])
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            raise TableError(f"{folder / missing[0]}: is missing; {state} lists it")
        return [folder / name for name in names]  # and no files of its cache
    found = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith((".", "_")):
            continue
        if path.is_dir():
            if path.is_symlink():
                raise TableError(f"{path}: is a link to a folder; name that folder itself")
            found += _in_folder(path)
        elif path.suffix.lower() in FORMATS and path.suffix.lower() != ".json":
            found.append(path)
    return found


def _listed(path: Path, get: Callable[[Any], list[str]]) -> list[str]:
    try:
        return get(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TableError(f"{path}: is not what `datasets` writes ({error!r})") from error
