"""Files are audited as the arrays in them are, and no fault of theirs is passed over."""

from __future__ import annotations

import json
import tracemalloc
import zipfile
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from llm import naive, shards
from pyarrow import parquet

import prefeq as pq
from prefeq import cli
from prefeq.errors import TableError
from prefeq.llm.formats import base
from prefeq.llm.readers import open_shards

N = 400
SUFFIXES = tuple(shards.WRITERS)


@pytest.fixture
def data(rng: np.random.Generator) -> dict[str, Any]:
    """Return pairs of every column, some of them no numbers, in a column that is not ours too."""
    data = naive.draw(rng, N)
    data["chosen_logps"][[3, 77]] = np.nan
    data["rejected_logps"][5] = -np.inf
    data["ref_chosen_logps"][9] = 0.5
    data["row_id"] = [f"row {i}" for i in range(N)]
    data["note"] = ['much, with\nall "that"' for _ in range(N)]
    return data


def fitting(data: dict[str, Any], suffix: str) -> dict[str, Any]:
    """Return the columns that a format can hold: safetensors hold numbers alone."""
    if suffix != "safetensors":
        return data
    numbers = {name: v for name, v in data.items() if name not in ("prompt", "row_id", "note")}
    return numbers | {"row_id": np.arange(1000, 1000 + N), "prompt": np.arange(N) // 3}


def report(source: Any, **options: Any) -> dict[str, Any]:
    """Return all that a report says but which files it is of."""
    form = pq.audit(source, beta=0.1, **options).to_dict()
    del form["files"]
    return form


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("rows", [2**17, 64])
def test_every_format_gives_the_report_of_the_arrays(
    tmp_path: Path, data: dict[str, Any], suffix: str, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "ROWS", rows)
    monkeypatch.setattr(base, "LINES", rows)
    data = fitting(data, suffix)
    path = shards.write(tmp_path / f"pairs.{suffix}", data)
    for normalize in ("sum", "mean"):
        true = report(data, normalize=normalize)
        assert report(path, normalize=normalize) == true
    assert (true["excluded"], [fault["name"] for fault in true["faults"]]) == (
        3, ["nonfinite", "positive_logp"]
    )  # fmt: skip
    assert report([str(path)], normalize="mean") == true


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_shards_change_no_count_and_no_quantile(
    tmp_path: Path, data: dict[str, Any], suffix: str
) -> None:
    data = fitting(data, suffix)
    whole, cuts = report(data), [0, 1, 130, 130 if suffix != "jsonl" else 131, N]
    for i, (start, stop) in enumerate(pairwise(cuts)):
        shards.write(tmp_path / f"part-{i}.{suffix}", shards.part(data, start, stop))
    (tmp_path / "README.md").write_text("not a shard")
    (tmp_path / ".hidden.csv").write_text("nor this")
    for source in (tmp_path, f"{tmp_path}/part-*.{suffix}", sorted(tmp_path.glob("part*"))[::-1]):
        found = report(source)
        assert same_but_for_rounding(found, whole)
    assert not same_but_for_rounding(report(shards.part(data, 0, N - 1)), whole)


def same_but_for_rounding(found: Any, true: Any) -> bool:
    """Tell whether two reports are the same, means to within rounding."""
    if isinstance(true, dict):
        return found.keys() == true.keys() and all(
            same_but_for_rounding(found[key], true[key])
            for key in true
            if key not in ("rows", "examples")  # ties go by source
        )
    if isinstance(true, list):
        return len(found) == len(true) and all(map(same_but_for_rounding, found, true))
    if isinstance(true, float) and isinstance(found, float):
        return abs(found - true) <= 1e-12 * abs(true)
    return bool(found == true)


def test_rows_are_called_by_file_and_number(tmp_path: Path, data: dict[str, Any]) -> None:
    data = naive.only(data, "policy", "gap")
    for i in range(2):
        shards.write(tmp_path / f"{i}.parquet", shards.part(data, 200 * i, 200 * i + 200))
    memory, found = report(data), report(tmp_path)
    for kind, rows in memory["examples"].items():
        names = [f"{tmp_path}/{row['row'] // 200}.parquet:{row['row'] % 200}" for row in rows]
        assert [row["row"] for row in found["examples"][kind]] == names


def test_folders_of_datasets(tmp_path: Path, data: dict[str, Any]) -> None:
    pieces = [shards.part(data, 0, 150), shards.part(data, 150, N)]
    folder = shards.saved_by_datasets(tmp_path / "both" / "train", pieces)
    assert same_but_for_rounding(report(folder), report(data))
    splits = folder.parent / "dataset_dict.json"
    splits.write_text('{"splits": ["train"]}')
    assert report(folder.parent) == report(folder)
    splits.write_text('{"splits": ["train", "test"]}')
    refused(folder.parent, "has splits train, test; name one")
    splits.unlink()  # now a folder that holds such a folder
    assert report(folder.parent) == report(folder)
    (folder.parent / "link").symlink_to(folder)
    refused(folder.parent, "link: is a link to a folder")
    (folder / "data-00001-of-00002.arrow").unlink()
    refused(folder, "data-00001-of-00002.arrow: is missing")
    (folder / "state.json").write_text("{}")
    refused(folder, "not what `datasets` writes")


def test_what_the_real_datasets_saves(tmp_path: Path, data: dict[str, Any]) -> None:
    datasets = pytest.importorskip("datasets")
    columns = {name: np.asarray(values).tolist() for name, values in data.items()}
    datasets.Dataset.from_dict(columns).save_to_disk(str(tmp_path / "set"), num_shards=1)
    assert report(tmp_path / "set") == report(data)


def test_what_the_real_safetensors_saves(tmp_path: Path, rng: np.random.Generator) -> None:
    numpy = pytest.importorskip("safetensors.numpy")
    data = naive.only(naive.draw(rng, 50), "policy", "tokens") | {"row_id": np.arange(50)}
    numpy.save_file(data, tmp_path / "pairs.safetensors")
    assert report(tmp_path / "pairs.safetensors") == report(data)


@pytest.mark.parametrize("kind", ["<f2", "<f4", "bf16"])
def test_low_precision_is_read_as_it_is(
    tmp_path: Path, kind: str, rng: np.random.Generator
) -> None:
    data = naive.only(naive.draw(rng, 80), "policy")
    if kind == "bf16":
        stored = {n: (v.astype("<f4").view("<u4") >> 16).astype("<u2") for n, v in data.items()}
        true = {n: (v.astype("<u4") << 16).view("<f4") for n, v in stored.items()}
    else:
        stored = {name: values.astype(kind) for name, values in data.items()}
        true = dict(stored)
    true |= (names := {"row_id": np.arange(80)})
    shards.safetensors(tmp_path / "a.safetensors", stored | names)
    assert report(tmp_path / "a.safetensors") == report(true)
    if kind != "bf16":
        for suffix in ("parquet", "npz", "feather"):
            assert report(shards.write(tmp_path / f"a.{suffix}", stored | names)) == report(true)


def test_columns_of_other_names_are_read_and_no_others(
    tmp_path: Path, data: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    mapping = {"ref_chosen_logps": "lp w", "prompt": "question"}
    theirs = {mapping.get(name, name): values for name, values in data.items()}
    for suffix in ("csv", "parquet", "npz", "jsonl", "arrow"):
        path = shards.write(tmp_path / f"a.{suffix}", theirs)
        assert report(path, columns=mapping) == report(data)
    read = []
    real = parquet.ParquetFile.iter_batches
    monkeypatch.setattr(
        parquet.ParquetFile,
        "iter_batches",
        lambda self, rows, columns: read.append(columns) or real(self, rows, columns=columns),
    )
    report(tmp_path / "a.parquet", columns=mapping)
    assert sorted(*read) == sorted(name for name in theirs if name != "note")


def test_missing_numbers_are_left_out_in_every_format(tmp_path: Path) -> None:
    data = {"ref_chosen_logps": [-1.0, None, -3.0], "ref_rejected_logps": [-2.0, -2.0, -2.0]}
    for suffix in ("parquet", "arrow", "feather", "jsonl"):
        path = tmp_path / f"a.{suffix}"
        if suffix == "jsonl":
            rows = [dict(zip(data, row, strict=True)) for row in zip(*data.values(), strict=True)]
            del rows[1]["ref_chosen_logps"]
            path.write_text("\n\n".join(map(json.dumps, rows)))
        else:
            shards.write(path, data)
        found = report(path)
        assert (found["pairs"], found["excluded"]) == (2, 1)
        assert found["faults"][0]["rows"] == [f"{path}:1"]
    for word in ("", "nan", "NA", "null", "-inf"):
        path.with_suffix(".csv").write_text(
            f"ref_chosen_logps,ref_rejected_logps\n-1,-2\n\n{word},-2\n-3,-2\n"
        )
        assert report(path.with_suffix(".csv"))["faults"][0]["rows"] == [f"{tmp_path}/a.csv:1"]
    path.write_text('{"ref_chosen_logps": NaN, "ref_rejected_logps": -Infinity}\n')
    assert report(path)["excluded"] == 1


# what cannot be used -----------------------------------------------------------------------------


def refused(source: Any, *words: str, **options: Any) -> None:
    """Check that an audit is refused in one line that holds the words."""
    with pytest.raises(TableError) as caught:
        pq.audit(source, **{"beta": 0.1, **options})
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, f"{word!r} is not in {message!r}"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_corrupt_shard_is_named(tmp_path: Path, data: dict[str, Any], suffix: str) -> None:
    data = fitting(data, suffix)
    good = shards.write(tmp_path / f"0.{suffix}", data)
    bad, whole = tmp_path / f"1.{suffix}", good.read_bytes()
    for damaged in (
        whole[: len(whole) * 2 // 3 + 7],
        b"",
        np.random.default_rng(1).bytes(300),
        whole[:5],
    ):
        bad.write_bytes(damaged)
        refused(tmp_path, str(bad), *(["the file is empty"] if damaged == b"" else []))
    bad.unlink()
    assert report(tmp_path) == report(data)
    bad.symlink_to(tmp_path / "nowhere")
    refused([good, bad], str(bad), "no such file")


@pytest.mark.parametrize("suffix", ["parquet", "npz"])
def test_a_bit_that_has_turned_is_seen_by_checksums(
    tmp_path: Path, data: dict[str, Any], suffix: str
) -> None:
    path = tmp_path / f"0.{suffix}"
    if suffix == "parquet":
        parquet.write_table(
            pa.table(dict(data)), path, compression="none", write_page_checksum=True
        )
    else:
        shards.write(path, naive.only(data, "policy"))
    content = bytearray(path.read_bytes())
    content[500:520] = bytes(20)
    path.write_bytes(content)
    refused(path, str(path), "cannot be read")


def test_a_text_that_is_cut_short_is_named_with_its_row(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    head = "ref_chosen_logps,ref_rejected_logps\n-1,-2\n"
    for text, words in (
        (head + "-3", ("a.csv: row 1 (line 3): 1 values for 2 columns",)),
        (head + "\n\n-3,-4,5", ("a.csv: row 1 (line 5): 3 values for 2 columns",)),
        (head + "-3,much", ("row 1 (line 3): ref_rejected_logps = 'much' is not a number",)),
        (head + '-3,"4', ("line 3", "is not CSV")),
        (head.replace("rejected", "chosen"), ("no column ref_rejected_logps",)),
        (head.replace("\n", ",ref_chosen_logps\n", 1), ("appears twice",)),
        (head.replace("ref_", "").replace("logps", "x"), ("no column", "'chosen_x'")),
        (head.splitlines()[0], ("no pairs",)),
    ):
        path.write_text(text)
        if words == ("no pairs",):
            with pytest.raises(pq.ProblemError, match="no pairs"):
                report(path)
        else:
            refused(path, "a.csv", *words)
    path.write_bytes(head.encode() + b"\xff,\xfe\n")
    refused(path, "a.csv: is not UTF-8 (byte 0xff); save it as UTF-8")
    for mark, word in ((";", "semicolons"), ("\t", "tabs")):
        path.write_text(head.replace(",", mark))
        refused(path, f"a.csv: its columns are separated by {word}")
    path = tmp_path / "a.jsonl"
    row = '{"ref_chosen_logps": -1, "ref_rejected_logps": -2}\n'
    for text, words in (
        (row + row[:20], ("line 2 is not JSON",)),
        (row + "\n[1]", ("line 3 is no JSON object",)),
        (row + row.replace("-2", '"x"'), ("a.jsonl: row 1 (line 2): ref_rejected_logps = 'x'",)),
        (
            row + row.replace("-2", "[-2, -3]"),
            ("a.jsonl: row 1 (line 2): ref_rejected_logps = [-2, -3]",),
        ),
        (
            row.replace("-2", "[-2, -3]"),
            ("a.jsonl: row 0 (line 1): ref_rejected_logps = [-2, -3]",),
        ),
        (
            row + row.replace("-2", "1" + "0" * 400),
            ("a.jsonl: row 1 (line 2): ref_rejected_logps",),
        ),
        (row + row.replace("}", ', "prompt": "p"}'), ("a.jsonl: row 1 (line 2): has prompt",)),
        (row.replace("}", ', "prompt": null}'), ("a.jsonl: row 0 (line 1): has no prompt",)),
        ("\n\n", ("there are none",)),
    ):
        path.write_text(text)
        refused(path, "a.jsonl", *words)


def test_columns_of_another_shape_are_refused(tmp_path: Path) -> None:
    one, two = np.zeros(3), np.zeros((3, 2))
    data = {"ref_chosen_logps": one, "ref_rejected_logps": two}
    for suffix in ("npz", "safetensors"):
        path = shards.write(tmp_path / f"a.{suffix}", data)
        refused(path, str(path), "ref_rejected_logps has shape (3, 2)")
        shards.write(path, data | {"ref_rejected_logps": one[:2]})
        refused(path, str(path), "unequal length")
    path = tmp_path / "a.parquet"
    shards.write(path, data | {"ref_rejected_logps": two.tolist()})
    refused(path, "a.parquet", "ref_rejected_logps has type list<")
    path = tmp_path / "a.npz"
    np.savez(path, ref_chosen_logps=one, ref_rejected_logps=np.array([1, None, "x"], object))
    refused(path, "pickled objects")
    np.savez(path, ref_chosen_logps=one, ref_rejected_logps=one)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content + b"more")
    refused(path, "is longer than it says")
    np.savez(path, ref_chosen_logps=one, ref_rejected_logps=one, other=np.array([{}], object))
    assert report(path)["pairs"] == 3


def test_shards_that_do_not_fit_together_are_refused(tmp_path: Path, data: dict[str, Any]) -> None:
    bare = naive.only(data, "policy")
    one = shards.write(tmp_path / "a.parquet", bare)
    two = shards.write(tmp_path / "b.parquet", bare | {"prompt": data["prompt"]})
    refused(tmp_path, f"{one} has no column prompt, which {two} has")
    three = shards.write(tmp_path / "b.csv", bare)
    refused([one, three], f"{three} is CSV", f"{one} is Parquet", "one kind at a time")
    refused([one, tmp_path / "sub" / ".." / "a.parquet"], "no such file")
    (tmp_path / "sub").mkdir()
    refused([one, tmp_path / "sub" / ".." / "a.parquet"], "named twice")
    refused([f"{tmp_path}/a.*", one], "named twice")
    older = {name.replace("ref_", "reference_"): values for name, values in bare.items()}
    shards.write(one, older)
    shards.write(two, bare)
    assert report([one, two])["pairs"] == 2 * (N - 3)


def test_the_last_of_several_shards_may_be_the_odd_one(tmp_path: Path, data: Any) -> None:
    bare = naive.only(data, "policy")
    alike = [shards.write(tmp_path / f"{i}.parquet", bare) for i in range(3)]
    assert report(alike)["pairs"] == 3 * (N - 3)
    odd = shards.write(tmp_path / "3.parquet", bare | {"prompt": data["prompt"]})
    refused(tmp_path, f"{alike[0]} has no column prompt, which {odd} has")
    refused([odd, *alike], f"{alike[0]} has no column prompt, which {odd} has")


@pytest.mark.parametrize("name", ["prompt", "row_id"])
@pytest.mark.parametrize("suffix", ["parquet", "arrow", "feather", "npz"])
def test_integers_here_and_text_there_are_refused(
    tmp_path: Path, data: dict[str, Any], suffix: str, name: str
) -> None:
    bare = naive.only(data, "policy")
    one = shards.write(tmp_path / f"a.{suffix}", bare | {name: np.arange(N)})
    two = shards.write(tmp_path / f"b.{suffix}", bare | {name: [f"{i}" for i in range(N)]})
    for pair in ([one, two], [two, one]):
        refused(pair, f"{name} is an integer in {one}, and is not in {two}")
    for alike in (one, two):
        twin = alike.with_stem("c")
        twin.write_bytes(alike.read_bytes())
        assert report([alike, twin])["pairs"] == 2 * (N - 3)
        twin.unlink()


@pytest.mark.parametrize("suffix", ["jsonl", "parquet", "arrow", "npz", "safetensors"])
def test_row_ids_stay_integers(tmp_path: Path, data: dict[str, Any], suffix: str) -> None:
    data = naive.only(data, "policy") | {"row_id": np.arange(N) + 2**40}
    found = report(shards.write(tmp_path / f"a.{suffix}", data))
    names = [name for fault in found["faults"] for name in fault["rows"]]
    assert names == [2**40 + i for i in (3, 5, 77, 9)]
    assert {type(name) for name in names} == {int}


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "feather", "jsonl"])
@pytest.mark.parametrize("kind", [int, str])
def test_a_row_without_its_name_or_prompt_is_refused(
    tmp_path: Path, suffix: str, kind: type
) -> None:
    for name in ("prompt", "row_id"):
        values = [kind(1), None, kind(2)]
        data = {"ref_chosen_logps": [-1.0] * 3, "ref_rejected_logps": [-2.0] * 3, name: values}
        path = shards.write(tmp_path / f"a.{suffix}", data)
        line = " (line 2)" if suffix == "jsonl" else ""
        refused(path, f"{path}: row 1{line}: has no {name}; give every row one, or none")


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "feather", "csv"])
def test_a_column_that_stands_there_twice_is_refused(tmp_path: Path, suffix: str) -> None:
    names = ["ref_chosen_logps", "ref_rejected_logps", "ref_chosen_logps", "note", "note"]
    path = tmp_path / f"a.{suffix}"
    for kept in (names, [*names[:2], *names[3:]]):
        table = pa.table([pa.array([-1.0, -2.0])] * len(kept), names=kept)
        if suffix == "parquet":
            parquet.write_table(table, path)
        elif suffix == "csv":
            path.write_text(f"{','.join(kept)}\n" + f"{','.join('1' * len(kept))}\n" * 2)
        else:
            new = pa.ipc.new_stream if suffix == "arrow" else pa.ipc.new_file
            with pa.OSFile(str(path), "wb") as file, new(file, table.schema) as writer:
                writer.write_table(table)
        if kept is names:
            refused(path, f"{path}: column 'ref_chosen_logps' appears twice")
        else:  # not a column of ours
            assert report(path)["pairs"] == 2


