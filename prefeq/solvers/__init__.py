"""The three solvers, one problem a file."""

from prefeq.solvers.cpo import solve_cpo
from prefeq.solvers.dpo import solve_dpo
from prefeq.solvers.rlhf import solve_rlhf

__all__ = ["solve_cpo", "solve_dpo", "solve_rlhf"]
