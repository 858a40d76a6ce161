"""Two real processes over gloo, as torchrun starts them: one report, one exit code, no hang."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llm import naive, shards

import prefeq as pq
from prefeq import cli
from prefeq.llm.file_audit import audit_shards
from prefeq.llm.plan import Plan
from prefeq.llm.ranks import Ranks, launched, merge_ranks
from prefeq.llm.readers import open_shards
from prefeq.llm.state import AuditState

pytest.importorskip("torch")

COUNT = 5
Ended = list[subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("ranks"), np.random.default_rng(7)
    for i in range(COUNT):
        data = naive.draw(rng, 60 + 40 * i)
        data["chosen_logps"][[3, 7]] = np.nan
        shards.write(folder / f"{i}.parquet", data)
    return folder


def two_ranks(*command: Any) -> Ended:
    """Run a command in two processes, started as torchrun starts them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    started = [
        subprocess.Popen(
            [sys.executable, *map(str, command)],
            env={**os.environ, **where, "RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    ended = []
    try:
        for process in started:
            out, err = process.communicate(timeout=100)
            ended.append(subprocess.CompletedProcess(process.args, process.returncode, out, err))
    finally:
        for process in started:
            process.kill()
    return ended


def audit(*args: Any) -> Ended:
    return two_ranks("-m", "prefeq", "audit", *args, "--beta", 0.1)


def test_torchrun(folder: Path, tmp_path: Path) -> None:
    out, states = tmp_path / "out.json", tmp_path / "states"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    args = ["-m", "prefeq", "audit", folder, "--beta", 0.1, "--json", out, "--resume", states]
    done = subprocess.run(
        [*torchrun, *map(str, args)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = pq.audit(folder, beta=0.1)
    assert done.stdout == f"{report}\n"  # once
    assert json.loads(out.read_text()) == report.to_dict()
    assert len(list(states.iterdir())) == COUNT


def test_a_corrupt_shard_is_told_to_all(folder: Path, tmp_path: Path) -> None:
    run, out, states = tmp_path / "run", tmp_path / "out.json", tmp_path / "states"
    run.mkdir()
    for path in folder.iterdir():
        (run / path.name).write_bytes(path.read_bytes())
    content = (run / "3.parquet").read_bytes()
    (run / "3.parquet").write_bytes(content[:4] + bytes(64) + content[68:])  # of rank 1
    first, second = audit(run, "--json", out, "--resume", states)
    assert (first.returncode, second.returncode) == (2, 2), (first.stderr, second.stderr)
    assert (first.stdout, second.stdout, second.stderr) == ("", "", "")
    assert first.stderr.startswith(f"prefeq: error: rank 1: {run}/3.parquet: cannot be read")
    assert first.stderr.count("\n") == 1
    assert not out.exists()
    names = {path.name[:9] for path in states.iterdir()}
    assert names == {f"{i}.parquet" for i in (0, 1, 2, 4)}
    (run / "3.parquet").write_bytes(content)
    assert pq.audit(run, beta=0.1, resume=states).to_dict() == pq.audit(run, beta=0.1).to_dict()


def test_what_rank_0_cannot_write_is_told_to_all(folder: Path, tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("needs /dev/full")
    first, second = audit(folder, "--json", full)
    assert (first.returncode, second.returncode) == (2, 2), (first.stderr, second.stderr)
    assert "/dev/full: cannot be written" in first.stderr
    assert (second.stdout, second.stderr) == ("", "")


def test_what_ranks_do_not_do(folder: Path, tmp_path: Path) -> None:
    found = open_shards(folder)
    plan, ranks = Plan(0.1, layout=found[0].layout), Ranks(0, 2)
    with pytest.raises(pq.ProblemError, match="written in one go"):
        audit_shards(found, plan, flags=tmp_path / "flags.parquet", ranks=ranks)
    with pytest.raises(pq.ProblemError, match="a scheduler or use torchrun, not both"):
        audit_shards(found, plan, scheduler="tcp://127.0.0.1:1", ranks=ranks)


JOB = """
import json, sys
from torch import distributed
import prefeq as pq
from prefeq.llm import sealed

distributed.init_process_group("gloo")
rank = distributed.get_rank()
files = sys.argv[1:][rank::2]
for beta, version in ((0.1, 1), (0.1 * (1 + rank), 1), (0.1, 1 + rank)):
    sealed.FORMAT = version
    try:
        merged = pq.llm.merge_ranks(pq.audit(files, beta=beta).state)
        print(json.dumps(pq.llm.AuditReport.of(merged).to_dict()))
    except pq.ProblemError as error:
        print("refused:", error)
distributed.barrier()
distributed.destroy_process_group()
"""


def test_a_job_of_ones_own(folder: Path) -> None:
    for process in two_ranks("-c", JOB, *sorted(folder.iterdir())):
        assert process.returncode == 0, process.stderr
        same, plans, versions = process.stdout.splitlines()
        assert json.loads(same) == pq.audit(folder, beta=0.1).to_dict() | {"files": None}
        assert plans.startswith("refused: states of different audits")
        assert versions.startswith("refused: was made by prefeq")


def test_one_process_is_one_rank(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = pq.audit(folder, beta=0.1).state
    assert merge_ranks(state) is state
    assert Ranks().run(lambda: 7) == 7
    for given in ({}, {"RANK": "0"}, {"RANK": "0", "WORLD_SIZE": "1"}, {"WORLD_SIZE": "2"}):
        for name in ("RANK", "WORLD_SIZE"):
            monkeypatch.delenv(name, raising=False)
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        with launched() as ranks:
            assert ranks == Ranks()


def test_ranks_that_do_not_meet(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    assert cli.main(["audit", str(folder), "--beta", "0.1"]) == 2
    assert "rank 1 of 2 does not meet the others" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "torch", None)
    assert cli.main(["audit", str(folder), "--beta", "0.1"]) == 2
    assert "pip install 'prefeq[torch]'" in capsys.readouterr().err


def test_a_rank_that_is_not_merged_would_show(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = pq.audit(folder, beta=0.1).to_dict()
    monkeypatch.setattr(AuditState, "merge", lambda self, other: other)
    assert pq.audit(folder, beta=0.1).to_dict() != whole


def test_each_piece_of_work_is_one_ranks() -> None:
    for world in (1, 2, 3, 7):
        shares = [Ranks(rank, world).share("abc") for rank in range(world)]
        assert sorted("".join(shares)) == ["a", "b", "c"]
    assert Ranks(3, 7).share("abc") == ""
