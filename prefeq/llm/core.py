"""The core of an audit in one fused pass over tensors: shares, and the mean DPO loss.

`pq.audit` gives all figures, with intervals, files and faults. This is for a look at very many
pairs that are on a device already, between two steps of a training run, say: on an accelerator
each number is read once.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

from prefeq._namespace import real
from prefeq.errors import ProblemError

SHARES = ("ref_below_zero", "relative_accuracy", "absolute_accuracy", "undesirable_share")

EAGER_ROWS = 2**20
"""Rows at a time without a compiler: the arrays between the steps are of this length."""


def core_pass(
    chosen_logps: torch.Tensor,
    rejected_logps: torch.Tensor,
    ref_chosen_logps: torch.Tensor,
    ref_rejected_logps: torch.Tensor,
    *,
    beta: float,
    compiled: bool | None = None,
) -> dict[str, Any]:
    """Return shares of pairs and the mean DPO loss, softplus(−β(δ − δ_ref)).

    Parameters
    ----------
    chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps
        Log-probs in nats, tensors of one length, device and any floating type; they are taken to
        float64 number by number.
    beta
        KL strength, > 0.
    compiled
        Whether `torch.compile` fuses the pass into one kernel (its first call takes a while); by
        default on anything but a CPU.

    Returns
    -------
    dict
        ``pairs`` and ``excluded`` (rows whose margins are not finite), then over the pairs
        ``mean_dpo_loss`` and the shares of δ_ref < 0, δ > δ_ref, δ > 0 and δ_ref < δ < 0, named as
        in `pq.audit`; None without pairs.

    Raises
    ------
    ProblemError
        If these are no floating tensors of one shape and device, or β is not positive and finite.

    Examples
    --------
    >>> policy = torch.tensor([[-9.0, -4.0], [-8.0, -6.0]])  # of the chosen, of the rejected
    >>> reference = torch.tensor([[-9.5, -4.0], [-7.0, -5.0]])
    >>> found = core_pass(*policy, *reference, beta=1.0)
    >>> found["relative_accuracy"], found["absolute_accuracy"], found["undesirable_share"]
    (1.0, 0.5, 0.5)
    """
    columns = (chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps)
    _check(columns)
    (_, strength) = real(beta=beta)
    strength = float(strength)
    if not 0 < strength < float("inf"):
        raise ProblemError(f"beta = {beta}: must be positive and finite")
    flat = [column.detach().reshape(-1) for column in columns]
    rows = flat[0].shape[0]
    if compiled is None:
        compiled = flat[0].device.type != "cpu"
    run, step = (_fused(), max(1, rows)) if compiled else (_sums, EAGER_ROWS)
    total: Any = torch.zeros(2 + len(SHARES), dtype=torch.float64, device=flat[0].device)
    for start in range(0, rows, step):
        a, b, c, d = (column[start : start + step] for column in flat)
        total += run(a, b, c, d, strength)
    pairs, loss, *counts = total.tolist()  # counts are exact to 2⁵³
    found: dict[str, Any] = {"pairs": int(pairs), "excluded": rows - int(pairs)}
    found["mean_dpo_loss"] = loss / pairs if pairs else None
    return found | {
        name: count / pairs if pairs else None for name, count in zip(SHARES, counts, strict=True)
    }


def _check(columns: tuple[Any, ...]) -> None:
    for column in columns:
        if not isinstance(column, torch.Tensor) or not column.dtype.is_floating_point:
            raise ProblemError(
                f"core_pass takes floating tensors, not {getattr(column, 'dtype', type(column))}; "
                "pq.audit takes anything"
            )
    shapes, devices = {tuple(c.shape) for c in columns}, {c.device for c in columns}
    if len(shapes) > 1 or len(devices) > 1:
        raise ProblemError(
            f"the columns have shapes {sorted(shapes)} on {sorted(map(str, devices))}: pass four "
            "of one shape on one device"
        )


@cache
def _fused() -> Any:
    return torch.compile(_sums, dynamic=True)


def _sums(
    a: torch.Tensor, b: torch.Tensor, c: torch.Tensor, d: torch.Tensor, beta: float
) -> torch.Tensor:
    """Return the number of finite rows, the sum of their losses, and the counts of `SHARES`."""
    ref = c.double() - d.double()
    margin = a.double() - b.double()
    x = margin - ref
    good = torch.isfinite(x)
    better = x > 0
    decay = torch.log1p(torch.exp(-beta * torch.abs(x)))
    loss = torch.where(good, torch.clamp(-beta * x, min=0.0) + decay, torch.zeros_like(x))
    masks = (ref < 0, better, margin > 0, better & (margin < 0))
    counted = [torch.sum(good & mask, dtype=torch.float64) for mask in masks]
    return torch.stack([torch.sum(good, dtype=torch.float64), torch.sum(loss), *counted])
