"""Counterexamples that say of themselves which comparisons make them one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from prefeq.claims.evidence import Evidence, outcome_of


def every(answers: Iterable[bool | None]) -> bool | None:
    """Return the conjunction of three-valued answers: one no is a no, else None is unknown.

    >>> every([True, True]), every([True, None]), every([None, False])
    (True, None, False)
    """
    found = list(answers)
    if any(answer is False for answer in found):
        return False
    return None if None in found else bool(found)


def has_sign(found: int | None, wanted: int) -> bool | None:
    """Compare a sign (None if undecided) with the wanted one."""
    return None if found is None else found == wanted


def counterexample(
    summary: str, data: Mapping[str, Any], inequalities: Mapping[str, bool | None]
) -> Evidence:
    """Return the evidence that an instance contradicts a statement.

    Parameters
    ----------
    summary
        One line for a person.
    data
        The instance, the chosen inputs and the numbers that the comparisons speak of.
    inequalities
        Comparison over the names of `data` → whether it holds, decided in balls or exactly. All
        of them together are the contradiction: the hypothesis and the failing conclusion.
    """
    outcome = outcome_of(every(inequalities.values()))
    whole = {**data, "inequalities": list(inequalities)}
    return Evidence("counterexample", summary, outcome, data=whole)
