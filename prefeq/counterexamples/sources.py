"""Where random choices come from: a seeded generator, or hypothesis."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


class RandomSource:
    """Choices from a seed, the same on every platform and under every hash seed.

    Only `random.Random.random` is used, whose sequence is the same in all versions of Python.

    Examples
    --------
    >>> source = RandomSource("a seed")
    >>> [source.integer(1, 6) for _ in range(5)], source.choice("abc")
    ([3, 1, 5, 3, 6], 'c')
    """

    def __init__(self, seed: int | str) -> None:
        self._random = random.Random(str(seed)).random  # a string seeds through SHA-512

    def integer(self, low: int, high: int) -> int:
        """Return an integer in [low, high]."""
        return low + int(self._random() * (high - low + 1))

    def choice(self, options: Sequence[T]) -> T:
        """Return one of the options."""
        return options[int(self._random() * len(options))]


class HypothesisSource:
    """The same choices drawn by hypothesis, which shrinks them: towards `low` and the first option.

    Parameters
    ----------
    draw
        What `hypothesis.strategies.composite` hands to a strategy.
    """

    def __init__(self, draw: Callable[..., Any]) -> None:
        from hypothesis import strategies as st

        self._draw, self._st = draw, st

    def integer(self, low: int, high: int) -> int:
        """Return an integer in [low, high]."""
        drawn: int = self._draw(self._st.integers(low, high))
        return drawn

    def choice(self, options: Sequence[T]) -> T:
        """Return one of the options."""
        drawn: T = options[self._draw(self._st.integers(0, len(options) - 1))]
        return drawn
