"""What a search looks at: an exact case, and where its random choices come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal, Protocol, TypeVar

from prefeq.claims.evidence import Evidence
from prefeq.claims.instance import Instance

T = TypeVar("T")

Kind = Literal["real", "positive", "negative", "nonnegative", "unit", "integer"]
"""The domain of a number: unit is the open interval (0, 1), integer a positive one."""


class Source(Protocol):
    """Where choices come from: a seeded generator in a search, `draw` in a hypothesis strategy."""

    def integer(self, low: int, high: int) -> int:
        """Return an integer in [low, high]."""

    def choice(self, options: Sequence[T]) -> T:
        """Return one of the options."""


@dataclass(frozen=True)
class Case:
    """One exact point of a statement's domain.

    Attributes
    ----------
    numbers
        Scalars by name, such as ``delta_ref``, ``gap``, ``beta``, ``gamma``.
    instance
        A bandit with pairs, where the statement speaks of one.
    policies
        Policies on the instance by name: probabilities, one a response, of sum 1.
    margins
        One margin a pair of the instance, where the statement asks for them.
    """

    numbers: Mapping[str, Fraction] = field(default_factory=dict)
    instance: Instance | None = None
    policies: Mapping[str, tuple[Fraction, ...]] = field(default_factory=dict)
    margins: tuple[Fraction, ...] | None = None


@dataclass(frozen=True)
class Falsifier:
    """How one reading is attacked.

    Attributes
    ----------
    draw
        Makes a case: structured (ties, boundaries, special graphs) as often as random.
    violation
        By how much the case breaks the statement, in floats and by the package's own functions:
        positive if it does, −inf outside the scope, and the nearer to zero the nearer it is a miss.
    certify
        Decides exactly whether the case is a counterexample: evidence of kind ``counterexample``
        that holds iff it is. It is what a found case must pass; a float never decides.
    kinds
        The domain of each number of the case, so that shrinking stays inside it.
    """

    draw: Callable[[Source], Case]
    violation: Callable[[Case], float]
    certify: Callable[[Case], Evidence]
    kinds: Mapping[str, Kind] = field(default_factory=dict)
