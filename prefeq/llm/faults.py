"""Sick numbers, each with its cause named: nine faults that columns of log-probs can show."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from prefeq.intervals import wilson
from prefeq.llm.chunking import DIFFERENCE
from prefeq.llm.columns import POLICY, REFERENCE, REWARDS, TOKENS
from prefeq.llm.fault import Fault, mean, rows
from prefeq.llm.length_faults import sum_mean, truncated
from prefeq.llm.state import AuditState
from prefeq.llm.symptoms import TWINS


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
            rows(state, "excluded"),
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
        rows(state, "positive"),
    )


def _same_policy(state: AuditState) -> Iterator[Fault]:
    if _same(state) and not state.plan.step0:
        yield Fault(
            "same_policy",
            f"policy and reference have the same margin in all {state.pairs:,} pairs (x = 0, a DPO "
            "loss of 0.6931 for ever): they are one model, or one was copied over the other; keep "
            "a frozen copy as the reference (log-probs taken before training need step0)",
            state.pairs,
            rows(state, "all"),
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
            rows(state, "step0"),
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
            rows(state, "all"),
        )


def _swapped_columns(state: AuditState) -> Iterator[Fault]:
    n = state.pairs
    if not state.plan.layout.policy or n < 10:
        return
    names = ("margin", "ref", "margin²", "ref²", "margin·ref")
    means = [mean(state, f"some {name}", "some") for name in names]
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
            rows(state, "all"),
        )


SURE = 4.0
"""Standard errors from which on a correlation is no chance."""


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
    sum_mean,
    truncated,
    _label_reversed,
)

NAMES = tuple(detect.__name__.lstrip("_") for detect in _DETECTORS)
"""The names of the faults, in the order in which they are looked for."""


def _of_columns(state: AuditState, kind: str) -> str:
    """Return how many entries of which columns, as text."""
    found = [
        f"{name.removeprefix(kind).strip()} {count:,}"
        for name, count in sorted(state.symptoms.counts.items())
        if name.startswith(f"{kind} ")
    ]
    return ", ".join(found)
