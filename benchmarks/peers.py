"""The alternatives: what a user would write today, one problem at a time, each as quick as it gets.

Each takes plain arrays of one problem and returns log π, or the strengths s. Compilation of the
parametrised cvxpy problem is left out of the time; filling in its parameters is not.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.problems import Batch
from prefeq.arrays import FloatArray, IntArray

TIGHT = {"tol_gap_abs": 1e-12, "tol_gap_rel": 1e-12, "tol_feas": 1e-12}
TINY = np.finfo(np.float64).tiny

Peer = Callable[..., FloatArray]
"""log π from (log π*, winner, loser, margin), or s of mean zero from `Counts`."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Let the solvers doubt themselves in silence: their answers are compared all the same."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def one_thread() -> contextlib.AbstractContextManager[Any]:
    """Keep linear algebra to one thread: on matrices this small a second one only costs."""
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return contextlib.nullcontext()
    return threadpool_limits(1)


def scaled_rows(k: int, winner: IntArray, loser: IntArray, margin: FloatArray) -> FloatArray:
    """Return the constraint rows σ(−m)·[winner] − σ(m)·[loser], (P, K)."""
    rows, index = np.zeros((margin.size, k)), np.arange(margin.size)
    share = 1.0 / (1.0 + np.exp(-margin))
    rows[index, winner], rows[index, loser] = 1.0 - share, -share
    return rows


@dataclass
class Conic:
    """cvxpy with Clarabel: compiled for every problem, or once with parameters (`reuse`).

    max Σ entr(π) + a·π over the simplex, with rows·π ≥ 0. ``doubts`` collects for every problem
    whether Clarabel calls its own answer inaccurate, ``inside`` the seconds spent in Clarabel.
    """

    k: int
    pairs: int
    reuse: bool = True
    options: dict[str, float] = field(default_factory=dict)
    doubts: list[bool] = field(default_factory=list)
    inside: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        import cvxpy as cp

        if self.reuse:
            self.target, self.rows = cp.Parameter(self.k), cp.Parameter((self.pairs, self.k))
            self.compiled = self._stated(self.target, self.rows)
            assert self.compiled[0].is_dpp()
            none = np.zeros(0, dtype=np.int64)
            with quiet():  # compiles
                self(np.full(self.k, -np.log(self.k)), none, none, np.zeros(0))
            self.doubts, self.inside = [], []

    def _stated(self, target: Any, rows: Any) -> tuple[Any, Any]:
        import cvxpy as cp

        policy = cp.Variable(self.k)
        goal = cp.Maximize(cp.sum(cp.entr(policy)) + target @ policy)
        return cp.Problem(goal, [cp.sum(policy) == 1, rows @ policy >= 0]), policy

    def __call__(
        self, target: FloatArray, winner: IntArray, loser: IntArray, margin: FloatArray
    ) -> FloatArray:
        import cvxpy as cp

        rows = np.zeros((self.pairs, self.k))  # absent pairs ask for nothing: 0·π ≥ 0
        rows[: margin.size] = scaled_rows(self.k, winner, loser, margin)
        if self.reuse:
            self.target.value, self.rows.value = target, rows
            problem, policy = self.compiled
        else:
            problem, policy = self._stated(target, rows[: max(margin.size, 1)])
        problem.solve(solver=cp.CLARABEL, **self.options)
        self.doubts.append(problem.status != cp.OPTIMAL)
        self.inside.append(float(problem.solver_stats.solve_time))
        return np.log(np.maximum(policy.value, TINY))


