"""`prefeq audit` as a user meets it: what it prints, what it writes, and its exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from llm import naive, shards
from pyarrow import parquet

import prefeq as pq
from prefeq import cli, cli_audit, progress, text
from prefeq.llm import chunking, flags_file
from prefeq.llm.faults import NAMES


@pytest.fixture
def data(rng: np.random.Generator) -> dict[str, Any]:
    return naive.draw(rng, 300) | {"row_id": [f"row {i}" for i in range(300)]}


@pytest.fixture
def path(tmp_path: Path, data: dict[str, Any]) -> Path:
    return shards.write(tmp_path / "pairs.parquet", data)


def audit(*args: Any) -> int:
    return cli.main(["audit", *map(str, args)])


def strict_loads(form: str) -> Any:
    def refuse(word: str) -> None:
        raise ValueError(f"{word} is not JSON")

    return json.loads(form, parse_constant=refuse)


def refused(capsys: Any, args: list[Any], *words: str) -> None:
    """Check for exit code 2, one line on standard error that holds `words`, and no output."""
    assert audit(*args) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n"), err[:15]) == ("", 1, "prefeq: error: ")
    for word in words:
        assert word in err, f"{word!r} is not in {err!r}"


def test_it_prints_the_report_and_writes_it(
    tmp_path: Path, path: Path, data: dict[str, Any]
) -> None:
    out = tmp_path / "out.json"
    args = [path, "--beta", 0.1, "--normalize", "mean", "--json", out]
    command = [sys.executable, "-m", "prefeq.cli", "audit", *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    report = pq.audit(data, beta=0.1, normalize="mean")
    assert done.stdout == f"{report}\n"
    assert "normalize = mean" in done.stdout
    files = {"count": 1, "names": [str(path)]}
    assert strict_loads(out.read_text()) == report.to_dict() | {"files": files}
    assert sorted(file.name for file in tmp_path.iterdir()) == ["out.json", "pairs.parquet"]


def test_the_page_is_the_report_s(
    tmp_path: Path, path: Path, data: dict[str, Any], capsys: Any
) -> None:
    out = tmp_path / "out.html"
    assert audit(path, "--beta", 0.1, "--html", out) == 0
    report, page = pq.audit(path, beta=0.1), out.read_text("utf-8")
    assert f">{text.fit(str(path), 72)}</code>" in page
    assert page == report.to_html(f"Audit of {text.fit(str(path), 80)}")
    assert capsys.readouterr().out == f"{report}\n" == f"{pq.audit(data, beta=0.1)}\n"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["out.html", "pairs.parquet"]


def test_options_reach_the_audit(tmp_path: Path, data: dict[str, Any], capsys: Any) -> None:
    out, theirs = tmp_path / "out.json", {("lp" if n == "prompt" else n): data[n] for n in data}
    del theirs["row_id"]
    for i, cut in enumerate((slice(0, 100), slice(100, 300))):
        shards.write(tmp_path / f"{i}.csv", {name: v[cut] for name, v in theirs.items()})
    args = ["--step0", "--betas", 0.2, 1, "--level", 0.9, "--columns", "prompt=lp"]
    assert audit(tmp_path / "0.csv", tmp_path / "1.csv", "--beta", 2, *args, "--json", out) == 0
    assert "normalize = sum" in capsys.readouterr().out
    found = strict_loads(out.read_text())
    true = pq.audit(
        {n: v for n, v in data.items() if n != "row_id"},
        beta=2, step0=True, betas=[0.2, 1], level=0.9,
    )  # fmt: skip
    for name in ("pairs", "prompts", "beta", "level", "violation_rate", "violation_rate_interval"):
        assert found[name] == true[name] or found[name] == list(true[name])
    assert [entry["beta"] for entry in found["at_other_beta"]] == [
        entry["beta"] for entry in true["at_other_beta"]
    ]
    assert [fault["name"] for fault in found["faults"]] == ["step0_mismatch"]


def plant(data: dict[str, Any], fault: str) -> tuple[dict[str, Any], list[str]]:
    """Return columns in which a fault was planted, and the options with which to look."""
    data, options = dict(data), []
    if fault == "same_policy":
        data |= {n: data[f"ref_{n}"] for n in ("chosen_logps", "rejected_logps")}
    elif fault == "step0_mismatch":
        options = ["--step0"]
    elif fault == "sum_mean":
        for name in naive.LOGPS:
            data[name] = data[name] * 0 - np.random.default_rng(1).gamma(4, 0.2, 300)
    elif fault == "positive_logp":
        data["chosen_logps"] = -data["chosen_logps"]
    elif fault == "nonfinite":
        data["ref_chosen_logps"] = np.where(np.arange(300) == 7, np.nan, data["ref_chosen_logps"])
    elif fault == "duplicate_columns":
        data["rejected_logps"] = data["chosen_logps"]
    elif fault == "swapped_columns":
        noise = np.random.default_rng(1).normal(0, 1, 300)
        data["chosen_logps"] = data["ref_rejected_logps"] - 9 - noise
        data["rejected_logps"] = data["ref_chosen_logps"] - 9
    elif fault == "truncated":
        data["chosen_tokens"] = np.minimum(data["chosen_tokens"], 120)
        data["rejected_tokens"] = np.minimum(data["rejected_tokens"], 120)
    else:
        data["chosen_reward"] = data["rejected_reward"] - 1
    return data, options


@pytest.mark.parametrize("fault", NAMES)
@pytest.mark.parametrize("suffix", ["csv", "npz"])
def test_planted_faults_are_named_and_are_no_error(
    tmp_path: Path, data: dict[str, Any], fault: str, suffix: str, capsys: Any
) -> None:
    data, options = plant(data, fault)
    path, out = shards.write(tmp_path / f"a.{suffix}", data), tmp_path / "out.json"
    assert audit(path, "--beta", 0.1, "--json", out, *options) == 0
    found = {f["name"]: f for f in strict_loads(out.read_text())["faults"]}
    assert fault in found
    assert fault in capsys.readouterr().out
    assert found[fault]["rows"][0].startswith("row ")
    if fault == "nonfinite":
        assert found[fault]["rows"] == ["row 7"]


def test_flags_of_each_pair(
    tmp_path: Path, data: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunking, "CHUNK", 64)
    data["chosen_logps"][[0, 5, 150]] = np.nan
    for i, cut in enumerate((slice(0, 140), slice(140, 300))):
        shards.write(tmp_path / f"{i}.parquet", {name: v[cut] for name, v in data.items()})
    out = tmp_path / "flags.parquet"
    out.write_text("of old")
    out.chmod(0o640)
    assert audit(f"{tmp_path}/[01].parquet", "--beta", 0.1, "--flags", out) == 0
    assert out.stat().st_mode & 0o777 == 0o640
    found, true = parquet.read_table(out).to_pydict(), pq.llm.pair_flags(data, beta=0.1)
    rows = true.pop("row").tolist()
    sources = [f"{tmp_path}/{int(row >= 140)}.parquet" for row in rows]
    assert found.pop("source") == sources
    assert found.pop("row") == [row - 140 * (row >= 140) for row in rows]
    assert found.pop("row_id") == [f"row {row}" for row in rows]
    assert found == {name: column.tolist() for name, column in true.items()}
    report = pq.audit(data, beta=0.1)
    assert np.mean(found["violated"]) == report["violation_rate"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0.parquet", "1.parquet", out.name]


def test_flags_where_no_pair_holds_numbers(tmp_path: Path) -> None:
    data = {name: np.full(3, np.nan) for name in naive.LOGPS}
    path, out = shards.write(tmp_path / "a.npz", data), tmp_path / "flags.parquet"
    assert audit(path, "--beta", 0.1, "--flags", out) == 0
    assert parquet.read_table(out).schema.names == ["source", "row"]


def test_flags_are_written_whole_or_not(
    tmp_path: Path, path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunking, "CHUNK", 64)  # so that something is written before
    bad = path.with_name("q.parquet")
    table = pa.table({name: [0.0] for name in parquet.read_schema(path).names})
    parquet.write_table(table, bad, compression="none")
    content = bad.read_bytes()
    bad.write_bytes(content[:4] + bytes(64) + content[68:])
    out, form = tmp_path / "flags.parquet", tmp_path / "out.json"
    refused(capsys, [path, bad, "--beta", 1, "--flags", out, "--json", form], str(bad))
    assert not {out, form} & set(tmp_path.iterdir())
    assert len(list(tmp_path.iterdir())) == 2
    out.write_text("of old")

    places, calls = flags_file._places, []

    def interrupted(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return places(*args)

    monkeypatch.setattr(flags_file, "_places", interrupted)
    assert audit(path, "--beta", 1, "--flags", out) == 130
    assert (out.read_text(), len(list(tmp_path.iterdir()))) == ("of old", 3)


def test_unusable_input_is_one_line_and_exit_code_2(
    tmp_path: Path, path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere, link = tmp_path / "no" / "out", tmp_path / "link.parquet"
    link.symlink_to(path)
    for args, words in (
        ([path], ("--beta",)),
        ([path, "--beta", 0], ("beta = 0.0",)),
        ([path, "--beta", 1, "--level", 2], ("level = 2.0",)),
        ([path, "--beta", 1, "--normalize", "both"], ("invalid choice",)),
        ([path, "--beta", 1, "--columns", "prompt"], ("write FILES --columns NAME=COLUMN",)),
        ([path, "--beta", 1, "--columns", "prompt=a", path], (f"{path}: is a file", "FILES first")),
        (["--beta", 1, "--columns", "prompt=a", path], ("required: FILES (", "come after them")),
        ([path, "--beta", 1, "--jsn", "x"], ("did you mean --json?", "prefeq audit --help")),
        ([path, "--beta", 1, "--frob"], ("unrecognized arguments: --frob;",)),
        ([path, "--beta", 1, "--columns", "prompt=promt"], ("did you mean 'prompt'?",)),
        ([path, "--beta", 1, "--columns", "promt=prompt"], ("did you mean 'prompt'?",)),
        ([path, "--beta", 1, "--json", "-"], ("--json -: is written to a file",)),
        ([path, "--beta", 1, "--html", "-"], ("--html -: is written to a file",)),
        ([path, "--beta", 1, "--flags", "f.csv"], ("f.csv: flags are written as Parquet",)),
        ([path, "--beta", 1, "--columns", "prompt=a", "prompt=b"], ("named before",)),
        ([path, "--beta", 1, "--columns", "prompt=a"], ("pairs.parquet: no column 'a'",)),
        ([tmp_path / "none.csv", "--beta", 1], ("none.csv: no such file",)),
        ([path, "--beta", 1, "--json", path], ("--json", "replace its own input")),
        ([path, "--beta", 1, "--html", path], ("--html", "replace its own input")),
        ([path, "--beta", 1, "--html", link], ("--html", "replace its own input")),
        ([link, "--beta", 1, "--html", path], ("--html", "replace its own input")),
        ([path, "--beta", 1, "--json", "x", "--html", "./x"], ("--json and --html", "two files")),
        ([path, "--beta", 1, "--flags", "x", "--html", "x"], ("--html and --flags", "two files")),
        ([path, "--beta", 1, "--html", nowhere], ("no such directory",)),
        ([path, "--beta", 1, "--html", tmp_path], ("is a directory",)),
        ([path, "--beta", 1, "--flags", path], ("replace its own input",)),
        ([path, "--beta", 1, "--json", "x", "--flags", "./x"], ("name two files",)),
        ([path, "--beta", 1, "--flags", nowhere], ("no such directory",)),
        ([path, "--beta", 1, "--json", nowhere], ("no such directory",)),
        ([path, "--beta", 1, "--flags", "/dev/null"], ("is no file",)),
    ):
        refused(capsys, args, *words)
    link.unlink()
    assert list(tmp_path.iterdir()) == [path]
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    refused(capsys, [path, "--beta", 1], str(path), "cannot be read")
    path.write_bytes(content)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    refused(capsys, [path, "--beta", 1], "pip install 'prefeq[data]'")


def test_the_option_that_names_a_missing_column_is_shown(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "a.csv"
    path.write_text("logp_ref_w,logp_ref_l,my score\n-1,-2,3\n")
    said = "--columns ref_chosen_logps=logp_ref_w ref_rejected_logps=logp_ref_l"
    refused(capsys, [path, "--beta", 1], said)
    assert audit(path, "--beta", 1, *said.split()) == 0


def test_output_that_cannot_be_written_is_one_line(path: Path) -> None:
    command = [sys.executable, "-m", "prefeq", "audit", str(path), "--beta", "0.1"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
    words = "prefeq: error: the output cannot be written: No space left on device\n"
    assert (done.returncode, done.stderr) == (2, words)


def test_the_bar_ends_where_the_work_ends(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(progress, "SILENT_S", -1.0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert audit(path, "--beta", 1) == 0
    drawn = capsys.readouterr().err
    assert "auditing [" in drawn
    assert "99/100" in drawn
    assert drawn.endswith("\r\x1b[K")
    with cli_audit.bar("auditing") as track:
        for share in (0.0, 0.5, 0.2, 1.0, 1.0):
            track(share)
