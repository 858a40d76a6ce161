"""The second route to Constrained PO: cvxpy with Clarabel on the exponential cone."""

from __future__ import annotations

import contextlib
import warnings
from typing import Any

import numpy as np

from prefeq.arrays import FloatArray, log_normalise
from prefeq.errors import ProblemError
from prefeq.solvers.constraints import Constraints


def solve(
    ref_logp: FloatArray, tilt: FloatArray, constraints: Constraints, options: dict[str, Any]
) -> tuple[FloatArray, FloatArray, bool]:
    """Return log π, log of the multipliers of the scaled rows (over β), and Clarabel's own verdict.

    min Σ π log(π/π_ref) − Σ π (r − max r)/β over the simplex, subject to
    σ(−m) π(w) − σ(m) π(l) ≥ 0. Probabilities that come out non-positive are given the smallest
    normal float.
    """
    import clarabel
    import cvxpy as cp

    policy = cp.Variable(constraints.n)
    rows = np.zeros((constraints.winner.size, constraints.n))
    index = np.arange(constraints.winner.size)
    rows[index, constraints.winner] = np.exp(-np.logaddexp(0.0, constraints.margin))
    rows[index, constraints.loser] = -np.exp(-np.logaddexp(0.0, -constraints.margin))
    limits = [cp.sum(policy) == 1]
    if index.size:
        limits.append(rows @ policy >= 0)
    leash = cp.sum(cp.rel_entr(policy, np.maximum(np.exp(ref_logp), np.finfo(np.float64).tiny)))
    problem = cp.Problem(cp.Minimize(leash - np.maximum(tilt, -1e6) @ policy), limits)
    known = set(dir(clarabel.DefaultSettings()))
    for name in sorted(set(options) - known):
        raise ProblemError(f"solver_options[{name!r}]: Clarabel has no such setting; see its docs")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Solution may be inaccurate")
        with contextlib.suppress(cp.SolverError):  # no value is left then
            problem.solve(solver=cp.CLARABEL, **options)
    if policy.value is None:
        return log_normalise(ref_logp + tilt), np.full(index.size, -np.inf), False
    logp = log_normalise(np.log(np.maximum(policy.value, np.finfo(np.float64).tiny)))
    duals = np.maximum(limits[1].dual_value, 0.0) if index.size else np.zeros(0)
    with np.errstate(divide="ignore"):
        return logp, np.log(duals), problem.status == cp.OPTIMAL
