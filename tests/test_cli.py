"""The command line as a user meets it: what it prints, what it writes, and its exit codes."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from one_line import refused

import prefeq
from prefeq import claims, cli, story, tabular

TABLE = "prompt,response,ref_logp,reward\nAustralia,Canberra,-18.2,1\nAustralia,Sydney,-10.3,0\n"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "answers.csv"
    path.write_text(TABLE)
    return path


def run(*args: Any, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "prefeq.cli", *map(str, args)],
        capture_output=True, text=True, timeout=60, check=False, **options,
    )  # fmt: skip


def strict_loads(text: str) -> Any:
    def refuse(word: str) -> None:
        raise ValueError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


# solve --------------------------------------------------------------------------------------------


def test_solve_prints_a_table_and_writes_the_report(tmp_path: Path, table: Path) -> None:
    out = tmp_path / "out.json"
    done = run("solve", table, "--beta", 1, "--margin", 0.5, "--json", out)
    assert (done.returncode, done.stderr) == (0, "")
    assert "violated by 1 of 1 pair (100.0 %)" in done.stdout
    row = next(line for line in done.stdout.splitlines() if line.startswith("Australia"))
    assert row.split() == ["Australia", "Canberra", ">", "Sydney", "1/1", "-7.900", "-6.900",
                           "-6.900", "0.500"]  # fmt: skip
    assert max(map(len, done.stdout.splitlines())) <= 100
    form = strict_loads(out.read_text())
    assert form == tabular.solve_table(table, beta=1.0, margin=0.5).to_dict()
    assert form["margin"] == 0.5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answers.csv", "out.json"]


def test_solve_takes_pairs_and_labels(tmp_path: Path, table: Path) -> None:
    pairs, out = tmp_path / "pairs.jsonl", tmp_path / "out.json"
    pairs.write_text('{"prompt": "Australia", "winner": "Canberra", "loser": "Sydney"}\n')
    for labels, margin in [("ordered", "inf"), ("bradley-terry", -6.9)]:
        args = ["solve", table, "--beta", 1, "--pairs", pairs, "--labels", labels, "--json", out]
        assert cli.main([str(arg) for arg in args]) == 0
        (prompt,) = strict_loads(out.read_text())["prompts"]
        found = prompt["pairs"][0]["dpo_margin"]
        assert found == margin or math.isclose(found, margin, rel_tol=1e-9)
        assert (prompt["logp"]["dpo"] is None) == (labels == "ordered")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ((TABLE, ""), ["answers.csv", "empty"]),
        (("reward", "score"), ["answers.csv", "'reward'"]),
        (("Sydney", "Canberra"), ["row 2", "'Canberra'", "twice"]),
        (("-10.3", "nan"), ["row 2", "'ref_logp'", "'nan'"]),
        (("-10.3,0", "-10.3,"), ["row 2", "'reward'", "no value"]),
    ],
)
def test_bad_tables(
    capsys: Any, tmp_path: Path, table: Path, change: tuple[str, str], words: list[str]
) -> None:
    table.write_text(TABLE.replace(*change))
    out = tmp_path / "out.json"
    refused(capsys, ["solve", table, "--beta", 1, "--json", out], *words)
    assert list(tmp_path.iterdir()) == [table]


def test_bad_pairs(capsys: Any, tmp_path: Path, table: Path) -> None:
    pairs, out = tmp_path / "pairs.csv", tmp_path / "out.json"
    pairs.write_text("prompt,winner,loser\nAustralia,Canberra,Perth\n")
    args = ["solve", table, "--beta", 1, "--pairs", pairs, "--json", out]
    refused(capsys, args, "pairs.csv", "row 1", "'loser'", "'Perth'")
    assert not out.exists()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([], ["COMMAND", "prefeq --help"]),
        (["explain"], ["'explain'", "verify", "solve"]),
        (["solve"], ["TABLE", "--beta"]),
        (["solve", "TABLE"], ["--beta", "prefeq solve --help"]),
        (["solve", "TABLE", "--beta", "small"], ["--beta", "'small'"]),
        (["solve", "TABLE", "--beta", "0"], ["beta = 0"]),
        (["solve", "TABLE", "--beta", "-0.1"], ["beta = -0.1"]),
        (["solve", "TABLE", "--beta", "nan"], ["beta = nan"]),
        (["solve", "TABLE", "--beta", "1", "--margin", "inf"], ["margin = inf"]),
        (["solve", "TABLE", "--beta", "1", "--labels", "elo"], ["--labels", "'elo'"]),
        (["solve", "TABLE", "--beta", "1", "--frobnicate"], ["--frobnicate"]),
        (["solve", "absent.csv", "--beta", "1"], ["absent.csv", "No such file"]),
        (["solve", "table.txt", "--beta", "1"], ["'.txt'", ".parquet"]),
        (["solve", "TABLE", "--beta", "1", "--json", "absent/out.json"], ["no such directory"]),
        (["solve", "TABLE", "--beta", "1", "--json", "."], ["directory"]),
        (["solve", "TABLE", "--beta", "1", "--json", "TABLE"], ["input"]),
        (["verify", "no-such-claim"], ["'no-such-claim'", "equivalence", "margin-ranking"]),
        (["verify", "assumption", "--json", "absent/out.json"], ["no such directory"]),
        (["verify", "assumption", "--bundle", "TABLE"], ["answers.csv", "not a directory"]),
        (["verify", "no-such-claim", "--bundle", "new"], ["'no-such-claim'"]),
    ],
)
def test_bad_arguments(
    capsys: Any, tmp_path: Path, table: Path, monkeypatch: Any, args: list[str], words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(capsys, [str(table) if arg == "TABLE" else arg for arg in args], *words)
    assert list(tmp_path.iterdir()) == [table]
    assert table.read_text() == TABLE


def test_an_error_late_in_the_work_leaves_the_old_report(
    capsys: Any, tmp_path: Path, table: Path, monkeypatch: Any
) -> None:
    out = tmp_path / "out.json"
    out.write_text("old")

    def broken(*args: Any, **options: Any) -> None:
        raise prefeq.ProblemError("two\nlines")

    monkeypatch.setattr(tabular, "solve_table", broken)
    refused(capsys, ["solve", table, "--beta", 1, "--json", out], "two lines")
    assert out.read_text() == "old"


def test_a_file_name_with_a_line_break_is_still_one_line(capsys: Any) -> None:
    refused(capsys, ["solve", "no\nfile.csv", "--beta", 1], "no file.csv")


# verify -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ok", "code"), [(True, 0), (False, 1)])
def test_verify_prints_writes_and_exits_by_the_report(
    capsys: Any, tmp_path: Path, monkeypatch: Any, ok: bool, code: int
) -> None:
    class Report(SimpleNamespace):
        def __str__(self) -> str:
            return "the report"

    asked = []

    def verify(names: Any, progress: Any) -> Any:
        assert list(progress([1, 2], "verifying")) == [1, 2]
        asked.append(names)
        return Report(ok=ok, to_dict=lambda: {"claims": []}, statements="what they say")

    monkeypatch.setattr(claims, "verify", verify)
    out = tmp_path / "out.json"
    assert cli.main(["verify", "assumption", "equivalence", "--json", str(out)]) == code
    assert capsys.readouterr().out == "the report\n\nwhat they say\n"
    assert cli.main(["verify"]) == code
    assert capsys.readouterr().out == f"the report\n\n{story.capitals_story()}\n"
    assert asked == [["assumption", "equivalence"], None]
    assert strict_loads(out.read_text()) == {"claims": []}


def test_verify_one_claim_for_real(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    done = run("verify", "assumption", "--json", out)
    assert (done.returncode, done.stderr) == (0, "")
    form = strict_loads(out.read_text())
    assert [claim["id"] for claim in form["claims"]] == ["assumption"]
    assert "assumption" in done.stdout


@pytest.mark.parametrize(("ok", "code"), [(True, 0), (False, 1)])
def test_verify_writes_a_bundle_whatever_the_verdicts(
    capsys: Any, tmp_path: Path, monkeypatch: Any, ok: bool, code: int
) -> None:
    report = claims.verify("margin-ranking")
    monkeypatch.setattr(type(report), "ok", ok)
    monkeypatch.setattr(claims, "verify", lambda *args: report)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["verify", "margin-ranking", "--bundle", "deep/er"]) == code
    evidence = Path("deep") / "er" / "evidence.json"
    assert capsys.readouterr().out.endswith(
        f"\n\nThe evidence is in {evidence}; a page a claim is beside it.\n"
    )
    assert strict_loads(evidence.read_text("utf-8"))["claims"] == report.to_dict()["claims"]
    assert sorted(path.name for path in evidence.parent.iterdir()) == [
        "evidence.json", "evidence.schema.json", "margin-ranking.md",
    ]  # fmt: skip


# The rest -----------------------------------------------------------------------------------------


def test_version_and_help() -> None:
    assert run("--version").stdout == f"prefeq {prefeq.__version__}\n"
    for args in (["--help"], ["verify", "--help"], ["solve", "--help"]):
        done = run(*args)
        assert done.returncode == 0
        assert "examples:\n  prefeq " in done.stdout
        assert max(map(len, done.stdout.splitlines())) <= 100


def test_the_examples_of_the_help_parse() -> None:
    parser = cli._parser()
    text = cli._VERIFY + cli._SOLVE
    lines = [line for line in text.splitlines() if line.startswith("  prefeq ")]
    assert len(lines) == 7
    for line in lines:
        command = line.split("   ")[0].split()  # what follows is a comment
        assert parser.parse_args(command[1:]).command == command[1]


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    rows = [f"p{i},{r},-1,{i % 2}" for i in range(15) for r in "ab"]
    table = tmp_path / "t.csv"
    table.write_text("prompt,response,ref_logp,reward\n" + "\n".join(rows))
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as pipe:
        done = subprocess.run(
            [sys.executable, "-m", "prefeq.cli", "solve", str(table), "--beta", "1"],
            stdout=pipe, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (141, "")


def test_an_interrupt_is_one_line_and_no_file(
    capsys: Any, tmp_path: Path, table: Path, monkeypatch: Any
) -> None:
    def interrupted(*args: Any, **options: Any) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(tabular, "solve_table", interrupted)
    out = tmp_path / "out.json"
    # what runs the tests may ignore interrupts (nohup does)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert cli.main(["solve", str(table), "--beta", "1", "--json", str(out)]) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err == "prefeq: interrupted\n"
    assert not out.exists()


def test_a_terminal_that_knows_only_ascii_is_served(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text(TABLE.replace("Australia", "Ελλάδα"), encoding="utf-8")
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = run("solve", table, "--beta", 1, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert "??????" in done.stdout


def test_the_readme_s_own_commands_run(capsys: Any, tmp_path: Path, monkeypatch: Any) -> None:
    root = Path(__file__).resolve().parent.parent
    page = (root / "README.md").read_text("utf-8")
    lines = [line.split("#")[0].split() for line in page.splitlines()]
    commands = [line[1:] for line in lines if line[:2] == ["prefeq", "solve"]]
    assert len(commands) == 2
    (tmp_path / "prefeq").symlink_to(root / "prefeq")
    monkeypatch.chdir(tmp_path)
    for command in commands:
        assert cli.main(command) == 0
        assert "violated by 51 of 720 pairs" in capsys.readouterr().out
    assert json.loads((tmp_path / "report.json").read_text())["labels"] == "ordered"
