"""`prefeq search` as a user meets it."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from one_line import refused

import prefeq as pq
from prefeq import cli

REFUTED = "margin-ranking/zero-limit-loss-ranks"


def test_a_counterexample_is_printed_and_written(capsys: Any, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    assert cli.main(["search", REFUTED, "--seed", "2", "--json", str(out)]) == 0
    shown, err = capsys.readouterr()
    report = pq.search(REFUTED, seed=2)
    assert shown == f"{report}\n"
    assert err == ""
    assert json.loads(out.read_text()) == report.to_dict()
    assert report.results[0].found
    assert max(map(len, shown.splitlines())) <= 100


def test_not_finding_one_is_no_failure(capsys: Any) -> None:
    assert cli.main(["search", "margin-ranking/limit", "--budget", "50"]) == 0
    assert "none in 50 tries, 50 of them in scope" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([], ["CLAIM[/READING]", "prefeq search --help"]),
        (["nonsense"], ["unknown claim 'nonsense'", "margin-ranking"]),
        (["margin-ranking/nonsense"], ["no reading 'nonsense'", "zero-limit-loss-ranks"]),
        ([REFUTED, "--budget", "0"], ["budget = 0"]),
        ([REFUTED, "--budget", "many"], ["--budget", "'many'"]),
        ([REFUTED, "--seed", "-1"], ["seed = -1"]),
        ([REFUTED, "--json", "/nowhere/out.json"], ["no such directory"]),
    ],
)
def test_bad_input_is_one_line(capsys: Any, args: list[str], words: list[str]) -> None:
    refused(capsys, ["search", *args], *words)


def test_the_help_has_examples(capsys: Any) -> None:
    with pytest.raises(SystemExit):
        cli.main(["search", "--help"])
    assert "prefeq search margin-ranking/limit --budget 100000" in capsys.readouterr().out


def test_an_interrupt_prints_and_writes_what_was_found(tmp_path: Path) -> None:
    """On a terminal: the bar shows that the search is under way, Ctrl-C ends it."""
    out = tmp_path / "out.json"
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "prefeq.cli", "search", "margin-ranking/limit",
         "--budget", "10000000", "--json", str(out)],
        stdout=subprocess.PIPE, stderr=theirs, text=True,
        # what runs the tests may ignore interrupts (nohup does); a child would inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    os.close(theirs)
    bar = ""
    try:
        while "/100000" not in bar:
            bar += os.read(ours, 4096).decode()
    finally:
        process.send_signal(signal.SIGINT)
        try:
            shown, _ = process.communicate(timeout=60)
        finally:
            process.kill()
            os.close(ours)
    assert process.returncode == 130
    assert "margin-ranking/limit, hundreds of tries [" in bar
    assert "(interrupted)" in shown
    (result,) = json.loads(out.read_text())["results"]
    assert result["interrupted"]
    assert result["tries"] > 100
    assert result["nearest_miss"]["violation"] <= 0
