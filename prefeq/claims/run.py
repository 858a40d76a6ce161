"""Running claims: every check in its own thread with a deadline, everything that fails is open."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from prefeq.claims import registry
from prefeq.claims.evidence import Evidence
from prefeq.claims.report import ClaimResult, ReadingResult, VerificationReport
from prefeq.claims.verdict import Verdict, conclude

DEADLINE_S = 60.0
"""Seconds a reading may take before it is called open."""

Progress = Callable[[Sequence[Any], str], Iterable[Any]]


def verify(
    claims: str | Iterable[str] | None = None, progress: Progress | None = None
) -> VerificationReport:
    """Check claims of arXiv:2605.20834 in every reading, and report what the evidence says.

    Parameters
    ----------
    claims
        An id, several, or None for all; see `claim_ids`.
    progress
        Wraps the sequence of readings: called with (readings, label), yields them. The command
        line passes its progress bar.

    Returns
    -------
    VerificationReport
        Shows itself as a table. ``.ok`` is true only if nothing is open.

    Raises
    ------
    ProblemError
        On an unknown claim.

    Examples
    --------
    >>> import prefeq as pq
    >>> report = pq.verify("margin-ranking")
    >>> report.verdict("margin-ranking", "uniform-bound").value
    'proved'
    """
    chosen = registry.select(claims)
    work = [(claim.id, reading) for claim in chosen for reading in claim.readings]
    found: dict[str, list[ReadingResult]] = {claim.id: [] for claim in chosen}
    for claim_id, reading in work if progress is None else progress(work, "verifying"):
        found[claim_id].append(check_reading(reading))
    results = (
        ClaimResult(c.id, c.title, c.source, c.provenance, _corrected(c, found[c.id]))
        for c in chosen
    )
    return VerificationReport(tuple(results))


def _corrected(
    claim: registry.Claim, results: Sequence[ReadingResult]
) -> tuple[ReadingResult, ...]:
    """Let every refuted reading say what is proved instead, if a reading of the claim does so."""
    by_label = {result.label: result for result in results}
    instead: dict[str, list[Evidence]] = {}
    for reading in claim.readings:
        if reading.corrected and by_label[reading.label].verdict is Verdict.PROVED:
            text = f"true instead, {reading.label}: {reading.statement}"
            data = {"inputs": {"reading": reading.label}}
            for label in reading.corrected:
                item = Evidence("correction", text, "holds", data=data)
                instead.setdefault(label, []).append(item)
    return tuple(
        replace(result, evidence=(*result.evidence, *instead.get(result.label, ())))
        if result.verdict is Verdict.REFUTED
        else result
        for result in results
    )


def check_reading(reading: registry.Reading, deadline: float | None = None) -> ReadingResult:
    """Run one reading's check and conclude; an exception or a missed deadline makes it open."""
    limit = DEADLINE_S if deadline is None else deadline
    found: list[Evidence] = []
    trouble: list[str] = []

    def work() -> None:
        try:
            for item in reading.check():
                found.append(item)
        except BaseException as error:  # an exit, too, leaves the check unfinished
            trouble.append(f"{type(error).__name__}: {error}")

    # A daemon thread can be abandoned whatever it hangs in, on every platform.
    thread = threading.Thread(target=work, daemon=True, name=f"prefeq-{reading.label}")
    thread.start()
    thread.join(limit)
    if thread.is_alive():
        trouble.append(f"no answer within {limit:g} s")
    evidence = list(found)
    evidence += [Evidence("reason", text, "undecided") for text in trouble]
    verdict, vacuous, reason = conclude(evidence, reading.proof, reading.lemmas, reading.never)
    if verdict is Verdict.OPEN and not trouble:
        evidence.append(Evidence("reason", reason, "undecided"))
    return ReadingResult(
        reading=reading.name,
        part=reading.part,
        verdict=verdict,
        vacuous=vacuous,
        scope=f"{reading.statement} [{reading.scope}]",
        evidence=tuple(evidence),
    )
