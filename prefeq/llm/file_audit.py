"""An audit of files: shard by shard, here or by others, and on request what holds of each pair."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence

from prefeq.errors import ProblemError
from prefeq.llm.chunking import aligned
from prefeq.llm.finished import Finished, looks
from prefeq.llm.flags_file import FlagsFile
from prefeq.llm.plan import Plan
from prefeq.llm.ranks import Ranks
from prefeq.llm.readers import Shard, ShareDone
from prefeq.llm.report import AuditReport
from prefeq.llm.state import AuditState, audit_batches
from prefeq.llm.workers import states_by_workers


def audit_shards(
    shards: Sequence[Shard],
    plan: Plan,
    *,
    flags: str | os.PathLike[str] | None = None,
    resume: str | os.PathLike[str] | None = None,
    scheduler: str | None = None,
    ranks: Ranks | None = None,
    track: Callable[[float], None] | None = None,
    note: Callable[[str], None] = warnings.warn,
) -> AuditReport:
    """Audit the pairs of files as `audit` does those in memory, holding a piece at a time.

    The report is the same however the work is shared, and however often it was cut short.

    Parameters
    ----------
    shards
        From `readers.open_shards`; at least one.
    plan
        What is asked; its layout is that of the shards.
    flags
        A Parquet file to write: per pair its source, row and `row_id`, and what `pair_flags` has.
    resume, scheduler
        As for `audit`.
    ranks
        The processes that share the work: each reads its part, and has the report of all.
    track
        Told what share of the work is done.
    note
        Told which finished shards are read again, and why.

    Raises
    ------
    ProblemError
        As `audit` does; if a file cannot be read, and then `flags` is not written.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from prefeq.llm.readers import open_shards
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name, row in [("a", "-30,-25,0.9"), ("b", "-60,-20,0.9")]:
    ...         text = "ref_chosen_logps,ref_rejected_logps,label_prob\\n" + row
    ...         _ = Path(folder, f"{name}.csv").write_text(text)
    ...     shards = open_shards(folder)
    ...     report = audit_shards(shards, Plan(0.1, layout=shards[0].layout))
    ...     report["violation_rate"], Path(report["examples"]["violated"][0]["row"]).name
    (0.5, 'b.csv:0')
    """
    ranks = ranks or Ranks()
    if flags is not None and (resume is not None or scheduler is not None or ranks.world > 1):
        raise ProblemError(
            "flags of pairs are written in one go, by one process: ask for them without resume, "
            "scheduler and torchrun"
        )
    if scheduler is not None and ranks.world > 1:
        raise ProblemError("pass a scheduler or use torchrun, not both")
    mine = ranks.share(shards)
    done, state = ShareDone(mine, track), AuditState(plan)
    finished = None if resume is None else Finished(resume, plan, note)
    if finished is not None:
        finished.keep_apart([shard.path for shard in shards])
    rest, stored = [], 0
    for shard in mine:
        part = None if finished is None else finished.get(shard)
        if part is None:
            rest.append(shard)
        else:
            state, stored = state.merge(part), stored + 1
            done.finish(shard)
    before = {} if finished is None else {shard.source: looks(shard) for shard in rest}
    with FlagsFile(flags, plan, [shard.path for shard in shards]) as written:
        if scheduler is None:
            parts = _here(rest, plan, done, written)
        else:
            parts = states_by_workers(rest, plan, scheduler)
        try:
            for shard, part in parts:
                if finished is not None:
                    finished.put(shard, part, before[shard.source])
                state, stored = state.merge(part), stored + 1
                done.finish(shard)
        except KeyboardInterrupt:
            if finished is not None:
                note(
                    f"{stored:,} of {len(mine):,} shards are stored in {finished.folder}; the same "
                    "command goes on from there"
                )
            raise
        state = ranks.merge(state)
        if state.pairs + state.excluded == 0:
            raise ProblemError(f"{shards[0].source}: there are no pairs to audit")
    in_order = sorted(shards, key=lambda shard: shard.source)
    unused = {name: ours for shard in in_order for name, ours in shard.unused.items()}
    return AuditReport.of(state, [shard.source for shard in shards], unused)


def _here(
    shards: Sequence[Shard], plan: Plan, done: ShareDone, flags: FlagsFile
) -> Iterator[tuple[Shard, AuditState]]:
    """Yield shards with their states, read one after the other; their pairs go to the flags."""
    for shard in shards:
        batches = flags.passing(aligned(shard.batches(done.part(shard))))
        yield shard, audit_batches(batches, plan)
