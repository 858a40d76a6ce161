"""prefeq: when DPO can be trusted, decided by exact computation (arXiv:2605.20834)."""

from __future__ import annotations

import importlib
from typing import Any

from prefeq.bandit import Bandit
from prefeq.errors import InfeasibleError, ProblemError, TableError, UnsolvedError
from prefeq.preferences import Preferences
from prefeq.solution import Solution, Status, Trajectory
from prefeq.solvers import solve_cpo, solve_dpo, solve_penalty, solve_rlhf

__version__ = "0.1.0"

__all__ = [
    "Bandit",
    "Disagreement",
    "InfeasibleError",
    "Preferences",
    "ProblemError",
    "Solution",
    "Status",
    "TableError",
    "Trajectory",
    "UnsolvedError",
    "analyse_loss",
    "atlas",
    "audit",
    "capitals_table",
    "compare",
    "figures",
    "llm",
    "load_capitals",
    "losses",
    "margins",
    "recheck",
    "search",
    "solve_cpo",
    "solve_dpo",
    "solve_penalty",
    "solve_rlhf",
    "testing",
    "verify",
]

_LAZY = {
    "Disagreement": ("prefeq.bundle.recheck", "Disagreement"),
    "analyse_loss": ("prefeq.loss_cards", "analyse_loss"),
    "atlas": ("prefeq.atlas", None),
    "audit": ("prefeq.llm.audit", "audit"),
    "capitals_table": ("prefeq.capitals", "capitals_table"),
    "compare": ("prefeq.comparison", "compare"),
    "figures": ("prefeq.figures", None),
    "llm": ("prefeq.llm", None),
    "load_capitals": ("prefeq.capitals", "load_capitals"),
    "losses": ("prefeq.losses", None),
    "margins": ("prefeq.margins", None),
    "recheck": ("prefeq.bundle.recheck", "recheck"),
    "search": ("prefeq.counterexamples", "search"),
    "testing": ("prefeq.testing", None),
    "verify": ("prefeq.claims", "verify"),
}


def __getattr__(name: str) -> Any:
    """Load the heavier rooms on first use, so that `import prefeq` stays light."""
    if name not in _LAZY:
        raise AttributeError(f"module 'prefeq' has no attribute {name!r}")
    module, attribute = _LAZY[name]
    loaded = importlib.import_module(module)
    return loaded if attribute is None else getattr(loaded, attribute)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
