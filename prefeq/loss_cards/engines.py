"""How a loss is called: one engine a library, and what one call of it returned."""

from __future__ import annotations

import inspect
import os
import sysconfig
import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

import numpy as np

from prefeq.arrays import FloatArray
from prefeq.errors import ProblemError
from prefeq.loss_cards.pairs import Pairs
from prefeq.losses import Loss, Reference

TOKENS = {
    "chosen_tokens": ("chosen_tokens", "chosen_lengths", "chosen_len", "chosen_length"),
    "rejected_tokens": ("rejected_tokens", "rejected_lengths", "rejected_len", "rejected_length"),
}
"""Names under which a loss may ask for the lengths of the responses."""

ALIASES = {
    "chosen": ("chosen_logps", "policy_chosen_logps"),
    "rejected": ("rejected_logps", "policy_rejected_logps"),
    "ref_chosen": ("ref_chosen_logps", "reference_chosen_logps"),
    "ref_rejected": ("ref_rejected_logps", "reference_rejected_logps"),
}


@dataclass(frozen=True, eq=False)
class Answer:
    """What one call gave: values of shape () or (n,), gradients of their sum, and the dtype."""

    values: FloatArray
    chosen: FloatArray | None
    rejected: FloatArray | None
    dtype: str


_HERE = os.path.dirname(__file__)

_LIBRARIES = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib"))


def raised(error: BaseException) -> str:
    """Return what an exception of other people's code says, and at which line of theirs."""
    said = f"{type(error).__name__}: {error}"
    every = traceback.extract_tb(error.__traceback__)
    frames = [f for f in every if not f.filename.startswith((_HERE, "<"))]
    # Not the library that their code called, unless the loss itself is of a library.
    own = [f for f in frames if not f.filename.startswith(_LIBRARIES)] or frames
    return f"{said} ({own[-1].filename}:{own[-1].lineno})" if own else said


class Engine(Protocol):
    """Something that evaluates a loss on a batch in one call."""

    @property
    def library(self) -> str:
        """What calls it."""
        ...

    @property
    def scheme(self) -> str:
        """How gradients are made."""
        ...

    def call(self, pairs: Pairs, parameters: Mapping[str, Any], dtype: str) -> Answer:
        """Evaluate values and, where the library has them, gradients by the policy's log-probs."""
        ...


def main_part(answer: Any) -> Any:
    """Return the losses of what a function returned: itself, or the first of a tuple.

    TRL's older code returns (losses, chosen_rewards, rejected_rewards), others a dictionary.
    """
    if isinstance(answer, Mapping):
        for key in ("loss", "losses"):
            if key in answer:
                return answer[key]
        raise ProblemError(f"the loss returned a dict of {sorted(answer)}: it needs a key 'loss'")
    return main_part(answer[0]) if isinstance(answer, tuple | list) and answer else answer


