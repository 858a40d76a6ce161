"""From evidence to a verdict: one function, fail closed."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from prefeq.claims.evidence import ANCHOR_KINDS, PROOF_KINDS, Evidence


class Verdict(StrEnum):
    """What the evidence says about one reading of one statement."""

    PROVED = "proved"
    REFUTED = "refuted"
    SUPPORTED = "supported"
    OPEN = "open"


class Conclusion(NamedTuple):
    """A verdict, whether it holds vacuously, and for an open one the reason."""

    verdict: Verdict
    vacuous: bool = False
    reason: str = ""


def conclude(
    evidence: Sequence[Evidence],
    proof: Sequence[str] = (),
    lemmas: Sequence[str] = (),
    never: Sequence[str] = (),
) -> Conclusion:
    """Decide a reading from what its check found.

    Parameters
    ----------
    evidence
        Everything the check found.
    proof
        The steps that together prove the statement; empty when no proof is known, and then no
        evidence can make it `proved`.
    lemmas
        The steps that a counterexample leans on; without all of them it refutes nothing.

    never
        The steps that together show that the hypothesis of an implication never holds: they prove
        it too, vacuously.

    Notes
    -----
    Any finding that does not hold makes the reading open: a failed step is a broken argument, a
    failed tie or re-check means that the evidence speaks of other formulas than the package's, and
    a sample that disagrees is a counterexample not yet certified. A proof and a counterexample
    together are a contradiction, hence open too.

    Examples
    --------
    >>> step = Evidence("symbolic", "a = a", "holds", step="identity")
    >>> tie = Evidence("tie", "agrees with the package at 128 points", "holds")
    >>> conclude([step, tie], proof=["identity"]).verdict.value
    'proved'
    >>> conclude([step], proof=["identity"]).reason
    'nothing ties the evidence to the package'
    """
    if not evidence:
        return Conclusion(Verdict.OPEN, reason="the check found nothing")
    for item in evidence:
        if not item.holds:
            return Conclusion(Verdict.OPEN, reason=f"{item.kind} {item.outcome}: {item.summary}")
    steps = {item.step for item in evidence if item.kind in PROOF_KINDS}
    vacuous = bool(never) and steps.issuperset(never)
    proved = vacuous or (bool(proof) and steps.issuperset(proof))
    counter = any(item.kind == "counterexample" for item in evidence)
    if proved and counter:
        return Conclusion(Verdict.OPEN, reason="both a proof and a counterexample: one is wrong")
    if (proved or counter) and not any(item.kind in ANCHOR_KINDS for item in evidence):
        return Conclusion(Verdict.OPEN, reason="nothing ties the evidence to the package")
    if counter and not steps.issuperset(lemmas):
        missing = ", ".join(sorted(set(lemmas) - {s for s in steps if s}))
        return Conclusion(Verdict.OPEN, reason=f"the counterexample leans on missing: {missing}")
    if counter:
        return Conclusion(Verdict.REFUTED)
    if proved:
        return Conclusion(Verdict.PROVED, vacuous=vacuous)
    return Conclusion(Verdict.SUPPORTED)
