"""Log-probabilities of sequences from the logits of a model, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from prefeq.errors import ProblemError

__all__ = ["sequence_logps"]

HOST_ELEMENTS = 2**20
"""Logits worked on at a time on a CPU: their float32 copy stays in its caches."""

DEVICE_ELEMENTS = 2**25
"""The same on an accelerator: work enough to fill it, in 128 MiB."""

LEAST_PARTS = 16
"""A chunk is at most this part of the logits, so that memory stays in proportion to them."""

Tensor = torch.Tensor


def sequence_logps(logits: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    """Return Σ_t mask_t · log softmax(logits_t)[labels_t], in nats: one number a sequence.

    Position t of the logits scores label t. Of a causal language model, whose position t predicts
    the token after it, pass ``logits[:, :-1], ids[:, 1:], mask[:, 1:]`` (views: nothing is copied).

    Computed chunk by chunk in float32 at least, whatever the dtype, and summed in float64: the
    error is below 1e-6 nats a token (float64 logits: 1e-14). Beside its input it needs a sixteenth
    of the logits as float32, or one position if that is more. Positions outside the span of the
    mask cost nothing. Gradients flow to `logits` where they are asked for; the backward pass holds
    the gradient itself and one chunk.

    Parameters
    ----------
    logits
        (B, T, V), of any floating dtype, with any strides, on any device that knows float64.
    labels
        (B, T) token ids; what is outside the mask is not looked at (−100, say).
    mask
        (B, T), true or 1 where a token counts.

    Returns
    -------
    Tensor
        (B,) float64, on the device of the logits; 0 for a sequence without tokens.

    Raises
    ------
    ProblemError
        If shapes do not fit, a label is no column of the logits, or logits define no distribution
        (a NaN, a +inf, a position of −inf alone).

    Examples
    --------
    >>> logits = torch.zeros(1, 3, 4)  # uniform over four tokens
    >>> sequence_logps(logits, torch.tensor([[2, 0, -100]]), torch.tensor([[1, 1, 0]])).exp()
    tensor([0.0625], dtype=torch.float64)
    """
    labels, counted = _checked(logits, labels, mask)
    sums: Tensor = _SequenceLogps.apply(logits, labels, counted)  # type: ignore[no-untyped-call]
    _require_numbers(sums.detach())
    return sums


class _SequenceLogps(torch.autograd.Function):
    """The sums, with a backward pass in chunks: d/dz = mask · (one-hot(label) − softmax(z))."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, counted: Tensor) -> Tensor:
        sums, top, total = _forward(logits, labels, counted)
        ctx.save_for_backward(logits, labels, counted, top, total)
        return sums

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:
        if torch.is_grad_enabled():  # create_graph=True: what follows would be left out of it
            raise ProblemError("sequence_logps has first derivatives only: use create_graph=False")
        logits, labels, counted, top, total = ctx.saved_tensors
        gradient = torch.zeros_like(logits)
        for block, scratch in _chunks(logits, counted):
            z = scratch.copy_(logits[block]).sub_(top[block].unsqueeze(-1)).exp_()
            weight = upstream[block[0]].unsqueeze(-1)
            z.mul_((-weight / total[block]).to(z.dtype).unsqueeze(-1))
            label = labels[block].clamp(min=0).unsqueeze(-1)
            z.scatter_(-1, label, z.gather(-1, label) + weight.to(z.dtype).unsqueeze(-1))
            # A position that does not count may hold anything: zero times it need not be zero.
            z.masked_fill_(~counted[block].unsqueeze(-1), 0)
            gradient[block] = z
        return gradient, None, None


