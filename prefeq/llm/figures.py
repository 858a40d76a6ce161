"""From the state of an audit to its figures: a plain dict, the JSON form of a report."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Any

import numpy as np

from prefeq import margins
from prefeq._namespace import Array, quiet
from prefeq.arrays import FloatArray
from prefeq.intervals import Interval, wilson
from prefeq.llm import sketch
from prefeq.llm.certificates import certificate
from prefeq.llm.faults import find_faults
from prefeq.llm.plan import FAMILY, TRAPS
from prefeq.llm.sketch import rank_of
from prefeq.llm.state import AuditState
from prefeq.losses import LOSSES

QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)

RATES = {
    "violation_rate": "violated 0",
    "ref_below_zero": "ref_below_zero",
    "relative_accuracy": "relative",
    "absolute_accuracy": "absolute",
    "undesirable_share": "undesirable",
    "displaced_share": "displaced",
    "reward_below_zero": "reward below zero",
}
"""The rates of a report, and the shares they are."""

EXAMPLES: dict[str, Callable[[float], bool]] = {
    "violated": lambda surplus: surplus <= 0,
    "ref_below_zero": lambda margin: margin < 0,
    "misaligned": lambda margin: margin <= 0,
    "undesirable": lambda margin: margin < 0,
    "worsened": lambda relative: relative <= 0,
    "displaced": lambda rise: rise < 0,
}
"""The kinds of example, and which values belong to them."""

ROUNDING = 16 * 2.0**-52
"""Of a mean of squares: as much may be lost in it."""

Figures = dict[str, Any]


def figures(state: AuditState) -> Figures:
    """Return every figure of an audit but its verdict; None for what a missing column prevents."""
    plan = state.plan
    found: Figures = {
        "pairs": state.pairs,
        "excluded": state.excluded,
        "beta": plan.beta,
        "normalize": plan.normalize,
        "step0": plan.step0,
        "level": plan.level,
        "reward_gap": plan.layout.gap,
        "prompts": None if state.clusters is None else len(state.clusters),
    }
    for name, share in RATES.items():
        found |= rate(state, name, share)
    for name, kept in (("margin", "margin"), ("ref_margin", "ref")):
        has = kept in state.sketches
        found[name] = {"mean": mean(state, kept), **quantiles(state, kept)} if has else None
    found["relative_margin"] = _relative(state)
    found |= _of_reference(state, plan.beta)
    found["exit_time"] = _exit_time(state)
    found["quantile_error"] = {"relative": sketch.RELATIVE, "absolute": sketch.ABSOLUTE}
    found["losses"] = {name: _loss(state, name) for name in FAMILY}
    labels = plan.labels(0)
    found["violation_by_label_prob"] = _by_label(state, 0) if labels else None
    order = sorted(range(len(plan.all_betas)), key=lambda i: plan.all_betas[i])
    found["at_other_beta"] = [_at_beta(state, i) for i in order]
    found["by_normalize"] = _by_normalize(state) if plan.other else None
    found["examples"] = {
        kind: [
            {"row": row.name, "value": row.value}
            for row in state.worst[kind].rows
            if belongs(row.value)
        ]
        for kind, belongs in EXAMPLES.items()
        if kind in state.worst
    }
    found["faults"] = [
        {"name": f.name, "message": f.message, "rows": list(f.rows), "count": f.count}
        for f in find_faults(state)
    ]
    return found


def rate(state: AuditState, name: str, share: str | None) -> Figures:
    """Return {name: share of the pairs, name_interval: its interval}; a share None is 0 for sure.

    None for both if the share is not counted, or of no pairs.
    """
    if state.pairs == 0:
        return {name: None, f"{name}_interval": None}
    if share is None:
        return {name: 0.0, f"{name}_interval": [0.0, 0.0]}
    try:
        place = state.plan.place(share)
    except KeyError:
        return {name: None, f"{name}_interval": None}
    count = int(state.counts[place])
    return {name: count / state.pairs, f"{name}_interval": list(_interval(state, place, count))}


def _interval(state: AuditState, place: int, count: int) -> Interval:
    if state.clusters is not None:
        return state.clusters.interval(place, state.plan.level)
    return wilson(count, state.pairs, state.plan.level)


def mean(state: AuditState, name: str) -> float | None:
    """Return the mean of a value over the pairs."""
    return state.sums[name].mean(state.pairs) if name in state.sums else None


def quantiles(
    state: AuditState, name: str, of: Callable[[Array], Array] = np.asarray, falling: bool = False
) -> Figures:
    """Return {"quantiles": {share: value}} of a sketched value, or of a monotone function of it."""
    return {"quantiles": _labelled(of(_ranked(state, name, falling)[:, 1]))}


def _ranked(state: AuditState, name: str, falling: bool = False) -> FloatArray:
    """Return the order statistics; of a falling function, those that become its quantiles."""
    found = state.sketches[name]
    n = state.pairs
    ranks = [rank_of(share, n) for share in QUANTILES]
    return found.ranked([n + 1 - rank for rank in ranks] if falling else ranks)


def _labelled(values: Array) -> dict[str, Any]:
    shares = (f"{share:g}" for share in QUANTILES)
    return dict(zip(shares, (np.asarray(values, np.float64) + 0.0).tolist(), strict=True))


def _relative(state: AuditState) -> Figures | None:
    if "x" not in state.lows:
        return None
    difference = state.sums["margin"].less(state.sums["ref"])
    return {
        "mean": difference.mean(state.pairs),
        "least": state.lows["x"],
        "largest": state.highs["x"],
    }


@quiet
def _of_reference(state: AuditState, beta: float) -> Figures:
    """Return what follows from the reference margin alone: gaps and label probabilities."""
    if state.pairs == 0:
        return {"critical_gap": None, "critical_label_prob": None}
    ref = _ranked(state, "ref", falling=True)
    found = {}
    for name, of in (
        ("critical_gap", margins.critical_gap),
        ("critical_label_prob", margins.critical_label_prob),
    ):
        values = np.asarray(of(ref, beta))
        found[name] = {"quantiles": _labelled(values[:, 1]), "bounds": _labelled(values[:, ::-2])}
    return found


@quiet
def _exit_time(state: AuditState) -> Figures | None:
    """Return how long gradient flow from the reference takes to leave U, with bounds."""
    if state.pairs == 0:
        return None
    ref, beta = _ranked(state, "ref", falling=True), state.plan.beta
    time = np.asarray(margins.exit_time(ref, beta)) + 0.0
    return {
        "quantiles": _labelled(time[:, 1]),
        "log_quantiles": _labelled(margins.log_exit_time(ref[:, 1], beta)),
        "bounds": _labelled(time[:, ::-2]),
    }


def _loss(state: AuditState, name: str) -> Figures:
    """Return the entry of one loss of the family."""
    plan, loss = state.plan, LOSSES[name]
    per_token = name in ("ipo", "simpo") and plan.layout.tokens
    found: Figures = {
        "mean": mean(state, name),
        "mean_interval": _mean_interval(state, name),
        "normalize": "mean" if per_token else plan.normalize,
        "what": loss.summary,
    }
    negative = {"easy": "easy negative", "ipo": "ipo negative"}.get(name, "ref_below_zero")
    never = name in ("hypo", "smooth", "simpo")
    found |= rate(state, "negative_target_share", None if never else negative)
    found |= rate(state, "trap_share", f"{name} trap 0" if name in TRAPS else None)
    if state.pairs == 0:
        return found | {"target": None, "certificate": None}
    ref = plan.per_token if name == "ipo" else "ref"

    def target(value: Array) -> Array:
        return loss.target(value, plan.beta)

    if name == "easy":
        average, least = mean(state, "easy target"), state.lows["easy"]
        found["target"] = {"mean": average, **quantiles(state, "easy")}
    else:
        sums = {"hypo": "hypo target", "smooth": "smooth target"}
        average = float(target(0.0)) if name == "simpo" else mean(state, sums.get(name, ref))
        least = float(target(state.lows[ref]))
        found["target"] = {"mean": average, **quantiles(state, ref, target)}
    known = found["mean"] is not None and average is not None
    other = found["normalize"] != plan.normalize
    found["certificate"] = (
        certificate(loss, found["mean"], average or 0.0, least, plan.beta, per_token=other)
        if known
        else None
    )
    return found


def _mean_interval(state: AuditState, name: str) -> list[float] | None:
    """Return a normal interval of a mean loss; None by prompt, for which too little is kept."""
    n, average = state.pairs, mean(state, name)
    square = mean(state, f"{name}²")
    if average is None or square is None or state.clusters is not None or n < 2:
        return None
    if not math.isfinite(square):
        return None
    z = NormalDist().inv_cdf((1 + state.plan.level) / 2)
    least = ROUNDING * square  # what the difference of two rounded means can hide
    spread = z * math.sqrt(max(square - average * average, least) / (n - 1))
    return [max(0.0, average - spread), average + spread]


def _by_label(state: AuditState, i: int) -> list[Figures]:
    """Return the violation rate, were every label of some probability, at β number i."""
    beta = state.plan.all_betas[i]
    return [
        {"label_prob": prob, "reward_gap": float(margins.logit(prob)), "beta": beta}
        | rate(state, "violation_rate", f"violated {i} at {prob}")
        for prob in state.plan.labels(i)
    ]


def _at_beta(state: AuditState, i: int) -> Figures:
    """Return what the data would look like at β number i."""
    beta = state.plan.all_betas[i]
    found: Figures = {"beta": beta} | rate(state, "violation_rate", f"violated {i}")
    found["violation_by_label_prob"] = _by_label(state, i) or None
    for name in TRAPS:
        found |= rate(state, f"{name}_trap_share", f"{name} trap {i}")
    return found | _of_reference(state, beta)


def _by_normalize(state: AuditState) -> Figures:
    """Return what the choice between sums and means over tokens does."""
    found = {}
    for kind, violated, negative, sketched in (
        (state.plan.normalize, "violated 0", "ref_below_zero", "ref"),
        (state.plan.other, "violated other", "other below zero", "other"),
    ):
        entry = rate(state, "violation_rate", violated) | rate(state, "ref_below_zero", negative)
        if state.pairs:
            median = _ranked(state, sketched, falling=True)[QUANTILES.index(0.5), 1]
            entry["critical_gap_median"] = float(margins.critical_gap(median, state.plan.beta))
        found[str(kind)] = entry
    return {kind: found[kind] for kind in ("sum", "mean")}
