"""Shards read by the workers of a dask cluster: the same report, whoever dies meanwhile."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llm import naive, shards
from pyarrow import Table, parquet

import prefeq as pq
from prefeq import cli
from prefeq.llm import workers

pytest.importorskip("distributed", reason="needs dask: pip install 'prefeq[dask]'")

pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed:ResourceWarning",  # sockets of clusters and of workers that were killed
    "ignore:Tornado:DeprecationWarning",
    "ignore:There is no current event loop:DeprecationWarning",
)

COUNT = 8

PLANT = """
import os, signal
from pathlib import Path
from prefeq.llm import sealed
from prefeq.llm.readers import Shard

HERE = Path({here!r})
if not hasattr(Shard, "batches_as_they_were"):  # a preload may run twice in a process
    Shard.batches_as_they_were = Shard.batches

def planted(self, track=None):
    for batch in self.batches_as_they_were(track):
        with open(HERE / "who-read", "a") as log:
            log.write(f"{{self.path.name}} {{os.getpid()}}\\n")
        if (HERE / f"kill {{self.path.name}}").exists():
            (HERE / f"kill {{self.path.name}}").unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        if (HERE / f"always kill {{self.path.name}}").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        if (HERE / f"break {{self.path.name}}").exists():
            raise RuntimeError("a bug")
        sealed.FORMAT = 2 + (HERE / "other version").exists()
        yield batch

Shard.batches = planted
"""


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of shards in `run`, beside it files that tell workers when to die."""
    here = tmp_path_factory.mktemp("workers")
    rng = np.random.default_rng(7)
    (here / "run").mkdir()
    for i in range(COUNT):
        data = naive.draw(rng, 50 + 40 * i)
        data["chosen_logps"][[3, 7]] = np.nan
        shards.write(here / "run" / f"{i}.parquet", data)
    (here / "plant.py").write_text(PLANT.format(here=str(here)))
    return here


@pytest.fixture(scope="module")
def scheduler(here: Path) -> Iterator[str]:
    """Return the address of a cluster of two processes that do what `here` tells them."""
    import dask
    from distributed import LocalCluster

    settings = {
        "distributed.scheduler.allowed-failures": 1,
        "distributed.logging.distributed": "critical",
    }
    with (
        dask.config.set(settings),
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=":0",
            preload=[str(here / "plant.py")],
            silence_logs=50,
        ) as cluster,
    ):
        yield cluster.scheduler_address


@pytest.fixture(scope="module")
def whole(here: Path) -> dict[str, Any]:
    return pq.audit(here / "run", beta=0.1).to_dict()


@pytest.fixture
def told(here: Path) -> Iterator[Path]:
    """Return the folder, in which nothing has been told yet, nor will be later."""
    (here / "who-read").write_text("")
    yield here
    for path in here.iterdir():
        if path.name.startswith(("kill", "always", "break", "other")):
            path.unlink()


def readers_of(here: Path) -> dict[str, list[str]]:
    """Return the processes that read each shard."""
    found: dict[str, list[str]] = {}
    for line in (here / "who-read").read_text().splitlines():
        name, process = line.split()
        found.setdefault(name, []).append(process)
    return found


def test_the_report_of_one_process(told: Path, scheduler: str, whole: dict[str, Any]) -> None:
    assert pq.audit(told / "run", beta=0.1, scheduler=scheduler).to_dict() == whole
    readers = readers_of(told)
    assert len(readers) == COUNT
    assert len({process for each in readers.values() for process in each}) == 2
    out = told / "out.json"
    args = ["audit", str(told / "run"), "--beta", "0.1", "--scheduler", scheduler]
    assert cli.main([*args, "--json", str(out)]) == 0
    assert json.loads(out.read_text()) == whole


def test_a_worker_that_is_killed(told: Path, scheduler: str, whole: dict[str, Any]) -> None:
    (told / "kill 4.parquet").touch()
    assert pq.audit(told / "run", beta=0.1, scheduler=scheduler).to_dict() == whole
    assert not (told / "kill 4.parquet").exists()  # it did die, with the shard in hand
    readers = readers_of(told)
    assert len(readers["4.parquet"]) == 2
    assert len(set(readers["4.parquet"])) == 2
    assert len(readers) == COUNT


