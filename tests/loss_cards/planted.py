"""Losses to analyse: DPO as it should be, the released branches, and DPO with one thing wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

BETA = 0.1


def margins(c: Any, r: Any, rc: Any, rr: Any) -> Any:
    return (c - r) - (rc - rr)


def softplus(z: Any) -> Any:
    return np.logaddexp(0.0, z)


def dpo(c: Any, r: Any, rc: Any, rr: Any, beta: float = BETA) -> Any:
    return softplus(-beta * margins(c, r, rc, rr))


# --- the three losses of the released code, from their formulas ----------------------------------


def released_clip(c: Any, r: Any, rc: Any, rr: Any, beta: float = BETA) -> Any:
    return softplus(-beta * ((c - r) - np.maximum(rc - rr, 0.0)))


def released_easy(c: Any, r: Any, rc: Any, rr: Any, beta: float = BETA, gamma: float = 0.1) -> Any:
    return softplus(-(beta * margins(c, r, rc, rr) - gamma * (1 / rc + 1 / rr)))


def released_smooth(
    c: Any, r: Any, rc: Any, rr: Any, beta: float = BETA, alpha: float = 1.0, tau: float = 1.0,
    gamma: float = 0.0,
) -> Any:  # fmt: skip
    ref = rc - rr
    target = ref + softplus(tau * (gamma - ref)) / (alpha * tau)
    return softplus(-beta * ((c - r) - target))


# --- DPO with one thing wrong, in NumPy ----------------------------------------------------------


def negated(c: Any, r: Any, rc: Any, rr: Any, beta: float = BETA) -> Any:
    return -softplus(-beta * margins(c, r, rc, rr))


def wrong_sign(c: Any, r: Any, rc: Any, rr: Any, beta: float = BETA) -> Any:
    return softplus(beta * margins(c, r, rc, rr))


def swapped_reference(c: Any, r: Any, rc: Any, rr: Any, beta: float = BETA) -> Any:
    return softplus(-beta * ((c - r) - (rr - rc)))


def swapped_sides(c: Any, r: Any, rc: Any, rr: Any, beta: float = BETA) -> Any:
    return softplus(-beta * ((r - c) - (rc - rr)))


def without_beta(c: Any, r: Any, rc: Any, rr: Any, beta: float = BETA) -> Any:
    return softplus(-margins(c, r, rc, rr))


def beta_on_policy(c: Any, r: Any, rc: Any, rr: Any, beta: float = BETA) -> Any:
    return softplus(-(beta * (c - r) - (rc - rr)))


def beta_outside(c: Any, r: Any, rc: Any, rr: Any, beta: float = BETA) -> Any:
    return beta * softplus(-margins(c, r, rc, rr))


def one_sided(c: Any, r: Any, rc: Any, rr: Any, beta: float = BETA) -> Any:
    return softplus(-beta * ((c - r) - rc))


def added(c: Any, r: Any, rc: Any, rr: Any, beta: float = BETA) -> Any:
    return softplus(-beta * ((c - rc) + (r - rr)))


def summed(c: Any, r: Any, rc: Any, rr: Any, beta: float = BETA) -> Any:
    return softplus(-beta * margins(c, r, rc, rr)).sum()


def mean_inside(c: Any, r: Any, rc: Any, rr: Any, beta: float = BETA) -> Any:
    return softplus(-beta * margins(c, r, rc, rr).mean())


def per_token(
    c: Any, r: Any, rc: Any, rr: Any, chosen_tokens: Any, rejected_tokens: Any, beta: float = BETA
) -> Any:
    return softplus(-beta * ((c - rc) / chosen_tokens - (r - rr) / rejected_tokens))


def smoothed_wrongly(
    c: Any, r: Any, rc: Any, rr: Any, beta: float = BETA, label_smoothing: float = 0.1
) -> Any:
    z = beta * margins(c, r, rc, rr)
    return label_smoothing * softplus(-z) + (1 - label_smoothing) * softplus(z)


def clamped(c: Any, r: Any, rc: Any, rr: Any, beta: float = BETA) -> Any:
    return softplus(-np.clip(beta * margins(c, r, rc, rr), -5, 5))


def in_float32(c: Any, r: Any, rc: Any, rr: Any, beta: float = BETA) -> Any:
    return softplus((-beta * margins(c, r, rc, rr)).astype(np.float32)).astype(np.float64)


def naive(c: Any, r: Any, rc: Any, rr: Any, beta: float = BETA) -> Any:
    return np.log(1 + np.exp(-beta * margins(c, r, rc, rr)))


def of_probabilities(c: Any, r: Any, rc: Any, rr: Any, beta: float = BETA) -> Any:
    return softplus(-beta * margins(*map(np.exp, (c, r, rc, rr))))


def constant(c: Any, r: Any, rc: Any, rr: Any, beta: float = BETA) -> Any:
    return softplus(0.0 * c)


FAULTS: dict[str, Callable[..., Any]] = {
    "sign": wrong_sign,
    "swapped-reference": swapped_reference,
    "swapped-sides": swapped_sides,
    "missing-beta": without_beta,
    "beta-on-policy-only": beta_on_policy,
    "beta-outside": beta_outside,
    "one-sided-reference": one_sided,
    "added-sides": added,
    "batch-sum": summed,
    "mean-in-link": mean_inside,
    "smoothing-wrong-side": smoothed_wrongly,
    "clamp": clamped,
    "dtype": in_float32,
    "overflow": naive,
    "probabilities": of_probabilities,
    "constant": constant,
}
"""The fault that the card has to name, and the code that has it."""


def torch_faults() -> dict[str, Callable[..., Any]]:
    """The same in torch, with those that only autograd can have."""
    from torch.nn.functional import logsigmoid

    def detached(c: Any, r: Any, rc: Any, rr: Any, beta: float = BETA) -> Any:
        return -logsigmoid(beta * margins(c.detach(), r.detach(), rc, rr))

    def half(c: Any, r: Any, rc: Any, rr: Any, beta: float = BETA) -> Any:
        return -logsigmoid(beta * margins(c, r.detach(), rc, rr))

    def own_reference(c: Any, r: Any, rc: Any, rr: Any, beta: float = BETA) -> Any:
        return -logsigmoid(beta * margins(c, r, c.detach(), r.detach()))

    def cut(c: Any, r: Any, rc: Any, rr: Any, beta: float = BETA) -> Any:
        return -logsigmoid((beta * margins(c, r, rc, rr)).clamp(-5, 5)).mean()

    def swapped(c: Any, r: Any, rc: Any, rr: Any, beta: float = BETA) -> Any:
        return -logsigmoid(beta * margins(c, r, rr, rc)), None, None

    def half_precision(c: Any, r: Any, rc: Any, rr: Any, beta: float = BETA) -> Any:
        import torch

        return -logsigmoid((beta * margins(c, r, rc, rr)).to(torch.bfloat16))

    return {
        "detached-policy": detached,
        "half-detached": half,
        "gradient-mismatch": own_reference,
        "clamp": cut,
        "swapped-reference": swapped,
        "dtype": half_precision,
    }
