"""Reading tables: what is accepted, and one line for everything that is not."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prefeq.errors import ProblemError, TableError
from prefeq.tables import bandit_columns, pair_columns

HEADER = "prompt,response,ref_logp,reward\n"
ROWS: dict[str, list[Any]] = {
    "prompt": ["p", "p", "q é\n2", "q é\n2", "q é\n2"],
    "response": ["a", "b, c", "a", "", 'say "x"'],
    "ref_logp": [-0.5, -1.25, -3.0, -math.inf, 2.0],
    "reward": [1.0, 0.0, -2.5, 0.1, 1e-300],
}
TABLE = {"prompt": ["p", "p", "q", "q"], "response": ["a", "b", "a", "c"],
         "ref_logp": [-1.0, -2.0, -1.0, -math.inf], "reward": [1.0, 0.0, 1.0, 0.0]}  # fmt: skip


def write_csv(path: Path, columns: dict[str, list[Any]], encoding: str = "utf-8") -> Path:
    import csv

    with path.open("w", newline="", encoding=encoding) as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def write_json_lines(path: Path, columns: dict[str, list[Any]]) -> Path:
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    for row in rows:
        if row["ref_logp"] == -math.inf:
            row["ref_logp"] = "-inf"
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n", encoding="utf-8")
    return path


def write_parquet(path: Path, columns: dict[str, list[Any]]) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def refused(table: Any, *words: str, error: type[ProblemError] = TableError) -> str:
    """Check that `table` is refused in one line that holds all of `words`, and return the line."""
    with pytest.raises(error) as caught:
        bandit_columns(table)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, f"{word!r} is not in {message!r}"
    return message


# What is accepted ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("t.csv", write_csv),
        ("t.CSV", write_csv),
        ("t.jsonl", write_json_lines),
        ("t.ndjson", write_json_lines),
        ("t.parquet", write_parquet),
    ],
)
def test_every_format_gives_the_same_columns(tmp_path: Path, name: str, write: Any) -> None:
    path = write(tmp_path / name, {**ROWS, "note": list("vwxyz")})
    assert bandit_columns(path) == ROWS
    assert bandit_columns(str(path)) == ROWS


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    assert bandit_columns(write_csv(tmp_path / "t.csv", ROWS, encoding="utf-8-sig")) == ROWS


def test_blank_lines_and_spaces_around_numbers_are_harmless(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(HEADER + "p,a, -1.5 ,1\n\np,b,-inf,0\n\n")
    assert bandit_columns(path)["ref_logp"] == [-1.5, -math.inf]


def test_a_mapping_of_arrays_is_a_table() -> None:
    columns = bandit_columns(
        {
            "prompt": np.array([7, 7]),
            "response": np.array(["a", "b"]),
            "ref_logp": np.array([-1, -2], dtype=np.float32),
            "reward": np.array([True, False]).astype(np.int8),
        }
    )
    assert columns == {"prompt": ["7", "7"], "response": ["a", "b"],
                       "ref_logp": [-1.0, -2.0], "reward": [1.0, 0.0]}  # fmt: skip
    assert all(type(value) is str for value in columns["prompt"] + columns["response"])
    assert all(type(value) is float for value in columns["ref_logp"] + columns["reward"])


def test_number_ids_name_the_same_prompt_in_every_format(tmp_path: Path) -> None:
    rows = {"prompt": [1, 1], "response": [10, 11], "ref_logp": [-1.0, -2.0], "reward": [1, 0]}
    answers = [
        bandit_columns(write_csv(tmp_path / "t.csv", rows)),
        bandit_columns(write_json_lines(tmp_path / "t.jsonl", rows)),
        bandit_columns(write_parquet(tmp_path / "t.parquet", rows)),
    ]
    assert answers[0] == answers[1] == answers[2]
    assert answers[0]["prompt"] == ["1", "1"]


# What is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["empty"]),
        ("\n", ["no column 'prompt'"]),
        (HEADER, ["no data rows"]),
        ("prompt,response,reward\np,a,1\n", ["no column 'ref_logp'", "'reward'"]),
        ("prompt,response,ref_logp,reward,reward\np,a,-1,1,1\n", ["'reward'", "twice"]),
        (HEADER + "p,a,-1,1\np,a,-2,0\n", ["row 2", "'response'", "'a'", "twice", "row 1"]),
        (HEADER + "p,a,-1,1\np,b,nan,0\n", ["row 2", "'ref_logp'", "'nan'", "not a number"]),
        (HEADER + "p,a,-1,1\np,b,-2,NaN\n", ["row 2", "'reward'", "'NaN'"]),
        (HEADER + "p,a,-1,inf\n", ["row 1", "'reward'", "'inf'", "not finite"]),
        (HEADER + "p,a,-1,1e999\n", ["row 1", "'reward'", "'1e999'", "not finite"]),
        (HEADER + "p,a,inf,1\n", ["row 1", "'ref_logp'", "+inf"]),
        (HEADER + "p,a,,1\n", ["row 1", "'ref_logp'", "no value"]),
        (HEADER + "p,a,-1,1_000\n", ["row 1", "'reward'", "'1_000'"]),
        (HEADER + "p,a,-1,yes\n", ["row 1", "'reward'", "'yes'", "not a number"]),
        (HEADER + "p,a,-1\n", ["row 1", "3 values for 4 columns"]),
        (HEADER + "p,a,-1,1,2\n", ["row 1", "5 values for 4 columns"]),
        (HEADER + 'p,"a,-1,1\n', ["not CSV"]),
        (HEADER + 'p,"a"x,-1,1\n', ["not CSV"]),
        (HEADER + "p,a,-1,1\nq,a,-inf,1\nq,b,-inf,0\n", ["row 2", "'prompt'", "'q'", "-inf"]),
    ],
)
def test_csv_errors_name_the_place(tmp_path: Path, text: str, words: list[str]) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    assert refused(path, *words).startswith(str(path))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", ["line 3 is not JSON"]),
        ("[1, 2]", ["line 3 is no JSON object"]),
        ("[" * 100_000, ["line 3 is not JSON"]),
        ('{"prompt": "p", "response": "b", "ref_logp": -1}', ["row 2", "'reward'", "no value"]),
        (
            '{"prompt": "p", "response": "b", "ref_logp": NaN, "reward": 1}',
            ["row 2", "'ref_logp'", "nan"],
        ),
        (
            '{"prompt": "p", "response": "b", "ref_logp": -1, "reward": true}',
            ["row 2", "'reward'", "True"],
        ),
        (
            '{"prompt": "p", "response": null, "ref_logp": -1, "reward": 1}',
            ["row 2", "'response'", "None"],
        ),
        (
            '{"prompt": 1.5, "response": "b", "ref_logp": -1, "reward": 1}',
            ["row 2", "'prompt'", "1.5"],
        ),
        (
            '{"prompt": "p", "response": "\\ud800", "ref_logp": -1, "reward": 1}',
            ["row 2", "'response'", "surrogate"],
        ),
        (
            '{"prompt": "p", "response": "b", "ref_logp": -1, "reward": 1' + "0" * 400 + "}",
            ["row 2", "'reward'", "not a number"],
        ),
    ],
)
def test_json_lines_errors_name_the_place(tmp_path: Path, line: str, words: list[str]) -> None:
    path = tmp_path / "bad.jsonl"
    first = '{"prompt": "p", "response": "a", "ref_logp": -1, "reward": 1}\n\n'
    path.write_text(first + line + "\n")
    assert refused(path, *words).startswith(str(path))


def test_parquet_errors_name_the_place(tmp_path: Path) -> None:
    nulls = {**TABLE, "reward": [1.0, None, 1.0, 0.0]}
    refused(write_parquet(tmp_path / "t.parquet", nulls), "row 2", "'reward'", "no value")
    short = {name: TABLE[name] for name in ("prompt", "response", "reward")}
    refused(write_parquet(tmp_path / "s.parquet", short), "no column 'ref_logp'", "'reward'")
    (tmp_path / "x.parquet").write_bytes(b"not a parquet file at all")
    refused(tmp_path / "x.parquet", "not a readable Parquet file")
    binary = {**TABLE, "prompt": [b"p"] * 4}
    refused(write_parquet(tmp_path / "b.parquet", binary), "row 1", "'prompt'", "no text")


def test_parquet_without_pyarrow_is_a_hint(tmp_path: Path, monkeypatch: Any) -> None:
    path = write_parquet(tmp_path / "t.parquet", TABLE)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    refused(path, "pip install 'prefeq[data]'")


def test_files_that_are_no_tables(tmp_path: Path) -> None:
    refused(tmp_path / "absent.csv", "absent.csv", "cannot be read", "No such file")
    (tmp_path / "folder.csv").mkdir()
    refused(tmp_path / "folder.csv", "cannot be read")
    refused(tmp_path / "table.xlsx", "'.xlsx'", ".jsonl")
    latin = tmp_path / "latin.csv"
    latin.write_bytes(HEADER.encode() + "p,Bogotá,-1,1\n".encode("latin-1"))
    refused(latin, "UTF-8")
    nul = tmp_path / "nul.csv"
    nul.write_bytes(HEADER.encode() + b"p,\0,-1,1\xff\n")
    refused(nul, "nul.csv")


def test_columns_of_different_length_are_refused() -> None:
    refused({**TABLE, "reward": [1.0]}, "table", "length", "'reward': 1")


def test_long_values_are_cut_in_messages() -> None:
    message = refused({**TABLE, "reward": ["x" * 10_000, 0, 0, 0]}, "row 1", "…")
    assert len(message) < 200


# Pairs --------------------------------------------------------------------------------------------


def pairs(**columns: list[Any]) -> dict[str, list[Any]]:
    return {"prompt": ["p", "p"], "winner": ["a", "b"], "loser": ["b", "a"], **columns}


def test_pairs_are_read_with_and_without_the_optional_columns(tmp_path: Path) -> None:
    table = bandit_columns(TABLE)
    assert pair_columns(pairs(), table) == pairs()
    full = pairs(prob=[0.0, 1.0], mass=[0.0, 2.5])
    assert pair_columns(pairs(prob=["0", 1], mass=[0, "2.5"], extra=[1, 2]), table) == full
    assert pair_columns(write_csv(tmp_path / "p.csv", full), table) == full


def test_an_impossible_response_may_stand_in_a_pair_of_no_mass() -> None:
    columns = {"prompt": ["q"], "winner": ["a"], "loser": ["c"], "mass": [0.0]}
    assert pair_columns(columns, bandit_columns(TABLE)) == columns


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (pairs(prompt=["p", "z"]), ["row 2", "'prompt'", "'z'", "not a prompt"]),
        (pairs(winner=["a", "z"]), ["row 2", "'winner'", "'z'", "prompt 'p'"]),
        (pairs(loser=["b", "c"]), ["row 2", "'loser'", "'c'", "prompt 'p'"]),
        (pairs(winner=["b", "b"]), ["row 1", "'loser'", "'b'", "winner and loser"]),
        (pairs(prob=[0.5, 1.5]), ["row 2", "'prob'", "1.5", "[0, 1]"]),
        (pairs(prob=[-1e-9, 0]), ["row 1", "'prob'", "-1e-09"]),
        (pairs(prob=[math.nan, 0]), ["row 1", "'prob'", "nan"]),
        (pairs(mass=[1, -0.5]), ["row 2", "'mass'", "-0.5", "negative"]),
        (pairs(mass=[1, math.inf]), ["row 2", "'mass'", "inf"]),
        (pairs(mass=[1, None]), ["row 2", "'mass'", "no value"]),
        (
            {"prompt": ["q"], "winner": ["a"], "loser": ["c"]},
            ["row 1", "'loser'", "'c'", "-inf"],
        ),
        ({"prompt": [], "winner": [], "loser": []}, ["no data rows"]),
        ({"prompt": ["p"], "winner": ["a"]}, ["no column 'loser'"]),
    ],
)
def test_pair_errors_name_the_place(columns: dict[str, list[Any]], words: list[str]) -> None:
    with pytest.raises(TableError) as caught:
        pair_columns(columns, bandit_columns(TABLE))
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("pairs: ")
    for word in words:
        assert word in message, f"{word!r} is not in {message!r}"


def test_the_helper_refuses_a_message_that_lacks_a_word() -> None:
    with pytest.raises(AssertionError, match="is not in"):
        refused({}, "no such words")
    with pytest.raises(pytest.fail.Exception):
        refused(TABLE)
