"""Sick numbers, each with its cause named: nine faults that columns of log-probs can show."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from prefeq.intervals import wilson
from prefeq.llm.chunking import DIFFERENCE
from prefeq.llm.columns import POLICY, REFERENCE, REWARDS, TOKENS
from prefeq.llm.examples import FIRST
from prefeq.llm.state import AuditState
from prefeq.llm.symptoms import TWINS


@dataclass(frozen=True)
class Fault:
    """Something that is wrong with the numbers, not with the data they describe.

    Attributes
    ----------
    name
        One of `NAMES`.
    message
        What was seen, what causes it, and what to do, in one line.
    count
        How many rows show it; of truncation, how many answers.
    rows
        The first few of them (of reversed labels, the worst), by `row_id` or number.
    """

    name: str
    message: str
    count: int
    rows: tuple[int | str, ...]


def find_faults(state: AuditState) -> tuple[Fault, ...]:
    """Return the faults that a state shows, the gravest kinds first."""
    return tuple(fault for detect in _DETECTORS for fault in detect(state))


def _nonfinite(state: AuditState) -> Iterator[Fault]:
    found = _of_columns(state, "excluded")
    if found:
        counts = state.symptoms.counts
        bad = {name.removeprefix("excluded ") for name in counts if counts[name]}
        causes = []
        if bad & {*POLICY, *REFERENCE, *REWARDS, "label_prob"}:
            causes.append(
                "NaN and infinities come from overflow in half precision, from empty answers or "
                "from missing values; recompute these rows in float32"
            )
        if bad & {*TOKENS}:
            causes.append(
                "token counts have to be positive numbers; count the tokens of each answer again, "
                "and drop pairs with an empty one"
            )
        if DIFFERENCE in bad:
            causes.append(
                "numbers so large that their difference is infinite are no log-probs of texts; "
                "look at where they come from"
            )
        yield Fault(
            "nonfinite",
            f"{state.excluded:,} of {state.excluded + state.pairs:,} rows cannot be used ({found}) "
            f"and were left out: {'; '.join(causes)}",
            state.excluded,
            _rows(state, "excluded"),
        )


def _positive_logp(state: AuditState) -> Iterator[Fault]:
    counts = state.symptoms.counts
    if not counts["positive"]:
        return
    entries = state.pairs * sum(counts[f"positive {n}"] > 0 for n in (*POLICY, *REFERENCE))
    most = sum(counts[f"positive {n}"] for n in (*POLICY, *REFERENCE)) > entries / 2
    cause = (
        "most of these columns is positive, so they hold losses (negative log-likelihoods): change "
        "their sign"
        if most
        else "these are no log-probabilities of texts, but scores, logits or log-ratios; sum "
        "log_softmax over the answer's tokens"
    )
    yield Fault(
        "positive_logp",
        f"{counts['positive']:,} of {state.pairs:,} pairs have a log-probability above 0 "
        f"({_of_columns(state, 'positive')}): {cause}",
        counts["positive"],
        _rows(state, "positive"),
    )


def _same_policy(state: AuditState) -> Iterator[Fault]:
    if _same(state) and not state.plan.step0:
        yield Fault(
            "same_policy",
            f"policy and reference have the same margin in all {state.pairs:,} pairs (x = 0, a DPO "
            "loss of 0.6931 for ever): they are one model, or one was copied over the other; keep "
            "a frozen copy as the reference (log-probs taken before training need step0)",
            state.pairs,
            _rows(state, "all"),
        )


def _same(state: AuditState) -> bool:
    return state.pairs > 0 and state.lows.get("x") == 0 == state.highs.get("x")


def _step0_mismatch(state: AuditState) -> Iterator[Fault]:
    count = state.symptoms.counts["step0"]
    if count:
        yield Fault(
            "step0_mismatch",
            f"at step 0 policy and reference differ in {count:,} of {state.pairs:,} pairs, by up "
            f"to {state.highs['step0']:.3g} nats: dropout is on, or they were loaded in different "
            "precision, with other attention, padding or parallelism, or from different weights",
            count,
            _rows(state, "step0"),
        )


def _duplicate_columns(state: AuditState) -> Iterator[Fault]:
    present = {*state.plan.layout.numbers}
    alike = [t for t in TWINS if set(t) <= present and t not in state.symptoms.unlike]
    models = {(POLICY[0], REFERENCE[0]), (POLICY[1], REFERENCE[1])}
    if state.plan.step0 or models <= set(alike):
        alike = [twins for twins in alike if twins not in models]  # expected, or `same_policy`
    if state.pairs >= 2 and alike:
        names = "; ".join(f"{one} = {other}" for one, other in alike)
        cause = (
            "the two rewards are one column: there is no gap to compare with"
            if alike == [REWARDS]
            else "one column was written over, or read twice; look at how the columns are named"
        )
        yield Fault(
            "duplicate_columns",
            f"two columns are the same in all {state.pairs:,} pairs ({names}): {cause}",
            state.pairs,
            _rows(state, "all"),
        )


def _swapped_columns(state: AuditState) -> Iterator[Fault]:
    n = state.pairs
    if not state.plan.layout.policy or n < 10:
        return
    names = ("margin", "ref", "margin²", "ref²", "margin·ref")
    means = [_mean(state, f"some {name}", "some") for name in names]
    if not all(map(math.isfinite, means)):
        return
    m, r, mm, rr, mr = means
    spread = math.sqrt(max(mm - m * m, 0) * max(rr - r * r, 0))
    across, along = mm + rr + 2 * mr, mm + rr - 2 * mr  # E(δ + δ_ref)², E(δ − δ_ref)²
    chance = math.tanh(SURE / math.sqrt(n - 3))  # Fisher's z
    if spread > 0 and (mr - m * r) / spread < -max(0.5, chance) and across < along / 2:
        yield Fault(
            "swapped_columns",
            f"the margins of policy and reference are opposite (correlation "
            f"{(mr - m * r) / spread:.2f} over {n:,} pairs): chosen and rejected are exchanged in "
            "one of the two models; exchange ref_chosen_logps and ref_rejected_logps, or the "
            "policy's, whichever is wrong",
            n,
            _rows(state, "all"),
        )


def _sum_mean(state: AuditState) -> Iterator[Fault]:
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
            _rows(state, "all"),
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
    means = [_mean(state, name, "some answers") for name in parts]
    if not all(map(math.isfinite, means)):
        return False
    t, y, tt, yy, ty, size, tokens = means
    if size > LARGEST_MEAN:
        return False
    n, per_token = _mean(state, "some answers", None), size / tokens
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

SURE = 4.0
"""Standard errors from which on a correlation is no chance."""

LEAST_SPREAD = 0.05
"""Standard deviation of log(tokens) from which on a slope is looked at."""


def _truncated(state: AuditState) -> Iterator[Fault]:
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
            _rows(state, "longest") if limit == longest else (),
        )


SHORTER = 5
"""Different lengths of answers that a limit must have let through."""


def _label_reversed(state: AuditState) -> Iterator[Fault]:
    if not state.plan.layout.gap or not state.pairs:
        return
    place = state.plan.place("reward below zero")
    count = int(state.counts[place])
    if state.clusters is None:
        sampled, low = state.pairs, wilson(count, state.pairs, LABEL_LEVEL).low
    else:
        sampled, low = len(state.clusters), state.clusters.interval(place, LABEL_LEVEL).low
    if sampled >= FEWEST and low > 0.5:
        rewards = state.plan.layout.gap == "rewards"
        what = "chosen_reward below rejected_reward" if rewards else "label_prob below one half"
        yield Fault(
            "label_reversed",
            f"{count:,} of {state.pairs:,} pairs have {what}: labels and rewards point opposite "
            "ways; chosen and rejected are exchanged, or the reward is a cost (change its sign)",
            count,
            tuple(row.name for row in state.worst["reversed"].rows if row.value < 0),
        )


LABEL_LEVEL, FEWEST = 0.999, 10
"""How sure it must be that most labels are reversed, and of how many pairs (or prompts)."""


_DETECTORS: tuple[Callable[[AuditState], Iterator[Fault]], ...] = (
    _nonfinite,
    _positive_logp,
    _same_policy,
    _step0_mismatch,
    _duplicate_columns,
    _swapped_columns,
    _sum_mean,
    _truncated,
    _label_reversed,
)

NAMES = tuple(detect.__name__.lstrip("_") for detect in _DETECTORS)
"""The names of the faults, in the order in which they are looked for."""


def _mean(state: AuditState, name: str, count: str | None) -> float:
    """Return a sum divided by a count, itself a sum; NaN where infinities cancelled."""
    total = state.sums[name].value()
    n = 1.0 if count is None else state.sums[count].value()
    return math.nan if total is None or not n else total / n


def _rows(state: AuditState, kind: str) -> tuple[int | str, ...]:
    return tuple(row.name for row in state.symptoms.rows[kind].rows[:FIRST])


def _of_columns(state: AuditState, kind: str) -> str:
    """Return how many entries of which columns, as text."""
    found = [
        f"{name.removeprefix(kind).strip()} {count:,}"
        for name, count in sorted(state.symptoms.counts.items())
        if name.startswith(f"{kind} ")
    ]
    return ", ".join(found)
