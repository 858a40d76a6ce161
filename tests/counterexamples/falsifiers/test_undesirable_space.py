"""The attacks on `undesirable-space` succeed where the package is broken."""

from __future__ import annotations

import numpy as np
import pytest
from counterexamples.falsifiers import planted

from prefeq import losses, margins

SHALLOW = planted.instead(lambda margin, ref: np.logical_and(ref < margin, margin < -1))
ANY_RISE = planted.instead(lambda margin, ref: np.asarray(ref < margin))
SWAPPED = planted.relinked(value=lambda xp, z: xp.logaddexp(z, 0.0 * z))
EVERY_LOSS = planted.instead(lambda loss, ref, beta: np.asarray(loss < np.log(2)))
NO_LOSS = planted.instead(lambda loss, ref, beta: np.asarray(loss < 0))

BUGS = (
    planted.Bug("non-empty (if)", margins, "undesirable", SHALLOW),
    planted.Bug("non-empty-corrected (if)", margins, "undesirable", SHALLOW),
    planted.Bug("non-empty-corrected (only-if)", margins, "undesirable", ANY_RISE),
    planted.Bug("lower-loss", losses, "DPO", SWAPPED),
    planted.Bug("lower-loss-soft-labels-corrected", losses, "DPO", SWAPPED),
    planted.Bug("loss-certificate (if)", margins, "undesirable_from_loss", EVERY_LOSS),
    planted.Bug("loss-certificate (if)", losses, "DPO", SWAPPED),
    planted.Bug("loss-certificate (only-if)", margins, "undesirable_from_loss", NO_LOSS),
    planted.Bug(
        "loss-certificate-soft-labels-corrected", margins, "relative_margin", planted.scaled(-1)
    ),
)


@pytest.mark.parametrize("bug", BUGS, ids=planted.name_of)
def test_a_planted_bug_is_seen(bug, monkeypatch):
    planted.assert_seen(monkeypatch, "undesirable-space", bug)


def test_every_true_reading_has_a_bug():
    planted.assert_all_attacked("undesirable-space", BUGS)
