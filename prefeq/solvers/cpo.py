"""Constrained PO, the hard-constrained program: max J(π) subject to δ ≥ m on every pair.

"CPO" here is *Constrained* Preference Optimization (arXiv:2605.20834), not the *Contrastive* one of
Hugging Face TRL.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from prefeq import graphs
from prefeq.arrays import (
    MAX_NATS,
    FloatArray,
    IntArray,
    as_float,
    common,
    log_normalise,
    logsumexp,
    refuse,
    to_numpy,
)
from prefeq.bandit import Bandit
from prefeq.errors import InfeasibleError, ProblemError
from prefeq.preferences import Preferences
from prefeq.solution import Solution, Status
from prefeq.solvers import conic
from prefeq.solvers.batch import check_types, demand, fits_lanes, solve_each
from prefeq.solvers.batched.cpo import solve_batch
from prefeq.solvers.blocks import Projection, project
from prefeq.solvers.certificate import certify, kkt_violation
from prefeq.solvers.constraints import Constraints, build, chains, distinct, offsets
from prefeq.solvers.isotonic import project_chains, project_pair
from prefeq.solvers.rlhf import nat_scale, objective, rlhf_logp

TOLERANCE = 1e-9
"""Largest residual that is called optimal."""

CONIC_TOLERANCE = 1e-3
"""The same for "conic": a second opinion in probabilities, some 1e-5 nats off on easy problems."""


def solve_cpo(
    bandit: Bandit,
    preferences: Preferences,
    margin: Any = 0.0,
    method: str = "auto",
    *,
    throw: bool | None = None,
    solver_options: dict[str, Any] | None = None,
) -> Solution:
    """Solve max_π J(π) subject to log π(w) − log π(l) ≥ m for every pair.

    As π(w) ≥ e^m π(l) is linear in π, this is a convex program with a unique optimum, the KL
    projection of the RLHF policy on a cone. It equals RLHF iff δ* ≥ m on every pair: the exact
    form of the conditional equivalence of arXiv:2605.20834. Each distinct pair of positive mass
    counts once, in its nominal order, whatever its label.

    Parameters
    ----------
    margin
        m in nats, a scalar or one a pair, ``(..., P)``; negative margins are allowed.
    method
        "auto": closed forms for one pair and for chains (weighted isotonic regression), an exact
        active-set method over tight blocks for the rest; log space throughout, so 800-nat margins
        are ordinary.
        "conic": cvxpy with Clarabel on the exponential cone, a second route. It works with
        probabilities: good to about 1e-6 in π, hence bad in nats where a probability is small, as
        margins of 5 nats already make some. Judged by its residual like any other answer, at 1e-3.
    throw
        True: raise unless every prompt is solved to optimality. False: never; infeasible margins
        are a status. By default they raise for a single prompt and are a status in a batch.
    solver_options
        Passed to Clarabel by "conic", e.g. ``{"tol_gap_rel": 1e-12}``.

    Raises
    ------
    InfeasibleError
        Naming a directed cycle whose margins sum above zero.
    ProblemError
        A margin that is not finite or does not broadcast, pairs that do not fit the bandit.

    Examples
    --------
    >>> import prefeq as pq
    >>> bandit = pq.Bandit.from_probs(reward=[1, 0, 0], ref=[0.05, 0.9, 0.05], beta=1.0)
    >>> prefs = pq.Preferences.ordered(bandit)
    >>> pq.solve_rlhf(bandit).margin(prefs).round(4).tolist()
    [-1.8904, 1.0]
    >>> solution = pq.solve_cpo(bandit, prefs, margin=0.1)
    >>> solution.margin(prefs).round(4).tolist(), solution.status.value
    ([0.1, 1.9455], 'optimal')
    """
    if method not in ("auto", "conic"):
        raise ProblemError(f"method = {method!r}: choose 'auto' or 'conic'")
    check_types(bandit, preferences)
    margins = _margins(margin, bandit, preferences)
    strict = not bandit.batch_shape if throw is None else throw

    def single(bandit: Bandit, pairs: Preferences, index: tuple[int, ...]) -> Solution:
        try:
            demanded = to_numpy(margins[index])
            return _solve_one(bandit, pairs, demanded, method, solver_options or {})
        except InfeasibleError as error:
            if strict:
                raise
            return Solution(None, None, Status.INFEASIBLE, np.inf, cycle=error.cycle)

    if method == "auto" and fits_lanes(bandit):
        preferences.check(bandit)
        return demand(solve_batch(bandit, preferences, margins, single, TOLERANCE), throw)
    return solve_each(bandit, preferences, single, throw)


def _margins(margin: Any, bandit: Bandit, preferences: Preferences) -> Any:
    xp, device = common(bandit=bandit.reward, pairs=preferences.mass, margin=margin)
    array = as_float("margin", margin, xp, device)
    refuse("margin", array, ~(xp.abs(array) <= MAX_NATS), "must be finite; zero mass drops a pair")
    shape, given = (*bandit.batch_shape, preferences.P), tuple(array.shape)
    try:
        fits = np.broadcast_shapes(given, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ProblemError(f"shape mismatch: margin has shape {given}, the pairs {shape}")
    return xp.broadcast_to(array, shape)


def _solve_one(
    bandit: Bandit, pairs: Preferences, margin: FloatArray, method: str, options: dict[str, Any]
) -> Solution:
    on, present = np.flatnonzero(bandit.support), np.flatnonzero(pairs.present)
    rank = np.zeros(bandit.K, dtype=np.int64)
    rank[on] = np.arange(on.size)
    winner, loser = rank[pairs.winner[present]], rank[pairs.loser[present]]
    constraints = build(on, winner, loser, margin[present])
    target = rlhf_logp(bandit)[on]
    if method == "conic":
        answer = conic.solve(bandit.ref_logp[on], bandit.tilt[on], constraints, options)
        logp, log_multiplier, converged = answer
        scaled = np.exp(log_multiplier)
        violation = kkt_violation(constraints, logp, target, scaled)
        route, steps = "clarabel", None
        tolerance = CONIC_TOLERANCE if converged else -1.0
    else:
        projection, route = _project(constraints, target)
        logp, steps = _log_policy(constraints, projection), projection.steps
        certificate = certify(constraints, logp, target, logp, projection.forest)
        # λ of the row scaled by σ: λ (1 + e^m)
        log_multiplier = certificate.log_multiplier + np.logaddexp(0.0, constraints.margin)
        violation = max(certificate.violation, abs(float(logsumexp(logp))))
        tolerance = TOLERANCE
    full = np.full(bandit.K, -np.inf)
    full[on] = logp
    residual = violation / float(nat_scale(bandit, full))
    multipliers = np.zeros(pairs.P)
    owner = _owners(constraints, winner, loser, margin[present])
    top = np.log(np.finfo(np.float64).max)
    multipliers[present[owner]] = np.exp(np.minimum(log_multiplier + np.log(bandit.beta), top))
    return Solution(
        logp=full,
        value=float(objective(bandit, full)),
        status=Status.OPTIMAL if residual <= tolerance else Status.ITERATION_LIMIT,
        residual=residual,
        multipliers=multipliers,
        route=route,
        steps=steps,
    )


def _owners(
    constraints: Constraints, winner: IntArray, loser: IntArray, margin: FloatArray
) -> IntArray:
    """Return, for each constraint, the first given pair that states it with its margin."""
    index = distinct(constraints, winner, loser)
    binding = np.flatnonzero(margin == constraints.margin[index])
    _, first = np.unique(index[binding], return_index=True)
    return np.asarray(binding[first])


def _project(constraints: Constraints, target: FloatArray) -> tuple[Projection, str]:
    """Contract the rigid groups, pick the cheapest exact route, expand again."""
    if constraints.winner.size == 1:
        w, lo = int(constraints.winner[0]), int(constraints.loser[0])
        return project_pair(target, w, lo, float(constraints.margin[0])), "one pair"
    edges, tail, head, margin = constraints.between()
    # with every margin zero the blocks are flat, their weights counts: plain least squares
    tilt = 0.0 if not np.any(constraints.margin) else 1.0
    goal, log_weight = _groups(constraints, target, tilt)
    listed = chains(constraints.groups, tail, head, margin)
    if listed is not None:
        route = "isotonic chain"
        found = project_chains(goal, log_weight, tail, head, margin, listed, tilt)
    else:
        route = "isotonic blocks" if tilt == 0 else "active set"
        found = project(goal, log_weight, tail, head, margin, tilt)
    f = found.f[constraints.group] + constraints.offset
    forest = tuple(int(edges[e]) for e in found.forest)
    return Projection(f, forest, found.steps, found.converged), route


def _log_policy(constraints: Constraints, projection: Projection) -> FloatArray:
    """Normalise the blocks' positions, each block rebuilt from its tight constraints.

    f sits at the size of r/β, whose rounding would blur the margins inside the heaviest block.
    """
    edges = np.concatenate(
        [np.flatnonzero(constraints.rigid), np.array(projection.forest, dtype=np.int64)]
    )
    winner, loser, margin = (
        rows[edges] for rows in (constraints.winner, constraints.loser, constraints.margin)
    )
    offset = offsets(constraints.n, winner, loser, margin)
    block = graphs.components(constraints.n, winner, loser)
    _, first = np.unique(block, return_index=True)
    origin = projection.f[first[block]]
    top = int(np.argmax(projection.f))
    return np.asarray(log_normalise((origin - origin[top]) + offset))


def _groups(
    constraints: Constraints, target: FloatArray, tilt: float
) -> tuple[FloatArray, FloatArray]:
    """Return each rigid group's weighted mean target (at its origin) and its log-weight."""
    goal, log_weight = np.zeros(constraints.groups), np.zeros(constraints.groups)
    for g in range(constraints.groups):
        members = constraints.group == g
        weight = tilt * constraints.offset[members]
        log_weight[g] = float(logsumexp(weight))
        share = np.exp(weight - log_weight[g])
        goal[g] = float(np.sum(share * (target[members] - constraints.offset[members])))
    return goal, log_weight
