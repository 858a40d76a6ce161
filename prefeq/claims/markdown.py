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


def main(path: str) -> None:
    """Rewrite the region of one page."""
    from prefeq.claims import verify

    page = Path(path)
    page.write_text(replace_region(page.read_text("utf-8"), table(verify())), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
