"""An audit that is cut short goes on where it was, and no stored state is trusted too far."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llm import naive, shards

import prefeq as pq
from prefeq import cli
from prefeq.errors import TableError
from prefeq.llm import finished, sealed
from prefeq.llm.finished import Finished
from prefeq.llm.plan import Plan
from prefeq.llm.ranks import Ranks
from prefeq.llm.readers import Shard, open_shards

COUNT = 5


@pytest.fixture
def folder(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Return a folder of shards, some of whose rows are no numbers."""
    folder = tmp_path / "run"
    folder.mkdir()
    for i in range(COUNT):
        data = naive.draw(rng, 60 + 50 * i)
        data["chosen_logps"][[3, 7]] = np.nan
        shards.write(folder / f"{i}.parquet", data)
    return folder


@pytest.fixture
def states(tmp_path: Path) -> Path:
    return tmp_path / "states"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the shards that are read from now on."""
    names: list[str] = []
    batches = Shard.batches

    def noted(self: Shard, *args: Any) -> Any:
        names.append(self.path.name)
        return batches(self, *args)

    monkeypatch.setattr(Shard, "batches", noted)
    return names


def report(source: Any, **options: Any) -> dict[str, Any]:
    return pq.audit(source, **{"beta": 0.1, **options}).to_dict()


def stored(states: Path, name: str) -> Path:
    (path,) = states.glob(f"{name}*.json")
    return path


def test_what_is_finished_is_not_read_again(folder: Path, states: Path, read: list[str]) -> None:
    whole = report(folder)
    assert report(folder, resume=states) == whole
    assert len(list(states.iterdir())) == COUNT
    read.clear()
    assert report(folder, resume=states) == whole
    assert read == []
    stored(states, "2.parquet").unlink()
    assert report(folder, resume=str(states)) == whole
    assert read == ["2.parquet"]
    assert report(folder / "4.parquet", resume=states) == report(folder / "4.parquet")
    for path in states.iterdir():
        json.loads(path.read_text(), parse_constant=pytest.fail)


PLANTS = {
    "reading": """
from prefeq.llm.readers import Shard
batches = Shard.batches
def planted(self, track=None):
    for batch in batches(self, track):
        yield batch
        if self.path.name == "3.parquet":
            os.kill(os.getpid(), signal.SIGKILL)
Shard.batches = planted
""",
    "storing": """
from pathlib import Path
replace = Path.replace
def planted(self, target):
    if target.name.startswith("3.parquet"):
        os.kill(os.getpid(), signal.SIGKILL)
    return replace(self, target)
Path.replace = planted
""",
}


@pytest.mark.parametrize("where", PLANTS)
def test_killed_half_way(folder: Path, states: Path, where: str, capsys: Any) -> None:
    whole, out = report(folder), folder.parent / "out.json"
    args = ["audit", str(folder), "--beta", "0.1", "--resume", str(states), "--json", str(out)]
    run = (
        f"import os, signal, sys\n{PLANTS[where]}\nfrom prefeq.cli import main\nmain(sys.argv[1:])"
    )
    done = subprocess.run([sys.executable, "-c", run, *args], timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL
    assert not out.exists()
    names = sorted(path.name[:9] for path in states.iterdir() if path.suffix == ".json")
    assert names == ["0.parquet", "1.parquet", "2.parquet"]
    assert cli.main(args) == 0
    assert json.loads(out.read_text()) == whole
    assert capsys.readouterr().err == ""


def test_a_corrupt_shard_keeps_what_is_finished(
    folder: Path, states: Path, read: list[str], capsys: Any
) -> None:
    whole, out, bad = report(folder), folder.parent / "out.json", folder / "3.parquet"
    content = bad.read_bytes()
    bad.write_bytes(content[:4] + bytes(64) + content[68:])
    args = ["audit", str(folder), "--beta", "0.1", "--resume", str(states), "--json", str(out)]
    for _ in range(2):
        assert cli.main(args) == 2
        error = capsys.readouterr().err
        assert str(bad) in error
        assert error.count("\n") == 1
        assert len(list(states.iterdir())) == 3
        assert not out.exists()
    bad.write_bytes(content)
    read.clear()
    assert cli.main(args) == 0
    assert read == ["3.parquet", "4.parquet"]
    assert json.loads(out.read_text()) == whole


def _other(path: Path) -> None:
    data = naive.draw(np.random.default_rng(5), 80)
    shards.write(path, data)


def _touch(path: Path) -> None:
    os.utime(path, ns=(0, 0))


def _alter(path: Path) -> None:
    """Change a byte of the footer's text, keeping size and time."""
    content, about = bytearray(path.read_bytes()), path.stat()
    place = content.index(b"parquet-cpp")
    content[place : place + 11] = b"PARQUET-CPP"
    path.write_bytes(content)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