def sums_or_nan(logits: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    """Return the same without gradients; NaN for a sequence whose logits define no distribution."""
    with torch.no_grad():
        return _forward(logits, *_checked(logits, labels, mask))[0]


def _forward(logits: Tensor, labels: Tensor, counted: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the sums (B,), and max_v z and Σ_v exp(z − max) of every position, (B, T) each."""
    size, device = counted.shape, logits.device
    sums = torch.zeros(size[0], dtype=torch.float64, device=device)
    top = torch.zeros(size, dtype=logits.dtype, device=device)
    total = torch.ones(size, dtype=torch.float64, device=device)
    for block, scratch in _chunks(logits, counted):
        part = logits[block]
        z = scratch.copy_(part)
        most = z.amax(-1)
        # Differences from the largest logit are exact or nearly so; their exponentials sum to
        # between 1 and V. So nothing of the size of the logits themselves is ever rounded.
        top[block], total[block] = most, z.sub_(most.unsqueeze(-1)).exp_().sum(-1)
        label = labels[block].clamp(min=0).unsqueeze(-1)
        picked = part.gather(-1, label).squeeze(-1).double()
        token = picked - most.double() - total[block].log()
        sums[block[0]] += torch.where(counted[block], token, 0.0).sum(-1)
    return sums, top, total


Block = tuple[slice, slice]


def _chunks(logits: Tensor, counted: Tensor) -> Iterator[tuple[Block, Tensor]]:
    """Yield blocks of sequences and positions that cover the mask, each with room to work in."""
    host = logits.device.type == "cpu"
    budget = HOST_ELEMENTS if host else DEVICE_ELEMENTS
    vocabulary = logits.shape[-1]
    limit = max(1, min(budget, logits.numel() // LEAST_PARTS) // vocabulary)
    wide = torch.float64 if logits.dtype == torch.float64 else torch.float32
    scratch = torch.empty(limit * vocabulary, dtype=wide, device=logits.device)
    for rows, columns in _blocks(counted, limit):
        shape = (rows.stop - rows.start, columns.stop - columns.start, vocabulary)
        yield (rows, columns), scratch[: shape[0] * shape[1] * shape[2]].view(shape)


def _blocks(counted: Tensor, limit: int) -> Iterator[Block]:
    """Yield blocks of at most `limit` positions: parts of one sequence, or several short ones."""
    length = counted.shape[1]
    if length == 0:
        return
    ends = length - counted.flip(1).to(torch.int8).argmax(1)
    spans = torch.stack([counted.to(torch.int8).argmax(1), ends], 1).tolist()
    present = counted.any(1).tolist()
    row = 0
    while row < len(spans):
        low, high = spans[row]
        stop = row + 1
        while stop < len(spans) and present[row]:
            wider = min(low, spans[stop][0]), max(high, spans[stop][1])
            if (stop + 1 - row) * (wider[1] - wider[0]) > limit:
                break
            low, high = wider
            stop += 1
        if present[row]:
            for start in range(low, high, limit):
                yield slice(row, stop), slice(start, min(start + limit, high))
        row = stop


def _checked(logits: Tensor, labels: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return labels and mask beside the logits; everything but the logits' values is looked at."""
    fits = logits.ndim == 3 and labels.shape == mask.shape == logits.shape[:2]
    if not fits or logits.shape[-1] == 0:
        shapes = ", ".join(str(tuple(value.shape)) for value in (logits, labels, mask))
        raise ProblemError(
            f"logits, labels, mask have shapes {shapes}: need (B, T, V), (B, T), (B, T)"
        )
    if not logits.is_floating_point():
        raise ProblemError(f"logits have dtype {logits.dtype}: pass floating-point numbers")
    labels, counted = labels.to(logits.device).long(), mask.to(logits.device) != 0
    wrong = counted & ((labels < 0) | (labels >= logits.shape[-1]))
    if bool(wrong.any()):
        row, position = wrong.nonzero()[0].tolist()
        raise ProblemError(
            f"labels[{row}, {position}] = {int(labels[row, position])}: not one of the "
            f"{logits.shape[-1]} tokens of the logits; mask it out or correct it"
        )
    return labels, counted


def _require_numbers(sums: Tensor) -> None:
    bad = sums.isnan()
    if bool(bad.any()):
        row = int(bad.nonzero()[0])
        raise ProblemError(
            f"logits[{row}]: a NaN, a +inf or a position of -inf alone, which is no distribution; "
            "look for an overflow in the model"
        )
