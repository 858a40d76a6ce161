"""Random and chosen problems on which theorems about Eq. 10 are asserted through the solvers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from prefeq import bandit as bandits
from prefeq import margins, preferences, solvers
from prefeq.claims import recheck, samples
from prefeq.claims.evidence import Evidence
from prefeq.claims.instance import Instance, build

Problem = samples.Problem
STRENGTHS = (0.02, 0.2, 0.6, 2.0)
"""γ over β."""


def one_pair() -> Iterator[Evidence]:
    """Eqs. 13–16 at every stationary point of problems with one pair."""
    yield samples.asserted("Eqs. 13-16 at every stationary point", _single(30), _printed_holds)
    yield recheck.rechecked("penalty_value is stationary there", _flat(_single(8)))


def any_graph() -> Iterator[Evidence]:
    """The same with net degrees, on any pairs."""
    yield samples.asserted(
        "beta x = gap + gamma d(w)/pi(w) - gamma d(l)/pi(l) at every stationary point",
        samples.acyclic(30),
        _corrected_holds,
    )
    yield recheck.rechecked("penalty_value is stationary there", _flat(samples.acyclic(8)))


def disjoint(count: int, seed: int = samples.SEED) -> Iterator[Problem]:
    """Yield random problems whose pairs share no response, and as many responses in none."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        pairs = int(rng.integers(1, 3))
        size = 2 * pairs + int(rng.integers(0, 2))
        beta = float(np.exp(rng.uniform(-2.0, 2.0)))
        bandit = bandits.Bandit(beta * rng.normal(0, 1, size), rng.normal(0, 1, size), beta)
        order = rng.permutation(size)
        winner, loser = order[: 2 * pairs : 2], order[1 : 2 * pairs : 2]
        yield bandit, preferences.Preferences(winner, loser, mass=rng.uniform(0.2, 1.0, pairs))


def points(bandit: bandits.Bandit, prefs: preferences.Preferences) -> Iterator[tuple[float, Any]]:
    """Yield (γ, stationary point) over a few γ."""
    for share in STRENGTHS:
        gamma = share * float(bandit.beta)
        for point in solvers.stationary_points(bandit, prefs, gamma):
            yield gamma, point


def _single(count: int) -> Iterator[Problem]:
    rng = np.random.default_rng(samples.SEED)
    for bandit, _ in samples.acyclic(count):
        pair = rng.choice(bandit.K, 2, replace=False)
        mass = rng.uniform(0.2, 1.0, 1)
        yield bandit, preferences.Preferences(pair[:1], pair[1:], mass=mass)


def _printed_holds(bandit: bandits.Bandit, prefs: preferences.Preferences) -> bool:
    return _holds(bandit, prefs, prefs.mass, -prefs.mass)


def _corrected_holds(bandit: bandits.Bandit, prefs: preferences.Preferences) -> bool:
    degree = solvers.net_degree(bandit, prefs)
    return _holds(bandit, prefs, degree[prefs.winner], degree[prefs.loser])


def _holds(bandit: bandits.Bandit, prefs: preferences.Preferences, up: Any, down: Any) -> bool:
    gap, beta = prefs.reward_gap(bandit), float(bandit.beta)
    for gamma, point in points(bandit, prefs):
        probs = np.exp(point.logp)
        push = gamma * (up / probs[prefs.winner] - down / probs[prefs.loser])
        x = prefs.margin_of(point.logp) - prefs.ref_margin(bandit)
        scale = beta * (1 + np.abs(x)) + np.abs(gap) + np.abs(push)
        if np.any(np.abs(beta * x - gap - push) > 1e-7 * scale):
            return False
    return True


def _flat(problems: Iterator[Problem]) -> Iterator[recheck.Comparison]:
    """Central differences of F along the simplex at the stationary points."""
    step = 1e-5
    for i, (bandit, prefs) in enumerate(problems):
        moves = np.eye(bandit.K) - 1.0 / bandit.K
        for gamma, point in points(bandit, prefs):
            ends = []
            for sign in (1, -1):
                logits = point.logp + sign * step * moves
                rows = logits - np.log(np.sum(np.exp(logits), axis=-1, keepdims=True))
                ends.append(solvers.penalty_value(bandit, prefs, gamma, rows))
            slope = np.abs(ends[0] - ends[1]) / (2 * step)
            size = float(bandit.beta) + gamma + np.ptp(bandit.reward)
            yield f"problem {i}, gamma = {gamma:.4g}", bool(np.all(slope <= 1e-5 * size))


