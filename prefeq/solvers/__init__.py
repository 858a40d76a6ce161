"""The solvers, one problem a file."""

from prefeq.solvers.cpo import solve_cpo
from prefeq.solvers.dpo import solve_dpo
from prefeq.solvers.penalty import PenaltyBranch, penalty_branch, solve_penalty
from prefeq.solvers.penalty_objective import net_degree, penalty_value
from prefeq.solvers.penalty_points import StationaryPoint, stationary_points
from prefeq.solvers.rlhf import solve_rlhf

__all__ = [
    "PenaltyBranch",
    "StationaryPoint",
    "net_degree",
    "penalty_branch",
    "penalty_value",
    "solve_cpo",
    "solve_dpo",
    "solve_penalty",
    "solve_rlhf",
    "stationary_points",
]
