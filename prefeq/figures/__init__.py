"""The figures of the text, each computed by the solvers: one module a figure.

>>> import prefeq as pq
>>> "sydney" in pq.figures.names()
True
>>> data = pq.figures.abyss.data(ref_margin=-2.0, reward_gap=0.0, beta=1.0)
>>> round(float(data["critical"]), 6)
0.5
"""

from __future__ import annotations

import importlib
from typing import Any

from prefeq.figures.registry import TITLES, Figure, figure, names

__all__ = ["Figure", "captions", "draw", "figure", "make", "names", "save"]

_LAZY = ("captions", "draw", "make", "save")


def __getattr__(name: str) -> Any:
    """Load what draws, and a figure's module, on first use."""
    if name in _LAZY:
        return getattr(importlib.import_module("prefeq.figures.files"), name)
    if name in TITLES:
        return importlib.import_module(f"prefeq.figures.{name}")
    raise AttributeError(f"module 'prefeq.figures' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *TITLES})
