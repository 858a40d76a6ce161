"""RLHF: π* ∝ π_ref e^{r/β} to 19 digits, the raw reference normalised afresh."""

from __future__ import annotations

import numpy as np

from benchmarks.problems import Batch
from benchmarks.recheck.answers import (
    Answers,
    Findings,
    largest,
    log_target,
    nats,
    same_support,
    unless,
    value_error,
)


def check(batch: Batch, answers: Answers) -> Findings:
    """Compare with the closed form."""
    on = np.isfinite(batch.ref_logp)
    error = largest(on, np.abs(answers.logp - log_target(batch)))
    return {
        "status": unless(answers.status == "optimal"),
        "log π": error / nats(batch, answers.logp),
        "support": same_support(batch, answers),
        "value": value_error(batch, answers),
    }
