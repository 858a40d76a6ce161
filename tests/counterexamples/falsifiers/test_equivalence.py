"""The attacks on `equivalence` succeed where the package is broken."""

from __future__ import annotations

import numpy as np
import pytest
from counterexamples.falsifiers import planted

from prefeq import losses, margins, solvers
from prefeq.solvers import rlhf

ALWAYS = planted.instead(lambda ref, gap, beta, strict=True: np.ones_like(ref, dtype=bool))
FLAT = planted.relinked(slope=lambda xp, z: 0.0 * z)

BUGS = (
    planted.Bug("ordered-pair (only-if)", losses, "DPO", FLAT),
    planted.Bug("ordered-pair-with-cycles (if)", margins, "assumption_holds", ALWAYS),
    planted.Bug("bradley-terry-connected (if)", rlhf, "rlhf_logp", planted.doubled_tilt),
    planted.Bug("component-means (if)", rlhf, "rlhf_logp", planted.doubled_tilt),
    planted.Bug("component-means (only-if)", solvers, "solve_dpo", planted.rlhf_instead),
    planted.Bug("alignment (if)", margins, "assumption_holds", planted.negated),
    planted.Bug("alignment (only-if)", margins, "assumption_holds", planted.negated),
    planted.Bug("constrained (if)", solvers, "solve_cpo", planted.lifted(0.5)),
    planted.Bug("constrained (only-if)", solvers, "solve_cpo", planted.rlhf_instead),
    planted.Bug("constrained (only-if)", solvers, "solve_cpo", planted.lifted(-0.5)),
)


@pytest.mark.parametrize("bug", BUGS, ids=planted.name_of)
def test_a_planted_bug_is_seen(bug, monkeypatch):
    planted.assert_seen(monkeypatch, "equivalence", bug)


def test_every_true_reading_has_a_bug():
    planted.assert_all_attacked("equivalence", BUGS)
