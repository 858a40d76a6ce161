"""The figures of an audit by the shortest way: whole arrays, the package's public functions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from prefeq import margins
from prefeq.intervals import wilson, wilson_clustered
from prefeq.losses import LOSSES, Reference

Data = Mapping[str, Any]
LOGPS = ("chosen_logps", "rejected_logps", "ref_chosen_logps", "ref_rejected_logps")
FAMILY = ("dpo", "hypo", "smooth", "easy", "simpo", "ipo", "hinge", "cdpo")


def draw(rng: np.random.Generator, n: int, kind: str = "plain") -> dict[str, Any]:
    """Return columns of n pairs: "plain", "ties" of small integers, or "extreme", to ±800 nats."""
    tokens = rng.integers(5, 200, (2, n))
    if kind == "ties":
        logps = -rng.integers(0, 4, (4, n)).astype(np.float64)
        gap = rng.integers(-2, 3, n) / 2
        beta_like = rng.integers(-3, 4, n)
        gap = np.where(rng.random(n) < 0.5, gap, 0.5 * beta_like)
    else:
        scale = 800.0 if kind == "extreme" else 1.0
        noise = scale * 20 if kind == "plain" else 400.0
        logps = -tokens[[0, 1, 0, 1]] * rng.gamma(4, 0.2, n) - noise * rng.random((4, n))
        gap = rng.normal(1, 2, n)
        if kind == "extreme":
            logps[:, ::7] *= 10.0 ** rng.integers(-9, 1, (4, 1))
            logps[0, : n // 3] = logps[1, : n // 3] + rng.choice([-800.0, 800.0], n // 3)
            logps[0] = np.minimum(logps[0], 0)
    data = dict(zip(LOGPS, logps, strict=True))
    reward = rng.normal(0, 1, n).round(2)
    data |= {"chosen_reward": reward + gap, "rejected_reward": reward}
    data |= {"chosen_tokens": tokens[0], "rejected_tokens": tokens[1]}
    data["prompt"] = [f"prompt {i}" for i in rng.integers(0, max(2, n // 5), n)]
    return data


def only(data: Data, *groups: str) -> dict[str, Any]:
    """Return the log-probs, and the columns of the groups: "gap", "tokens", "prompt"."""
    names = {
        "policy": LOGPS[:2],
        "gap": ("chosen_reward", "rejected_reward"),
        "label": ("label_prob",),
        "tokens": ("chosen_tokens", "rejected_tokens"),
        "prompt": ("prompt",),
    }
    wanted = [*LOGPS[2:], *(name for group in groups for name in names[group])]
    return {name: data[name] for name in wanted}


def figures(data: Data, beta: float, normalize: str = "sum", level: float = 0.95) -> dict[str, Any]:
    """Return the figures: rates with intervals, means, sorted values for quantiles."""
    data = {k: np.asarray(v) if k != "prompt" else v for k, v in data.items()}
    c, d = data["ref_chosen_logps"], data["ref_rejected_logps"]
    a, b = data.get("chosen_logps"), data.get("rejected_logps")
    sums = _margins(a, b, c, d)
    means = sums
    if "chosen_tokens" in data:
        lengths = [data["chosen_tokens"], data["rejected_tokens"]]
        means = _margins(
            *(v if v is None else v / k for v, k in zip((a, b, c, d), lengths * 2, strict=True))
        )
    main = sums if normalize == "sum" else means
    prompts = data.get("prompt")

    def rate(flags: Any) -> tuple[float, tuple[float, float]]:
        flags = np.asarray(flags, bool)
        if prompts is None:
            return float(np.mean(flags)), tuple(wilson(int(flags.sum()), flags.size, level))
        keys, place = np.unique(np.asarray(prompts), return_inverse=True)
        counts = np.bincount(place, weights=flags).astype(int).tolist()
        totals = np.bincount(place).tolist()
        assert len(keys) == len(totals)
        return float(np.mean(flags)), tuple(wilson_clustered(counts, totals, level))

    found: dict[str, Any] = {"rates": {}, "losses": {}}
    found["ref"], found["gap"] = main["ref"], _gap(data)
    rates = found["rates"]
    rates["ref_below_zero"] = rate(main["ref"] < 0)
    if a is not None:
        found["margin"] = main["policy"]
        rates["relative_accuracy"] = rate(main["policy"] - main["ref"] > 0)
        rates["absolute_accuracy"] = rate(main["policy"] > 0)
        rates["undesirable_share"] = rate(margins.undesirable(main["policy"], main["ref"]))
        rates["displaced_share"] = rate((main["a"] < main["c"]) & (main["b"] < main["d"]))
    if found["gap"] is not None:
        holds = margins.assumption_holds(main["ref"], found["gap"], beta)
        rates["violation_rate"] = rate(~np.asarray(holds))
        rates["reward_below_zero"] = rate(found["gap"] < 0)
    for name in FAMILY:
        at = means if name in ("ipo", "simpo") else main
        ref = Reference(at["c"], at["d"]) if name == "easy" else at["ref"]
        loss = LOSSES[name]
        target = np.broadcast_to(loss.target(ref, beta), at["ref"].shape)
        entry: dict[str, Any] = {
            "target": target,
            "negative_target_share": rate(target < 0),
            "trap_share": rate(loss.traps(ref, beta)),
        }
        if a is not None:
            value = np.asarray(loss.value(at["policy"], ref, beta))
            entry["mean"] = math.fsum(value.tolist()) / value.size
            entry["values"] = value
        found["losses"][name] = entry
    return found


def violated(ref: Any, gap: Any, beta: float) -> float:
    """Return the share of pairs that violate the assumption."""
    return float(np.mean(~np.asarray(margins.assumption_holds(ref, gap, beta))))


def _margins(a: Any, b: Any, c: Any, d: Any) -> dict[str, Any]:
    policy = None if a is None else a - b
    return {"a": a, "b": b, "c": c, "d": d, "ref": c - d, "policy": policy}


def _gap(data: Data) -> Any:
    if "label_prob" in data:
        return np.asarray(margins.logit(data["label_prob"]))
    if "chosen_reward" in data:
        return data["chosen_reward"] - data["rejected_reward"]
    return None
