"""An assertion on solvers: on connected Bradley–Terry problems they find the RLHF optimum."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeAlias

import numpy as np
from hypothesis import strategies as st

from prefeq.arrays import FloatArray, to_numpy
from prefeq.bandit import Bandit
from prefeq.errors import ProblemError
from prefeq.preferences import Preferences
from prefeq.solvers import solve_rlhf
from prefeq.testing.failures import Picture, PropertyFailure, fail
from prefeq.testing.instances import Instance
from prefeq.testing.search import connected_problems, smallest

Problem: TypeAlias = tuple[Bandit, Preferences]

_SEVERAL = (
    "with a disconnected graph DPO has a whole set of minimisers: solvers agree on the margins of "
    "compared pairs only"
)


def assert_matches_rlhf(
    solver: Callable[[Bandit, Preferences], Any],
    *,
    tolerance: float = 1e-6,
    measure: Literal["log-probs", "probabilities"] = "log-probs",
    problems: st.SearchStrategy[Problem] | None = None,
    max_responses: int = 5,
    limit: float = 40.0,
    examples: int | None = None,
    figure: str | os.PathLike[str] | None = None,
) -> None:
    """Assert that a solver finds π* ∝ π_ref·exp(r/β) on random bandits.

    By default the pairs carry Bradley–Terry population labels and connect all responses, so that
    the minimiser of DPO is unique and is π*, whatever the sign of δ*.

    Parameters
    ----------
    solver
        A function of (bandit, preferences) that returns log π, ``(K,)``, in nats, or something with
        it as ``logp``, such as a `prefeq.Solution`. Off the support of π_ref it is -inf.
    tolerance
        The largest error of log π, relative to max(1, |log π*|), or of π.
    measure
        Whether ``log-probs`` or ``probabilities`` are compared.
    problems
        A strategy of (bandit, preferences), single prompts, to draw instead: from
        `prefeq.strategies`, say, with ordered labels or graphs of several components.
    max_responses, limit
        Of the default problems: the largest K, and the largest |r/β| and reference log-ratio.
    examples
        How many problems; ``max_examples`` of the active Hypothesis profile by default.
    figure
        A .png, .svg or .pdf to draw a failure to.

    Raises
    ------
    PropertyFailure
        With the smallest bandit on which it does not, or on which the solver raises.

    Examples
    --------
    >>> import prefeq as pq
    >>> assert_matches_rlhf(pq.solve_dpo)
    >>> assert_matches_rlhf(lambda bandit, preferences: bandit.ref_logp + bandit.reward)
    Traceback (most recent call last):
        ...
    prefeq.testing.failures.PropertyFailure: assert_matches_rlhf(<lambda>): it is not the RLHF...
    """
    __tracebackhide__ = True
    if measure not in ("log-probs", "probabilities"):
        raise ProblemError(f"measure = {measure!r}: choose 'log-probs' or 'probabilities'")
    drawn = problems
    if drawn is None:
        drawn = connected_problems(max_responses=max_responses, limit=limit)

    def wrong(problem: Problem) -> bool:
        return not _error(_logp(solver, *problem), _optimum(problem[0]), measure) <= tolerance

    seen = smallest(drawn, wrong, examples)
    if seen is not None:
        _optimum(seen[0])  # a batch is refused, not reduced
        fail(_failure(solver, reduced(seen, wrong), measure, tolerance), figure)


def reduced(problem: Problem, wrong: Callable[[Problem], bool]) -> Problem:
    """Return a problem that is still wrong after responses and pairs were taken out, one by one.

    A connected graph stays connected. Hypothesis shrinks numbers well, and shapes less so.
    """

    def still(smaller: Problem) -> bool:
        if bool(problem[1].is_connected(problem[0])) != bool(smaller[1].is_connected(smaller[0])):
            return False
        try:
            return wrong(smaller)
        except Exception:  # other people's code raises what it likes
            return True

    for smaller in _smaller(*problem):
        if still(smaller):
            return reduced(smaller, wrong)
    return problem


def _smaller(bandit: Bandit, preferences: Preferences) -> Iterator[Problem]:
    """Yield the problems with a response fewer, then those with a pair fewer."""
    winner, loser, odds, mass = (
        getattr(preferences, name)[preferences.present]
        for name in ("winner", "loser", "log_odds", "mass")
    )
    for y in range(bandit.K):
        kept = np.arange(bandit.K) != y
        if bandit.support[kept].sum() > 1:
            on = (winner != y) & (loser != y)
            # Those after the one that goes move up.
            w, lo = (index[on] - (index[on] > y) for index in (winner, loser))
            fewer = Bandit(bandit.reward[kept], bandit.ref_logp[kept], bandit.beta)
            yield fewer, Preferences(w, lo, log_odds=odds[on], mass=mass[on])
    for k in range(len(winner)):
        on = np.arange(len(winner)) != k
        yield bandit, Preferences(winner[on], loser[on], log_odds=odds[on], mass=mass[on])


def _optimum(bandit: Bandit) -> FloatArray:
    if bandit.batch_shape:
        raise ProblemError("problems: draw single prompts (batch_shape=())")
    return to_numpy(solve_rlhf(bandit).logp)


def _logp(solver: Callable[..., Any], bandit: Bandit, preferences: Preferences) -> FloatArray:
    answer = solver(bandit, preferences)
    logp = np.asarray(to_numpy(getattr(answer, "logp", answer)), dtype=np.float64)
    if logp.shape != (bandit.K,):
        raise ProblemError(
            f"the solver returned shape {logp.shape}: it needs log pi, ({bandit.K},)"
        )
    return logp


def _error(logp: FloatArray, optimum: FloatArray, measure: str) -> float:
    """Return the error of a policy; NaN where it holds one."""
    if measure == "probabilities":
        return float(np.abs(np.exp(logp) - np.exp(optimum)).max())
    with np.errstate(invalid="ignore"):
        gap = np.where(logp == optimum, 0.0, np.abs(logp - optimum))
        size = np.where(np.isfinite(optimum), np.maximum(1.0, np.abs(optimum)), 1.0)
    return float((gap / size).max())


def _failure(
    solver: Callable[..., Any],
    problem: Problem,
    measure: str,
    tolerance: float,
) -> PropertyFailure:
    bandit, preferences = problem
    optimum = _optimum(bandit)
    measured: dict[str, Any] = {"log pi*": tuple(optimum.tolist())}
    claim, logp = "it is not the RLHF optimum", None
    try:
        logp = _logp(solver, bandit, preferences)
        measured["log pi of the solver"] = tuple(logp.tolist())
        measured[f"error of {measure}, above {tolerance:g}"] = _error(logp, optimum, measure)
    except Exception as error:  # other people's code raises what it likes
        claim = f"it raises {type(error).__name__}: {error}"
    connected = bool(preferences.is_connected(bandit))
    theory = (
        "Bradley-Terry population labels on a connected graph have one minimiser, "
        "pi* ~ pi_ref exp(r/beta)"
    )

    def picture() -> Picture:
        lines = {"RLHF": optimum} | ({} if logp is None else {"the solver": logp})
        lines = {name: np.where(np.isfinite(y), y, np.nan) for name, y in lines.items()}
        x = np.arange(bandit.K, dtype=np.float64)
        return Picture(claim, "response", "log π (nats)", x, lines, points=True)

    return PropertyFailure(
        "assert_matches_rlhf",
        str(getattr(solver, "__name__", type(solver).__name__)),
        claim,
        measured=measured,
        theory=theory if connected else _SEVERAL,
        instance=Instance.of_problem(bandit, preferences),
        picture=picture,
    )
