"""The verdict anew, from recomputed outcomes; written apart from `prefeq.claims.verdict`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Finding(NamedTuple):
    """One piece of evidence with its recomputed outcome."""

    kind: str
    step: str | None
    outcome: str


RIGOROUS = ("symbolic", "exact", "ball", "enclosure")
ANCHORS = ("tie", "recheck")


def verdict(
    findings: Sequence[Finding],
    proof: Sequence[str],
    lemmas: Sequence[str],
    never: Sequence[str],
) -> tuple[str, bool]:
    """Return the verdict that findings allow, and whether the statement is true only vacuously.

    Examples
    --------
    >>> found = [Finding("symbolic", "identity", "holds"), Finding("tie", None, "holds")]
    >>> verdict(found, ["identity"], [], [])
    ('proved', False)
    >>> verdict(found[:1], ["identity"], [], [])
    ('open', False)
    """
    done = {f.step for f in findings if f.kind in RIGOROUS and f.step}
    refuting = [f for f in findings if f.kind == "counterexample"]
    vacuous = bool(never) and all(step in done for step in never)
    proved = vacuous or (bool(proof) and all(step in done for step in proof))
    sound = bool(findings) and all(f.outcome == "holds" for f in findings)
    anchored = any(f.kind in ANCHORS for f in findings)
    complete = all(step in done for step in lemmas)
    match sound, proved, bool(refuting), anchored, complete:
        case (False, _, _, _, _) | (_, True, True, _, _):
            return "open", False
        case (True, False, False, _, _):
            return "supported", False
        case (_, _, _, False, _) | (_, False, True, _, False):
            return "open", False
        case (_, True, False, _, _):
            return "proved", vacuous
    return "refuted", False
