"""What in the evidence is chosen and not computed: the copy that a re-check compares with.

Ids, texts, inputs, run counts, instances, inequalities and the names of the steps are fixed by the
registry. Verdicts, outcomes, numbers and an enclosure's subdivision are not: they are left out here
and recomputed. ``python -m prefeq.bundle.snapshot`` writes the copy again.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import prefeq
from prefeq.bundle.canonical import TEXTS, canonical
from prefeq.claims import registry
from prefeq.claims.report import ClaimResult, ReadingResult, VerificationReport
from prefeq.strict_json import to_plain, write_text

FIXED = ("step", "inputs", "runs", "instance", "inequalities")
"""Entries of a piece of evidence that are chosen."""

COMPUTED = ("outcome", "tree")
"""Entries that are computed; every other one is a number, computed too."""


def texts_of(report: VerificationReport) -> dict[str, Any]:
    """Return everything in a report that is not computed.

    Examples
    --------
    >>> import prefeq as pq
    >>> made = texts_of(pq.verify("margin-ranking"))
    >>> made["claims"][0]["readings"][0]["proof"][:2]
    ['gap-identity', 'gap-positive']
    """
    return {"claims": [_claim(claim) for claim in report.claims]}


def _claim(result: ClaimResult) -> dict[str, Any]:
    readings = {reading.label: reading for reading in registry.get_claim(result.id).readings}
    return {
        "id": result.id,
        "title": result.title,
        "source": result.source,
        "provenance": result.provenance,
        "readings": [_reading(found, readings[found.label]) for found in result.readings],
    }


def _reading(result: ReadingResult, reading: registry.Reading) -> dict[str, Any]:
    return {
        "reading": result.reading,
        "part": result.part,
        "scope": result.scope,
        "proof": list(reading.proof),
        "lemmas": list(reading.lemmas),
        "never": list(reading.never),
        "evidence": [_item(to_plain(item.to_dict())) for item in result.evidence],
    }


def _item(item: dict[str, Any]) -> dict[str, Any]:
    data = item["data"]
    fixed = {key: data[key] for key in data if key in FIXED}
    numbers = sorted(key for key in data if key not in (*FIXED, *COMPUTED))
    return {"kind": item["kind"], "summary": item["summary"], "data": fixed, "numbers": numbers}


def main(path: Path) -> None:
    """Write the copy."""
    write_text(path, canonical(texts_of(prefeq.verify())))


if __name__ == "__main__":
    main(Path(*sys.argv[1:2]) if sys.argv[1:] else Path(prefeq.__file__).parent / TEXTS)
