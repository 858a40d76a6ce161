"""What assertions draw, and the smallest of it that fails: Hypothesis with a fixed seed."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, TypeVar

import numpy as np
from hypothesis import HealthCheck, Phase, Verbosity, find, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from prefeq.bandit import Bandit
from prefeq.errors import ProblemError
from prefeq.loss_cards.pairs import Pairs
from prefeq.preferences import Preferences
from prefeq.strategies import Draw, bandits, nats, preferences

T = TypeVar("T")

EXAMPLES: int | None = None
"""How many to draw where nothing else is said; the plugin's ``--prefeq-examples`` sets it."""


def smallest(
    strategy: st.SearchStrategy[T],
    fails: Callable[[T], bool],
    examples: int | None = None,
    plain: st.SearchStrategy[T] | None = None,
) -> T | None:
    """Return the smallest thing drawn that fails, shrunk by Hypothesis; None if nothing fails.

    Parameters
    ----------
    strategy
        What to draw.
    fails
        Whether one fails; an exception counts as a failure, it is code of other people.
    examples
        How many to draw; ``max_examples`` of the active Hypothesis profile by default.
    plain
        Where to look again for a smaller one: Hypothesis keeps the kind of number that it found
        first (a limit, a whole number, a fraction), and what that is changes with the constants of
        the modules that are loaded.

    Examples
    --------
    >>> smallest(nats(), lambda z: z > 9, plain=st.integers(0, 800).map(float))
    10.0
    """
    if examples is not None and (not isinstance(examples, int) or examples < 1):
        raise ProblemError(f"examples = {examples!r}: draw at least one (a positive integer)")
    chosen = settings(
        max_examples=examples or EXAMPLES or settings().max_examples,
        phases=(Phase.generate, Phase.shrink),
        database=None,
        deadline=None,
        derandomize=False,
        verbosity=Verbosity.quiet,
        suppress_health_check=list(HealthCheck),
    )

    def guarded(drawn: T) -> bool:
        try:
            return bool(fails(drawn))
        except Exception:  # other people's code raises what it likes
            return True

    def first(drawn: st.SearchStrategy[T]) -> T | None:
        try:
            return find(drawn, guarded, settings=chosen, random=Random(20834))
        except NoSuchExample:
            return None

    seen = first(strategy)
    simpler = first(plain) if seen is not None and plain is not None else None
    return simpler if simpler is not None and _size(simpler) <= 2 * _size(seen) + 1 else seen


def _size(drawn: Any) -> float:
    """Return how large something drawn is: the sum of its numbers, 0 where it has none."""
    if isinstance(drawn, Pairs):
        return float(sum(np.abs(column).sum() for column in drawn.columns()[:4]))
    if isinstance(drawn, tuple):
        return sum(map(_size, drawn))
    return abs(float(drawn)) if isinstance(drawn, int | float) else 0.0


def pairs(*, limit: float = 800.0, whole: bool = False) -> st.SearchStrategy[Pairs]:
    """Draw the four log-probs of a pair, each in [−limit − 1, −1]: ties and extremes often.

    Whole numbers alone, if asked for.

    Examples
    --------
    >>> float(smallest(pairs(), lambda pair: pair.margin[0] < -2).margin[0])
    -3.0
    """
    sizes = _whole(limit) if whole else nats(limit)
    logp = sizes.map(lambda z: -1.0 - abs(z))
    return st.tuples(logp, logp, logp, logp).map(lambda four: Pairs(*map(np.array, four)))


def _whole(limit: float) -> st.SearchStrategy[float]:
    return st.integers(0, int(limit)).map(float)


def negative(limit: float, *, whole: bool = False) -> st.SearchStrategy[float]:
    """Draw reference margins in [−limit, 0): whole numbers alone, if asked for and if there are."""
    return (
        (_whole(limit) if whole and limit >= 1 else nats(limit))
        .map(lambda z: -abs(z))
        .filter(lambda z: z < 0)
    )


def reward_gaps(low: float, high: float) -> st.SearchStrategy[float]:
    """Draw reward gaps in [low, high], simple ones first."""
    simple = [x for x in (1.0, 2.0, 0.5, 0.1, 5.0, low, high) if low <= x <= high]
    return st.one_of(st.sampled_from(simple), st.floats(low, high))


@st.composite
def connected_problems(
    draw: Draw[Any], *, max_responses: int = 5, limit: float = 40.0
) -> tuple[Bandit, Preferences]:
    """Draw (bandit, preferences): Bradley–Terry population labels, all responses connected.

    There the DPO loss has one minimiser, the RLHF optimum. A random tree joins the responses of
    the support, and more pairs, duplicates and both orders among them, join it.

    Parameters
    ----------
    max_responses
        The largest K; the smallest is 2.
    limit
        The largest |r/β| and log-ratio under the reference, in nats.

    Examples
    --------
    >>> smallest(connected_problems(), lambda problem: problem[0].K > 2)
    (Bandit(K=3, beta=1.0), Preferences(P=2: 0>1 with q=0.5, 0>2 with q=0.5))
    """
    wide = bandits(min_responses=2, max_responses=max_responses, limit=limit)
    bandit = draw(wide.filter(lambda b: b.support.sum() > 1))
    on = np.flatnonzero(bandit.support).tolist()
    ends = []
    for i in range(1, len(on)):
        pair = (draw(st.sampled_from(on[:i])), on[i])
        ends.append(pair if draw(st.just(True) | st.booleans()) else pair[::-1])
    more = draw(preferences(bandit, max_pairs=3, labels="bradley-terry"))
    winner, loser = np.array(ends, dtype=np.int64).T
    winner = np.concatenate([winner, more.winner[more.present]])
    loser = np.concatenate([loser, more.loser[more.present]])
    return bandit, Preferences.bradley_terry(bandit, np.stack([winner, loser], axis=-1))
