"""`audit`: the checks of the tabular side on the log-probs of a language model."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from prefeq.errors import ProblemError
from prefeq.llm.columns import ALIASES, NAMES, Batch, Layout, layout_of, unused
from prefeq.llm.file_audit import audit_shards
from prefeq.llm.plan import Normalize, Plan
from prefeq.llm.readers import is_paths, open_shards
from prefeq.llm.report import AuditReport
from prefeq.llm.state import audit_batches


def audit(
    data: Any = None,
    *,
    beta: float,
    normalize: Normalize = "sum",
    columns: Mapping[str, str] | None = None,
    step0: bool = False,
    betas: Sequence[float] = (),
    level: float = 0.95,
    resume: str | os.PathLike[str] | None = None,
    scheduler: str | None = None,
    **arrays: Any,
) -> AuditReport:
    """Audit the log-probs of preference pairs: is DPO to be trusted on them?

    With δ = log π(w) − log π(l) from the policy's columns, δ_ref from the reference's and the
    reward gap Δr: a pair violates Assumption 3.1 of arXiv:2605.20834 unless Δr > −β·δ_ref. In one
    pass over chunks of float64, on the device of the tensors.

    Parameters
    ----------
    data
        A mapping, data frame, table or data set with columns of numbers, one row a pair, named as
        TRL names them: ``ref_chosen_logps, ref_rejected_logps`` (or ``reference_...``), in nats,
        and where there is a policy ``chosen_logps, rejected_logps``. Optional: ``chosen_reward,
        rejected_reward`` or ``label_prob`` for Δr (Δr = logit of it); ``chosen_tokens,
        rejected_tokens``; ``prompt``, by which intervals are clustered; ``row_id``, by which
        examples are named (default: the number of the row, from 0). Or files of these: a path or a
        list of paths of Parquet, CSV, JSON Lines, Arrow, safetensors or npz files, of folders
        (those of `datasets` too) or patterns such as ``"run/*.parquet"``, which are read piece by
        piece; a row is then called FILE:ROW unless it has a `row_id`.
    arrays
        The same columns, each as an argument: arrays of NumPy or torch, or lists.
    beta
        KL strength, > 0.
    normalize
        "sum": log-probs as given, sums over tokens, as DPO has them. "mean": divided by their
        number of tokens first. IPO and SimPO are defined per token: where token counts are given
        they are looked at that way in either case, otherwise as the others.
    columns
        {our name: theirs} for columns that are called something else.
    step0
        Whether the log-probs were taken before training, so that both models must agree.
    betas
        Other β to look at; by default an eighth to eight times `beta`.
    level
        Confidence level of the intervals.
    resume
        Of files: a folder in which the state of every shard that is finished is stored, and from
        which it is taken when the same is asked again; shards that have changed are read again, and
        a warning says which.
    scheduler
        Of files: the address of a dask scheduler, whose workers read a shard each at a time. They
        need the same prefeq, and the files under the same paths.

    Returns
    -------
    AuditReport
        Shows itself as text; `to_dict()` is strict JSON; `report["violation_rate"]` is a figure.
        Rows that are no numbers are counted, located and left out; columns of numbers that are not
        read but look like ours (``score_chosen``) are named.

    Raises
    ------
    ProblemError
        If columns are missing, of unequal length, or no numbers; if a file cannot be read; on a
        bad argument; if `resume` holds an audit that was asked otherwise, or `scheduler` has no
        workers.

    Examples
    --------
    >>> report = audit(
    ...     beta=0.1,
    ...     ref_chosen_logps=[-30.0, -60.0, -45.0, -20.0],
    ...     ref_rejected_logps=[-25.0, -20.0, -50.0, -22.0],
    ...     chosen_reward=[1.0, 2.0, 1.5, 0.5],
    ...     rejected_reward=[0.0, 0.0, 0.5, 0.0],
    ... )
    >>> report["violation_rate"], [row["row"] for row in report["examples"]["violated"]]
    (0.25, [1])
    """

    def plan(layout: Layout) -> Plan:
        return Plan(beta, normalize, step0, layout, betas, level)

    if is_paths(data):
        if arrays:
            raise ProblemError("pass files, or columns as arguments, not both")
        shards = open_shards(data, columns)
        return audit_shards(shards, plan(shards[0].layout), resume=resume, scheduler=scheduler)
    if resume is not None or scheduler is not None:
        raise ProblemError("resume and scheduler are for files: pass paths")
    known = {*NAMES, *(alias for aliases in ALIASES.values() for alias in aliases)}
    unknown = [name for name in arrays if name not in known]
    if unknown:
        raise ProblemError(
            f"audit() has no argument {unknown[0]!r}; columns are {', '.join(NAMES)}"
        )
    if data is None:
        data = {name: values for name, values in arrays.items() if values is not None}
    elif arrays:
        raise ProblemError("pass the columns in one mapping or as arguments, not both")
    batch = Batch.of(data, columns)
    if len(batch) == 0:
        raise ProblemError("there are no pairs to audit; pass at least one")
    state = audit_batches([batch], plan(layout_of(batch.columns)))
    return AuditReport.of(state, unused=unused(data, columns))
