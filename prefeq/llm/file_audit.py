"""An audit of files: one pass over all shards, and on request what holds of each pair."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from prefeq.errors import ProblemError
from prefeq.llm.chunking import aligned
from prefeq.llm.flags_file import FlagsFile
from prefeq.llm.plan import Normalize, Plan
from prefeq.llm.readers import Shard, all_batches
from prefeq.llm.report import AuditReport
from prefeq.llm.state import AuditState


def audit_shards(
    shards: Sequence[Shard],
    *,
    beta: float,
    normalize: Normalize = "sum",
    step0: bool = False,
    betas: Sequence[float] = (),
    level: float = 0.95,
    flags: str | os.PathLike[str] | None = None,
    track: Callable[[float], None] | None = None,
) -> AuditReport:
    """Audit the pairs of files as `audit` does those in memory, holding a piece at a time.

    Parameters
    ----------
    shards
        From `readers.open_shards`; at least one.
    beta, normalize, step0, betas, level
        As for `audit`.
    flags
        A Parquet file to write: per pair its source, row and `row_id`, and what `pair_flags` has.
    track
        Told what share of the work is done.

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
    ...     report = audit_shards(open_shards(folder), beta=0.1)
    ...     report["violation_rate"], Path(report["examples"]["violated"][0]["row"]).name
    (0.5, 'b.csv:0')
    """
    plan = Plan(
        beta=float(beta),
        normalize=normalize,
        step0=step0,
        layout=shards[0].layout,
        betas=tuple(map(float, betas)),
        level=level,
    )
    state = AuditState(plan)
    with FlagsFile(flags, plan, [shard.path for shard in shards]) as written:
        for batch in aligned(all_batches(shards, track)):
            state.update(batch)
            written.add(batch)
        if state.pairs + state.excluded == 0:
            raise ProblemError(f"{shards[0].source}: there are no pairs to audit")
    return AuditReport.of(state)
