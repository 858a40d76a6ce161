"""A correct DPO loss, in NumPy and in torch, and the same with one fault each."""

from __future__ import annotations

from typing import Any

import numpy as np

SMOOTHING = 0.1


def dpo(
    chosen_logps: Any,
    rejected_logps: Any,
    ref_chosen_logps: Any,
    ref_rejected_logps: Any,
    beta: float = 0.1,
) -> Any:
    x = chosen_logps - rejected_logps - (ref_chosen_logps - ref_rejected_logps)
    return np.logaddexp(0, -beta * x)


def dpo_mean(c: Any, r: Any, rc: Any, rr: Any, beta: float = 0.1) -> Any:
    return dpo(c, r, rc, rr, beta).mean()


def smoothed(c: Any, r: Any, rc: Any, rr: Any, beta: float = 0.1, eps: float = SMOOTHING) -> Any:
    z = beta * (c - r - rc + rr)
    return (1 - eps) * np.logaddexp(0, -z) + eps * np.logaddexp(0, z)


# Faults in NumPy -----------------------------------------------------------------------------


def sign(c: Any, r: Any, rc: Any, rr: Any, beta: float = 0.1) -> Any:
    return np.logaddexp(0, beta * (c - r - rc + rr))


def swapped_reference(c: Any, r: Any, rc: Any, rr: Any, beta: float = 0.1) -> Any:
    return dpo(c, r, rr, rc, beta)


def swapped_sides(c: Any, r: Any, rc: Any, rr: Any, beta: float = 0.1) -> Any:
    return dpo(r, c, rc, rr, beta)


def missing_beta(c: Any, r: Any, rc: Any, rr: Any, beta: float = 0.1) -> Any:
    return dpo(c, r, rc, rr, 1.0)


def beta_on_policy_only(c: Any, r: Any, rc: Any, rr: Any, beta: float = 0.1) -> Any:
    return np.logaddexp(0, -(beta * (c - r) - (rc - rr)))


def one_sided_reference(c: Any, r: Any, rc: Any, rr: Any, beta: float = 0.1) -> Any:
    return dpo(c, r, rc, 0 * rr, beta)


def sum_for_mean(c: Any, r: Any, rc: Any, rr: Any, beta: float = 0.1) -> Any:
    return dpo(c, r, rc, rr, beta).sum()


def per_token(
    c: Any,
    r: Any,
    rc: Any,
    rr: Any,
    chosen_tokens: Any,
    rejected_tokens: Any,
    beta: float = 0.1,
) -> Any:
    return dpo(c / chosen_tokens, r / rejected_tokens, rc / chosen_tokens, rr / rejected_tokens)


def mean_in_link(c: Any, r: Any, rc: Any, rr: Any, beta: float = 0.1) -> Any:
    return np.logaddexp(0, -beta * (c - r - rc + rr).mean())


def smoothing_wrong_side(
    c: Any, r: Any, rc: Any, rr: Any, beta: float = 0.1, eps: float = SMOOTHING
) -> Any:
    return smoothed(c, r, rc, rr, beta, 1 - eps)


def clamped(c: Any, r: Any, rc: Any, rr: Any, beta: float = 0.1) -> Any:
    return np.logaddexp(0, -np.clip(beta * (c - r - rc + rr), -5, 5))


def half_precision(c: Any, r: Any, rc: Any, rr: Any, beta: float = 0.1) -> Any:
    return dpo(*(x.astype(np.float32) for x in (c, r, rc, rr)), beta).astype(np.float64)


def overflowing(c: Any, r: Any, rc: Any, rr: Any, beta: float = 0.1) -> Any:
    return np.log(1 + np.exp(-beta * (c - r - rc + rr)))


def probabilities(c: Any, r: Any, rc: Any, rr: Any, beta: float = 0.1) -> Any:
    return dpo(*(np.exp(x) for x in (c, r, rc, rr)), beta)


# In torch, imported when they are called ------------------------------------------------------


def torch_dpo(c: Any, r: Any, rc: Any, rr: Any, beta: float = 0.1) -> Any:
    from torch.nn.functional import logsigmoid

    return -logsigmoid(beta * (c - r - rc + rr)).mean()


def detached_policy(c: Any, r: Any, rc: Any, rr: Any, beta: float = 0.1) -> Any:
    return torch_dpo(c.detach(), r.detach(), rc, rr, beta)


def half_detached(c: Any, r: Any, rc: Any, rr: Any, beta: float = 0.1) -> Any:
    return torch_dpo(c, r.detach(), rc, rr, beta)


def torch_nan(c: Any, r: Any, rc: Any, rr: Any, beta: float = 0.1) -> Any:
    import torch

    return -torch.log(torch.sigmoid(beta * (c - r - rc + rr))).mean()


def torch_clamped(c: Any, r: Any, rc: Any, rr: Any, beta: float = 0.1) -> Any:
    return torch_dpo(c, r, rc, rr, beta).clamp(max=3.0)


def torch_down_cast(c: Any, r: Any, rc: Any, rr: Any, beta: float = 0.1) -> Any:
    return torch_dpo(*(x.bfloat16() for x in (c, r, rc, rr)), beta).double()
