"""The attacks on `margin-ranking` succeed where the package is broken."""

from __future__ import annotations

import pytest
from counterexamples.falsifiers import planted

from prefeq import losses, margins

SWAPPED = planted.relinked(value=lambda xp, z: xp.logaddexp(z, 0.0 * z))

BUGS = (
    planted.Bug("uniform-bound", margins, "hinge_gap", planted.scaled(2)),
    planted.Bug("uniform-bound", losses, "DPO", SWAPPED),
    planted.Bug("bound-is-tight", margins, "hinge_gap", planted.scaled(1.01)),
    planted.Bug(
        "bound-is-tight", margins, "hinge_gap", planted.instead(lambda d, ref, b: 0.693147 / b)
    ),
    planted.Bug("limit", losses, "DPO", SWAPPED),
    planted.Bug("limit", margins, "hinge_gap", lambda f: lambda d, ref, b: f(d, ref, 1.0)),
    planted.Bug("zero-limit-loss-ranks-corrected", losses, "DPO", SWAPPED),
    planted.Bug("zero-limit-loss-ranks-corrected", margins, "relative_margin", planted.scaled(-1)),
)


@pytest.mark.parametrize("bug", BUGS, ids=planted.name_of)
def test_a_planted_bug_is_seen(bug, monkeypatch):
    planted.assert_seen(monkeypatch, "margin-ranking", bug)


def test_every_true_reading_has_a_bug():
    planted.assert_all_attacked("margin-ranking", BUGS)
