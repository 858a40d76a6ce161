"""Shards read by the workers of a dask cluster, a task each; one that is lost is given out again.

Workers need prefeq, of the same version, and the files under the same paths. What they return is
text (see `sealed`).
"""

from __future__ import annotations

import ctypes
import importlib
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from prefeq.errors import ProblemError
from prefeq.llm.plan import Plan
from prefeq.llm.readers import Shard
from prefeq.llm.sealed import seal, unseal
from prefeq.llm.state import AuditState, audit_batches

TIMEOUT = 10
"""Seconds until a scheduler that does not answer, or has no worker, is given up."""


def states_by_workers(
    shards: Sequence[Shard], plan: Plan, scheduler: str
) -> Iterator[tuple[Shard, AuditState]]:
    """Yield shards with their states, as they arrive from the workers of a dask scheduler.

    Parameters
    ----------
    scheduler
        Its address, such as ``"tcp://10.0.0.1:8786"``.

    Raises
    ------
    ProblemError
        If dask is not installed, the scheduler cannot be reached or has no worker, a file cannot be
        read, or workers die of the same shard again and again.
    """
    if not shards:
        return
    distributed = _need_distributed()
    with _client(distributed, scheduler) as client:
        futures = {client.submit(_work, shard, plan, pure=False): shard for shard in shards}
        waiting = distributed.as_completed(list(futures), loop=client.loop)
        try:
            for future in waiting:
                shard = futures.pop(future)
                yield shard, _opened(shard, future)
                future.release()  # a worker need not keep it
        finally:
            client.cancel(list(futures), reason="the audit has ended")


def _work(shard: Shard, plan: Plan) -> dict[str, str]:
    """Return the state of a shard, or what went wrong: what a worker does.

    Errors are text, too: a client waits for ever for one whose traceback cannot be pickled.
    """
    _keep_freed_memory()
    try:
        return {"state": seal(audit_batches(shard.batches(), plan))}
    except ProblemError as error:
        return {"error": str(error)}
    except Exception as error:
        return {"error": f"{shard.source}: cannot be audited ({error!r})"}


def _keep_freed_memory() -> None:
    """Let glibc's malloc keep up to 32 MB that are freed.

    dask has its workers give all of it back at once (MALLOC_TRIM_THRESHOLD_); the arrays of each
    chunk are then new to the process, and page faults take twice the time of the audit.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # not glibc
        return
    trim_threshold, mmap_threshold = -1, -3
    mallopt(trim_threshold, 2**25)
    mallopt(mmap_threshold, 2**24)


def _opened(shard: Shard, future: Any) -> AuditState:
    try:
        answer = future.result()
    except Exception as error:
        raise ProblemError(
            f"{shard.source}: no worker could audit it ({type(error).__name__}: {error})"
        ) from error
    if "error" in answer:
        raise ProblemError(answer["error"])
    try:
        return unseal(answer["state"])[0]
    except ProblemError as error:
        raise ProblemError(f"{shard.source}: what a worker made of it {error}") from error


def _need_distributed() -> Any:
    try:
        return importlib.import_module("distributed")
    except ImportError as error:
        raise ProblemError("a scheduler needs dask: pip install 'prefeq[dask]'") from error


@contextmanager
def _client(distributed: Any, scheduler: str) -> Iterator[Any]:
    try:
        _knock(scheduler)
        client = distributed.Client(scheduler, timeout=TIMEOUT, set_as_default=False)
    except (OSError, ValueError, TypeError, ImportError) as error:
        raise ProblemError(
            f"scheduler {scheduler}: cannot be reached ({error}); start it by `dask scheduler`, "
            "and name the address that it prints"
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=TIMEOUT)
        except TimeoutError as error:
            raise ProblemError(
                f"scheduler {scheduler}: has no workers; start some by `dask worker {scheduler}`"
            ) from error
        yield client


def _knock(scheduler: str) -> None:
    """Raise unless something answers at an address.

    A client that does not come to be leaves a traceback behind when it is cleared away.
    """
    kind, _, place = scheduler.rpartition("://")
    host, colon, port = place.rpartition(":")
    if kind not in ("", "tcp", "tls"):
        return
    if not (colon and host and port.isdecimal()):
        raise ValueError("an address is tcp://HOST:PORT")
    socket.create_connection((host.strip("[]"), int(port)), TIMEOUT).close()
