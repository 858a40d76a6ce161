"""Walk the prompts of a batch: every instance gets its own answer and its own status."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from prefeq.arrays import is_tensor
from prefeq.bandit import Bandit
from prefeq.component_lanes import LARGEST_IN_LANES
from prefeq.errors import ProblemError, UnsolvedError
from prefeq.preferences import Preferences
from prefeq.solution import Solution, Status, stack

Single = Callable[[Bandit, Preferences, tuple[int, ...]], Solution]

ANSWERED = (Status.OPTIMAL, Status.NOT_UNIQUE)


def fits_lanes(bandit: Bandit) -> bool:
    """Whether this is a batch for the solvers in lanes."""
    return bool(bandit.batch_shape) and bandit.K <= LARGEST_IN_LANES and 0 not in bandit.batch_shape


def solve_each(
    bandit: Bandit, preferences: Preferences, single: Single, throw: bool | None
) -> Solution:
    """Apply a single-prompt solver to each prompt and join the answers.

    With ``throw=True`` the first prompt without an optimum raises an `UnsolvedError`.
    """
    check_types(bandit, preferences)
    preferences.check(bandit)
    if is_tensor(bandit.reward):
        host = solve_each(bandit.to_numpy(), preferences.to_numpy(), single, throw)
        return host.to_library(bandit.reward)
    lead = bandit.batch_shape
    parts = []
    for index in np.ndindex(lead):
        one, pairs = (bandit[index], preferences.at(index, lead)) if lead else (bandit, preferences)
        parts.append(single(one, pairs, index))
        if throw and parts[-1].status not in ANSWERED:
            raise _unsolved(index, parts[-1].status)
    return stack(parts, lead, bandit.K) if lead else parts[0]


def demand(solution: Solution, throw: bool | None) -> Solution:
    """Return a batch's solution; with ``throw=True`` raise for the first prompt without one."""
    if throw:
        for index, status in np.ndenumerate(solution.status):
            if status not in ANSWERED:
                raise _unsolved(index, status)
    return solution


def _unsolved(index: tuple[int, ...], status: Status) -> UnsolvedError:
    where = f"prompt {list(index)}: " if index else ""
    return UnsolvedError(f"{where}{status}: {status.help}")


def check_types(bandit: object, preferences: object) -> None:
    """Refuse arguments that are not a bandit and pairs, e.g. in the wrong order."""
    if not isinstance(bandit, Bandit):
        raise ProblemError(f"bandit is a {type(bandit).__name__}: pass a prefeq.Bandit first")
    if not isinstance(preferences, Preferences):
        kind = type(preferences).__name__
        raise ProblemError(f"preferences is a {kind}: pass prefeq.Preferences second")
