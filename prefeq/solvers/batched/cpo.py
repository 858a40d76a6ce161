"""Constrained PO on a whole batch: the kernel's answers, certified, and the rest one by one."""

from __future__ import annotations

from typing import Any

import numpy as np

from prefeq._namespace import namespace, quiet
from prefeq.arrays import logsumexp, to_numpy
from prefeq.bandit import Bandit
from prefeq.chunks import map_lanes
from prefeq.preferences import Preferences
from prefeq.solution import Solution, Status
from prefeq.solvers import policies
from prefeq.solvers.batched import constrained
from prefeq.solvers.batched.fallback import Single, shaped, solve_undone, write_among
from prefeq.solvers.batched.flatten import bandit_rows, pair_rows, rows_of

_TOP = float(np.log(np.finfo(np.float64).max))


def solve_batch(
    bandit: Bandit, preferences: Preferences, margin: Any, single: Single, tolerance: float
) -> Solution:
    """Solve every problem of a batch; `margin` is (..., P), `single` takes what is left undone."""
    lead, k, pairs = bandit.batch_shape, bandit.K, preferences.P
    rows = bandit_rows(bandit) | pair_rows(preferences, lead, "winner", "loser", "mass")
    rows["margin"] = rows_of(margin, lead)
    found = map_lanes(_kernel, rows, k * k + 6 * k + 4 * pairs)
    found["multipliers"] = found["multipliers"][:, :pairs]
    done = to_numpy(found.pop("done") & (found["residual"] <= tolerance))
    columns = {
        **found,
        "status": np.full(done.size, Status.OPTIMAL, dtype=object),
        "route": np.array(constrained.ROUTES, dtype=object)[to_numpy(found["route"])],
    }
    undone = np.flatnonzero(~done)
    parts = solve_undone(bandit, preferences, undone, single)
    columns |= write_among(columns, undone, parts, k)
    return shaped(columns, lead)


@quiet
def _kernel(
    reward: Any, ref_logp: Any, beta: Any, winner: Any, loser: Any, mass: Any, margin: Any
) -> dict[str, Any]:
    xp = namespace(reward)
    target = policies.log_target(xp, reward, ref_logp, beta, 0)
    answer = constrained.solve_lanes(xp, target, winner, loser, margin, mass > 0)
    violation = xp.maximum(answer.violation, xp.abs(logsumexp(answer.logp, 0)))
    log_lambda = answer.log_multiplier + xp.log(beta)
    return {
        "logp": answer.logp,
        "value": policies.objective(xp, reward, ref_logp, beta, answer.logp, 0),
        "residual": violation / policies.nat_scale(xp, reward, ref_logp, beta, answer.logp, 0),
        "multipliers": xp.exp(xp.minimum(log_lambda, xp.full_like(log_lambda, _TOP))),
        "steps": answer.steps,
        "route": answer.route,
        "done": answer.done,
    }
