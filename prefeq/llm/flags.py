"""What holds of each pair: the margins and flags behind an audit's shares, as columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from prefeq import margins
from prefeq._namespace import quiet
from prefeq.llm.chunking import Chunk, chunks, cleaned
from prefeq.llm.columns import POLICY, REFERENCE, Batch, layout_of
from prefeq.llm.metrics import Measures, measure
from prefeq.llm.plan import TRAPS, Normalize, Plan
from prefeq.llm.symptoms import POSITIVE

FLAGS = {
    "violated": "violated 0",
    "ref_below_zero": "ref_below_zero",
    "relative": "relative",
    "absolute": "absolute",
    "undesirable": "undesirable",
    "displaced": "displaced",
    "reward_below_zero": "reward below zero",
    "easy_negative_target": "easy negative",
    "ipo_negative_target": "ipo negative",
    **{f"{name}_trap": f"{name} trap 0" for name in TRAPS},
}
"""The flags, and the shares that they make up."""

Columns = dict[str, npt.NDArray[Any]]


def pair_flags(
    data: Any,
    *,
    beta: float,
    normalize: Normalize = "sum",
    columns: Mapping[str, str] | None = None,
) -> Columns:
    """Return the margins and every flag of each pair, as NumPy columns of one length.

    Arguments as for `audit`. Rows that are no numbers are not in the answer: ``row``, the number of
    the row from 0, says which are.

    Returns
    -------
    dict
        ``row``; ``ref_margin, critical_gap, critical_label_prob, exit_time`` and with a policy
        ``margin, relative_margin``; the flags: ``ref_below_zero``, ``positive_logp``,
        ``easy_negative_target``, ``ipo_negative_target`` (all other targets that can be negative
        are δ_ref), ``ipo_trap, hinge_trap, cdpo_trap``, with Δr ``violated, reward_below_zero``,
        with a policy ``relative, absolute, undesirable, displaced``. What needs a missing column is
        not there.

    Examples
    --------
    >>> data = {"ref_chosen_logps": [-3.0, -9.0], "ref_rejected_logps": [-5.0, -4.0]}
    >>> found = pair_flags(data | {"label_prob": [0.9, 0.9]}, beta=1.0)
    >>> found["critical_gap"].tolist(), found["violated"].tolist()
    ([-2.0, 5.0], [False, True])
    """
    batch = Batch.of(data, columns)
    plan = Plan(beta=float(beta), normalize=normalize, layout=layout_of(batch.columns))
    parts = list(batch_flags(batch, plan))
    if not parts:
        return {"row": np.zeros(0, np.int64)}
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def batch_flags(batch: Batch, plan: Plan) -> Iterator[Columns]:
    """Yield the columns of `pair_flags` chunk by chunk: what a writer of files needs."""
    for chunk in chunks(batch, plan.layout):
        found = _measured(chunk, plan)
        if found and not found.finite:
            chunk = cleaned(batch, chunk)
            found = _measured(chunk, plan)
        if found:
            yield _columns(batch, chunk, found, plan)


def _measured(chunk: Chunk, plan: Plan) -> Measures | None:
    if len(chunk) == 0:
        return None
    found = measure(chunk, plan, keep=True)
    found.fetch()
    return found


@quiet
def _columns(batch: Batch, chunk: Chunk, found: Measures, plan: Plan) -> Columns:
    rows = np.arange(chunk.rows.start, chunk.rows.stop)
    ref = _host(found.arrays["ref"])
    columns: Columns = {
        "row": batch.start + (rows if chunk.kept is None else rows[_host(chunk.kept)]),
        "ref_margin": ref,
        "critical_gap": np.asarray(margins.critical_gap(ref, plan.beta)),
        "critical_label_prob": np.asarray(margins.critical_label_prob(ref, plan.beta)),
        "exit_time": np.asarray(margins.exit_time(ref, plan.beta)),
    }
    if plan.layout.policy:
        columns["margin"] = _host(found.arrays["margin"])
        columns["relative_margin"] = _host(found.arrays["x"])
    masks = found.masks or {}
    for name, share in FLAGS.items():
        mask = masks.get(plan.levels.get(share, share))
        if mask is not None:
            columns[name] = _host(mask)
    high = [chunk.data[n] > POSITIVE for n in (*POLICY, *REFERENCE) if n in chunk.data]
    columns["positive_logp"] = np.any([_host(mask) for mask in high], axis=0)
    return columns


def _host(array: Any) -> npt.NDArray[Any]:
    return np.asarray(array.cpu() if hasattr(array, "cpu") else array)
