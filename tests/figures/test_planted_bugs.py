"""Bugs planted in the figures' data, each seen by the test that is there for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from figures import test_abyss, test_sydney, test_targets
from prefeq.figures import abyss, sydney, targets
from prefeq.losses import CLIP, DPO, IPO
from prefeq.margins import penalty_critical_gamma
from prefeq.preferences import Preferences

BUGS: dict[str, tuple[Any, str, Any, Callable[[], None]]] = {
    "HyPO's target is DPO's": (
        targets, "CLIP", DPO, lambda: test_targets.test_targets(targets.data()),
    ),
    "IPO's minimiser is HyPO's": (
        targets, "IPO", CLIP, lambda: test_targets.test_targets(targets.data()),
    ),
    "DPO's loss is IPO's": (
        targets, "DPO", IPO,
        lambda: test_targets.test_losses_are_softplus_and_tend_to_the_hinge(targets.data()),
    ),
    "HyPO descends on DPO's loss": (
        sydney, "CLIP", DPO,
        lambda: test_sydney.test_the_runs_are_plain_gradient_descent(sydney.data(), "hypo", True),
    ),
    "DPO descends on HyPO's loss": (
        sydney, "DPO", CLIP,
        lambda: test_sydney.test_the_runs_are_plain_gradient_descent(sydney.data(), "dpo", False),
    ),
    "gamma* = -beta delta*/2": (
        abyss, "penalty_critical_gamma", lambda *args: 2 * penalty_critical_gamma(*args),
        lambda: test_abyss.test_critical_gamma_and_fold({}),
    ),
    "winner and loser swapped": (
        abyss, "Preferences", lambda winner, loser: Preferences(loser, winner),
        lambda: test_abyss.test_the_objective({}),
    ),
}  # fmt: skip


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_seen(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, name, wrong, check = BUGS[bug]
    check()
    monkeypatch.setattr(module, name, wrong)
    with pytest.raises(AssertionError):
        check()
