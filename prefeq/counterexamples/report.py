"""What a search found: frozen, and it shows itself as a person would write it down."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from prefeq.claims.evidence import Evidence
from prefeq.counterexamples.case import Case
from prefeq.errors import ProblemError

_WIDTH = 98
_LEFT = ' style="text-align:left"'


def describe(case: Case) -> list[str]:
    """Write a case down in lines.

    Examples
    --------
    >>> from prefeq.claims.instance import Instance
    >>> made = Instance.of("one", reward=[1, 0], ref=["1/4", "3/4"], pairs=[(0, 1)])
    >>> print("\\n".join(describe(Case({"gamma": Fraction(1, 2)}, made))))
    gamma = 1/2
    reward = (1, 0), pi_ref = (1/4, 3/4), beta = 1
    ordered pairs 0>1
    """
    lines = [", ".join(f"{name} = {value}" for name, value in case.numbers.items())]
    if case.instance is not None:
        made = case.instance
        lines += [
            f"reward = {_row(made.reward)}, pi_ref = {_row(made.ref)}, beta = {made.beta}",
            f"{made.labels} pairs " + ", ".join(f"{w}>{l}" for w, l in made.pairs),  # noqa: E741
        ]
    lines += [f"policy {name} = {_row(probs)}" for name, probs in case.policies.items()]
    if case.margins is not None:
        lines.append(f"margins = {_row(case.margins)}")
    return [line for line in lines if line]


def _row(values: Iterable[Fraction]) -> str:
    return f"({', '.join(map(str, values))})"


def case_to_dict(case: Case) -> dict[str, Any]:
    """Return a case as strict JSON: rationals as strings, the instance as `prefeq verify` has it.

    >>> case_to_dict(Case({"beta": Fraction(1, 2)}))
    {'numbers': {'beta': '1/2'}, 'instance': None, 'policies': {}, 'margins': None}
    """
    return {
        "numbers": {name: str(value) for name, value in case.numbers.items()},
        "instance": None if case.instance is None else case.instance.to_data(),
        "policies": {name: [str(p) for p in probs] for name, probs in case.policies.items()},
        "margins": None if case.margins is None else [str(m) for m in case.margins],
    }


@dataclass(frozen=True)
class NearestMiss:
    """The case that came nearest to a violation, and by how much it missed (zero or negative)."""

    violation: float
    case: Case

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"violation": self.violation, "case": case_to_dict(self.case)}


@dataclass(frozen=True)
class SearchResult:
    """What the search of one reading found.

    Attributes
    ----------
    claim, reading, part
        The reading: its claim's id, its name, and ``if``, ``only-if`` or None.
    statement
        What it says.
    tries, in_scope
        The cases tried, and how many of them the statement speaks of.
    uncertified
        How many violated it by their floats only: their certificates did not hold.
    shrinks
        How many simplifications led from the case that was found to `case`.
    case, evidence
        The counterexample and its certificate; None without one.
    nearest_miss
        Without a counterexample, the case that came nearest to one; None if none was in scope.
    interrupted
        Whether the search was cut short: there may be a simpler case, or one at all.
    """

    claim: str
    reading: str
    part: str | None
    statement: str
    tries: int
    in_scope: int
    uncertified: int
    shrinks: int
    case: Case | None
    evidence: Evidence | None
    nearest_miss: NearestMiss | None
    interrupted: bool

    @property
    def found(self) -> bool:
        """Whether a certified counterexample was found."""
        return self.case is not None

    @property
    def label(self) -> str:
        """Claim, reading and part in one string."""
        return f"{self.claim}/{self.reading}" + (f" ({self.part})" if self.part else "")

    @property
    def outcome(self) -> str:
        """What came of it, in one line."""
        tries = f"{self.tries} {'try' if self.tries == 1 else 'tries'}"
        if self.found:
            steps = f"{self.shrinks} simplification{'s' * (self.shrinks != 1)}"
            text = f"counterexample after {tries}, {steps}"
        else:
            text = f"none in {tries}, {self.in_scope} of them in scope"
            if self.uncertified:
                text += f", {self.uncertified} apparent but not certified"
            if self.nearest_miss is not None:
                text += f"; nearest miss {self.nearest_miss.violation:.3g}"
        return text + " (interrupted)" * self.interrupted

    @property
    def shown(self) -> list[str]:
        """The counterexample and what certifies it, or else the nearest miss, in lines."""
        lines = []
        if self.case is not None:
            lines = describe(self.case)
        elif self.nearest_miss is not None:
            lines = describe(self.nearest_miss.case)
        return lines + ([self.evidence.summary] if self.evidence else [])

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "claim": self.claim,
            "reading": self.reading,
            "part": self.part,
            "found": self.found,
            "tries": self.tries,
            "in_scope": self.in_scope,
            "uncertified": self.uncertified,
            "shrinks": self.shrinks,
            "case": None if self.case is None else case_to_dict(self.case),
            "evidence": None if self.evidence is None else self.evidence.to_dict(),
            "nearest_miss": None if self.nearest_miss is None else self.nearest_miss.to_dict(),
            "interrupted": self.interrupted,
        }


@dataclass(frozen=True, repr=False)
class SearchReport:
    """What `search` found. Prints as text; ``.to_dict()`` is the JSON of the command line.

    Attributes
    ----------
    seed, budget
        What was asked for.
    results
        One a reading, in the order of the paper.
    interrupted
        Whether the search was cut short; readings it had not come to are missing.
    """

    seed: int
    budget: int
    results: tuple[SearchResult, ...]
    interrupted: bool = False

    def result(self, claim: str, reading: str, part: str | None = None) -> SearchResult:
        """Return one result by claim id, reading name and part."""
        for found in self.results:
            if (found.claim, found.reading, found.part) == (claim, reading, part):
                return found
        raise ProblemError(f"no reading {reading!r} with part {part!r} of claim {claim!r} here")

    def to_dict(self) -> dict[str, Any]:
        """Return ``{"version", "seed", "budget", "results"}``, ready for strict JSON."""
        from prefeq import __version__
        from prefeq.strict_json import to_plain

        results = [to_plain(result.to_dict()) for result in self.results]
        head = {"version": __version__, "seed": self.seed, "budget": self.budget}
        return {**head, "results": results}

    @property
    def summary(self) -> str:
        """One line that counts what was found."""
        found, count = sum(r.found for r in self.results), len(self.results)
        text = f"{count} reading{'s' * (count != 1)}: a counterexample to {found}"
        if count > found:
            text += f", none to {count - found}"
        text += f" (seed {self.seed}, at most {self.budget} tries each)"
        return text + ("; interrupted." if self.interrupted else ".")

    def __str__(self) -> str:
        lines: list[str] = []
        for result in self.results:
            lines += textwrap.wrap(f"{result.label}: {result.statement}", _WIDTH)
            lines.append(f"  {result.outcome}")
            for line in result.shown:
                lines += textwrap.wrap(
                    line, _WIDTH, initial_indent=" " * 4, subsequent_indent=" " * 6
                )
            lines.append("")
        return "\n".join([*lines, self.summary])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        body = []
        for result in self.results:
            shown = "<br>".join(html.escape(line) for line in result.shown)
            cells = (html.escape(result.label), html.escape(result.outcome), shown)
            body.append("".join(f"<td{_LEFT}>{cell}</td>" for cell in cells))
        rows = "".join(f"<tr>{row}</tr>" for row in body)
        head = "<tr><th>reading</th><th>outcome</th><th>case</th></tr>"
        return (
            f"<table><thead>{head}</thead><tbody>{rows}</tbody></table>"
            f"<p>{html.escape(self.summary)}</p>"
        )
