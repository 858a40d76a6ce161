"""The verdicts as a Markdown table, and the region of a page that holds it."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from prefeq.claims.evidence import PROOF_KINDS
from prefeq.claims.report import ClaimResult, ReadingResult, VerificationReport
from prefeq.claims.verdict import Verdict
from prefeq.errors import ProblemError

START = "<!-- verdicts: written by `make readme` -->"
END = "<!-- end of verdicts -->"


def table(report: VerificationReport) -> str:
    """Return the verdicts as a Markdown table: statement, reading, verdict, evidence, source.

    The readings of a claim that are proved share a row; every other reading has its own.
    """
    lines = ["| statement | reading | verdict | evidence | source |", "|---|---|---|---|---|"]
    for claim in report.claims:
        proved = [r for r in claim.readings if r.verdict is Verdict.PROVED]
        rows = [(_names(proved), "proved", _counts(proved))] if proved else []
        rows += [
            (r.label, r.verdict.value, r.brief)
            for r in claim.readings
            if r.verdict is not Verdict.PROVED
        ]
        heads = [(f"[`{claim.id}`](docs/claims.md#{claim.id}): {claim.title}", _source(claim))]
        for row, (head, source) in zip(rows, heads + [("", "")] * len(rows), strict=False):
            cells = (head, *row, source)
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join([*lines, "", report.summary])


def _source(claim: ClaimResult) -> str:
    return f"{claim.source}; {claim.provenance}"


def _names(readings: list[ReadingResult]) -> str:
    """List readings, both parts of an equivalence in one word; mark those that are vacuous."""
    parts: dict[str, list[str]] = {}
    for reading in readings:
        words = [reading.part or "", "vacuously" * reading.vacuous]
        parts.setdefault(reading.reading, []).append(" ".join(word for word in words if word))
    return ", ".join(
        name + (f" ({', '.join(which)})" if any(which) else "") for name, which in parts.items()
    )


def _counts(readings: list[ReadingResult]) -> str:
    """Count the steps of the proofs of several readings, and what holds them to the package."""
    items = [item for reading in readings for item in reading.evidence]
    kinds = Counter(item.kind for item in items if item.step and item.kind in PROOF_KINDS)
    steps = [f"{kinds[kind]} {kind}" for kind in sorted(kinds)]
    tied, again = (
        sum(item.data["runs"]["count"] for item in items if item.kind == kind)
        for kind in ("tie", "recheck")
    )
    anchors = [f"tied at {tied} points"] * bool(tied) + [f"re-checked {again} times"] * bool(again)
    return "; ".join([" + ".join(steps), *anchors])


def replace_region(page: str, text: str, start: str = START, end: str = END) -> str:
    """Return `page` with everything between the two markers replaced by `text`."""
    head, found, rest = page.partition(start)
    _, ended, tail = rest.partition(end)
    if not (found and ended):
        raise ProblemError(f"the page has no region {start} ... {end}; add the two lines")
    return f"{head}{start}\n{text}\n{end}{tail}"


PAGE_HEAD = """# The claims, reading by reading

What each verdict is about: the statement, and in brackets the set that it speaks of. Written by
`make readme` from what `prefeq verify` finds; a test keeps it current. *Symbolic* is an identity or
a sign proved by computer algebra, *exact* a finite check in integers and rationals, an *enclosure*
an inequality proved over a whole box in ball arithmetic; *tied* and *re-checked* count the
comparisons with the package's own functions and solvers. A proof is *vacuous* if the hypothesis
never holds. Where a statement is refuted and something like it is true, what is proved instead
follows (*true instead*). Where the DPO loss has many minimisers or none, "DPO's answer" is what
gradient descent from the reference tends to; the statement says so where another meaning is tried.

In all of them `delta` is log π(w) − log π(l), `gap` the reward gap, `delta*` = `delta_ref` + gap/β
the margin of the RLHF optimum, q the probability of the label and U the policies with `delta_ref` <
`delta` < 0. x is `delta` - `delta_ref`; L the DPO loss of a pair and R its mean over a soft label;
t the target margin of a loss and t' that of the swapped pair; J the RLHF objective and F = J +
gamma E[delta] the penalty's. m is the mass of a pair, but in `cpo-constrained` the margin asked
for; d(y) the mass that a response wins less what it loses, and d alone the margin at the fold.
"""


def page(report: VerificationReport) -> str:
    """Return a page with every reading's statement, scope, verdict, evidence and correction."""
    lines = [PAGE_HEAD]
    for claim in report.claims:
        lines += [f"## {claim.id}", "", f"{claim.title} ({_source(claim)})", ""]
        for reading in claim.readings:
            verdict = reading.verdict.value + ", vacuously" * reading.vacuous
            lines += [f"- **{reading.label}: {verdict}.** {reading.scope}  ", f"  {reading.brief}"]
            for item in reading.evidence:
                if item.kind == "correction":
                    lines[-1] += "  "
                    head, _, statement = item.summary.partition(": ")
                    # not in the emphasis: a delta* would end it
                    lines.append(f"  *{head[0].upper()}{head[1:]}:* {statement}")
        lines.append("")
    return "\n".join([*lines, report.summary, ""])


def main(readme: str, claims: str) -> None:
    """Rewrite the region of the README, and the page of the claims."""
    from prefeq.claims import verify

    report, path = verify(), Path(readme)
    path.write_text(replace_region(path.read_text("utf-8"), table(report)), "utf-8")
    Path(claims).write_text(page(report), "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
