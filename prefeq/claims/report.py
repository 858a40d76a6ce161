"""The results of a verification: frozen, and they show themselves as a table."""

from __future__ import annotations

import html
import textwrap
from collections import Counter
from dataclasses import dataclass
from typing import Any

from prefeq import rich
from prefeq.claims.evidence import PROOF_KINDS, Evidence
from prefeq.claims.verdict import Verdict
from prefeq.errors import ProblemError

WIDTH = 132
_LEFT = ' style="text-align:left"'


@dataclass(frozen=True)
class ReadingResult:
    """The verdict on one reading, with everything it rests on.

    Attributes
    ----------
    reading, part
        The reading's name, and ``if``, ``only-if`` or None.
    verdict, vacuous
        What the evidence says, and whether it is true only because the hypothesis never holds.
    scope
        The statement, and in brackets the set it speaks of.
    evidence
        What was found.
    """

    reading: str
    part: str | None
    verdict: Verdict
    vacuous: bool
    scope: str
    evidence: tuple[Evidence, ...]

    @property
    def label(self) -> str:
        """Name and part in one string."""
        return self.reading if self.part is None else f"{self.reading} ({self.part})"

    @property
    def instance(self) -> dict[str, Any] | None:
        """The instance of a refutation: reward, ref, beta, pairs and labels; None without one."""
        for item in self.evidence:
            if item.kind == "counterexample" and "instance" in item.data:
                return dict(item.data["instance"])
        return None

    @property
    def brief(self) -> str:
        """What decides, in one line: the reason, the counterexample, or the parts of the proof."""
        wanted = {Verdict.OPEN: "reason", Verdict.REFUTED: "counterexample"}.get(self.verdict)
        if wanted:
            return next((item.summary for item in self.evidence if item.kind == wanted), "")
        kinds = Counter(item.kind for item in self.evidence if item.step)
        proof = [f"{kinds[kind]} {kind}" for kind in sorted(PROOF_KINDS) if kinds[kind]]
        points, checked, drawn = map(self._runs, ("tie", "recheck", "sample"))
        parts = [
            " + ".join(proof),
            f"tied at {points} points" if points else "",
            f"re-checked {checked} times" if checked else "",
            f"{drawn} random problems" if drawn else "",
        ]
        return "; ".join(part for part in parts if part)

    def _runs(self, kind: str) -> int:
        """Return how often findings of one kind were tried."""
        found = (item for item in self.evidence if item.kind == kind)
        return sum(item.data.get("runs", {}).get("count", 0) for item in found)

    @property
    def ok(self) -> bool:
        """Whether the reading is decided and every finding holds."""
        return self.verdict is not Verdict.OPEN and all(item.holds for item in self.evidence)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "reading": self.reading,
            "part": self.part,
            "verdict": self.verdict.value,
            "vacuous": self.vacuous,
            "scope": self.scope,
            "evidence": [item.to_dict() for item in self.evidence],
        }


@dataclass(frozen=True)
class ClaimResult:
    """All readings of one claim."""

    id: str
    title: str
    source: str
    provenance: str
    readings: tuple[ReadingResult, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "id": self.id,
            "title": self.title,
            "source": self.source,
            "provenance": self.provenance,
            "readings": [reading.to_dict() for reading in self.readings],
        }


@dataclass(frozen=True, repr=False)
class VerificationReport:
    """What `verify` found. Prints as a table; ``.to_dict()`` is the JSON of the command line."""

    claims: tuple[ClaimResult, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is open and all evidence re-checks."""
        readings = [reading for claim in self.claims for reading in claim.readings]
        return bool(readings) and all(reading.ok for reading in readings)

    def reading(self, claim: str, reading: str, part: str | None = None) -> ReadingResult:
        """Return one result by claim id, reading name and part."""
        for result in (r for c in self.claims if c.id == claim for r in c.readings):
            if result.reading == reading and result.part == part:
                return result
        raise ProblemError(f"no reading {reading!r} with part {part!r} of claim {claim!r} here")

    def verdict(self, claim: str, reading: str, part: str | None = None) -> Verdict:
        """Return one verdict by claim id, reading name and part."""
        return self.reading(claim, reading, part).verdict

    def to_dict(self) -> dict[str, Any]:
        """Return ``{"version", "claims": [...]}``, ready for strict JSON."""
        from prefeq import __version__

        return {"version": __version__, "claims": [claim.to_dict() for claim in self.claims]}

    def __str__(self) -> str:
        rows = self._rows()
        name = max((len(r[0]) for _, rs in rows for r in rs), default=7)
        verdict = max((len(r[1]) for _, rs in rows for r in rs), default=7)
        lines = [f"  {'reading':{name}}  {'verdict':{verdict}}  evidence"]
        for title, readings in rows:
            lines += ["", *title.split("\n")]
            for label, word, brief in readings:
                room = max(WIDTH - name - verdict - 6, 30)
                short = textwrap.shorten(brief, room, placeholder=" ...")
                lines.append(f"  {label:{name}}  {word:{verdict}}  {short}")
        return "\n".join([*lines, "", self.summary])

    __repr__ = __str__

    @property
    def statements(self) -> str:
        """What each reading says, and in brackets the set that it speaks of."""
        lines = ["What each reading says, and [of what]:"]
        for result in (r for c in self.claims for r in c.readings):
            text = f"  {result.label}: {result.scope}"
            lines += ["", *textwrap.wrap(text, 98, subsequent_indent="    ")]
        return "\n".join(lines)

    @property
    def summary(self) -> str:
        """One line that counts the verdicts."""
        verdicts = [reading.verdict for claim in self.claims for reading in claim.readings]
        counts = ", ".join(f"{verdicts.count(v)} {v.value}" for v in Verdict)
        word = "all evidence re-checks" if self.ok else "NOT everything is decided"
        return f"{len(verdicts)} readings: {counts}; {word}."

    def _repr_html_(self) -> str:
        body = []
        for title, readings in self._rows():
            heading = html.escape(title).replace("\n", "<br>")
            body.append(f'<tr><th colspan="3"{_LEFT}>{heading}</th></tr>')
            for row in readings:
                cells = "".join(f"<td{_LEFT}>{html.escape(cell)}</td>" for cell in row)
                body.append(f"<tr>{cells}</tr>")
        head = "<tr><th>reading</th><th>verdict</th><th>evidence</th></tr>"
        return (
            f"<table><thead>{head}</thead><tbody>{''.join(body)}</tbody></table>"
            f"<p>{html.escape(self.summary)}</p>"
        )

    def _repr_latex_(self) -> str:
        claims = [
            rich.Table(["reading", "verdict"], [row[:2] for row in rows], 2, title.split("\n")[0])
            for title, rows in self._rows()
        ]
        return rich.latex(*claims)

    def _rows(self) -> list[tuple[str, list[tuple[str, str, str]]]]:
        """Return per claim its heading and (reading, verdict, evidence) in text."""
        return [
            (
                f"{c.id} ({c.source}; {c.provenance})\n{c.title}",
                [(r.label, r.verdict + " (vacuous)" * r.vacuous, r.brief) for r in c.readings],
            )
            for c in self.claims
        ]
