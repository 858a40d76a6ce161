"""The verdicts as a Markdown table, and the region of a page that holds it."""

from __future__ import annotations

import sys
from pathlib import Path

from prefeq.claims.report import VerificationReport
from prefeq.errors import ProblemError

START = "<!-- verdicts: written by `make readme` -->"
END = "<!-- end of verdicts -->"


def table(report: VerificationReport) -> str:
    """Return the verdicts as a Markdown table: statement, reading, verdict, evidence, source."""
    lines = ["| statement | reading | verdict | evidence | source |", "|---|---|---|---|---|"]
    for claim in report.claims:
        source = f"{claim.source}; {claim.provenance}"
        for i, reading in enumerate(claim.readings):
            first = i == 0
            cells = (
                f"`{claim.id}`: {claim.title}" if first else "",
                reading.label,
                reading.verdict.value + " (vacuously)" * reading.vacuous,
                reading.brief,
                source if first else "",
            )
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join([*lines, "", report.summary])


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
never holds. Where the DPO loss has many minimisers or none, "DPO's answer" is what gradient descent
from the reference tends to; the statement says so where another meaning is tried.

In all of them `delta` is log π(w) − log π(l), `gap` the reward gap, `delta*` = `delta_ref` + gap/β
the margin of the RLHF optimum, q the probability of the label and U the policies with `delta_ref` <
`delta` < 0.
"""


def page(report: VerificationReport) -> str:
    """Return a page with every reading's statement, scope, verdict and evidence in brief."""
    lines = [PAGE_HEAD]
    for claim in report.claims:
        lines += [f"## {claim.id}", "", f"{claim.title} ({claim.source}; {claim.provenance})", ""]
        for reading in claim.readings:
            verdict = reading.verdict.value + ", vacuously" * reading.vacuous
            lines += [f"- **{reading.label}: {verdict}.** {reading.scope}  ", f"  {reading.brief}"]
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
