"""The attacks on `relative-advantage` succeed where the package is broken."""

from __future__ import annotations

import pytest
from counterexamples.falsifiers import planted

from prefeq import losses, margins, preferences
from prefeq.losses import targets

NO_REFERENCE = planted.instead(lambda margin, ref_margin: margin)

BUGS = (
    planted.Bug("shift-invariance", margins, "relative_margin", NO_REFERENCE),
    planted.Bug(
        "shift-invariance",
        losses,
        "DPO",
        lambda loss: planted.dataclasses.replace(loss, target_rule=targets.CLIPPED),
    ),
    planted.Bug("descent-path", preferences.Preferences, "ref_margin", planted.scaled(2)),
    planted.Bug("relative-margin", margins, "relative_margin", NO_REFERENCE),
    planted.Bug("relative-margin", losses, "DPO", planted.relinked(value=lambda xp, z: z)),
)


@pytest.mark.parametrize("bug", BUGS, ids=planted.name_of)
def test_a_planted_bug_is_seen(bug, monkeypatch):
    planted.assert_seen(monkeypatch, "relative-advantage", bug)


def test_every_true_reading_has_a_bug():
    planted.assert_all_attacked("relative-advantage", BUGS)