def aligned_disjoint(
    bandit: bandits.Bandit, prefs: preferences.Preferences, *, strict: bool
) -> bool:
    """δ ≥ 0 at every stationary point for γ ≥ max −βδ*/(4m); δ > 0 for more, if strict."""
    star = solvers.solve_rlhf(bandit).margin(prefs)
    critical = float(np.max(margins.penalty_critical_gamma(star, bandit.beta, prefs.mass)))
    for share in (1.0, 1.001, 1.1, 1.5):
        gamma = share * critical if critical > 0 else share * float(bandit.beta)
        least = 0.0 if strict and gamma > 1.0005 * critical else -recheck.CLOSE
        for point in solvers.stationary_points(bandit, prefs, gamma):
            if not np.all(prefs.margin_of(point.logp) >= least):
                return False
    return True


def aligned_by_degrees(bandit: bandits.Bandit, prefs: preferences.Preferences) -> bool:
    """The criterion with (√d(w) + √−d(l))² for 4m, where d(w) ≥ 0 ≥ d(l) and not both are 0."""
    degree = solvers.net_degree(bandit, prefs)
    up, down = degree[prefs.winner], -degree[prefs.loser]
    if np.any((up < 0) | (down < 0) | (up + down <= 0)):
        return True  # not in scope
    star = solvers.solve_rlhf(bandit).margin(prefs)
    need = (np.sqrt(up) + np.sqrt(down)) ** 2
    critical = float(np.max(-float(bandit.beta) * star / need))
    for share in (1.0, 1.1, 1.5):
        gamma = share * critical if critical > 0 else share * float(bandit.beta)
        for point in solvers.stationary_points(bandit, prefs, gamma):
            if not np.all(prefs.margin_of(point.logp) >= -recheck.CLOSE):
                return False
    return True


def critical(data: Mapping[str, Any]) -> Iterator[recheck.Comparison]:
    """γ* of every pair of an instance, from its evidence."""
    bandit, prefs = build(data["instance"])
    star = solvers.solve_rlhf(bandit).margin(prefs)
    found = margins.penalty_critical_gamma(star, bandit.beta, prefs.mass)
    yield "gamma* of every pair", recheck.close(found, data["critical_gamma"])


def idle(data: Mapping[str, Any]) -> Iterator[recheck.Comparison]:
    """The most violated pair keeps δ* at every stationary point, from its evidence."""
    bandit, prefs = build(data["instance"])
    degrees = [float(Fraction(d)) for d in data["net_degree"]]
    yield "net degrees", recheck.close(solvers.net_degree(bandit, prefs), degrees)
    star = solvers.solve_rlhf(bandit).margin(prefs)
    yield "delta*", recheck.close(star, data["rlhf_margin"])
    k = min(range(len(star)), key=star.__getitem__)
    for gamma in (0.01, 0.1, 0.25, 1.0, 10.0):
        for point in solvers.stationary_points(bandit, prefs, gamma):
            same = recheck.close(prefs.margin_of(point.logp)[k], data["rlhf_margin"][k])
            yield f"gamma = {gamma}: delta = delta*", same


def idle_pairs() -> Iterator[recheck.Comparison]:
    """The inner pairs of random chains of equal masses keep δ*."""
    rng = np.random.default_rng(samples.SEED)
    for i in range(12):
        size = int(rng.integers(4, 7))
        bandit = bandits.Bandit(rng.normal(0, 1, size), rng.normal(0, 1, size), 1.0)
        order = rng.permutation(size)
        prefs = preferences.Preferences(order[:-1], order[1:])  # a chain of equal masses
        star = solvers.solve_rlhf(bandit).margin(prefs)[1:-1]
        for gamma, point in points(bandit, prefs):
            inner = prefs.margin_of(point.logp)[1:-1]
            yield f"chain {i}, gamma = {gamma:.4g}", recheck.close(inner, star)


def slopes(data: Mapping[str, Any]) -> Iterator[recheck.Comparison]:
    """dδ/dγ at γ = 0 by a difference quotient, from its evidence."""
    bandit, prefs = build(data["instance"])
    step = 1e-6
    branch = solvers.penalty_branch(bandit, prefs, gammas=[0.0, step])
    slope = (branch.margin[1] - branch.margin[0]) / step
    yield "d delta/d gamma at 0", recheck.close(slope, data["initial_slope"], 1e-4)


def mean_rises(bandit: bandits.Bandit, prefs: preferences.Preferences) -> bool:
    """Σ m δ rises along the solver's branch, unless every net degree is zero."""
    branch = solvers.penalty_branch(bandit, prefs, points=40)
    mean = branch.margin @ prefs.mass
    flat = not np.any(solvers.net_degree(bandit, prefs))
    return flat or bool(np.all(np.diff(mean) > 0))


def mean_on(*instances: Instance) -> Iterator[recheck.Comparison]:
    """The same on exact instances."""
    for instance in instances:
        yield instance.name, mean_rises(*build(instance.to_data()))
