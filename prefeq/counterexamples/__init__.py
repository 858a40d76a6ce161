"""Counterexample search: draw, refine, shrink, certify.

Nothing heavy is imported before `search` is called.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prefeq.counterexamples.engine import Progress
    from prefeq.counterexamples.report import SearchReport

__all__ = ["search"]


def search(
    target: str | Iterable[str] | None = None,
    *,
    budget: int = 10_000,
    seed: int = 0,
    progress: Progress | None = None,
) -> SearchReport:
    """Search for counterexamples; see `prefeq.counterexamples.engine.search`."""
    from prefeq.counterexamples import engine

    return engine.search(target, budget=budget, seed=seed, progress=progress)
