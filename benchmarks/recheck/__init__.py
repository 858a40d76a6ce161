"""An independent recheck of whole batches of answers, in extended precision.

It shares no line with the solvers and works from the arrays that the user passed. In place of
multipliers and Newton steps it uses two facts about *all* subsets of the responses (`cpo`, `dpo`),
and where these leave a doubt, or for a sample, the true optimum in ball arithmetic (`exact`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import prefeq as pq
from benchmarks.problems import Batch
from benchmarks.recheck import cpo, dpo, rlhf
from benchmarks.recheck.answers import TOLERANCE, Answers, Findings, Objects
from prefeq.arrays import BoolArray, FloatArray

LANES = 2000
"""Problems rechecked at a time: a table of all subsets of each has to fit the memory."""

CHECKS: dict[str, Callable[[Batch, Answers], Findings]] = {
    "rlhf": rlhf.check,
    "dpo": dpo.check,
    "cpo": cpo.check,
}


@dataclass(frozen=True)
class Judgement:
    """For each problem the largest violation in relative nats (inf for a wrong status), and why.

    ``claimed`` is where the solver says that it is done, one way or another; ``besides`` is the
    largest violation but for "error", which is a bound, and may be too careful.
    """

    violation: FloatArray
    besides: FloatArray
    reason: Objects
    claimed: BoolArray

    @property
    def doubtful(self) -> BoolArray:
        """Where the solver claims an answer that this recheck cannot confirm."""
        return np.asarray(self.claimed & ~(self.violation <= TOLERANCE))


def judge(solver: str, batch: Batch, solution: pq.Solution) -> Judgement:
    """Recheck the solution of a batch by "rlhf", "dpo" or "cpo"."""
    info = np.finfo(np.longdouble)
    if info.maxexp < 16000 or info.eps > 2e-19:
        raise RuntimeError("the recheck needs a long double of 80 bits or more, as on x86 Linux")
    answers, notes = Answers.of(solution), []
    with np.errstate(all="ignore"):  # infinities and their differences are ruled on below
        for start in range(0, len(batch), LANES):
            part = slice(start, start + LANES)
            notes.append(_ruled(CHECKS[solver](batch[part], answers[part]), len(batch[part])))
    violation, besides, reason = (np.concatenate(column) for column in zip(*notes, strict=True))
    return Judgement(violation, besides, reason, answers.status != "iteration-limit")


def _ruled(findings: Findings, n: int) -> tuple[FloatArray, FloatArray, Objects]:
    """Return the largest violation of each problem, but for "error", and its name.

    A NaN is as bad as it gets.
    """
    names = np.array(list(findings), dtype=object)
    table = np.array([np.broadcast_to(v, n) for v in findings.values()], dtype=np.float64)
    table = np.where(np.isnan(table), np.inf, table)
    violation, besides = np.max(table, axis=0), np.max(table[names != "error"], axis=0)
    reason = np.where(violation > TOLERANCE, names[np.argmax(table, axis=0)], "")
    return violation, besides, reason
