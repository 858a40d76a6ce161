"""Counts over the pairs of a training run, from one log to the next."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from prefeq import margins


class Tally:
    """Counts and sums of pairs: `add` batches, then read `metrics`.

    Parameters
    ----------
    beta
        β > 0.
    per_token
        Whether log-probs are divided by token counts first.
    has_target
        Whether the loss has a target margin; it is δ_ref.

    Examples
    --------
    >>> tally = Tally(beta=0.5)
    >>> tally.add({
    ...     "chosen_logps": [-3.0, -9.0], "rejected_logps": [-2.0, -11.0],
    ...     "ref_chosen_logps": [-5.0, -8.0], "ref_rejected_logps": [-1.0, -10.0],
    ...     "label_prob": [0.7, 0.7],
    ... })
    >>> metrics = tally.metrics()
    >>> metrics["absolute_accuracy"], metrics["undesirable_share"], metrics["displaced_share"]
    (0.5, 0.5, 0.5)
    >>> metrics["target_margin"], metrics["negative_target_share"], metrics["violation_rate"]
    (-1.0, 0.5, 0.5)
    """

    def __init__(self, beta: float, per_token: bool = False, has_target: bool = True) -> None:
        self.beta, self.per_token, self.has_target = beta, per_token, has_target
        self.pairs = self.excluded = 0
        self.positive = self.undesirable = self.displaced = self.negative = 0
        self.with_gap = self.violated = 0
        self.targets: list[float] = []

    def add(self, batch: Mapping[str, Any]) -> None:
        """Count the pairs of a batch: TRL's four columns, and what of the others is there."""
        columns = {name: np.asarray(column, dtype=np.float64) for name, column in batch.items()}
        logps = [columns[f"{prefix}{side}_logps"] for prefix in ("", "ref_") for side in SIDES]
        if self.per_token:
            tokens = [columns[f"{side}_tokens"] for side in SIDES]
            with np.errstate(divide="ignore", invalid="ignore"):
                logps = [logp / tokens[i % 2] for i, logp in enumerate(logps)]
        kept = np.all(np.isfinite(logps), axis=0)
        self.excluded += int(np.sum(~kept))
        chosen, rejected, ref_chosen, ref_rejected = (logp[kept] for logp in logps)
        delta, ref = chosen - rejected, ref_chosen - ref_rejected
        self.pairs += len(delta)
        self.positive += int(np.sum(delta > 0))
        self.undesirable += int(np.sum(margins.undesirable(delta, ref)))
        self.displaced += int(np.sum((chosen < ref_chosen) & (rejected < ref_rejected)))
        self.negative += int(np.sum(ref < 0))
        self.targets.append(math.fsum(ref))
        gap = _gap({name: column[kept] for name, column in columns.items()})
        if gap is not None:
            known = ~np.isnan(gap)
            holds = margins.assumption_holds(ref[known], gap[known], self.beta)
            self.with_gap += int(np.sum(known))
            self.violated += int(np.sum(~holds))

    def metrics(self) -> dict[str, float]:
        """Return shares and means by name; nothing where nothing was added."""
        found: dict[str, float] = {}
        if self.pairs:
            found["absolute_accuracy"] = self.positive / self.pairs
            found["undesirable_share"] = self.undesirable / self.pairs
            found["displaced_share"] = self.displaced / self.pairs
            if self.has_target:
                found["target_margin"] = math.fsum(self.targets) / self.pairs
                found["negative_target_share"] = self.negative / self.pairs
        if self.with_gap:
            found["violation_rate"] = self.violated / self.with_gap
        if self.excluded:
            found["excluded"] = float(self.excluded)
        return found


SIDES = ("chosen", "rejected")


def _gap(columns: Mapping[str, Any]) -> Any:
    """Return Δr, NaN where it is not known, or None without the columns."""
    if "chosen_reward" in columns and "rejected_reward" in columns:
        return columns["chosen_reward"] - columns["rejected_reward"]
    if "label_prob" in columns:
        prob = columns["label_prob"]
        known = (prob >= 0) & (prob <= 1)
        return np.where(known, margins.logit(np.where(known, prob, 0.5)), np.nan)
    return None