def arguments(
    function: Callable[..., Any], columns: Mapping[str, Any], lengths: Mapping[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """Return the positional and keyword arguments for the four log-probs and, if asked, lengths.

    Log-probs go by their usual names where the function has them, in whatever order, otherwise by
    position: chosen, rejected, ref_chosen, ref_rejected.
    """
    names = _names(function)
    found = {own: next((n for n in ALIASES[own] if n in names), None) for own in ALIASES}
    extra = {
        name: lengths[own] for own, options in TOKENS.items() for name in options if name in names
    }
    if all(found.values()):
        return [], {str(found[own]): columns[own] for own in ALIASES} | extra
    return [columns[own] for own in ALIASES], extra


def asks_for_tokens(function: Callable[..., Any]) -> bool:
    """Tell whether a function has a parameter for the lengths of the responses."""
    return any(name in _names(function) for options in TOKENS.values() for name in options)


def _names(function: Callable[..., Any]) -> tuple[str, ...]:
    hashable = getattr(function, "__hash__", None) is not None  # a plain dataclass is not
    return _cached_names(function) if hashable else _cached_names.__wrapped__(function)


@lru_cache(maxsize=64)
def _cached_names(function: Callable[..., Any]) -> tuple[str, ...]:
    try:
        return tuple(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # some built-in functions have no signature
        return ()


@dataclass(frozen=True)
class NumpyEngine:
    """A function of NumPy arrays. It has no autograd: gradients are differences of values."""

    function: Callable[..., Any]
    library: str = "numpy"
    scheme: str = "central differences of fourth order (Richardson) in float64"

    def call(self, pairs: Pairs, parameters: Mapping[str, Any], dtype: str) -> Answer:
        """Evaluate the function; a warning about overflow is no error, but shows in the values."""
        kind = np.dtype(dtype)
        *logps, chosen, rejected = pairs.columns()
        columns = dict(zip(ALIASES, (x.astype(kind) for x in logps), strict=True))
        given, named = arguments(
            self.function, columns, {"chosen_tokens": chosen, "rejected_tokens": rejected}
        )
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            out = main_part(self.function(*given, **named, **parameters))
        values = np.asarray(out)
        if values.dtype.kind not in "fiu":
            raise ProblemError(f"the loss returned {type(out).__name__}: it needs numbers")
        return Answer(values.astype(np.float64), None, None, str(values.dtype))

    def singles(self, pairs: Pairs, parameters: Mapping[str, Any]) -> FloatArray:
        """Evaluate each pair in a batch of its own: many small calls, so without ceremony."""
        columns = dict(zip((*ALIASES, *TOKENS), pairs.columns(), strict=True))
        names = {name: name for name in columns}
        given, named = arguments(self.function, names, names)  # which column goes where
        out = np.empty(len(pairs))
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for i in range(len(pairs)):
                here = slice(i, i + 1)
                one = main_part(
                    self.function(
                        *[columns[name][here] for name in given],
                        **{key: columns[name][here] for key, name in named.items()},
                        **parameters,
                    )
                )
                out[i] = one if np.ndim(one) == 0 else np.sum(one)
        return out


@dataclass(frozen=True)
class TorchEngine:
    """A function of torch tensors; gradients by autograd."""

    function: Callable[..., Any]
    library: str = "torch"
    scheme: str = "autograd"

    def call(self, pairs: Pairs, parameters: Mapping[str, Any], dtype: str) -> Answer:
        """Evaluate the function and, unless it is cut off from the policy, its gradient."""
        import torch

        kind = getattr(torch, dtype)
        *logps, chosen, rejected = pairs.columns()
        tensors = [torch.tensor(x, dtype=torch.float64).to(kind) for x in logps]
        policy = [x.requires_grad_() for x in tensors[:2]]
        lengths = {
            "chosen_tokens": torch.tensor(chosen),
            "rejected_tokens": torch.tensor(rejected),
        }
        columns = dict(zip(ALIASES, tensors, strict=True))
        given, named = arguments(self.function, columns, lengths)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            out = main_part(self.function(*given, **named, **parameters))
        if not isinstance(out, torch.Tensor):
            raise ProblemError(f"the loss returned {type(out).__name__}: it needs a tensor")
        return torch_answer(out, policy)


def torch_answer(out: Any, policy: list[Any]) -> Answer:
    """Return the values of a tensor and the derivatives of their sum, zero where cut off."""
    import torch

    sides: list[FloatArray] = [np.zeros(tuple(x.shape)) for x in policy]
    if out.requires_grad:
        found = torch.autograd.grad(out.sum(), policy, allow_unused=True)
        for i, side in enumerate(found):
            if side is not None:
                sides[i] = side.detach().double().numpy()
    dtype = str(out.dtype).removeprefix("torch.")
    return Answer(out.detach().double().numpy(), sides[0], sides[1], dtype)


@dataclass(frozen=True)
class OwnEngine:
    """One of `prefeq.losses`; gradients by its own formula."""

    loss: Loss
    library: str = "prefeq"
    scheme: str = "closed form"
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def call(self, pairs: Pairs, parameters: Mapping[str, Any], dtype: str) -> Answer:
        """Evaluate the loss, always in float64."""
        ref: Any = pairs.ref_margin
        if self.loss.target_rule.needs_logps:
            ref = Reference(pairs.ref_chosen, pairs.ref_rejected)
        beta = parameters["beta"]
        value = np.asarray(self.loss.value(pairs.margin, ref, beta))
        slope = np.asarray(self.loss.gradient(pairs.margin, ref, beta))
        return Answer(value, slope, -slope, "float64")
