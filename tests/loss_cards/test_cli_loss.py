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
        (["dpo", "--ref-limit", "0"], "must be positive"),
        (["dpo", "--ref-limit", "inf"], "finite"),
        (["dpo", "--ref-limit", "far"], "invalid float"),
        (["dpo", "--gap", "5", "0.5"], "0 < least < largest"),
        (["dpo", "--gap", "0", "1"], "0 < least < largest"),
        (["dpo", "--gap", "1"], "expected 2 arguments"),
        (["dpo", "--kw", "ref_limit=3"], "that is --ref-limit"),
        (["dpo", "--kw", "against=ipo"], "that is --against"),
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


@pytest.mark.parametrize("option", ["--json", "--html"])
@pytest.mark.parametrize("out", ["mine.py", "link.py", "../here/mine.py"])
@pytest.mark.parametrize(
    "words",
    [["mine.py:mine"], ["link.py:mine"], ["mine:mine"], ["dpo", "--against", "mine.py:mine"]],
)
def test_the_code_of_a_loss_is_never_replaced(
    option: str, out: str, words: list[str],
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    here = tmp_path / "here"
    here.mkdir()
    (here / "mine.py").write_text(MINE)
    (here / "link.py").symlink_to("mine.py")
    monkeypatch.chdir(here)
    assert main(["loss", *words, option, out]) == 2
    error = capsys.readouterr().err
    assert (
        error == f"prefeq: error: {option} {out} would replace its own input; name another file\n"
    )
    assert (here / "mine.py").read_text() == MINE


def test_a_wrong_limit_alone_is_blamed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["loss", "dpo", "--ref-limit", "-3"]) == 2
    error = capsys.readouterr().err
    assert error == "prefeq: error: --ref-limit -3: must be positive and finite\n"


def test_a_file_that_exits_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "leaves.py").write_text("import sys\nsys.exit(3)\n")
    monkeypatch.chdir(tmp_path)
    for name in ("leaves.py:f", "leaves:f"):
        assert main(["loss", name]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert "fails: SystemExit: 3; it must not exit when it is loaded" in error


def test_the_ranges_that_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """IPO traps below −5 nats, and misleads under mixed labels where δ_ref < 0 and Δr is small."""
    monkeypatch.chdir(tmp_path)
    seen = {}
    for name, words in (
        ("default", []),
        ("mild", ["--ref-limit", "4"]),
        ("narrow", ["--ref-limit", "4", "--gap", "2", "8"]),
        ("wrong", ["--ref-limit", "40", "--gap", "2", "8"]),
    ):
        assert main(["loss", "ipo", *words, "--json", "card.json"]) == 0
        seen[name] = json.loads((tmp_path / "card.json").read_text())
    ranges = {name: card["ranges"] for name, card in seen.items()}
    assert ranges["default"]["ref_margin"] == [-100.0, 100.0]
    assert ranges["narrow"]["ref_margin"] == [-4.0, 4.0]
    assert ranges["mild"]["reward_gap"] == pytest.approx([0.01, 10.0])
    assert ranges["narrow"]["reward_gap"] == pytest.approx([2.0, 8.0])
    verdicts = {name: (card["trap"], card["aligned"]) for name, card in seen.items()}
    # IPO's minimum is at δ_ref + (2q − 1)/(2β), which is > 0 for Δr ≥ 2 iff δ_ref > −3.81
    assert verdicts["default"] == verdicts["wrong"] == (True, False)
    assert verdicts["mild"] == (False, False)
    capsys.readouterr()
    assert main(["loss", "ipo", "--ref-limit", "3.5", "--gap", "2", "8"]) == 0
    assert "aligned yes" in capsys.readouterr().out
