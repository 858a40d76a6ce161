"""Language models: what `prefeq.audit` is made of, log-probs from logits, scores of pairs.

Everything is imported on first use; what needs torch imports it then.
"""

from __future__ import annotations

import importlib
from typing import Any

from prefeq.errors import ProblemError

_LAZY = {
    "AuditedDPOTrainer": "prefeq.llm.trainer",
    "AuditReport": "prefeq.llm.report",
    "AuditState": "prefeq.llm.state",
    "Batch": "prefeq.llm.columns",
    "Layout": "prefeq.llm.columns",
    "Plan": "prefeq.llm.plan",
    "audit_batches": "prefeq.llm.audit",
    "load_oracle": "prefeq.llm.oracle",
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
    "load_oracle",
    "pair_flags",
    "score_pairs",
    "sequence_logps",
]


def __getattr__(name: str) -> Any:
    """Load a part on first use."""
    if name not in _LAZY:
        raise AttributeError(f"module 'prefeq.llm' has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(_LAZY[name]), name)
    except ModuleNotFoundError as error:
        extra = {"torch": "torch", "trl": "trl"}.get(error.name or "")
        if extra is None:
            raise
        raise ProblemError(
            f"prefeq.llm.{name} needs {error.name}: pip install 'prefeq[{extra}]'"
        ) from error


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
