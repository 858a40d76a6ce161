"""TRL's own loss code, run on given log-probs: `DPOTrainer._compute_loss` with a stub for a model.

No trainer is built and no text is tokenised: the method gets an object with the settings that it
reads, a "model" that returns the policy's log-probs, and the reference's as if precomputed.
"""

from __future__ import annotations

import importlib
import re
import warnings
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np

from prefeq.errors import ProblemError
from prefeq.loss_cards.engines import Answer, torch_answer
from prefeq.loss_cards.pairs import Pairs

DEFAULTS = {"beta": 0.1, "label_smoothing": 0.0, "discopop_tau": 0.05}
"""Those of TRL's `DPOConfig`, as far as they enter the losses here."""


@dataclass(frozen=True)
class TrlEngine:
    """One of the loss types of TRL's `DPOTrainer`; gradients by autograd through its code."""

    loss_type: str
    library: str = "trl"
    scheme: str = "autograd through TRL's code"

    def call(self, pairs: Pairs, parameters: Mapping[str, Any], dtype: str) -> Answer:
        """Run TRL's method once; it returns the mean over the batch."""
        import torch

        kind = getattr(torch, dtype)
        *logps, chosen, rejected = pairs.columns()
        columns = [torch.tensor(x, dtype=torch.float64).to(kind) for x in logps]
        policy = [x.requires_grad_() for x in columns[:2]]
        tokens = torch.tensor(np.concatenate([chosen, rejected]))
        length = int(tokens.max())
        completion = (torch.arange(length + 1) <= tokens[:, None]).long()
        completion[:, 0] = 0  # a prompt of one token
        nothing = torch.zeros(len(tokens), length)
        # The first token has all of a response's log-prob: TRL's sum over tokens rounds nothing.
        whole = torch.nn.functional.pad(torch.cat(policy)[:, None], (0, length - 1))
        output = SimpleNamespace(
            log_probs=whole, entropy=nothing, mean_logits=nothing, is_top1=nothing.bool()
        )
        inputs = {
            "input_ids": torch.zeros_like(completion),
            "attention_mask": torch.ones_like(completion),
            "completion_mask": completion,
            "ref_chosen_logps": columns[2],
            "ref_rejected_logps": columns[3],
        }
        out = _method()(_stub(self.loss_type, parameters), lambda **given: output, inputs, False)
        return torch_answer(out, policy)


class _Settings(SimpleNamespace):
    """What stands for the trainer. What this version of TRL reads besides is named in an error."""

    def __getattr__(self, name: str) -> Any:
        raise ProblemError(
            f"TRL {_version()}: its loss reads DPOTrainer.{name}, which prefeq does not know; use "
            "a version that prefeq was tested with (pip install 'prefeq[trl]')"
        )


class _Accelerator:
    """One process: what is gathered is what there is."""

    device = "cpu"

    def gather(self, tensor: Any) -> Any:
        return tensor

    gather_for_metrics = gather

    def unwrap_model(self, model: Any) -> Any:
        return model


def _stub(loss_type: str, parameters: Mapping[str, Any]) -> _Settings:
    settings = {**DEFAULTS, **parameters}
    unknown = sorted(set(settings) - set(DEFAULTS))
    if unknown:
        raise ProblemError(f"trl:{loss_type} takes {', '.join(DEFAULTS)}, not {', '.join(unknown)}")
    return _Settings(
        accelerator=_Accelerator(),
        args=SimpleNamespace(
            discopop_tau=settings["discopop_tau"], gradient_checkpointing_kwargs=None
        ),
        aux_loss_enabled=False,
        beta=settings["beta"],
        f_alpha_divergence_coef=0.5,
        f_divergence_type="reverse_kl",
        label_smoothing=settings["label_smoothing"],
        ld_alpha=None,
        loss_types=[loss_type],
        loss_weights=[1.0],
        model=SimpleNamespace(training=False),
        precompute_ref_logps=True,
        use_weighting=False,
        _metrics={"train": defaultdict(list), "eval": defaultdict(list)},
        _total_train_tokens=0,
    )


@cache
def trl_types() -> tuple[str, ...]:
    """Return the loss types that the installed TRL knows, as its own error message lists them.

    Raises
    ------
    ProblemError
        If TRL is not installed, or does not say.
    """
    try:
        TrlEngine("?").call(Pairs.one(-1.0, -1.0, -1.0, -1.0), {}, "float64")
    except ValueError as error:
        if isinstance(error, ProblemError):
            raise
        names = re.findall(r"'([a-z_]+)'", str(error))
        if names:
            return tuple(names)
    raise ProblemError(f"TRL {_version()} does not list its loss types; use another version")


@cache
def _method() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer: Any = importlib.import_module("trl").DPOTrainer
    except ImportError as error:
        raise ProblemError(
            f"a trl: loss runs TRL's own code, which cannot be imported ({error}); "
            "pip install 'prefeq[trl]'"
        ) from None
    try:
        return trainer._compute_loss
    except AttributeError:
        raise ProblemError(
            f"TRL {_version()} has no DPOTrainer._compute_loss; pip install 'prefeq[trl]'"
        ) from None


def _version() -> str:
    from importlib.metadata import version

    return version("trl")
