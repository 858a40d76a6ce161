"""TRL's DPOTrainer with prefeq's metrics: computed from the log-probs of each pair, step by step.

    from prefeq.llm.trainer import AuditedDPOTrainer as DPOTrainer

and nothing else changes: losses, gradients and TRL's own metrics are TRL's. The logs also have

    prefeq/absolute_accuracy      share of δ > 0 (TRL's rewards/accuracies: share of δ > δ_ref)
    prefeq/undesirable_share      share of δ_ref < δ < 0: better than the reference and still wrong
    prefeq/displaced_share        share of pairs whose log-probs are both below the reference's
    prefeq/target_margin          mean target margin t of the loss, in nats: what it asks of δ
    prefeq/negative_target_share  share of t < 0: a wrong pair may satisfy the loss
    prefeq/violation_rate         share of Δr ≤ −βδ_ref, if the data set has rewards or label_prob
    prefeq/excluded               pairs left out of all these as not finite, if there are any

and the same under ``eval_prefeq/``. Every pair since the last log counts once, on all processes.

Trainers hand no log-probs to callbacks, so this is a subclass, and it reads what the models return
inside TRL's `_compute_loss`. That is TRL's own business and can change: the versions it was tested
with are `TESTED`; other releases are refused. At each step its mean log-probs have to be TRL's.
"""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

import torch

from prefeq.errors import ProblemError
from prefeq.llm.collator import GAP, Collator, check_columns, gap_columns, without_gap
from prefeq.llm.logps import sums_or_nan
from prefeq.llm.tally import Tally

__all__ = ["TESTED", "AuditMixin", "AuditedDPOTrainer"]  # noqa: F822 - see __getattr__

TESTED = (
    *("1.5.1", "1.6.0", "1.7.1", "1.8.0", "1.9.2", "1.10.0", "1.11.0", "1.12.0", "1.13.0"),
    *("1.14.2", "1.16.0"),
)
"""The versions of TRL that the tests have passed with. 1.15 is missing: it trains with Triton only.
Another patch of these releases is accepted, another release is not."""

SUMMED = frozenset({"sigmoid", "hinge", "robust", "exo_pair", "discopop"})
AVERAGED = frozenset({"ipo", "sigmoid_norm"})
"""Loss types that are functions of δ − δ_ref, of sums over tokens or of means: their t is δ_ref."""

PREFIX = "prefeq/"

Normalize = Literal["sum", "mean"]
Mode = Literal["train", "eval"]


