"""Faults that show in the lengths of answers: means taken for sums, and answers cut short."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from prefeq.llm.columns import POLICY, REFERENCE
from prefeq.llm.fault import Fault, mean, rows
from prefeq.llm.state import AuditState


def sum_mean(state: AuditState) -> Iterator[Fault]:
    """Tell means over tokens that are taken for sums."""
    if not state.plan.layout.tokens or state.pairs < 10:
        return
    found = [model for model in ("policy", "reference") if _looks_like_means(state, model)]
    if found:
        columns = [n for m in found for n in (POLICY if m == "policy" else REFERENCE)]
        what = " and ".join(columns) if len(columns) == 2 else "all four columns"
        yield Fault(
            "sum_mean",
            f"{what} do not grow with the number of tokens: they seem to be means over tokens, "
            f"and are taken for sums (normalize = {state.plan.normalize!r}); DPO is defined on "
            "sums, so multiply by the token counts or sum the token log-probs",
            state.pairs,
            rows(state, "all"),
        )


def _looks_like_means(state: AuditState, model: str) -> bool:
    """Tell whether log-probs are small for their lengths, and do not grow with them.

    log |log-prob| is regressed on log(tokens): sums have a slope near 1, means near 0. Sums that
    lie in a few first tokens do not grow either, but are larger than means are.
    """
    if f"{model} size" not in state.sums:
        return False
    parts = ["log tokens", f"{model} log", "log tokens²", f"{model} log²"]
    parts += [f"{model} log·log tokens", f"{model} size", "some tokens"]
    means = [mean(state, name, "some answers") for name in parts]
    if not all(map(math.isfinite, means)):
        return False
    t, y, tt, yy, ty, size, tokens = means
    if size > LARGEST_MEAN:
        return False
    n, per_token = mean(state, "some answers", None), size / tokens
    spread = tt - t * t
    if spread < LEAST_SPREAD**2:  # answers of one length show no slope
        return per_token < PER_TOKEN_ALONE and math.exp(t) >= 8
    slope = (ty - t * y) / spread
    rest = max(yy - y * y - slope * (ty - t * y), 0.0)
    error = math.sqrt(rest / spread / (n - 2))
    return per_token < PER_TOKEN and slope + 3 * error < 0.5


PER_TOKEN, PER_TOKEN_ALONE = 0.25, 0.05
"""Nats a token that sums over tokens of a language model are hardly ever below."""

LARGEST_MEAN = 5.0
"""Nats a token that means over tokens of a language model are hardly ever above."""

LEAST_SPREAD = 0.05
"""Standard deviation of log(tokens) from which on a slope is looked at."""


def truncated(state: AuditState) -> Iterator[Fault]:
    """Tell answers that were cut at a length."""
    lengths = state.symptoms.lengths
    total, longest = int(np.sum(lengths)), len(lengths) - 1
    longer = total - np.cumsum(lengths)
    often = (lengths >= 5) & (lengths >= 0.005 * total) & (longer <= 0.01 * total)
    spikes = [
        (int(lengths[at]) / max(usual, 0.1), at, usual)
        for at in np.flatnonzero(often).tolist()
        if at >= 8 and np.count_nonzero(lengths[:at]) >= SHORTER
        for usual in [float(np.mean(lengths[max(1, math.floor(0.8 * at)) : at]))]
    ]
    if spikes and max(spikes)[0] > 10:
        _, limit, usual = max(spikes)
        top, beyond = int(lengths[limit]), int(longer[limit])
        yield Fault(
            "truncated",
            f"{top:,} of {total:,} answers have exactly {limit:,} tokens, and {beyond:,} more, "
            f"where some {usual:.3g} would be expected: they were cut there (or padded), and their "
            "log-probs are those of beginnings; raise the maximum length or drop these pairs",
            top,
            rows(state, "longest") if limit == longest else (),
        )


SHORTER = 5
"""Different lengths of answers that a limit must have let through."""