@pytest.mark.parametrize("change", [_other, _touch, _alter])
def test_a_changed_shard_is_read_again(
    folder: Path, states: Path, read: list[str], capsys: Any, change: Callable[[Path], None]
) -> None:
    report(folder, resume=states)
    change(folder / "1.parquet")
    whole = report(folder)
    read.clear()
    with pytest.warns(UserWarning, match=r"1\.parquet: has changed since it was audited"):
        assert report(folder, resume=states) == whole
    assert read == ["1.parquet"]
    _touch(folder / "1.parquet")
    os.utime(folder / "1.parquet", ns=(7, 7))
    assert cli.main(["audit", str(folder), "--beta", "0.1", "--resume", str(states)]) == 0
    error = capsys.readouterr().err
    assert error == (
        f"prefeq: note: {folder}/1.parquet: has changed since it was audited, and is read again\n"
    )


def test_the_check_of_changes_can_fail(
    folder: Path, states: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finished, "looks", lambda shard: {})
    monkeypatch.setattr("prefeq.llm.file_audit.looks", lambda shard: {})
    report(folder, resume=states)
    _other(folder / "1.parquet")
    assert report(folder, resume=states) != report(folder)  # what the digest is there for


def test_a_shard_changed_while_it_is_read(
    folder: Path, states: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = Shard.batches

    def planted(self: Shard, *args: Any) -> Any:
        yield from batches(self, *args)
        os.utime(self.path, ns=(1, 1))

    monkeypatch.setattr(Shard, "batches", planted)
    with pytest.raises(TableError, match=r"0\.parquet: was changed while it was read"):
        report(folder, resume=states)
    assert list(states.iterdir()) == []


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"beta": 0.2}, "beta = 0.1, and now beta = 0.2"),
        ({"normalize": "mean"}, "normalize = 'sum', and now normalize = 'mean'"),
        ({"step0": True}, "step0 = False, and now step0 = True"),
        ({"betas": [0.3]}, "now betas = "),
        ({"level": 0.9}, "level = 0.95, and now level = 0.9"),
        ({"columns": {"chosen_reward": "rejected_reward", "rejected_reward": "chosen_reward"}},
         "audited with columns = .*chosen_reward: chosen_reward.* now columns = .*"
         "chosen_reward: rejected_reward"),
    ],
)  # fmt: skip
def test_another_question_is_refused(
    folder: Path, states: Path, read: list[str], option: dict[str, Any], words: str
) -> None:
    report(folder, resume=states)
    before = {path: path.read_bytes() for path in states.iterdir()}
    assert report(folder) != report(folder, **option)
    read.clear()
    with pytest.raises(pq.ProblemError, match=f"{words}.*ask the same, or name another folder"):
        report(folder, resume=states, **option)
    assert read == []
    assert {path: path.read_bytes() for path in states.iterdir()} == before


