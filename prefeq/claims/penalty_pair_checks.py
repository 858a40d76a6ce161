"""Two-response problems fed to the penalty's solver and closed forms, against the theorems."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from prefeq import margins, solvers
from prefeq.bandit import Bandit
from prefeq.claims import recheck
from prefeq.claims.instance import build
from prefeq.claims.registry import Part
from prefeq.preferences import Preferences

_STARS = (-8.0, -2.0, -0.3, 0.0, 1.5)


def two_responses(star: float, beta: float) -> tuple[Bandit, Preferences]:
    """Return two responses with a given δ*, half of it from the reference."""
    ref = -np.logaddexp(0.0, np.array([-star / 2, star / 2]))
    bandit = Bandit(np.array([beta * star / 2, 0.0]), ref, beta)
    return bandit, Preferences.ordered(bandit, [[0, 1]])


def _problems() -> Iterator[tuple[float, float, Any, Any]]:
    """Yield two-response problems: δ*, β, bandit and preferences."""
    for star in _STARS:
        for beta in (0.1, 1.0, 5.0):
            bandit, prefs = two_responses(star, beta)
            yield star, beta, bandit, prefs


def branch() -> Iterator[recheck.Comparison]:
    """The branch of local maxima rises from δ* to the fold; above it nothing is stationary."""
    for star, beta, bandit, prefs in _problems():
        d, end = margins.penalty_fold(star, beta)
        branch = solvers.penalty_branch(bandit, prefs)
        name = f"delta* = {star}, beta = {beta}"
        yield f"{name}: the fold", recheck.close(branch.fold_gamma, end)
        yield f"{name}: its margin", recheck.close(branch.margin[-1, 0], d, 1e-6)
        yield f"{name}: rising", bool(np.all(np.diff(branch.margin[:, 0]) > 0))
        below = float(end) * np.array([0.1, 0.5, 0.9, 0.999, 1 - 1e-6])
        for gamma, want in zip(below, margins.penalty_margin(star, beta, below), strict=True):
            found = solvers.solve_penalty(bandit, prefs, gamma)
            here = found.logp is not None and recheck.close(found.margin(prefs), [want], 1e-8)
            yield f"{name}, gamma = {gamma:.4g}: the local maximum", here
            yield f"{name}, gamma = {gamma:.4g}: between delta* and d", bool(star < want < d)
            points = solvers.stationary_points(bandit, prefs, float(gamma))
            kinds = sorted(point.is_local_maximum for point in points)
            yield f"{name}, gamma = {gamma:.4g}: two points, one maximum", kinds == [False, True]
        at = margins.penalty_margin(star, beta, end)
        yield f"{name}: margin d at the fold", recheck.close(at, d, 1e-6)
        for gamma in (1.001 * float(end), 2.0 * float(end), 100.0 * float(end)):
            points = solvers.stationary_points(bandit, prefs, gamma)
            gone = solvers.solve_penalty(bandit, prefs, gamma).logp is None and not points
            yield f"{name}, gamma = {gamma:.4g}: nothing left", gone
            at = margins.penalty_margin(star, beta, gamma)
            yield f"{name}, gamma = {gamma:.4g}: margin +inf", bool(np.isposinf(at))


def around_critical() -> Iterator[recheck.Comparison]:
    """The sign of the local maximum's margin below, at and above γ*."""
    for star, beta, bandit, prefs in _problems():
        if star >= 0:
            continue
        critical = float(margins.penalty_critical_gamma(star, beta))
        end = float(margins.penalty_fold(star, beta)[1])
        name = f"delta* = {star}, beta = {beta}"
        for gamma, sign in ((0.99 * critical, -1), (critical + 0.5 * (end - critical), 1)):
            found = solvers.solve_penalty(bandit, prefs, gamma)
            right = found.logp is not None and np.sign(found.margin(prefs)[0]) == sign
            yield f"{name}, gamma = {gamma:.4g}: sign {sign}", bool(right)
        at = solvers.solve_penalty(bandit, prefs, critical)
        tied = at.logp is not None and recheck.close(at.margin(prefs), [0.0], 1e-7)
        yield f"{name}: delta = 0 at gamma*", tied


def landing() -> Iterator[recheck.Comparison]:
    """γ = −β(δ_ref + δ*)/(2 + 2cosh δ_ref) makes Eq. 17's margin −δ_ref; half of it does not."""
    for delta_ref, gap in ((-3.0, 1.0), (-1.0, 0.5), (-0.4, 0.1)):
        star = delta_ref + gap
        gamma = -(delta_ref + star) / (2 + 2 * np.cosh(delta_ref))
        bandit, prefs = two_responses(star, 1.0)
        for strength, exact in ((gamma, True), (0.5 * gamma, False)):
            surrogate = star + strength * (2 + 2 * np.cosh(delta_ref))
            points = solvers.stationary_points(bandit, prefs, float(strength))
            near = [recheck.close(p.logp[0] - p.logp[1], surrogate, 1e-7) for p in points]
            yield f"delta_ref = {delta_ref}, gamma = {strength:.4g}", any(near) == exact


