"""The whole table of planted bugs, one at a time, against every reading that leans on each.

`make campaign` runs it and writes benchmarks/results/mutants.json: per bug the readings that
noticed, by a changed verdict, and those that did not. The test suite plants the same bugs but stops
at the first reading that notices. Fails if fewer than 95 % are noticed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from prefeq.claims import registry, run
from prefeq.claims.verdict import Verdict
from prefeq.progress import progress

ROOT = Path(__file__).resolve().parents[1]
RESULT = Path(__file__).parent / "results" / "mutants.json"
ENOUGH = 0.95

sys.path.insert(0, str(ROOT / "tests"))
from claims import planted_bugs  # noqa: E402


def sound_verdicts(bugs: tuple[planted_bugs.Bug, ...]) -> dict[str, Verdict]:
    """Check every touched reading on the sound package."""
    names = sorted({name for bug in bugs for name in bug.touches})
    return {name: check(name).verdict for name in progress(names, "sound")}


def check(name: str) -> Any:
    """Check one reading by its full name, claim/label."""
    claim, label = name.split("/", 1)
    (reading,) = (r for r in registry.get_claim(claim).readings if r.label == label)
    return run.check_reading(reading)


def plant(bug: planted_bugs.Bug, sound: dict[str, Verdict]) -> dict[str, Any]:
    """Plant one bug, and see which of the readings it touches change their verdict."""
    original = vars(bug.owner)[bug.attribute]
    setattr(bug.owner, bug.attribute, bug.mutate(original))
    try:
        found = {name: check(name) for name in bug.touches}
    finally:
        setattr(bug.owner, bug.attribute, original)
    noticed = [name for name, result in found.items() if result.verdict is not sound[name]]
    outcomes = {item.outcome for name in noticed for item in found[name].evidence}
    return {
        "bug": bug.name,
        "where": planted_bugs.where(bug),
        "noticed_by": noticed,
        "not_by": [name for name in found if name not in noticed],
        "by_a_failed_comparison": "fails" in outcomes,
    }


def main() -> int:
    """Plant all bugs, and store what noticed them."""
    bugs = planted_bugs.all_bugs()
    sound = sound_verdicts(bugs)
    rows = [plant(bug, sound) for bug in progress(bugs, "planting")]
    killed = sum(bool(row["noticed_by"]) for row in rows)
    result = {
        "bugs": len(rows),
        "noticed": killed,
        "survivors": [row["bug"] for row in rows if not row["noticed_by"]],
        "rows": rows,
    }
    RESULT.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", "utf-8")
    print(f"{killed} of {len(rows)} planted bugs noticed; survivors: {result['survivors']}")
    return 0 if killed >= ENOUGH * len(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
