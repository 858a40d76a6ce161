"""The penalty objective of arXiv:2605.20834, Eq. 10: J(π) + γ E[δ], which has no maximiser.

Source: Yang et al., arXiv:2605.20834, section 4 (Eqs. 10 and 13-16); the curve of stationary points
is in `prefeq.solvers.penalty_curve`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from prefeq.arrays import FloatArray, IntArray, as_float, freeze, log_normalise, logsumexp, refuse
from prefeq.bandit import Bandit
from prefeq.errors import ProblemError
from prefeq.preferences import Preferences
from prefeq.solution import Solution, Status
from prefeq.solvers.batch import check_types, solve_each
from prefeq.solvers.penalty_curve import EPS, Curve
from prefeq.solvers.penalty_objective import degrees_of, strengths
from prefeq.solvers.rlhf import nat_scale, objective, rlhf_logp

TOLERANCE = 1e-9
"""Largest residual that is called stationary."""


def solve_penalty(
    bandit: Bandit, preferences: Preferences, gamma: Any, *, throw: bool | None = None
) -> Solution:
    """Solve max_π J(π) + γ Σ m δ, the penalty form of Constrained PO (arXiv:2605.20834, Eq. 10).

    The sum is over pairs in their nominal order, whatever their labels; it equals Σ d_y log π(y)
    with the net degrees d_y = (mass with y as winner) − (mass with y as loser). If every d_y = 0,
    or γ = 0, the maximiser is the RLHF policy. Otherwise some d_y < 0, and the objective rises
    without bound as π(y) → 0: there is **no maximiser**, for any γ > 0.

    What training from π* would find, if γ were raised slowly from 0, is a local maximum. It exists
    up to the fold (`penalty_branch`), and is returned as `logp`.

    Parameters
    ----------
    gamma
        γ ≥ 0, in reward units a nat; a scalar or one per prompt.
    throw
        True: raise unless every prompt has a maximiser. By default nothing raises: "unbounded" is
        an answer, not an error.

    Returns
    -------
    Solution
        Status optimal (`logp` is the RLHF policy) or unbounded. Then `component` is the one
        response whose net degree is most negative, `direction` the rising direction in log-odds
        space, ``(K,)``: −1 there and 0 elsewhere; `logp` the local maximum on the branch that
        starts at π*, None beyond its fold; `value` J of that policy (see `penalty_value` for F);
        `residual` its violation of stationarity in nats, 0 without a policy.

    Raises
    ------
    ProblemError
        Naming a γ that is negative, not finite, or does not broadcast; pairs that do not fit.

    Notes
    -----
    A net degree within the rounding of its masses (2.2e-16 times their sum) counts as zero, so that
    masses such as 0.1 + 0.2 and 0.3 cancel. Log space throughout: 800 nats are ordinary.

    Examples
    --------
    >>> import prefeq as pq
    >>> bandit = pq.Bandit.from_probs(reward=[1, 0, 0], ref=[0.05, 0.9, 0.05], beta=1.0)
    >>> prefs = pq.Preferences.ordered(bandit, [[0, 1]])
    >>> pq.solve_rlhf(bandit).margin(prefs).round(4).tolist()
    [-1.8904]
    >>> solution = pq.solve_penalty(bandit, prefs, gamma=0.3)
    >>> solution.status.value, solution.component, solution.direction.tolist()
    ('unbounded', (1,), [0.0, -1.0, 0.0])
    >>> solution.margin(prefs).round(4).tolist()  # at the local maximum
    [-0.5297]
    >>> pq.solve_penalty(bandit, prefs, gamma=1.0).logp is None
    True
    """
    check_types(bandit, preferences)
    gammas = strengths(gamma, bandit)

    def single(bandit: Bandit, pairs: Preferences, index: tuple[int, ...]) -> Solution:
        return _solve_one(Problem(bandit, pairs), float(gammas[index]))

    return solve_each(bandit, preferences, single, throw)


class Problem:
    """One prompt on its support, with its net degrees and its curve (None if all are zero)."""

    def __init__(self, bandit: Bandit, pairs: Preferences) -> None:
        self.bandit, self.pairs = bandit, pairs
        self.on: IntArray = np.flatnonzero(bandit.support)
        self.degree = np.array(degrees_of(bandit.K, pairs))
        self.best = rlhf_logp(bandit)
        self.beta = float(bandit.beta)
        degree = self.degree[self.on].tolist()
        self.sign = [(d > 0) - (d < 0) for d in degree]
        log_beta = math.log(self.beta)
        self.log_a = [math.log(abs(d)) - log_beta if d else -math.inf for d in degree]
        self.curve = (
            Curve(self.best[self.on].tolist(), self.sign, self.log_a) if any(self.sign) else None
        )

    def widen(self, logp: list[float]) -> FloatArray:
        """Return log-probabilities on the support as a normalised policy over all K."""
        full = np.full(self.bandit.K, -np.inf)
        full[self.on] = log_normalise(np.array(logp))
        return full

    def residual(self, logp: FloatArray, log_gamma: float) -> float:
        """Return the violation of stationarity and of Σ π = 1, in nats, relative as ever."""
        x = logp[self.on]
        pull = np.zeros(x.size)
        for i, s in enumerate(self.sign):
            if s:
                pull[i] = s * math.exp(min(log_gamma + self.log_a[i] - float(x[i]), 700.0))
        gap = x - self.bandit.ref_logp[self.on] - self.bandit.tilt[self.on] - pull
        violation = max(0.5 * float(np.ptp(gap)), abs(float(logsumexp(x))))
        return violation / float(nat_scale(self.bandit, logp))

    def branch(self, log_gamma: float) -> tuple[FloatArray | None, int]:
        """Return the local maximum on the branch from π*, None beyond the fold; steps taken."""
        assert self.curve is not None
        start = self.curve.at(0.0)
        fold, top = 0.0, -start.log_total
        if log_gamma > top:  # not on the upper sheet any more
            fold = self.curve.fold()
            top = -self.curve.at(fold).log_total
            if log_gamma > top + 4 * EPS * max(1.0, abs(top)):
                return None, 0
        t, steps = self.curve.on_branch(log_gamma, fold)
        return self.widen(self.curve.at(t).logp), steps


def _solve_one(problem: Problem, gamma: float) -> Solution:
    bandit = problem.bandit
    if problem.curve is None or gamma == 0:
        return Solution(
            logp=problem.best,
            value=float(objective(bandit, problem.best)),
            status=Status.OPTIMAL,
            residual=problem.residual(problem.best, -math.inf),
            route="closed form",
        )
    sinking = int(np.argmin(problem.degree))
    direction = np.zeros(bandit.K)
    direction[sinking] = -1.0
    logp, steps = problem.branch(math.log(gamma))
    residual = 0.0 if logp is None else problem.residual(logp, math.log(gamma))
    return Solution(
        logp=logp,
        value=None if logp is None else float(objective(bandit, logp)),
        status=Status.UNBOUNDED if residual <= TOLERANCE else Status.ITERATION_LIMIT,
        residual=residual,
        direction=direction,
        component=(sinking,),
        route="beyond the fold" if logp is None else "branch from RLHF",
        steps=steps,
    )


@dataclass(frozen=True, eq=False)
class PenaltyBranch:
    """The local maxima of the penalty objective that start at the RLHF policy, up to the fold.

    ``gamma`` (T,), ``log_gamma`` (T,) its logarithm, which does not underflow, ``logp`` (T, K) in
    nats, ``margin`` δ of each pair (T, P), 0 for absent pairs; beyond the fold there is no policy:
    all -inf. ``fold_gamma`` is where the branch ends (inf if every net degree is zero),
    ``log_fold_gamma`` its logarithm, ``fold_logp`` (K,) the policy there, None without a fold.
    """

    gamma: FloatArray
    log_gamma: FloatArray
    logp: FloatArray
    margin: FloatArray
    fold_gamma: float
    log_fold_gamma: float
    fold_logp: FloatArray | None


def penalty_branch(
    bandit: Bandit, preferences: Preferences, *, gammas: Any = None, points: int = 101
) -> PenaltyBranch:
    """Follow the local maximum of J(π) + γ Σ m δ from π* at γ = 0 to the fold where it vanishes.

    The branch is explicit (`prefeq.solvers.penalty_curve`): no step size, and the fold is the
    root of one scalar equation, not the place where a continuation gave up.

    Parameters
    ----------
    bandit, preferences
        A single prompt.
    gammas
        γ ≥ 0, ``(T,)``. By default `points` of them from 0 to the fold, denser towards it.

    Raises
    ------
    ProblemError
        A batch, or a γ that is negative or not finite, by its index.

    Examples
    --------
    >>> import prefeq as pq
    >>> bandit = pq.Bandit([0, 2], [0, 0], beta=1.0)  # δ* = −2
    >>> prefs = pq.Preferences([0], [1])
    >>> branch = pq.solvers.penalty_branch(bandit, prefs, gammas=[0, 0.25, 0.5, 0.7])
    >>> (branch.margin[:, 0].round(6) + 0.0).tolist()
    [-2.0, -0.821555, 0.0, -inf]
    >>> round(branch.fold_gamma, 4), (branch.fold_logp[0] - branch.fold_logp[1]).round(4)
    (0.5992, np.float64(0.7593))
    """
    check_types(bandit, preferences)
    if bandit.batch_shape:
        raise ProblemError(f"the bandit is a batch {bandit.batch_shape}: pass one prompt of it")
    preferences.check(bandit)
    problem = Problem(bandit, preferences)
    log_fold, fold_logp = math.inf, None
    if problem.curve is not None:
        end = problem.curve.at(problem.curve.fold())
        log_fold, fold_logp = -end.log_total, freeze(problem.widen(end.logp))
    with np.errstate(divide="ignore"):
        if gammas is not None:
            gamma = as_float("gammas", gammas)
            refuse("gammas", gamma, ~(np.isfinite(gamma) & (gamma >= 0)), "must be finite and >= 0")
            if gamma.ndim != 1:
                raise ProblemError(f"gammas has shape {gamma.shape}: pass one axis, (T,)")
            log_gamma = np.log(gamma)
        elif fold_logp is None:
            gamma, log_gamma = np.zeros(1), np.full(1, -np.inf)
        else:
            share = np.linspace(0.0, 1.0, max(int(points), 2))
            log_gamma = log_fold + np.log(share * (2.0 - share))
            gamma = np.exp(np.minimum(log_gamma, 709.0))
    rows = np.array([_row(problem, float(g), log_fold, fold_logp) for g in log_gamma])
    rows = rows.reshape(-1, bandit.K)
    missing = np.all(np.isneginf(rows), axis=-1, keepdims=True) & preferences.present
    margin = np.where(missing, -np.inf, preferences.margin_of(rows))
    return PenaltyBranch(
        gamma=freeze(gamma),
        log_gamma=freeze(log_gamma),
        logp=freeze(rows),
        margin=freeze(margin),
        fold_gamma=math.exp(min(log_fold, 709.0)) if fold_logp is not None else math.inf,
        log_fold_gamma=log_fold,
        fold_logp=fold_logp,
    )


def _row(
    problem: Problem, log_gamma: float, log_fold: float, fold_logp: FloatArray | None
) -> FloatArray:
    if fold_logp is None or log_gamma == -math.inf:
        return np.asarray(problem.best)
    if log_gamma == log_fold:
        return fold_logp
    found, _ = problem.branch(log_gamma)
    return np.full(problem.bandit.K, -np.inf) if found is None else found