class AuditMixin:
    """What `AuditedDPOTrainer` adds to TRL's; put it before `DPOTrainer` in a class of your own.

    Parameters
    ----------
    audit_columns
        {our name: the data set's} where the data set calls `chosen_reward`, `rejected_reward` or
        `label_prob` (the probability that `chosen` is the better one) something else.
    normalize
        "sum" (of log-probs over tokens) or "mean"; by default what the loss takes: means for
        `ipo` and `sigmoid_norm`, else sums.
    others
        As for TRL's trainer.

    Raises
    ------
    ProblemError
        If TRL is not one of the tested versions, for `ld_alpha` (whose log-probs are no longer
        those of the responses), or for columns that are not there.
    """

    # What is used of TRL's trainer
    model: Any
    ref_model: Any
    accelerator: Any
    args: Any
    beta: float
    loss_types: list[str]
    data_collator: Any
    train_dataset: Any
    _metrics: dict[str, dict[str, list[float]]]
    _signature_columns: list[str] | None

    def __init__(
        self,
        *args: Any,
        audit_columns: Mapping[str, str] | None = None,
        normalize: Normalize | None = None,
        **kwargs: Any,
    ) -> None:
        _require_tested()
        self._gap_columns = gap_columns(audit_columns)
        parent: Any = super()
        parent.__init__(*args, **kwargs)
        if getattr(self.args, "ld_alpha", None) is not None:
            raise ProblemError(
                "ld_alpha weighs the log-probs of tokens, so that they are no longer those of the "
                "responses; audit a run without it"
            )
        if normalize not in (None, "sum", "mean"):
            raise ProblemError(f"normalize = {normalize!r}: pass 'sum' or 'mean'")
        averaged = set(self.loss_types) <= AVERAGED
        self.audit_normalize: Normalize = normalize or ("mean" if averaged else "sum")
        self._tallies = {"train": self._tally(), "eval": self._tally()}
        check_columns(self.train_dataset, self._gap_columns, required=audit_columns or {})
        self.data_collator = Collator(self.data_collator, self._gap_columns)

    def _tally(self) -> Tally:
        losses = set(self.loss_types) - {"sft"}
        known = SUMMED if self.audit_normalize == "sum" else AVERAGED
        plain = getattr(self.args, "f_divergence_type", "reverse_kl") == "reverse_kl"
        has_target = plain and bool(losses) and losses <= known
        return Tally(float(self.beta), self.audit_normalize == "mean", has_target)

    def _set_signature_columns_if_needed(self) -> None:
        parent: Any = super()
        parent._set_signature_columns_if_needed()
        columns = self._signature_columns or []
        self._signature_columns = [*dict.fromkeys([*columns, *self._gap_columns.values()])]

    def compute_ref_log_probs(self, *args: Any) -> Any:
        """Do as TRL does, on a batch without our columns (which it would hand to the model)."""
        *model, inputs = args
        parent: Any = super()
        return parent.compute_ref_log_probs(*model, without_gap(inputs))

    def _compute_loss(self, model: Any, inputs: Mapping[str, Any], return_outputs: bool) -> Any:
        mode: Mode = "train" if self.model.training else "eval"
        given = without_gap(inputs)
        parent: Any = super()
        with _recorded(self.model, self.ref_model, given) as seen:
            answer = parent._compute_loss(model, given, return_outputs)
        columns = _columns(seen, given)
        self._require_agreement(columns, self._metrics[mode])
        columns.update((name, inputs[name]) for name in GAP if name in inputs)
        self._tallies[mode].add(self._of_all_processes(columns, mode))
        return answer

    def _of_all_processes(self, columns: Mapping[str, Any], mode: Mode) -> dict[str, Any]:
        device = self.accelerator.device
        stacked = torch.stack([column.to(device).double() for column in columns.values()], 1)
        # Evaluation repeats rows to fill its last batch, and this leaves them out. In training it
        # would be wrong: batches are fetched ahead, and an earlier one would pass for the last.
        gather = self.accelerator.gather_for_metrics if mode == "eval" else self.accelerator.gather
        rows = gather(stacked).cpu().numpy()
        return {name: rows[:, i] for i, name in enumerate(columns)}

    def _require_agreement(self, columns: Mapping[str, Any], logged: Mapping[str, Any]) -> None:
        """Raise unless what was recorded has the means that TRL has just put into its metrics."""
        if self.accelerator.num_processes > 1:
            return  # theirs is a mean over all processes
        chosen, rejected = columns["chosen_logps"], columns["rejected_logps"]
        reward = chosen - columns["ref_chosen_logps"] - rejected + columns["ref_rejected_logps"]
        size = 1 + float(chosen.abs().mean() + rejected.abs().mean())
        for name, ours, scale in (
            ("logps/chosen", chosen, 1.0),
            ("logps/rejected", rejected, 1.0),
            ("rewards/margins", reward, self.beta),
        ):
            mean, theirs = scale * float(ours.mean()), logged[name][-1]
            if abs(mean - theirs) > TOLERANCE * scale * size:
                raise ProblemError(
                    f"{name} is {theirs} by TRL {version('trl')} and {mean} by what its models "
                    "returned: prefeq's metrics would be wrong; train with TRL's own trainer"
                )

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log what TRL logs, and prefeq's metrics of all pairs since the last time."""
        mode: Mode = "train" if self.model.training else "eval"
        prefix = PREFIX if mode == "train" else f"eval_{PREFIX}"
        found = self._tallies[mode].metrics()
        logs.update((prefix + name, value) for name, value in found.items())
        self._tallies[mode] = self._tally()
        parent: Any = super()
        parent.log(logs, start_time)


