"""Processes that torchrun started, or any torch.distributed job: one state of all their states.

What they send each other is text (see `sealed`), as bytes in tensors; no pickles.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np

from prefeq.errors import ProblemError
from prefeq.llm.sealed import seal, unseal
from prefeq.llm.state import AuditState

T = TypeVar("T")

MEET, WAIT = timedelta(minutes=5), timedelta(days=7)
"""How long ranks wait for each other to start, and to read; of one that dies they hear at once."""


class ToldError(ProblemError):
    """What went wrong in another rank: every rank has been told."""


@dataclass(frozen=True)
class Ranks:
    """Processes that share an audit: the number of this one, how many there are, their group."""

    rank: int = 0
    world: int = 1
    group: Any = None

    @property
    def first(self) -> bool:
        """Whether this is the one that prints and writes."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """Return what of the work is this rank's.

        >>> Ranks(1, 3).share("abcde")
        'be'
        """
        return items[self.rank :: self.world]

    def merge(self, state: AuditState) -> AuditState:
        """Return, in every rank, the state of all of them."""
        if self.world == 1:
            return state
        merged: AuditState | None = None
        texts = self._exchange(seal(state))
        try:
            for rank, text in enumerate(texts):
                part = state if rank == self.rank else unseal(text)[0]
                merged = part if merged is None else merged.merge(part)
        finally:
            for _ in texts:  # all are heard, whatever one of them says: nobody is left waiting
                pass
        return state if merged is None else merged

    def run(self, work: Callable[[], int]) -> int:
        """Do work that ends in an exit code; where one rank fails, it is 2 in all of them.

        Raises
        ------
        ProblemError
            In rank 0 alone, so that it is printed once, whichever rank it befell.
        """
        if self.world == 1:
            return work()
        try:
            code = work()
            self._exchange("")
        except ToldError:
            if self.first:
                raise
            return 2
        except Exception as error:
            with suppress(ToldError):
                self._exchange(str(error) or repr(error), failed=True)
            if self.first or not isinstance(error, ProblemError):
                raise
            return 2
        return code

    def _exchange(self, text: str, failed: bool = False) -> Iterator[str]:
        """Send text to all ranks; return what each of them sent: all of it is to be heard.

        Raises
        ------
        ToldError
            If a rank has failed.
        """
        import torch
        from torch import distributed

        device = "cuda" if distributed.get_backend(self.group) == "nccl" else "cpu"
        data = text.encode()
        heads = torch.zeros((self.world, 2), dtype=torch.int64, device=device)
        heads[self.rank] = torch.tensor([len(data), failed])
        distributed.all_reduce(heads, group=self.group)
        sizes, wrong = heads.T.tolist()

        def heard(rank: int) -> str:
            if sizes[rank] == 0:
                return ""
            values = torch.empty(sizes[rank], dtype=torch.uint8, device=device)
            if rank == self.rank:
                values.copy_(torch.from_numpy(np.frombuffer(data, np.uint8).copy()))
            group: Any = self.group or distributed.group.WORLD
            distributed.broadcast(values, distributed.get_global_rank(group, rank), group)
            return values.cpu().numpy().tobytes().decode()

        if any(wrong):
            rank = wrong.index(1)
            raise ToldError(f"rank {rank}: {heard(rank)}")
        return map(heard, range(self.world))


@contextmanager
def launched() -> Iterator[Ranks]:
    """Join the processes that torchrun started with this one; without torchrun, there is one.

    Raises
    ------
    ProblemError
        If torch is not installed, or the others do not come.
    """
    names = ("RANK", "WORLD_SIZE")
    given = [os.environ.get(name, "") for name in names]
    if not all(value.isdecimal() for value in given) or int(given[1]) <= 1:
        yield Ranks()
        return
    rank, world = map(int, given)
    try:
        from torch import distributed
    except ImportError as error:
        raise ProblemError("torchrun needs torch: pip install 'prefeq[torch]'") from error
    try:
        distributed.init_process_group("gloo", timeout=MEET)
        group = distributed.new_group(backend="gloo", timeout=WAIT)
    except (RuntimeError, ValueError) as error:
        raise ProblemError(
            f"rank {rank} of {world} does not meet the others ({error}); start them by torchrun, "
            "or unset RANK and WORLD_SIZE to audit in one process"
        ) from error
    try:
        yield Ranks(rank, world, group)
    finally:
        distributed.destroy_process_group()


def merge_ranks(state: AuditState, group: Any = None) -> AuditState:
    """Return, in every rank of a torch.distributed job, the state of the rows of all of them.

    Every rank of the group calls it, each with the state of its own rows (`audit_batches`); a
    sampler that repeats rows to fill up its batches has them counted twice.

    Parameters
    ----------
    group
        A process group of gloo or NCCL; by default all ranks. Where torch.distributed has not been
        started there is one rank, and its state is returned.

    Raises
    ------
    ProblemError
        If the plans of the ranks differ, or their versions of prefeq.

    Examples
    --------
    >>> from prefeq.llm.plan import Plan
    >>> merge_ranks(AuditState(Plan(0.1))).pairs
    0
    """
    try:
        from torch import distributed
    except ImportError:
        return state
    if not (distributed.is_available() and distributed.is_initialized()):
        return state
    rank, world = distributed.get_rank(group), distributed.get_world_size(group)
    return Ranks(rank, world, group).merge(state)
