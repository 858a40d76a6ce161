"""DPO: the minimisers of its population loss, and what gradient descent does with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from prefeq.arrays import FloatArray, IntArray, log_normalise, logsumexp
from prefeq.bandit import Bandit
from prefeq.errors import ProblemError
from prefeq.preferences import Preferences
from prefeq.solution import Solution, Status
from prefeq.solvers import descent, likelihood
from prefeq.solvers.batch import check_types, demand, fits_lanes, solve_each
from prefeq.solvers.batched.dpo import solve_batch
from prefeq.solvers.batched.trajectories import solve_descent
from prefeq.solvers.blocks import project
from prefeq.solvers.bodies import EPS
from prefeq.solvers.certificate import certify
from prefeq.solvers.constraints import build
from prefeq.solvers.rlhf import objective

TOLERANCE = 1e-9
"""Largest residual called optimal; the rounding of s = β log(π/π_ref), 1024 ε/β, where more."""


def solve_dpo(
    bandit: Bandit,
    preferences: Preferences,
    method: str = "newton",
    *,
    throw: bool | None = None,
    max_steps: int = 10_000,
    step_size: float | None = None,
    record_every: int | None = None,
) -> Solution:
    """Minimise L(π) = Σ m [q softplus(−βx) + (1−q) softplus(βx)], x = δ − δ_ref (DPO's loss).

    The labels alone decide, never the rewards (they enter `value` only). In s = β log(π/π_ref) this
    is a Bradley-Terry likelihood. Per connected component of the comparison graph it has a unique
    minimiser if the component is strongly connected (Zermelo 1929, Ford 1957); with several
    components the minimisers form a set, and `logp` is the one that gradient descent on softmax
    logits from π_ref reaches (it conserves each component's sum of logits); otherwise the infimum
    is not attained and gradient descent diverges along argmin ‖s‖² with s constant on strong
    components and s_w − s_l ≥ 1 between them (Soudry et al. 2018; Ji & Telgarsky 2019).

    Parameters
    ----------
    method
        "newton": the limit, exactly. "gradient-descent": the descent itself, with `trajectory`.
    throw
        True: raise unless every prompt is solved, diverging included. By default nothing raises:
        diverging is an answer, not an error.
    max_steps
        Gradient descent: when to stop if the residual is not yet 1e-9.
    step_size
        Gradient descent: η; by default 1/Lip with Lip = β² λ_max(Σ m (e_w−e_l)(e_w−e_l)ᵀ)/4, which
        never raises the loss. At or above 2/Lip descent need not descend, and is refused. Where
        1/Lip is no float one problem raises; in a batch it stays at the reference, with η = 0.
    record_every
        Gradient descent: record each so many steps; by default the first hundred, then ever
        sparser, and the last.

    Returns
    -------
    Solution
        Status optimal, not-unique, diverges (`logp` None with "newton"; the last policy with
        "gradient-descent") or iteration-limit. `residual` bounds the error of log π, relative to
        max(1, |log π|, |log π_ref|); for a diverging problem it is that of the direction and of the
        finite parts, or inf for a policy on its way to nowhere.

    Examples
    --------
    >>> import prefeq as pq
    >>> bandit = pq.Bandit.from_probs(reward=[1, 0, 0], ref=[0.05, 0.9, 0.05], beta=1.0)
    >>> prefs = pq.Preferences.bradley_terry(bandit)
    >>> dpo = pq.solve_dpo(bandit, prefs)
    >>> dpo.margin(prefs).round(6).tolist() == pq.solve_rlhf(bandit).margin(prefs).round(6).tolist()
    True
    >>> pq.solve_dpo(bandit, pq.Preferences.ordered(bandit)).direction.round(4).tolist()
    [0.6667, -0.3333, -0.3333]
    """
    if method not in ("newton", "gradient-descent"):
        raise ProblemError(f"method = {method!r}: choose 'newton' or 'gradient-descent'")
    run = descent.Schedule(max_steps, step_size, record_every)

    def single(bandit: Bandit, pairs: Preferences, _: tuple[int, ...]) -> Solution:
        problem = _Problem.of(bandit, pairs)
        return problem.descend(run) if method == "gradient-descent" else problem.newton()

    def exact(bandit: Bandit, pairs: Preferences, _: tuple[int, ...]) -> Solution:
        return _Problem.of(bandit, pairs).newton()

    check_types(bandit, preferences)
    if fits_lanes(bandit):
        preferences.check(bandit)
        found = solve_batch(bandit, preferences, exact, TOLERANCE)
        if method == "gradient-descent":
            found = solve_descent(bandit, preferences, run, found, TOLERANCE)
        return demand(found, throw)
    return solve_each(bandit, preferences, single, throw)


@dataclass(frozen=True)
class _Problem:
    """One prompt, restricted to the support, with the graph facts that decide its answer."""

    bandit: Bandit
    preferences: Preferences
    on: IntArray
    pairs: likelihood.Comparisons
    component: IntArray
    strong: IntArray

    @classmethod
    def of(cls, bandit: Bandit, preferences: Preferences) -> _Problem:
        on, present = np.flatnonzero(bandit.support), preferences.present
        rank = np.zeros(bandit.K, dtype=np.int64)
        rank[on] = np.arange(on.size)
        pairs = likelihood.merge(
            on.size,
            rank[preferences.winner[present]],
            rank[preferences.loser[present]],
            preferences.log_odds[present],
            preferences.mass[present],
        )
        component, strong = (
            label(bandit)[on] for label in (preferences.components, preferences.strong_components)
        )
        return cls(bandit, preferences, on, pairs, component, strong)

    @property
    def finite(self) -> bool:
        """Whether a minimiser exists (Ford's condition)."""
        return bool(self.strong.max() == self.component.max())

    @property
    def dimension(self) -> int:
        return int(self.component.max())

    def culprit(self) -> tuple[int, ...] | None:
        """Return the responses of the first component that is not strongly connected."""
        for c in range(self.dimension + 1):
            members = self.component == c
            if np.unique(self.strong[members]).size > 1:
                return tuple(int(y) for y in self.on[members])
        return None

    def widen(self, values: FloatArray, fill: float) -> FloatArray:
        """Return values on the support as an array over all K responses."""
        full = np.full(self.bandit.K, fill)
        full[self.on] = values
        return full

    def newton(self) -> Solution:
        s, steps = np.zeros(self.on.size), 0
        for part in range(int(self.strong.max()) + 1):
            members = np.flatnonzero(self.strong == part)
            if members.size > 1:
                s[members], taken = likelihood.minimise(self.pairs.inside(members))
                steps = max(steps, taken)
        f = self.bandit.ref_logp[self.on] + s / self.bandit.beta
        if not self.finite:
            return self._diverging(f, s, steps)
        return self._finished(log_normalise(f), "newton", steps)

    def _finished(self, logp: FloatArray, route: str, steps: int, **more: Any) -> Solution:
        full = self.widen(logp, -np.inf)
        residual = self.residual(full)
        unique = Status.OPTIMAL if self.dimension == 0 else Status.NOT_UNIQUE
        s = self.bandit.beta * (logp - self.bandit.ref_logp[self.on])
        return Solution(
            logp=full,
            value=float(objective(self.bandit, full)),
            status=unique if self.optimal(residual) else Status.ITERATION_LIMIT,
            residual=residual,
            loss=likelihood.loss(self.pairs, s[self.pairs.winner] - s[self.pairs.loser]),
            dimension=self.dimension,
            route=route,
            steps=steps,
            **more,
        )

    def residual(self, logp: FloatArray) -> float:
        """Bound the error of log π: twice that of any difference inside a component."""
        s = self.bandit.beta * (logp[self.on] - self.bandit.ref_logp[self.on])
        error = 2.0 * self._error(s) / float(self.bandit.beta)
        return max(error, self._unbalance(logp)) / self._scale(logp) + 4 * EPS  # rounding of s

    def optimal(self, residual: float) -> bool:
        return residual <= max(TOLERANCE, 1024 * EPS / float(self.bandit.beta))

    def _unbalance(self, logp: FloatArray) -> float:
        """Return how far Σ π is from 1, and the components' mean logits from keeping step."""
        move = logp[self.on] - self.bandit.ref_logp[self.on]
        count = np.bincount(self.component)
        mean = np.bincount(self.component, weights=move) / count
        return max(float(np.ptp(mean)), abs(float(logsumexp(logp))))

    def _scale(self, logp: FloatArray) -> float:
        """Return max(1, |log π|, |log π_ref|): rewards have no say here."""
        both = np.concatenate([logp[self.on], self.bandit.ref_logp[self.on]])
        return max(1.0, float(np.max(np.abs(both))))

    def _error(self, s: FloatArray) -> float:
        parts = [np.flatnonzero(self.strong == p) for p in range(int(self.strong.max()) + 1)]
        return max(likelihood.error_bound(self.pairs.inside(m), s[m]) for m in parts)

    def direction(self) -> tuple[FloatArray, float]:
        """Return the max-margin direction on the support and its certificate's violation."""
        crossing = self.strong[self.pairs.winner] != self.strong[self.pairs.loser]
        up = self.pairs.log_odds > 0
        winner = np.where(up, self.pairs.winner, self.pairs.loser)[crossing]
        loser = np.where(up, self.pairs.loser, self.pairs.winner)[crossing]
        names = np.arange(int(self.strong.max()) + 1)
        rows = build(names, self.strong[winner], self.strong[loser], np.ones(winner.size))
        weight, zero = np.log(np.bincount(self.strong)), np.zeros(names.size)
        found = project(zero, weight, rows.winner, rows.loser, rows.margin, tilt=0.0)
        proof = certify(rows, found.f, zero, weight, found.forest, centre=0.0)
        return found.f[self.strong], proof.violation

    def _diverging(self, f: FloatArray, s: FloatArray, steps: int) -> Solution:
        direction, violation = self.direction()
        inside = self.strong[self.pairs.winner] == self.strong[self.pairs.loser]
        t = np.where(
            inside,
            s[self.pairs.winner] - s[self.pairs.loser],
            np.copysign(np.inf, self.pairs.log_odds),
        )
        return Solution(
            logp=None,
            value=None,
            status=Status.DIVERGES,
            residual=max(violation, self._error(s) / self.bandit.beta / max(1.0, np.abs(f).max())),
            loss=likelihood.loss(self.pairs, t),
            direction=self.widen(direction, 0.0),
            component=self.culprit(),
            route="newton",
            steps=steps,
            limit=(self.widen(f, -np.inf), self.widen(self.strong.astype(np.float64), -1.0)),
        )

    def descend(self, run: descent.Schedule) -> Solution:
        shift, trajectory = descent.descend(
            self.bandit,
            self.preferences,
            self.pairs,
            self.on,
            run,
            lambda move: self.finite and self.optimal(self.residual(self._policy(move))),
        )
        logp, steps = self._policy(shift), int(trajectory.step[-1])
        route = "gradient descent"
        if self.finite:
            return self._finished(logp[self.on], route, steps, trajectory=trajectory)
        return Solution(
            logp=logp,
            value=float(objective(self.bandit, logp)),
            status=Status.DIVERGES,
            residual=np.inf,
            loss=float(trajectory.loss[-1]),
            direction=self.widen(self.direction()[0], 0.0),
            component=self.culprit(),
            route=route,
            steps=steps,
            trajectory=trajectory,
        )

    def _policy(self, shift: FloatArray) -> FloatArray:
        return self.widen(log_normalise(self.bandit.ref_logp[self.on] + shift), -np.inf)
