"""What Constrained PO's theorems say of `solve_cpo`, as predicates of one problem.

Everything on the other side of a comparison is written out here, not taken from the package.
"""

from __future__ import annotations

import numpy as np

from prefeq import bandit as bandits
from prefeq import preferences, solvers
from prefeq.arrays import FloatArray
from prefeq.claims import exact_graphs, recheck


def some_margins(bandit: bandits.Bandit, prefs: preferences.Preferences) -> FloatArray:
    """Return a margin a pair, of either sign, that depends on nothing but the problem's size."""
    return np.asarray(0.7 * np.cos(np.arange(prefs.P) + bandit.K) + 0.3)


def meets_margins(bandit: bandits.Bandit, prefs: preferences.Preferences) -> bool:
    """δ ≥ m on every pair, for margins of either sign."""
    m = some_margins(bandit, prefs)
    cpo = solvers.solve_cpo(bandit, prefs, margin=m)
    return bool(np.all(cpo.margin(prefs) >= m - recheck.CLOSE))


def rlhf_iff(bandit: bandits.Bandit, prefs: preferences.Preferences) -> bool:
    """CPO(m) = RLHF for margins below δ* on every pair, and no more once one pair's is above."""
    rlhf = solvers.solve_rlhf(bandit)
    star = rlhf.margin(prefs)
    below = solvers.solve_cpo(bandit, prefs, margin=star - 0.1)
    raised = star - 0.1
    raised[0] += 0.2
    above = solvers.solve_cpo(bandit, prefs, margin=raised)
    moved = not recheck.close(above.logp, rlhf.logp, 1e-6)
    return recheck.close(below.logp, rlhf.logp) and moved


def beats_all(bandit: bandits.Bandit, prefs: preferences.Preferences) -> bool:
    """J(π) ≤ J(π_CPO) − β KL(π‖π_CPO) for feasible π: Pythagoras, hence optimal and unique."""
    m = some_margins(bandit, prefs)
    cpo = solvers.solve_cpo(bandit, prefs, margin=m)
    if not recheck.close(cpo.value, objective(bandit, cpo.logp)):
        return False
    rng = np.random.default_rng(prefs.P + 10 * bandit.K)
    for scale in (0.01, 0.3, 3.0):
        for _ in range(4):
            logp = feasible_policy(cpo.logp + scale * rng.normal(size=bandit.K), prefs, m)
            kl = float(np.sum(np.exp(logp) * (logp - cpo.logp)))
            slack = cpo.value - bandit.beta * kl - objective(bandit, logp)
            if slack < -1e-8 * max(1.0, bandit.beta * kl, abs(cpo.value)):
                return False
    return True


def one_pair(bandit: bandits.Bandit, prefs: preferences.Preferences) -> bool:
    """One pair: π(w) ∝ π*(w)e^{μ/β}, π(l) ∝ π*(l)e^{−μe^m/β}, μ = β(m − δ*)₊/(1 + e^m)."""
    first = preferences.Preferences(prefs.winner[:1], prefs.loser[:1])
    logits = bandit.ref_logp + (bandit.reward - bandit.reward.max()) / bandit.beta
    star = logits[first.winner[0]] - logits[first.loser[0]]
    for m in (star - 0.5, star + 0.5, star + 3.0):
        push = max(m - star, 0.0) / (1 + np.exp(m))
        f = logits.copy()
        f[first.winner[0]] += push
        f[first.loser[0]] -= push * np.exp(m)
        cpo = solvers.solve_cpo(bandit, first, margin=m)
        if not recheck.close(cpo.logp, f - np.logaddexp.reduce(f)):
            return False
    return True


def feasible_policy(f: FloatArray, prefs: preferences.Preferences, m: FloatArray) -> FloatArray:
    """Raise winners until every margin is met, and normalise."""
    f = f.copy()
    for _ in range(f.size):
        for w, lo, margin in zip(prefs.winner, prefs.loser, m, strict=True):
            f[w] = max(f[w], f[lo] + margin)
    return np.asarray(f - np.logaddexp.reduce(f))


def objective(bandit: bandits.Bandit, logp: FloatArray) -> float:
    """Return J(π), written out here and not taken from the package."""
    return float(np.sum(np.exp(logp) * (bandit.reward - bandit.beta * (logp - bandit.ref_logp))))


def is_isotonic(bandit: bandits.Bandit, prefs: preferences.Preferences) -> bool:
    """CPO(0) is the min-max isotonic regression of log π*, normalised."""
    cpo = solvers.solve_cpo(bandit, prefs, margin=0.0)
    return recheck.close(cpo.logp, isotonic_policy(bandit, prefs))


def isotonic_policy(bandit: bandits.Bandit, prefs: preferences.Preferences) -> FloatArray:
    """Return max over upper sets U ∋ y of min over lower sets L ∋ y of the mean over U ∩ L."""
    size = bandit.K
    edges = list(zip(prefs.winner.tolist(), prefs.loser.tolist(), strict=True))
    target = bandit.ref_logp + (bandit.reward - bandit.reward.max()) / bandit.beta
    upper = exact_graphs.upper_sets(size, edges)
    lower = [frozenset(range(size)) - members for members in upper]
    f = np.empty(size)
    for y in range(size):
        f[y] = max(
            min(np.mean(target[sorted(u & low)]) for low in lower if y in low)
            for u in upper
            if y in u
        )
    return np.asarray(f - np.logaddexp.reduce(f))
