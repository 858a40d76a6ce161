"""Hypothesis strategies for bandits, preferences and margins: ugly input, on purpose.

They draw what breaks preference code: ties, probabilities of 1e-300, a single response, integer
and float32 input, margins of ±800 nats, off-support responses, duplicate pairs, both orders of a
pair, zero masses, masses from 1e-300 to 1e300, contradictory labels, prompts without pairs.

Examples
--------
>>> import prefeq as pq
>>> from hypothesis import given, settings
>>> from prefeq import strategies
>>> @settings(max_examples=5, database=None)
... @given(strategies.problems())
... def solvable(problem):
...     assert pq.solve_cpo(*problem).residual <= 1e-9
>>> solvable()
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from hypothesis import strategies as st

from prefeq.arrays import FloatArray, IntArray
from prefeq.bandit import Bandit
from prefeq.errors import ProblemError
from prefeq.preferences import Preferences

if TYPE_CHECKING:
    from prefeq.claims.instance import Instance, Labels
    from prefeq.counterexamples.case import Case
    from prefeq.counterexamples.draws import Shape

T = TypeVar("T")
Draw = Callable[[st.SearchStrategy[T]], T]

LABELS = ("ordered", "bradley-terry", "soft", "mixed")
"""Kinds of label: L = inf; L = r_w − r_l; finite L of any sign; any of these and −inf."""


def nats(limit: float = 800.0) -> st.SearchStrategy[float]:
    """Draw a number of nats in [−limit, limit]: often an integer, a tie, or the limit itself.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(nats(800.0), lambda z: z > 700 and z != 800)
    701.0
    """
    small = min(limit, 3.0)
    whole = st.integers(-int(limit), int(limit)).map(float)
    edges = st.sampled_from([0.0, limit, -limit, 1e-9, small, -small])
    return st.one_of(whole, edges, st.floats(-limit, limit), st.floats(-small, small))


@st.composite
def bandits(
    draw: Draw[Any],
    *,
    min_responses: int = 1,
    max_responses: int = 6,
    limit: float = 800.0,
    batch_shape: tuple[int, ...] = (),
) -> Bandit:
    """Draw a `Bandit`: gaps r/β and reference margins up to `limit` nats, β from 1e-6 to 1e6.

    Rewards may tie or come as integers or float32; the reference as probabilities down to 1e-300
    or as log-probs; some responses may be off its support.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(bandits(), lambda bandit: bandit.K > 1 and bandit.support.sum() == 1).K
    2
    """
    k = draw(st.integers(min_responses, max_responses))
    shape = (*batch_shape, k)
    beta = draw(st.one_of(st.sampled_from([1.0, 0.1, 1e-6, 1e6]), st.floats(1e-3, 1e3)))
    if draw(st.booleans()):
        beta, top = 1.0, min(int(limit), 100)
        dtype = draw(st.sampled_from([np.int8, np.int64, np.float32]))
        reward: Any = _fill(draw, shape, st.integers(-top, top)).astype(dtype)
    else:
        reward = beta * _fill(draw, shape, nats(limit / 2))
    present = _fill(draw, shape, st.sampled_from([True, True, True, False])).astype(np.bool_)
    present[..., 0] |= ~present.any(axis=-1)
    if draw(st.booleans()):
        low = max(1e-300, float(np.exp(-limit)))
        probs = _fill(draw, shape, st.sampled_from([low, 1e-9 + low, 0.05, 0.3, 0.3, 1.0]))
        return Bandit.from_probs(reward=reward, ref=np.where(present, probs, 0.0), beta=beta)
    ref_logp = _fill(draw, shape, nats(limit / 2))
    return Bandit(reward, np.where(present, ref_logp, -np.inf), beta)


@st.composite
def preferences(
    draw: Draw[Any],
    bandit: Bandit,
    *,
    max_pairs: int = 8,
    labels: str = "mixed",
    ill_scaled: bool = False,
) -> Preferences:
    """Draw `Preferences` that fit a bandit: duplicates, cycles and absent pairs included.

    Parameters
    ----------
    bandit
        One prompt or a batch. A prompt with fewer than two responses gets absent pairs only,
        whose indices point anywhere.
    max_pairs
        The largest P; 0 pairs are drawn as well.
    labels
        One of `LABELS`.
    ill_scaled
        Masses from 1e-300 to 1e300 instead of 0.01 to 100.

    Examples
    --------
    >>> import prefeq as pq
    >>> from hypothesis import find
    >>> bandit = pq.Bandit.from_probs(reward=[1, 0, 0], ref=[0.3, 0.3, 0.4], beta=1.0)
    >>> find(preferences(bandit, labels="ordered"), lambda p: p.present.any())
    Preferences(P=1: 0>1)
    """
    if labels not in LABELS:
        raise ValueError(f"labels = {labels!r}: choose one of {LABELS}")
    count = draw(st.integers(0, max_pairs))
    shape = (*bandit.batch_shape, count)
    winner, loser = np.full(shape, 999, dtype=np.int64), np.full(shape, -999, dtype=np.int64)
    log_odds, mass = np.zeros(shape), np.zeros(shape)
    scale = 300 if ill_scaled else 2
    masses = st.one_of(
        st.just(1.0 / max(count, 1)),
        st.just(0.0),
        st.integers(-scale, scale).map(lambda x: 10.0**x),
    )
    for index in np.ndindex(bandit.batch_shape):
        on = np.flatnonzero(bandit.support[index])
        if on.size < 2:
            continue
        pair = st.lists(st.sampled_from(on.tolist()), min_size=2, max_size=2, unique=True)
        for j in range(count):
            at = (*index, j)
            winner[at], loser[at] = draw(pair)
            gap = float(bandit.reward[index][winner[at]] - bandit.reward[index][loser[at]])
            log_odds[at] = draw(_label(labels, gap))
            mass[at] = draw(masses)
    dtype = draw(st.sampled_from([np.int64, np.int32, np.int16]))
    return Preferences(winner.astype(dtype), loser.astype(dtype), log_odds=log_odds, mass=mass)


def problems(
    *,
    min_responses: int = 1,
    max_responses: int = 6,
    limit: float = 800.0,
    batch_shape: tuple[int, ...] = (),
    max_pairs: int = 8,
    labels: str = "mixed",
    ill_scaled: bool = False,
) -> st.SearchStrategy[tuple[Bandit, Preferences]]:
    """Draw a pair (bandit, preferences); the arguments are those of `bandits`, `preferences`.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(problems(min_responses=2, labels="soft"), lambda problem: problem[1].present.any())
    (Bandit(K=2, beta=1.0), Preferences(P=1: 0>1 with q=0.5))
    """
    drawn = bandits(
        min_responses=min_responses,
        max_responses=max_responses,
        limit=limit,
        batch_shape=batch_shape,
    )
    return drawn.flatmap(
        lambda bandit: st.tuples(
            st.just(bandit),
            preferences(bandit, max_pairs=max_pairs, labels=labels, ill_scaled=ill_scaled),
        )
    )


@st.composite
def feasible_margins(
    draw: Draw[Any], preferences: Preferences, *, limit: float = 800.0
) -> FloatArray:
    """Draw margins that some policy meets, ``(..., P)``: m = z_w − z_l − slack, slack ≥ 0.

    With no slack round a cycle its margins sum to zero, up to rounding. z is within ±limit/2.

    Examples
    --------
    >>> import prefeq as pq
    >>> from hypothesis import find
    >>> pairs = pq.Preferences([0, 1], [1, 0])
    >>> find(feasible_margins(pairs), lambda m: m[0] == -m[1] > 0).tolist()
    [1.0, -1.0]
    """
    size = int(max(np.max(preferences.winner, initial=0), np.max(preferences.loser, initial=0))) + 1
    lead = preferences.batch_shape
    z = _fill(draw, (*lead, size), nats(limit / 2))
    slacks = st.one_of(st.just(0.0), st.floats(0.0, 3.0), st.floats(0.0, limit))
    slack = _fill(draw, preferences.winner.shape, slacks)
    return np.asarray(_pick(z, preferences.winner) - _pick(z, preferences.loser) - slack)


@st.composite
def exact_instances(
    draw: Draw[Any],
    *,
    labels: Labels | None = None,
    min_responses: int = 2,
    max_responses: int = 5,
    shapes: Sequence[Shape] | None = None,
    by_reward: bool = False,
    distinct: bool = False,
) -> Instance:
    """Draw an exact `Instance`: rational rewards, reference and β, and pairs of special graphs.

    They are what the counterexample search draws; ``.bandit()`` and ``.preferences()`` turn one
    into what the solvers take.

    Parameters
    ----------
    labels
        ``ordered``, ``bradley-terry``, or None for either.
    min_responses, max_responses
        Bounds of K, from 2 up.
    shapes
        Graphs to choose from, such as ``chain``, ``star``, ``cycle``, ``both-orders``; see
        `prefeq.counterexamples.draws.SHAPES`. None for all.
    by_reward
        Order every pair by reward.
    distinct
        Make rewards distinct.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(exact_instances(shapes=["cycle"]), lambda instance: instance.size == 3).pairs
    ((0, 1), (1, 2), (2, 0))
    """
    from prefeq.counterexamples import draws
    from prefeq.counterexamples.sources import HypothesisSource

    return draws.instance(
        HypothesisSource(draw),
        labels=labels,
        min_responses=min_responses,
        max_responses=max_responses,
        shapes=draws.SHAPES if shapes is None else shapes,
        by_reward=by_reward,
        distinct=distinct,
    )


def cases(claim: str, reading: str) -> st.SearchStrategy[Case]:
    """Draw cases as `prefeq.search` does when it attacks a reading.

    Parameters
    ----------
    claim
        Its id.
    reading
        The reading with its part, if it has one: ``"non-empty (if)"``.

    Raises
    ------
    ProblemError
        On an unknown claim or reading.

    Examples
    --------
    >>> from hypothesis import find
    >>> drawn = cases("margin-ranking", "zero-limit-loss-ranks")
    >>> find(drawn, lambda case: case.instance.beta == 1).policies
    {'pi': (Fraction(1, 2), Fraction(1, 2))}
    """
    from prefeq.counterexamples import targets
    from prefeq.counterexamples.sources import HypothesisSource

    chosen = targets.select(f"{claim}/{reading}")
    if [target.reading.label for target in chosen] != [reading]:
        labels = ", ".join(target.reading.label for target in chosen)
        raise ProblemError(f"reading {reading!r} has parts; name one: {labels}")

    @st.composite
    def drawn(draw: Draw[Any]) -> Case:
        return chosen[0].falsifier.draw(HypothesisSource(draw))

    return drawn()


def _pick(values: FloatArray, index: IntArray) -> FloatArray:
    return np.take_along_axis(values, index, axis=-1)


def _fill(draw: Draw[Any], shape: tuple[int, ...], entry: st.SearchStrategy[Any]) -> Any:
    count = int(np.prod(shape))
    return np.array(draw(st.lists(entry, min_size=count, max_size=count))).reshape(shape)


def _label(kind: str, gap: float) -> st.SearchStrategy[float]:
    certain, soft = st.just(np.inf), nats(40.0)
    population = st.just(gap) if np.isfinite(gap) else certain
    mixed = st.one_of(certain, population, soft, st.just(-np.inf))
    return {"ordered": certain, "bradley-terry": population, "soft": soft, "mixed": mixed}[kind]
