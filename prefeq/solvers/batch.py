"""Walk the prompts of a batch: every instance gets its own answer and its own status."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from prefeq.bandit import Bandit
from prefeq.preferences import Preferences
from prefeq.solution import Solution, stack

Single = Callable[[Bandit, Preferences, tuple[int, ...]], Solution]


def solve_each(bandit: Bandit, preferences: Preferences, single: Single) -> Solution:
    """Apply a single-prompt solver to each prompt and join the answers."""
    preferences.check(bandit)
    lead = bandit.batch_shape
    if not lead:
        return single(bandit, preferences, ())
    parts = [
        single(bandit[index], preferences.at(index, lead), index) for index in np.ndindex(lead)
    ]
    return stack(parts, lead, bandit.K)