def beyond(data: Mapping[str, Any]) -> Iterator[recheck.Comparison]:
    """Compare the package with a two-response problem beyond its fold, from its evidence."""
    bandit, prefs = build(data["instance"])
    gamma = float(Fraction(data["inputs"]["gamma"]))
    star = solvers.solve_rlhf(bandit).margin(prefs)
    yield "delta*", recheck.close(star, data["rlhf_margin"])
    critical = margins.penalty_critical_gamma(star, bandit.beta)
    yield "gamma*", recheck.close(critical, data["critical_gamma"])
    end = margins.penalty_fold(star, bandit.beta)[1]
    yield "the fold", recheck.close(end, data["fold_gamma"])
    branch = solvers.penalty_branch(bandit, prefs)
    yield "the fold of the branch", recheck.close([branch.fold_gamma], data["fold_gamma"])
    yield "no local maximum", solvers.solve_penalty(bandit, prefs, gamma).logp is None
    yield "no stationary point", not solvers.stationary_points(bandit, prefs, gamma)
    at = margins.penalty_margin(star, bandit.beta, gamma)
    yield "margin +inf", bool(np.all(np.isposinf(at)))


def beyond_critical() -> Iterator[recheck.Comparison]:
    """Every stationary point has δ ≥ 0 from γ* on."""
    for star in (-6.0, -2.0, -0.5):
        for beta in (0.2, 1.0, 4.0):
            bandit, prefs = two_responses(star, beta)
            critical = float(margins.penalty_critical_gamma(star, beta))
            for share in (1.0, 1.01, 1.2, 2.0):
                found = solvers.stationary_points(bandit, prefs, share * critical)
                least = min((float(prefs.margin_of(p.logp)[0]) for p in found), default=0.0)
                yield f"delta* = {star}, beta = {beta}, {share} gamma*", least >= -recheck.CLOSE


def windows(part: Part) -> Iterator[recheck.Comparison]:
    """A local maximum exists in [γ*, γ_fold) (part if), none above (only-if)."""
    for star in (-8.0, -2.0, -0.3):
        for beta in (0.1, 1.0, 5.0):
            bandit, prefs = two_responses(star, beta)
            low = float(margins.penalty_critical_gamma(star, beta))
            high = solvers.penalty_branch(bandit, prefs).fold_gamma
            name = f"delta* = {star}, beta = {beta}"
            yield f"{name}: gamma* < gamma_fold", low < high
            shares = (0.0, 0.5, 0.99) if part == "if" else (1.001, 1.5, 10.0)
            for share in shares:
                gamma = low + share * (high - low)
                points = solvers.stationary_points(bandit, prefs, gamma)
                some = any(p.is_local_maximum for p in points)
                yield f"{name}, gamma = {gamma:.4g}", some == (part == "if")


def two_prompts(data: Mapping[str, Any]) -> Iterator[recheck.Comparison]:
    """No γ serves both prompts of the evidence."""
    bandit, prefs = build(data["instance"])
    other = Bandit.from_probs(
        reward=[float(Fraction(r)) for r in data["inputs"]["other_reward"]],
        ref=[float(Fraction(p)) for p in data["inputs"]["other_ref"]],
        beta=float(bandit.beta),
    )
    low, high = [], []
    for problem in (bandit, other):
        star = solvers.solve_rlhf(problem).margin(prefs)[0]
        low.append(margins.penalty_critical_gamma(star, problem.beta))
        high.append(solvers.penalty_branch(problem, prefs).fold_gamma)
    yield "gamma* of both", recheck.close(low, data["critical_gamma"])
    yield "the folds of both", recheck.close(high, data["fold_gamma"])
    for gamma in np.linspace(0.0, 1.2 * max(high), 60):
        served = []
        for problem in (bandit, other):
            found = solvers.solve_penalty(problem, prefs, float(gamma))
            served.append(found.logp is not None and found.margin(prefs)[0] >= 0)
        yield f"gamma = {gamma:.4g} serves at most one", sum(served) <= 1


def common_window() -> Iterator[recheck.Comparison]:
    """A γ serves two prompts iff max γ* ≤ γ < min γ_fold."""
    for stars in ((-2.0, -2.1), (-2.0, -4.0), (-0.5, -0.9), (-0.5, -3.0), (-1.0, 1.0)):
        pairs = [two_responses(star, 1.0) for star in stars]
        low = max(float(margins.penalty_critical_gamma(star, 1.0)) for star in stars)
        high = min(solvers.penalty_branch(*pair).fold_gamma for pair in pairs)
        for gamma in np.linspace(0.01, 1.5 * max(low, high), 41):
            near = min(abs(gamma - low), abs(gamma - high)) < 1e-6
            served = True
            for bandit, prefs in pairs:
                found = solvers.solve_penalty(bandit, prefs, float(gamma))
                served &= found.logp is not None and bool(found.margin(prefs)[0] >= 0)
            yield f"delta* = {stars}, gamma = {gamma:.4g}", near or served == (low <= gamma < high)