def dual(target: FloatArray, winner: IntArray, loser: IntArray, margin: FloatArray) -> FloatArray:
    """Minimise the dual, log Σ exp(a + λᵀrows) over λ ≥ 0, by SciPy's L-BFGS-B.

    The quickest right one of SciPy's: SLSQP on either side, TNC and trust-constr take longer.
    """
    from scipy.optimize import minimize

    rows = scaled_rows(target.size, winner, loser, margin)

    def slope(multiplier: FloatArray) -> tuple[float, FloatArray]:
        logits = target + multiplier @ rows
        top = logits.max()
        policy = np.exp(logits - top)
        total = policy.sum()
        return float(top + np.log(total)), rows @ policy / total

    start = np.zeros(margin.size)
    options = {"ftol": 1e-15, "gtol": 1e-10, "maxiter": 1000}
    found = minimize(
        slope, start, jac=True, method="L-BFGS-B", bounds=[(0, None)] * start.size, options=options
    )
    logits = target + found.x @ rows
    centred = logits - logits.max()
    return np.asarray(centred - np.log(np.exp(centred).sum()))


@dataclass(frozen=True)
class Counts:
    """The comparisons of one problem, in the forms that the fitters want."""

    k: int
    winner: IntArray
    loser: IntArray
    wins: FloatArray
    losses: FloatArray
    tuples: list[tuple[int, int]]


def choix_newton(counts: Counts, **more: Any) -> FloatArray:
    """Fit by choix.opt_pairwise, without its default prior; it wants one tuple a comparison."""
    import choix

    return _centred(choix.opt_pairwise(counts.k, counts.tuples, alpha=0.0, **more))


def choix_spectral(counts: Counts) -> FloatArray:
    """Fit by choix.ilsr_pairwise_dense, which takes counts: the quickest of choix."""
    import choix

    table = np.zeros((counts.k, counts.k))
    np.add.at(table, (counts.winner, counts.loser), counts.wins)
    np.add.at(table, (counts.loser, counts.winner), counts.losses)
    return _centred(choix.ilsr_pairwise_dense(table, max_iter=10_000, tol=1e-10))


def logistic(counts: Counts, solver: str = "lbfgs", tol: float = 1e-4) -> FloatArray:
    """Fit by scikit-learn's LogisticRegression on differences of one-hot rows, without a penalty.

    Wins and losses are weights; the last response has strength 0, so that the fit is unique.
    """
    from sklearn.linear_model import LogisticRegression

    pairs = counts.winner.size
    rows, index = np.zeros((pairs, counts.k)), np.arange(pairs)
    rows[index, counts.winner], rows[index, counts.loser] = 1.0, -1.0
    features = np.concatenate([rows, rows])[:, :-1]
    label = np.repeat([1, 0], pairs)
    weight = np.concatenate([counts.wins, counts.losses])
    keep = weight > 0
    model = LogisticRegression(
        C=np.inf, fit_intercept=False, solver=solver, tol=tol, max_iter=10_000
    )
    model.fit(features[keep], label[keep], sample_weight=weight[keep])
    return _centred(np.append(model.coef_[0], 0.0))


def logistic_newton(counts: Counts) -> FloatArray:
    """Fit by the same with Newton's method, tolerance 1e-10: as right as it gets."""
    return logistic(counts, "newton-cholesky", 1e-10)


def _centred(s: FloatArray) -> FloatArray:
    return np.asarray(s - np.mean(s))


def cpo_arguments(batch: Batch, target: FloatArray) -> list[tuple[Any, ...]]:
    """Return (log π*, winner, loser, margin) of each problem, absent pairs left out."""
    return [
        (target[i], batch.winner[i][on], batch.loser[i][on], batch.margin[i][on])
        for i, on in enumerate(batch.present)
    ]


def dpo_arguments(batch: Batch, each: int) -> list[tuple[Counts]]:
    """Return the counts of each problem, `each` comparisons a pair."""
    wins = np.round(each / (1.0 + np.exp(-batch.log_odds)))
    found = []
    for i, (winner, loser) in enumerate(zip(batch.winner, batch.loser, strict=True)):
        tuples = []
        for w, lo, won in zip(winner.tolist(), loser.tolist(), wins[i].tolist(), strict=True):
            tuples += [(w, lo)] * int(won) + [(lo, w)] * (each - int(won))
        counts = Counts(batch.reward.shape[-1], winner, loser, wins[i], each - wins[i], tuples)
        found.append((counts,))
    return found
