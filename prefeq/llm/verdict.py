"""Two sentences at the top of a report: how things stand, and what to do next."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from prefeq import text
from prefeq.llm.lookalikes import argument, mapping_of, option
from prefeq.llm.names import REWARDS

Figures = dict[str, Any]

REMEDIES = {
    "same_policy": "load a separate, frozen reference model",
    "step0_mismatch": "make policy and reference give the same log-probs before training starts",
    "positive_logp": "recompute the log-probs",
    "duplicate_columns": "look at how the columns are named",
    "swapped_columns": "exchange chosen and rejected in one of the two models",
    "sum_mean": "sum the token log-probs instead of averaging them",
    "label_reversed": "check which answer is the chosen one",
    "nonfinite": "mend or leave out the rows that cannot be used",
}
"""What to do about the faults that make rates meaningless."""

GRAVE_SHARE = 0.05
"""Rows that cannot be used, or hold no log-probs, are grave from this share on."""

FEW, MANY = 0.01, 0.05
"""Shares of violated pairs up to which DPO is unharmed, and from which on it is not."""


def verdict(found: Figures) -> tuple[str, str]:
    """Return how things stand, and what to do next: one sentence each.

    >>> verdict({"pairs": 0, "excluded": 3, "faults": [{"name": "nonfinite", "count": 3}]})[1]
    'Next: mend or leave out the rows that cannot be used, and audit again.'
    """
    grave = _grave(found)
    if found["pairs"] == 0:
        rows = counted(found["excluded"], "row")
        standing = f"Nothing could be measured: none of {rows} holds numbers only."
        return standing, f"Next: {REMEDIES['nonfinite']}, and audit again."
    if grave:
        return (
            f"These numbers are sick, and the rates below describe the fault, not the data: "
            f"{', '.join(grave)}.",
            f"Next: {REMEDIES[grave[0]]}, and audit again.",
        )
    if found["violation_rate"] is None:
        return _labels(found), _next_without_gap(found)
    return _violations(found), _next(found)


def is_sick(found: Figures) -> bool:
    """Tell whether the rates say nothing about the data, as the numbers are sick."""
    return found["pairs"] == 0 or bool(_grave(found))


def _grave(found: Figures) -> list[str]:
    rows = found["pairs"] + found["excluded"]
    least = {"nonfinite": GRAVE_SHARE * rows, "positive_logp": GRAVE_SHARE * rows}
    return [
        fault["name"]
        for fault in found["faults"]
        if fault["name"] in REMEDIES and fault["count"] >= least.get(fault["name"], 0)
    ]


def _violations(found: Figures) -> str:
    low, high = found["violation_rate_interval"]
    standing = (
        f"At beta = {found['beta']:g}, with {_logps(found)}, {percent(found['violation_rate'])} of "
        f"{counted(found['pairs'], 'pair')} violate the assumption behind DPO (interval "
        f"{percent(low)} to {percent(high)})"
    )
    return standing + _policy(found) + "."


def _labels(found: Figures) -> str:
    prob = found["critical_label_prob"]["quantiles"]
    half, last = (prob[share] for share in ("0.5", "0.95"))
    pairs = counted(found["pairs"], "pair")
    if half > 0.5:
        asks = f"asks for a label surer than {percent(half)} in half of {pairs}"
    else:  # the reference itself is right
        right = percent(1 - found["ref_below_zero"])
        asks = f"asks for no more than a label above one half in {right} of {pairs}"
    if last > 0.5 and found["pairs"] > 1:
        asks += f", and surer than {percent(last)} in one of twenty"
    return (
        f"At beta = {found['beta']:g}, with {_logps(found)}, the assumption behind DPO {asks}"
        f"{_policy(found)}."
    )


def _policy(found: Figures) -> str:
    if found["absolute_accuracy"] is None:
        return ""
    return (
        f"; the policy prefers the chosen answer in {percent(found['absolute_accuracy'])}, where "
        f"trainers log an accuracy of {percent(found['relative_accuracy'])}"
    )


def _next(found: Figures) -> str:
    share = found["violation_rate"]
    stuck = found["undesirable_share"] or 0.0
    if share <= FEW and stuck <= MANY:
        return (
            "Next: train with DPO as planned, and log absolute accuracy (delta > 0) beside the "
            "relative one."
        )
    if share <= FEW:
        return _leave(found)
    other = (found["by_normalize"] or {}).get(_other(found), {}).get("violation_rate")
    if other is not None and min(other, share) < max(other, share) / 2:
        return (
            f"Next: choose between sums and means over tokens first, as with the other choice "
            f"({_other(found)}) it is {percent(other)}; DPO itself is defined on sums."
        )
    calmer = [
        entry
        for entry in found["at_other_beta"]
        if entry["beta"] < found["beta"] and entry["violation_rate"] <= min(MANY, share / 2)
    ]
    if calmer:
        best = calmer[-1]
        return (
            f"Next: lower beta to {best['beta']:g}, where {percent(best['violation_rate'])} "
            "violate it, or take a loss whose targets are not negative (hypo, smooth)."
        )
    return (
        "Next: take a loss whose targets are not negative (hypo, smooth), or look at the pairs "
        "listed under examples, whose rewards and reference disagree most."
    )


def _next_without_gap(found: Figures) -> str:
    if (found["undesirable_share"] or 0.0) > MANY:
        return _leave(found)
    sure = next(e for e in found["violation_by_label_prob"] if e["label_prob"] == 0.9)
    likely = _likely(found)
    gap = {name: likely[name] for name in (*REWARDS, "label_prob") if name in likely}
    what = "add rewards or label probabilities"
    if gap:
        what = f"say that {_and(gap.values())} {'is' if len(gap) == 1 else 'are'} {_and(gap)}"
    return (
        f"Next: {what} to know how many pairs violate it; were every label 90 % sure, "
        f"{percent(sure['violation_rate'])} would."
    )


def _likely(found: Figures) -> dict[str, str]:
    """Return {our name: theirs} of the columns that are not read but look like ours."""
    likely = mapping_of(found.get("unused_columns") or {})
    return {ours: text.fit(theirs, 40) for ours, theirs in likely.items()}


def unused_hint(found: Figures) -> str | None:
    """Return which columns are not read, and how to have them read; None if none look like ours."""
    unused = found.get("unused_columns")
    if not unused:
        return None
    how = argument if found.get("files") is None else option
    names = ", ".join(text.fit(name, 40) for name in list(unused)[:8])
    more = f" and {len(unused) - 8:,} more" if len(unused) > 8 else ""
    return f"not used: {names}{more}; if they are what they look like: {how(_likely(found))}"


def _and(names: Iterable[str]) -> str:
    return " and ".join(names)


def _leave(found: Figures) -> str:
    return (
        f"Next: train on, or with a loss whose targets are not negative (hypo, smooth), as "
        f"{percent(found['undesirable_share'])} of the pairs are in the undesirable space, better "
        "than the reference and still wrong."
    )


def _other(found: Figures) -> str:
    return "mean" if found["normalize"] == "sum" else "sum"


def _logps(found: Figures) -> str:
    how = "summed" if found["normalize"] == "sum" else "averaged"
    return f"log-probs {how} over tokens"


def percent(share: float) -> str:
    """Return a share for a sentence.

    >>> percent(0.7101), percent(0.00031), percent(0.0), percent(0.99999), percent(1 - 1e-9)
    ('71.0 %', '0.031 %', '0 %', '99.999 %', '99.999 %')
    """
    if share in (0.0, 1.0):
        return f"{100 * share:.0f} %"
    if 0.001 <= share <= 0.999:
        return f"{100 * share:.1f} %"
    # Neither none nor all, however close.
    return f"{100 * share:.2g} %" if share < 0.5 else f"{min(100 * share, 99.999):.5g} %"


def counted(n: int, noun: str) -> str:
    """Return a number of things: 1 pair, 2 pairs."""
    return f"{n:,} {noun}" + ("" if n == 1 else "s")