def test_a_lost_shard_would_show(
    told: Path, scheduler: str, whole: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = workers.states_by_workers
    monkeypatch.setattr(
        "prefeq.llm.file_audit.states_by_workers", lambda s, *rest: given(s[:-1], *rest)
    )
    assert pq.audit(told / "run", beta=0.1, scheduler=scheduler).to_dict() != whole


def test_a_shard_that_kills_every_worker(
    told: Path, scheduler: str, whole: dict[str, Any], tmp_path: Path
) -> None:
    (told / "always kill 4.parquet").touch()
    with pytest.raises(pq.ProblemError, match=r"4\.parquet: no worker could audit it .Killed"):
        pq.audit(told / "run", beta=0.1, scheduler=scheduler, resume=tmp_path)
    (told / "always kill 4.parquet").unlink()
    kept = len(list(tmp_path.iterdir()))
    (told / "who-read").write_text("")
    found = pq.audit(told / "run", beta=0.1, scheduler=scheduler, resume=tmp_path)
    assert found.to_dict() == whole
    assert len(readers_of(told)) == COUNT - kept
    assert len(list(tmp_path.iterdir())) == COUNT


def test_finished_shards_are_not_given_out(
    told: Path, scheduler: str, whole: dict[str, Any], tmp_path: Path
) -> None:
    pq.audit([told / "run" / f"{i}.parquet" for i in (1, 3, 5)], beta=0.1, resume=tmp_path)
    found = pq.audit(told / "run", beta=0.1, resume=tmp_path, scheduler=scheduler)
    assert found.to_dict() == whole
    assert sorted(readers_of(told)) == [f"{i}.parquet" for i in (0, 2, 4, 6, 7)]
    (told / "who-read").write_text("")
    assert pq.audit(told / "run", beta=0.1, resume=tmp_path, scheduler="tcp://127.0.0.1:1")
    assert pq.audit(told / "run", beta=0.1, resume=tmp_path).to_dict() == whole
    assert readers_of(told) == {}


def test_a_corrupt_shard_is_named(told: Path, scheduler: str, tmp_path: Path, capsys: Any) -> None:
    for i in range(3):
        path = tmp_path / "run" / f"{i}.parquet"
        path.parent.mkdir(exist_ok=True)
        content = (told / "run" / f"{i}.parquet").read_bytes()
        path.write_bytes(content if i != 1 else content[:4] + bytes(64) + content[68:])
    states = tmp_path / "states"
    args = ["audit", tmp_path / "run", "--beta", "0.1", "--scheduler", scheduler]
    assert cli.main([*map(str, args), "--resume", str(states)]) == 2
    error = capsys.readouterr().err
    assert f"{tmp_path}/run/1.parquet: cannot be read" in error
    assert error.count("\n") == 1
    path = tmp_path / "run" / "1.parquet"
    path.write_bytes((told / "run" / "1.parquet").read_bytes())
    found = pq.audit(tmp_path / "run", beta=0.1, scheduler=scheduler, resume=states)
    assert found.to_dict() == pq.audit(tmp_path / "run", beta=0.1).to_dict()


def test_what_else_workers_may_do(told: Path, scheduler: str) -> None:
    (told / "break 2.parquet").touch()
    words = r"2\.parquet: cannot be audited \(RuntimeError\('a bug'\)\)"
    with pytest.raises(pq.ProblemError, match=words):
        pq.audit(told / "run", beta=0.1, scheduler=scheduler)
    (told / "break 2.parquet").unlink()
    (told / "other version").touch()
    with pytest.raises(pq.ProblemError, match=r"what a worker made of it was made by prefeq"):
        pq.audit(told / "run", beta=0.1, scheduler=scheduler)


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:1", "foo://x:1", "tls://127.0.0.1:1", "foo", "127.0.0.1:1"]
)
def test_no_such_scheduler(
    here: Path, address: str, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "TIMEOUT", 0.5)
    start = time.monotonic()
    args = ["audit", str(here / "run"), "--beta", "0.1", "--scheduler", address]
    assert cli.main(args) == 2
    assert time.monotonic() - start < 30
    error = capsys.readouterr().err
    assert f"scheduler {address}: cannot be reached" in error
    assert error.count("\n") == 1


def test_no_client_is_made_where_nothing_answers(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a client that never was leaves behind is a traceback, long after the message."""
    monkeypatch.setattr("distributed.Client", lambda *_, **__: pytest.fail("a client is made"))
    for address in ("foo", "tcp://127.0.0.1:1", "127.0.0.1:1", "tcp://[::1]:1"):
        with pytest.raises(pq.ProblemError, match="cannot be reached"):
            pq.audit(here / "run", beta=0.1, scheduler=address)


def test_a_scheduler_without_workers(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from distributed import LocalCluster

    monkeypatch.setattr(workers, "TIMEOUT", 0.5)
    with (
        LocalCluster(n_workers=0, processes=False, dashboard_address=":0") as cluster,
        pytest.raises(pq.ProblemError, match="has no workers; start some by `dask worker "),
    ):
        pq.audit(here / "run", beta=0.1, scheduler=cluster.scheduler_address)


def test_without_dask(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(pq.ProblemError, match=r"pip install 'prefeq\[dask\]'"):
        pq.audit(here / "run", beta=0.1, scheduler="tcp://127.0.0.1:1")


FAULTS = """
import resource, sys
from prefeq.llm import workers
from prefeq.llm.plan import Plan
from prefeq.llm.readers import open_shards

if sys.argv[2] == "as dask":
    workers._keep_freed_memory = lambda: None
(shard,) = open_shards(sys.argv[1])
plan = Plan(beta=0.1, layout=shard.layout)
workers._work(shard, plan)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
assert "state" in workers._work(shard, plan)
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / shard.rows)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc")
def test_a_worker_keeps_the_memory_that_dask_would_give_back(tmp_path: Path) -> None:
    rng, path = np.random.default_rng(0), tmp_path / "pairs.parquet"
    columns = {f"ref_{side}_logps": -rng.gamma(4, 10, 400_000) for side in ("chosen", "rejected")}
    parquet.write_table(Table.from_pydict(columns), path)
    faults = {}
    for how in ("as we do", "as dask"):
        done = subprocess.run(
            [sys.executable, "-c", FAULTS, str(path), how],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "MALLOC_TRIM_THRESHOLD_": "65536"},  # what dask sets
        )
        faults[how] = float(done.stdout)
    assert faults["as we do"] < 0.02 < faults["as dask"], faults  # page faults a row
