"""The command `prefeq loss`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from prefeq.cli import main

MINE = """
import numpy as np
def mine(chosen, rejected, ref_chosen, ref_rejected, beta=0.1):
    return np.log(1 + np.exp(-beta * (chosen - rejected - ref_rejected + ref_chosen)))
"""


def test_a_card_in_the_terminal_in_json_and_on_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    words = ["mine.py:mine", "--kw", "beta=0.5", "--against", "dpo"]
    assert main(["loss", *words, "--json", "card.json", "--html", "card.html"]) == 0
    said = capsys.readouterr().out
    assert "swapped-reference" in said
    assert "mine and dpo differ on chosen_logps" in said
    plain = json.loads((tmp_path / "card.json").read_text())
    assert plain["parameters"] == {"beta": 0.5}
    assert {"swapped-reference", "overflow", "differs"} <= {f["name"] for f in plain["faults"]}
    assert plain["agreement"][0]["same"] is False
    assert "<svg" in (tmp_path / "card.html").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing.py:f"], "no such file"),
        (["dpo", "--kw", "beta"], "write NAME=VALUE"),
        (["dpo", "--kw", "beta=1", "--kw", "beta=2"], "given before"),
        (["dpo", "--kw", "beta=0"], "positive"),
        (["dpo", "--json", "no/such/place.json"], "cannot be written"),
        (["dpo", "--html", "no/such/place.html"], "cannot be written"),
        (["dpo", "--html", "x", "--json", "x"], "name two files"),
        ([], "required"),
    ],
)
def test_bad_input_is_one_line(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str],
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(["loss", *words]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert said in error
    assert list(tmp_path.iterdir()) == []
