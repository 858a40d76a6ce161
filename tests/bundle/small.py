"""A bundle of a few quick readings, of every kind of evidence, and its fixed texts."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

from prefeq.bundle.canonical import document_of
from prefeq.bundle.snapshot import texts_of
from prefeq.claims import registry, run
from prefeq.claims.report import ClaimResult, VerificationReport

READINGS: dict[str, tuple[str, ...]] = {
    "assumption": ("threshold",),
    "equivalence": (
        "ordered-pair (if)",
        "ordered-pair-with-cycles (only-if)",
        "bradley-terry-disconnected (if)",
        "alignment (if)",
        "constrained (only-if)",
    ),
    "undesirable-space": (),
    "pathological-convergence": ("ordered-acyclic",),
    "cpo-constrained": ("meets-margins", "strict-alignment-zero-margin"),
    "margin-ranking": (),
}
"""Claim → labels of the readings taken (none: all, with what is true instead of refuted ones)."""


def report_of(readings: dict[str, tuple[str, ...]]) -> VerificationReport:
    """Verify some readings of some claims."""
    results = []
    for claim_id, labels in readings.items():
        if not labels:
            results += run.verify(claim_id).claims
            continue
        claim = registry.get_claim(claim_id)
        found = [run.check_reading(r) for r in claim.readings if r.label in labels]
        assert len(found) == len(labels), claim_id
        results.append(
            ClaimResult(claim.id, claim.title, claim.source, claim.provenance, tuple(found))
        )
    return VerificationReport(tuple(results))


def made(readings: dict[str, tuple[str, ...]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the document and the fixed texts of some readings, as they come out just now."""
    report = report_of(readings)
    return document_of(report.to_dict()), texts_of(report)


@cache
def _bundle() -> tuple[dict[str, Any], dict[str, Any]]:
    return made(READINGS)


def bundle() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a fresh copy of the small bundle and its texts."""
    return copy.deepcopy(_bundle())