def test_fewer_rows_than_the_footer_says_are_noticed(
    tmp_path: Path, data: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = shards.write(tmp_path / "a.parquet", naive.only(data, "policy"))
    real = parquet.ParquetFile.iter_batches
    monkeypatch.setattr(
        parquet.ParquetFile,
        "iter_batches",
        lambda *args, **options: islice(real(*args, **options), 1),
    )
    monkeypatch.setattr(base, "ROWS", 150)
    refused(path, f"{path}: 150 rows, but its footer says {N}")


def test_names_that_name_nothing_are_refused(tmp_path: Path, data: dict[str, Any]) -> None:
    refused(tmp_path / "a.parquet", "a.parquet: no such file or folder")
    refused(f"{tmp_path}/*.parquet", "no file has such a name")
    refused(tmp_path, "holds no file of pairs")
    (tmp_path / "a.txt").write_text("x")
    refused(tmp_path / "a.txt", "unknown kind of file '.txt'", ".parquet")
    (tmp_path / "a.csv.gz").write_text("x")
    refused(tmp_path / "a.csv.gz", "a.csv.gz: packed files are not read; unpack it first")
    for url in ("https://x.org/a.csv", "s3://bucket/a.parquet", "hf://datasets/a"):
        refused(url, f"{url}: URLs are not read; download it first")
    refused("-", "standard input is not read; save it to a file")
    path = shards.write(tmp_path / "a[1].csv", naive.only(data, "policy"))
    assert report(path)["excluded"] == 3  # a name, though it looks like a pattern
    refused(path, "a[1].csv", "no column 'x' for prompt", columns={"prompt": "x"})
    with pytest.raises(pq.ProblemError, match="not both"):
        pq.audit(path, beta=0.1, chosen_logps=[1.0])
    path.write_text("ref_chosen_logps,ref_rejected_logps,label_prob\n-1,-2,1\n-1,-2,1.5\n")
    with pytest.raises(pq.ProblemError, match=r"label_prob = 1.5 in row .*a\[1\].csv:1"):
        report(path)


def test_batches_are_small_and_memory_is_bounded(tmp_path: Path, rng: Any) -> None:
    n = 2**19
    data = {name: -rng.random(n) for name in ("ref_chosen_logps", "ref_rejected_logps")}
    for suffix in ("npz", "safetensors"):
        path = shards.write(tmp_path / f"a.{suffix}", data)
        (shard,) = open_shards(path)
        assert shard.rows == n
        tracemalloc.start()
        done: list[float] = []
        sizes = [len(batch) for batch in shard.batches(done.append)]
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert sizes == [base.ROWS] * 4
        assert done == sorted(done)
        assert done[-1] == 1.0
        assert peak < 5 * 16 * base.ROWS  # all of it is 4 pieces of 16 bytes a row


def test_row_groups_are_not_read_whole(tmp_path: Path, rng: Any) -> None:
    n = 2**20
    data = {name: -rng.random(n) for name in ("ref_chosen_logps", "ref_rejected_logps")}
    for rows in (n, n // 8):
        path = tmp_path / f"{rows}.parquet"
        parquet.write_table(pa.table(data), path, row_group_size=rows, use_dictionary=False)
        (shard,) = open_shards(path)
        before = pa.total_allocated_bytes()
        held = [pa.total_allocated_bytes() - before for _ in shard.batches()]
        assert len(held) == n // base.ROWS
        assert max(held) < 4 * 16 * base.ROWS  # all of it is 8 pieces of 16 bytes a row


LOOKALIKES = {"score_chosen": "chosen_reward", "score_rejected": "rejected_reward"}
"""UltraFeedback's names."""


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_columns_that_look_like_ours_are_named(
    tmp_path: Path, rng: np.random.Generator, suffix: str
) -> None:
    data = naive.only(naive.draw(rng, 60)) | {theirs: rng.normal(size=60) for theirs in LOOKALIKES}
    path = shards.write(tmp_path / f"a.{suffix}", data)
    for source in (path, data):
        found = pq.audit(source, beta=0.1)
        assert found["unused_columns"] == LOOKALIKES
        words = " ".join(f"{found}".split())
        said = "chosen_reward=score_chosen" if source is path else "'chosen_reward': 'score_cho"
        assert "not used: score_chosen, score_rejected; if they" in words
        assert said in words
        assert said in found._repr_html_().replace("&#x27;", "'")
        assert "say that score_chosen and score_rejected are chosen_reward and" in found.verdict[1]
        named = pq.audit(source, beta=0.1, columns={o: t for t, o in LOOKALIKES.items()})
        assert (named["unused_columns"], named["reward_gap"]) == ({}, "rewards")
        assert "not used" not in f"{named}"
    two = shards.write(tmp_path / f"b.{suffix}", naive.only(naive.draw(rng, 9)))
    assert report([two, path]) == report([path, two])
    assert report([two, path])["unused_columns"] == LOOKALIKES
    if suffix != "safetensors":  # texts are no rewards
        path = shards.write(path, data | {theirs: ["good"] * 60 for theirs in LOOKALIKES})
        assert report(path)["unused_columns"] == {}


def test_flags_of_an_audit_are_no_pairs(tmp_path: Path, data: dict[str, Any]) -> None:
    bare = naive.only(data, "policy")
    for suffix in ("parquet", "csv"):
        run = tmp_path / suffix
        run.mkdir()
        path = shards.write(run / f"a.{suffix}", bare)
        flags = run / "flags.parquet"
        for _ in range(2):
            args = ["audit", str(run), "--beta", "0.1", "--flags", str(flags)]
            assert cli.main(args) == 0
        with pytest.warns(UserWarning, match=r"flags.parquet: holds the flags that an audit wrote"):
            assert report(run) == report(path)
        with pytest.warns(UserWarning, match="is passed over"):
            assert report(f"{run}/*") == report(path)
        refused(flags, "flags.parquet: holds the flags that an audit wrote, no pairs; name what")
        path.unlink()
        refused(run, "flags.parquet: holds the flags")


def test_long_prompts_take_the_room_they_take(tmp_path: Path) -> None:
    text = {"prompt": ["short"] * 3000 + ["long" * 10_000], "ref_chosen_logps": [-1.0] * 3001}
    path = shards.write(tmp_path / "a.parquet", text | {"ref_rejected_logps": [-2.0] * 3001})
    tracemalloc.start()
    assert report(path)["prompts"] == 2
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3e7  # and not 3001 times 160 kB


def test_prompts_of_messages(tmp_path: Path) -> None:
    prompts = [[{"role": "user", "content": f"{i}"}] * (1 + i % 3) for i in (0, 1, 1, 2)]
    data = {"ref_chosen_logps": [-1.0] * 4, "ref_rejected_logps": [-2.0] * 4, "prompt": prompts}
    true = report(data)
    assert true["prompts"] == 3
    for suffix in ("parquet", "arrow", "feather"):
        assert report(shards.write(tmp_path / f"a.{suffix}", data)) == true
    rows = [dict(zip(data, row, strict=True)) for row in zip(*data.values(), strict=True)]
    rows[2]["prompt"] = [dict(reversed(message.items())) for message in rows[2]["prompt"]]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    assert report(path) == true
