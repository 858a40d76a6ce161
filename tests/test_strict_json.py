"""Strict JSON: nothing but JSON in the file, and all of it or none."""

from __future__ import annotations

import json
import math
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prefeq import strict_json
from prefeq.errors import ProblemError
from prefeq.strict_json import check_writable, to_plain, write_json


def strict_loads(text: str) -> Any:
    def refuse(word: str) -> None:
        raise ValueError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_floats_survive_to_the_last_bit(tmp_path: Path, rng: np.random.Generator) -> None:
    values = rng.standard_normal(1000) * 10.0 ** rng.integers(-300, 300, 1000)
    write_json(tmp_path / "out.json", {"values": values})
    assert strict_loads((tmp_path / "out.json").read_text())["values"] == values.tolist()


def test_infinities_are_words_and_text_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    write_json(path, {"é": [-math.inf, math.inf, np.float64(-np.inf)], "n": np.int64(3), "t": True})
    text = path.read_text(encoding="utf-8")
    assert strict_loads(text) == {"é": ["-inf", "inf", "-inf"], "n": 3, "t": True}
    assert "Infinity" not in text
    assert text.endswith("}\n")


@pytest.mark.parametrize("value", [math.nan, [np.nan], {"a": np.array([1.0, np.nan])}])
def test_a_nan_is_refused_and_leaves_nothing(tmp_path: Path, value: Any) -> None:
    with pytest.raises(ProblemError, match="NaN"):
        write_json(tmp_path / "out.json", value)
    assert list(tmp_path.iterdir()) == []


def test_what_has_no_json_form_is_refused() -> None:
    with pytest.raises(ProblemError, match="complex"):
        to_plain({"z": 1j})


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "out.json"
    path.write_text("old")

    def broken(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", broken)
    with pytest.raises(ProblemError, match="No space left on device"):
        write_json(path, {"a": 1})
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: Any) -> None:
    def interrupted(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(strict_json, "_mode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_json(tmp_path / "out.json", {"a": 1})
    assert list(tmp_path.iterdir()) == []


def test_permissions_and_links_are_those_of_an_ordinary_write(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    write_json(tmp_path / "new.json", 1)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "new.json")]
    assert modes[0] == modes[1]
    (tmp_path / "link.json").symlink_to(tmp_path / "new.json")
    write_json(tmp_path / "link.json", 2)
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "new.json").read_text() == "2\n"


def test_a_device_is_written_to_and_never_replaced(tmp_path: Path) -> None:
    write_json(os.devnull, {"a": 1})
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)


def test_places_that_cannot_be_written_are_known_beforehand(tmp_path: Path) -> None:
    for bad, word in [(tmp_path / "no" / "out.json", "no such directory"), (tmp_path, "directory")]:
        with pytest.raises(ProblemError, match=word):
            check_writable(bad)
        with pytest.raises(ProblemError, match="cannot be written"):
            write_json(bad, {})
    check_writable(tmp_path / "out.json")
    check_writable(os.devnull)
    assert list(tmp_path.iterdir()) == []
