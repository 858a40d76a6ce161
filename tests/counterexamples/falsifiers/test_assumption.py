"""The attacks on `assumption` succeed where the package is broken."""

from __future__ import annotations

import numpy as np
import pytest
from counterexamples.falsifiers import planted

from prefeq import margins
from prefeq.solvers import rlhf

BUGS = (
    planted.Bug("identity", rlhf, "rlhf_logp", planted.doubled_tilt),
    planted.Bug("identity", rlhf, "rlhf_logp", planted.instead(lambda bandit: bandit.ref_logp)),
    planted.Bug(
        "threshold", margins, "optimal_margin", planted.instead(lambda d, gap, b: d - gap / b)
    ),
    planted.Bug("threshold", margins, "critical_gap", planted.scaled(-1)),
    planted.Bug("threshold", margins, "assumption_holds", planted.negated),
    planted.Bug("label-probability", margins, "critical_label_prob", planted.scaled(0.9)),
    planted.Bug(
        "label-probability", margins, "sigmoid", planted.instead(lambda z: 1 / (1 + np.exp(z)))
    ),
)


@pytest.mark.parametrize("bug", BUGS, ids=planted.name_of)
def test_a_planted_bug_is_seen(bug, monkeypatch):
    planted.assert_seen(monkeypatch, "assumption", bug)


def test_every_true_reading_has_a_bug():
    planted.assert_all_attacked("assumption", BUGS)