def _cut(text: str) -> str:
    return text[: len(text) // 2]


def _count(text: str) -> str:
    form = json.loads(text)
    form["state"]["counts"][0] += 1
    return json.dumps(form)


def _key(text: str) -> str:
    form = json.loads(text)
    del form["state"]["sums"]
    return json.dumps(form | {"digest": sealed._digest([form["more"], form["state"]])})


def _nothing_more(text: str) -> str:
    form = json.loads(text) | {"more": {}}
    return json.dumps(form | {"digest": sealed._digest([{}, form["state"]])})


def _version(text: str) -> str:
    return json.dumps(json.loads(text) | {"prefeq": "0.0.9"})


DAMAGES: dict[str, Callable[[str], str]] = {
    "not JSON": _cut,
    "its digest is another": _count,
    "no state of an audit": _key,
    "made by prefeq 0.0.9": _version,
    "not JSON ": lambda text: "",
    "no state of an audit ": lambda text: "[]",
    "not a number of strict JSON": lambda text: text.replace("0.95", "NaN"),
    "its digest is another ": lambda text: json.dumps(json.loads(text) | {"more": {}}),
    "KeyError|'looks'": _nothing_more,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_state_is_named_and_its_shard_read(
    folder: Path, states: Path, read: list[str], damage: str
) -> None:
    whole = report(folder, resume=states)
    path = stored(states, "1.parquet")
    path.write_text(DAMAGES[damage](path.read_text()))
    read.clear()
    with pytest.warns(UserWarning, match="read again") as noted:
        assert report(folder, resume=states) == whole
    (note,) = (str(warning.message) for warning in noted)
    assert f"{path}: cannot be used" in note
    assert any(word in note for word in damage.strip().split("|"))
    assert f"{folder}/1.parquet is read again" in note
    assert read == ["1.parquet"]
    assert report(folder, resume=states) == whole


def test_one_without_the_digest_would_pass(
    folder: Path, states: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealed, "_digest", lambda plain: "")
    whole = report(folder, resume=states)
    path = stored(states, "1.parquet")
    path.write_text(_count(path.read_text()))
    assert report(folder, resume=states) != whole


def test_any_order_of_arrival(folder: Path, tmp_path: Path, rng: np.random.Generator) -> None:
    whole, paths = report(folder), sorted(folder.iterdir())
    for i in range(4):
        order = [paths[k] for k in rng.permutation(COUNT)]
        assert report(order, resume=tmp_path / f"{i}") == whole
        assert report(order[::-1], resume=tmp_path / f"{i}") == whole


def test_what_cannot_be(folder: Path, states: Path, tmp_path: Path, capsys: Any) -> None:
    data = naive.draw(np.random.default_rng(1), 10)
    for option in ({"resume": states}, {"scheduler": "tcp://127.0.0.1:1"}):
        with pytest.raises(pq.ProblemError, match="resume and scheduler are for files"):
            report(data, **option)
    with pytest.raises(pq.ProblemError, match=r"0\.parquet: is a file; name a folder"):
        report(folder, resume=folder / "0.parquet")
    with pytest.raises(pq.ProblemError, match="no folder for states"):
        report(folder, resume=tmp_path / "no" / "states")
    for itself in (folder, folder / ".." / "run"):
        with pytest.raises(pq.ProblemError, match="holds the pairs themselves; name another"):
            report(folder, resume=itself)
    assert len(list(folder.iterdir())) == COUNT
    flags = tmp_path / "flags.parquet"
    args = ["audit", str(folder), "--beta", "0.1", "--flags", str(flags)]
    assert cli.main([*args, "--resume", str(states)]) == 2
    assert "written in one go" in capsys.readouterr().err
    assert not flags.exists()
    assert not states.exists()


def test_an_interruption_says_what_is_stored(
    folder: Path, states: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    batches = Shard.batches

    def interrupted(self: Shard, *args: Any) -> Any:
        if self.path.name == "3.parquet":
            raise KeyboardInterrupt
        return batches(self, *args)

    monkeypatch.setattr(Shard, "batches", interrupted)
    args = ["audit", str(folder), "--beta", "0.1", "--resume", str(states)]
    for _ in range(2):
        assert cli.main(args) == 130
        note, last = capsys.readouterr().err.splitlines()
        assert note.startswith(f"prefeq: note: 3 of 5 shards are stored in {states}; the same")
        assert last == "prefeq: interrupted"
    assert cli.main(args[:-2]) == 130
    assert capsys.readouterr().err == "prefeq: interrupted\n"


def test_names_of_shards_that_no_file_could_have(tmp_path: Path, states: Path) -> None:
    data = naive.draw(np.random.default_rng(1), 10)
    for name in ("é" * 100, ".. ;", "a/b"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shards.write(tmp_path / f"{name}.npz", data)
    for path in (*tmp_path.glob("*.npz"), tmp_path / "a" / "b.npz"):
        (shard,) = open_shards(path)
        kept = Finished(states, Plan(0.1, layout=shard.layout), pytest.fail)
        assert kept.get(shard) is None
        report(path, resume=states)
        assert kept.get(shard) is not None
    assert len(list(states.iterdir())) == 3


def test_every_shard_is_some_ranks() -> None:
    for world in (1, 2, 3, 7):
        parts = [Ranks(rank, world).share(range(5)) for rank in range(world)]
        assert sorted(i for part in parts for i in part) == list(range(5))


def test_a_change_in_the_middle_of_a_file_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    path.write_text("ref_chosen_logps,ref_rejected_logps\n" + "-30,-50\n" * 100_000)
    about, (shard,) = path.stat(), open_shards(path)
    before = finished.looks(shard)
    content = path.read_bytes()
    for start in (2**16, len(content) // 3, len(content) // 2, len(content) - 2**17):
        changed = content[:start] + content[start : start + 2**16].replace(b"3", b"7")
        path.write_bytes(changed + content[start + 2**16 :])
        os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
        assert path.stat().st_size == about.st_size
        assert finished.looks(shard) != before
    path.write_bytes(content)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert finished.looks(shard) == before
