"""Plain gradient descent on softmax logits for the DPO loss, recorded as it goes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from prefeq import margins
from prefeq.arrays import FloatArray, IntArray
from prefeq.bandit import Bandit
from prefeq.errors import ProblemError
from prefeq.preferences import Preferences
from prefeq.solution import Trajectory
from prefeq.solvers import likelihood


@dataclass(frozen=True)
class Schedule:
    """How far to go, how fast, and what to write down; refuses numbers that make no sense."""

    max_steps: int
    step_size: float | None
    record_every: int | None

    def __post_init__(self) -> None:
        for name in ("max_steps", "record_every"):
            value = getattr(self, name)
            optional = name == "record_every" and value is None
            if not optional and (not isinstance(value, int | np.integer) or value < 1):
                raise ProblemError(f"{name} = {value!r}: must be a positive integer")
        size = 1.0 if self.step_size is None else self.step_size
        if not isinstance(size, int | float | np.number) or not 0 < size < np.inf:
            raise ProblemError(f"step_size = {self.step_size!r}: must be positive and finite")

    def records(self, step: int) -> bool:
        """Whether a step is written down."""
        if self.record_every is not None:
            return step % self.record_every == 0
        return step <= 100 or step % (10 ** (len(str(step)) - 2)) == 0


def lipschitz(beta: float, pairs: likelihood.Comparisons) -> float:
    """Return β² λ_max(Σ m (e_w − e_l)(e_w − e_l)ᵀ)/4, a bound on the loss's curvature in logits."""
    if not pairs.winner.size:
        return 0.0
    rows = np.zeros((pairs.winner.size, pairs.n))
    index = np.arange(pairs.winner.size)
    weight = np.exp(pairs.log_mass / 2)
    rows[index, pairs.winner], rows[index, pairs.loser] = weight, -weight
    norm = float(np.linalg.norm(rows, 2))
    return (beta * norm / 2) * (beta * norm / 2)


def descend(
    bandit: Bandit,
    preferences: Preferences,
    pairs: likelihood.Comparisons,
    on: IntArray,
    run: Schedule,
    finished: Callable[[FloatArray], bool],
) -> tuple[FloatArray, Trajectory]:
    """Return θ − θ_ref on the support after the last step, and the record of the run.

    A margin of the softmax policy is a difference of logits, so the gradient in θ_w is −mβ(q − σ)
    and the softmax itself never appears; x = δ − δ_ref is followed directly, free of δ_ref.
    """
    curvature = lipschitz(bandit.beta, pairs)
    if pairs.winner.size and not 1e-305 < curvature < 1e305:
        raise ProblemError(
            f"Lip = {curvature:g}: beta and the masses put the step size 1/Lip outside the range "
            "of floats; rescale the masses"
        )
    step_size = run.step_size if run.step_size is not None else 1.0 / (curvature or 1.0)
    if curvature and step_size >= 2.0 / curvature:
        raise ProblemError(
            f"step_size = {step_size:g}: at or above 2/Lip = {2.0 / curvature:g} gradient descent "
            "need not descend; lower it, or leave it out for 1/Lip"
        )
    shift = np.zeros(on.size)
    rank = np.zeros(bandit.K, dtype=np.int64)
    rank[on] = np.arange(on.size)
    ref_margin = preferences.ref_margin(bandit)
    ends = (
        rank[np.where(preferences.present, preferences.winner, on[0])],
        rank[np.where(preferences.present, preferences.loser, on[0])],
    )
    steps, losses, deltas, inside = [], [], [], []
    for step in range(run.max_steps + 1):
        t = bandit.beta * (shift[pairs.winner] - shift[pairs.loser])
        last = step == run.max_steps
        if run.records(step) or last:
            steps.append(step)
            losses.append(likelihood.loss(pairs, t))
            deltas.append(ref_margin + shift[ends[0]] - shift[ends[1]])
            inside.append(margins.undesirable(deltas[-1], ref_margin) & preferences.present)
            if last or finished(shift):
                break
        sign, log_size = likelihood.misfit(pairs, t)
        force = step_size * bandit.beta * sign * np.exp(log_size)
        np.add.at(shift, pairs.winner, force)
        np.subtract.at(shift, pairs.loser, force)
    trajectory = Trajectory(
        step=np.array(steps),
        loss=np.array(losses),
        margin=np.array(deltas),
        undesirable=np.array(inside),
        step_size=step_size,
        lipschitz=curvature,
        present=preferences.present,
    )
    return shift, trajectory