TOLERANCE = 0.02
"""Relative: TRL sums in the dtype of the logits, bfloat16 among them; a mix-up is larger."""


@functools.cache
def _audited(base: type) -> type:
    """Return the trainer with our metrics."""
    text = f"TRL's {base.__name__} with prefeq's metrics.\n\n    {AuditMixin.__doc__}"
    return type("AuditedDPOTrainer", (AuditMixin, base), {"__doc__": text, "__module__": __name__})


def __getattr__(name: str) -> Any:
    """Make the trainer where it is first asked for: TRL takes seconds to import."""
    if name != "AuditedDPOTrainer":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    _require_tested()
    return _audited(importlib.import_module("trl").DPOTrainer)


def _require_tested() -> None:
    """Raise unless TRL is installed in a release that was tested."""
    newest = TESTED[-1]
    try:
        found = version("trl")
    except PackageNotFoundError as error:
        raise ProblemError("the audited trainer needs TRL: pip install 'prefeq[trl]'") from error
    if _release(found) not in map(_release, TESTED):
        raise ProblemError(
            f"TRL {found} is not one of those that the audited trainer was tested with, "
            f"{', '.join(TESTED)}: pip install 'trl=={newest}'"
        )


def _release(text: str) -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)


@contextmanager
def _recorded(
    policy: Any, reference: Any, inputs: Mapping[str, Any]
) -> Iterator[dict[str, list[Any]]]:
    """Record the log-probs of the sequences of a batch as the two models return them."""
    seen: dict[str, list[Any]] = {"policy": [], "reference": []}

    def hook(name: str) -> Callable[..., None]:
        def keep(module: Any, args: Any, output: Any) -> None:
            seen[name].append(_sequence_logps(output, inputs))

        return keep

    models = {"policy": policy, "reference": reference}
    handles = [m.register_forward_hook(hook(n)) for n, m in models.items() if m is not None]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def _sequence_logps(output: Any, inputs: Mapping[str, Any]) -> Any:
    """Return the log-probs of all sequences, chosen ones first, from what a model returned."""
    scored = inputs["completion_mask"][:, 1:]
    length = scored.shape[1]
    if getattr(output, "log_probs", None) is not None:  # TRL's fused head, from 1.15 on
        return (output.log_probs[:, -length:].double() * (scored != 0)).sum(1)
    # Prompt-learning adapters put virtual tokens before the real ones.
    logits = output.logits[:, -length - 1 : -1]
    return sums_or_nan(logits, inputs["input_ids"][:, 1:], scored)


def _columns(seen: Mapping[str, list[Any]], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the four log-probs and the token counts of each pair."""
    names = ("ref_chosen_logps", "ref_rejected_logps")
    if all(name in inputs for name in names):
        reference = [inputs[name] for name in names]
    else:
        # Without a reference model the policy is called again, its adapter switched off.
        later = seen["reference"] or seen["policy"][1:]
        reference = list(later[0].chunk(2)) if later else []
    if not seen["policy"] or not reference:
        raise ProblemError("the models returned neither log-probs nor logits: nothing to audit")
    tokens = (inputs["completion_mask"][:, 1:] != 0).sum(1)
    pairs = dict(zip(("chosen_logps", "rejected_logps"), seen["policy"][0].chunk(2), strict=True))
    pairs |= dict(zip(names, reference, strict=True))
    pairs |= dict(zip(("chosen_tokens", "rejected_tokens"), tokens.chunk(2), strict=True))
    return {name: column.detach().double().cpu() for name, column in pairs.items()}
