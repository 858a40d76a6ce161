"""Language models: what `prefeq.audit` is made of, log-probs from logits, scores of pairs.

Everything is imported on first use; what needs torch imports it then.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from prefeq.errors import ProblemError

_LAZY = {
    "AuditedDPOTrainer": "prefeq.llm.trainer",
    "AuditReport": "prefeq.llm.report",
    "AuditState": "prefeq.llm.state",
    "Batch": "prefeq.llm.columns",
    "Layout": "prefeq.llm.columns",
    "Plan": "prefeq.llm.plan",
    "audit_batches": "prefeq.llm.state",
    "core_pass": "prefeq.llm.core",
    "load_oracle": "prefeq.llm.oracle",
    "merge_ranks": "prefeq.llm.ranks",
    "pair_flags": "prefeq.llm.flags",
    "score_pairs": "prefeq.llm.scoring",
    "sequence_logps": "prefeq.llm.logps",
}

__all__ = [
    "AuditReport",
    "AuditState",
    "AuditedDPOTrainer",
    "Batch",
    "Layout",
    "Plan",
    "audit_batches",
    "core_pass",
    "load_oracle",
    "merge_ranks",
    "pair_flags",
    "score_pairs",
    "sequence_logps",
]


_EXTRA = {
    "AuditedDPOTrainer": "trl",
    "core_pass": "torch",
    "score_pairs": "torch",
    "sequence_logps": "torch",
}
_BROUGHT = {"torch": ("torch",), "trl": ("torch", "accelerate", "datasets", "transformers", "trl")}


def __getattr__(name: str) -> Any:
    """Load a part on first use."""
    if name not in _LAZY:
        raise AttributeError(f"module 'prefeq.llm' has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(_LAZY[name]), name)
    except ModuleNotFoundError as error:
        extra, missing = _EXTRA.get(name, ""), (error.name or "").partition(".")[0]
        if missing not in _BROUGHT.get(extra, ()):
            raise
        raise ProblemError(
            f"prefeq.llm.{name} needs {missing}: pip install 'prefeq[{extra}]'"
        ) from error


def __dir__() -> list[str]:
    """Leave out what an extra would bring, so that all that is listed can be had."""
    there = {
        extra: all(importlib.util.find_spec(module) for module in modules)
        for extra, modules in _BROUGHT.items()
    }
    return sorted({*globals(), *(n for n in __all__ if there.get(_EXTRA.get(n, ""), True))})
