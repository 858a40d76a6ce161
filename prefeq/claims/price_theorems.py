"""What the price of alignment says of `solve_cpo`, as predicates of one problem.

Everything on the other side of a comparison is written out here, not taken from the package.
"""

from __future__ import annotations

import numpy as np

from prefeq import bandit as bandits
from prefeq import preferences, solution, solvers
from prefeq.arrays import FloatArray
from prefeq.claims import cpo_theorems, recheck


def is_divergence(bandit: bandits.Bandit, prefs: preferences.Preferences) -> bool:
    """J(π*) − J(π_CPO) = β KL(π_CPO‖π*), for margins of either sign."""
    rlhf, cpo, _ = _solved(bandit, prefs, cpo_theorems.some_margins(bandit, prefs))
    kl = np.sum(np.exp(cpo.logp) * (cpo.logp - log_optimum(bandit)))
    return _paid(rlhf.value - cpo.value, bandit.beta * float(kl), bandit)


def is_block_form(bandit: bandits.Bandit, prefs: preferences.Preferences) -> bool:
    """log π_CPO = f − log Σ e^f, f the block solution of the pairs with λ > 0."""
    for m in (cpo_theorems.some_margins(bandit, prefs), np.zeros(prefs.P)):
        _, cpo, f = _solved(bandit, prefs, m)
        if not recheck.close(cpo.logp, f - np.logaddexp.reduce(f)):
            return False
    return True


def is_price_of_blocks(bandit: bandits.Bandit, prefs: preferences.Preferences) -> bool:
    """The price is −β log Σ e^f, for margins of either sign and for none."""
    for m in (cpo_theorems.some_margins(bandit, prefs), np.zeros(prefs.P)):
        rlhf, cpo, f = _solved(bandit, prefs, m)
        price = -bandit.beta * float(np.logaddexp.reduce(f))
        if not _paid(rlhf.value - cpo.value, price, bandit):
            return False
    return True


def is_price_of_means(bandit: bandits.Bandit, prefs: preferences.Preferences) -> bool:
    """With m = 0 it is −β log Σ_B |B| (geometric mean of π* over B)."""
    rlhf, cpo, _ = _solved(bandit, prefs, np.zeros(prefs.P))
    target, means = log_optimum(bandit), []
    for block, _ in blocks(cpo, prefs, np.zeros(prefs.P)):
        means.append(np.log(len(block)) + np.mean(target[block]))
    return _paid(rlhf.value - cpo.value, -bandit.beta * np.logaddexp.reduce(means), bandit)


def _solved(
    bandit: bandits.Bandit, prefs: preferences.Preferences, m: FloatArray
) -> tuple[solution.Solution, solution.Solution, FloatArray]:
    """Return the solutions and the unnormalised f = c + s of the blocks."""
    cpo = solvers.solve_cpo(bandit, prefs, margin=m)
    return solvers.solve_rlhf(bandit), cpo, block_solution(cpo, bandit, prefs, m)


def block_solution(
    cpo: solution.Solution,
    bandit: bandits.Bandit,
    prefs: preferences.Preferences,
    m: FloatArray,
) -> FloatArray:
    """Return f = c + s on the blocks of a solution."""
    target, f = log_optimum(bandit), np.empty(bandit.K)
    for block, s in blocks(cpo, prefs, m):
        weight = np.exp(s - s.max())
        f[block] = s + np.sum(weight * (target[block] - s)) / np.sum(weight)
    return f


def blocks(
    cpo: solution.Solution, prefs: preferences.Preferences, m: FloatArray
) -> list[tuple[list[int], FloatArray]]:
    """Return the blocks that pairs with λ > 0 join, each with its offsets s, by flooding.

    A pair that is tight by chance has λ = 0: then the two sides have their levels without it.
    """
    edges = [
        (int(w), int(lo), float(x))
        for w, lo, x, force in zip(prefs.winner, prefs.loser, m, cpo.multipliers, strict=True)
        if force > 0
    ]
    both = [*edges, *((lo, w, -x) for w, lo, x in edges)]
    found, seen = [], dict[int, float]()
    for start in range(cpo.logp.size):
        if start in seen:
            continue
        block, seen[start] = [start], 0.0
        for at in block:  # grows while it is walked
            for w, lo, x in both:
                if lo == at and w not in seen:
                    seen[w] = seen[at] + x
                    block.append(w)
        found.append((block, np.array([seen[y] for y in block])))
    return found


def log_optimum(bandit: bandits.Bandit) -> FloatArray:
    """Return log π*, written out here and not taken from the package."""
    logits = bandit.ref_logp + (bandit.reward - bandit.reward.max()) / bandit.beta
    return np.asarray(logits - np.logaddexp.reduce(logits))


def _paid(found: float, price: float, bandit: bandits.Bandit) -> bool:
    """Compare a difference of two values of J, which are as large as the rewards, with a price."""
    size = 1.0 + float(np.max(np.abs(bandit.reward))) + bandit.beta
    return bool(abs(found - price) <= recheck.CLOSE * max(size, abs(price)))
