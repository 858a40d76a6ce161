"""What falsifiers of statements about a few numbers share: draws, floats, balls, decisions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prefeq.claims.ball import ball, sign
from prefeq.claims.contradiction import every
from prefeq.claims.evidence import Evidence
from prefeq.counterexamples import draws
from prefeq.counterexamples.case import Case, Kind, Source
from prefeq.counterexamples.falsifiers import _common as common

Enclosed = Callable[[], Any]


def draw_of(kinds: Mapping[str, Kind]) -> Callable[[Source], Case]:
    """Return a draw of numbers of these kinds."""

    def draw(source: Source) -> Case:
        return Case({name: draws.number(source, kind) for name, kind in kinds.items()})

    return draw


def floats(case: Case, names: str) -> list[float]:
    """Return numbers of a case as floats, in the order that they are named."""
    return [float(case.numbers[name]) for name in names.split()]


def balls(case: Case, names: str) -> list[Any]:
    """Enclose numbers of a case at the precision now in force."""
    return [ball(case.numbers[name]) for name in names.split()]


def positive(value: Enclosed) -> bool | None:
    """Decide whether a number is positive."""
    decided = sign(value)[0]
    return None if decided is None else decided > 0


def at_least_zero(value: Enclosed) -> bool | None:
    """Decide whether a number is not negative."""
    decided = sign(value)[0]
    return None if decided is None else decided >= 0


def broken(case: Case, words: str, given: Sequence[Enclosed], *breaks: Enclosed) -> Evidence:
    """Decide whether all of `given` are ≥ 0 and some one of `breaks` is > 0: a counterexample."""
    held = every(map(at_least_zero, given))
    if held is False:
        return common.harmless(case, "not in the scope of the statement")
    found = [positive(value) for value in breaks]
    if True in found:
        return common.harmless(case, words, held)
    return common.harmless(case, words, None if None in found else False)


def single(case: Case, labels: str, size: int | None = None) -> bool:
    """Tell whether the case has exactly one pair, of one kind of label (and so many responses)."""
    made = common.instance_of(case)
    return len(made.pairs) == 1 and made.labels == labels and (size is None or made.size == size)
