"""The registry: one entry a claim drives the tests, the README table and the command line."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from prefeq.claims.evidence import Evidence
from prefeq.errors import ProblemError

Part = Literal["if", "only-if"]
PARTS: tuple[Part, Part] = ("if", "only-if")
Provenance = Literal["quoted", "secondary", "code", "reconstructed"]
Check = Callable[[], Iterable[Evidence]]

ORDER = (
    "assumption",
    "equivalence",
    "relative-advantage",
    "undesirable-space",
    "gradient-weakening",
    "pathological-convergence",
    "different-objectives",
    "cpo-penalty",
    "cpo-margin",
    "cpo-alignment",
    "cpo-constrained",
    "e-cpo",
    "e-cpoc",
    "loss-to-delta",
    "margin-ranking",
    "violation-rate",
)
"""The claims in the order of the paper; each lives in the module of its name."""


@dataclass(frozen=True)
class Reading:
    """One precise reading of a statement, and how it is checked.

    Parameters
    ----------
    name
        Name within its claim.
    statement
        The mathematical statement that the verdict is about.
    scope
        The set it speaks of.
    check
        Yields evidence. What it yields before an exception is kept.
    part
        ``if`` (condition ⇒ equivalence), ``only-if`` (the converse), or None.
    proof, lemmas, never
        Names of the steps that a proof, a counterexample, or a proof that the hypothesis never
        holds is made of (see `verdict.conclude`).
    corrects
        The label (or labels) of readings of the same claim that this one corrects: those are
        statements that turned out false, and this is what is true instead. Empty for most.
    """

    name: str
    statement: str
    scope: str
    check: Check
    part: Part | None = None
    proof: tuple[str, ...] = ()
    lemmas: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    corrects: str | tuple[str, ...] = ()

    @property
    def corrected(self) -> tuple[str, ...]:
        """The labels that this reading corrects, as a tuple."""
        return (self.corrects,) if isinstance(self.corrects, str) else self.corrects

    @property
    def label(self) -> str:
        """Name and part in one string, as the command line prints it."""
        return self.name if self.part is None else f"{self.name} ({self.part})"


@dataclass(frozen=True)
class Claim:
    """A statement of the paper with all its readings.

    Parameters
    ----------
    id, title, source
        Name here, one line, and where it stands.
    provenance
        ``quoted`` (words of the paper seen), ``secondary`` (as others report it), ``code`` (the
        released code) or ``reconstructed`` (ours, where the printed form is unknown: refuting it
        refutes our reading).
    """

    id: str
    title: str
    source: str
    provenance: Provenance
    readings: tuple[Reading, ...]


_CLAIMS: dict[str, Claim] = {}


def register(claim: Claim) -> Claim:
    """Add a claim; its id must be in `ORDER` and its readings distinct."""
    if claim.id not in ORDER:
        raise ProblemError(f"claim {claim.id!r} is not in registry.ORDER; add it there")
    labels = [reading.label for reading in claim.readings]
    if len(set(labels)) != len(labels):
        raise ProblemError(f"claim {claim.id!r} has two readings of one name and part: {labels}")
    for reading in claim.readings:
        for wrong in reading.corrected:
            if wrong not in labels:
                raise ProblemError(
                    f"reading {reading.label!r} of claim {claim.id!r} corrects {wrong!r}, which "
                    f"is not one of its readings: {labels}"
                )
    _CLAIMS[claim.id] = claim
    return claim


def claim_ids() -> tuple[str, ...]:
    """Return the ids of all claims, without loading them.

    Examples
    --------
    >>> claim_ids()[:2]
    ('assumption', 'equivalence')
    """
    return ORDER


def get_claim(claim_id: str) -> Claim:
    """Load one claim by its id.

    Raises
    ------
    ProblemError
        If there is no such claim; the message lists the ids.
    """
    if claim_id not in ORDER:
        raise ProblemError(f"unknown claim {claim_id!r}; choose from: {', '.join(ORDER)}")
    if claim_id not in _CLAIMS:
        importlib.import_module(f"prefeq.claims.{claim_id.replace('-', '_')}")
    return _CLAIMS[claim_id]


def select(claims: str | Iterable[str] | None = None) -> tuple[Claim, ...]:
    """Load the named claims (one id, several, or None for all), in the order of the paper."""
    wanted = [claims] if isinstance(claims, str) else list(ORDER if claims is None else claims)
    chosen = {get_claim(claim_id).id for claim_id in wanted}
    return tuple(get_claim(claim_id) for claim_id in ORDER if claim_id in chosen)
