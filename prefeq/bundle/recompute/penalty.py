"""Numbers about the penalty objective J + γ Σ m δ: `cpo-penalty`, `cpo-margin`, `cpo-alignment`.

Stationary points come from Newton on the raw conditions in log π, started at the maximiser of J and
followed in γ; their kind from the eigenvalues of the second variation on the simplex.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any

from mpmath import mp, mpf

from prefeq.bundle import bandits
from prefeq.bundle.recompute.instances import problem_of
from prefeq.bundle.registry import Item, Problem, number

GUARD_DIGITS = 20
STAGES = 12
"""Values of γ between 0 and the wanted one."""


def strength(item: Item) -> Fraction:
    """Return γ of an item."""
    return Fraction(item.inputs["gamma"])


def mass(problem: Problem) -> Any:
    """Return the mass of each pair."""
    return mpf(1) / len(problem.pairs)


def pulls(problem: Problem) -> list[Fraction]:
    """Return the mass that each response wins less the mass that it loses."""
    won = [Fraction(0)] * len(problem.ref)
    for w, lo in problem.pairs:
        won[w] += Fraction(1, len(problem.pairs))
        won[lo] -= Fraction(1, len(problem.pairs))
    return won


def objective(problem: Problem, logp: Sequence[Any], gamma: Any) -> Any:
    """Return J + γ Σ m δ, the penalty summed over the pairs."""
    beta, refs = bandits.real(problem.beta), bandits.ref_logp(problem)
    rows = zip(logp, refs, problem.reward, strict=True)
    gain = mp.fsum(mp.exp(x) * (bandits.real(r) - beta * (x - ref)) for x, ref, r in rows)
    return gain + gamma * mass(problem) * mp.fsum(bandits.margins(problem, logp))


def newton(problem: Problem, x: list[Any], gamma: Any, steps: int) -> list[Any]:
    """Return the log-policy after Newton steps on the stationarity conditions and Σ π = 1.

    r − β(log π − log π_ref) + γd/π = κ at every response; κ is the last unknown.
    """
    size, beta, refs = len(x), bandits.real(problem.beta), bandits.ref_logp(problem)
    pull = [gamma * bandits.real(d) for d in pulls(problem)]
    kappa = mpf(0)
    for _ in range(steps):
        slopes = [
            bandits.real(problem.reward[y]) - beta * (x[y] - refs[y]) + pull[y] * mp.exp(-x[y])
            for y in range(size)
        ]
        system, right = mp.zeros(size + 1), mp.zeros(size + 1, 1)
        for y in range(size):
            system[y, y] = -beta - pull[y] * mp.exp(-x[y])
            system[y, size] = -1
            system[size, y] = mp.exp(x[y])
            right[y] = kappa - slopes[y]
        right[size] = 1 - mp.fsum(map(mp.exp, x))
        move = mp.lu_solve(system, right)
        x = [x[y] + move[y] for y in range(size)]
        kappa += move[size]
        if max(abs(m) for m in move) < mp.eps * 100:
            break
    return x


@lru_cache(maxsize=64)
def point(problem: Problem, gamma: Fraction, start: tuple[str, ...]) -> tuple[Any, ...]:
    """Return a stationary log-policy: the one near `start`, or the one that comes from π*."""
    goal = bandits.real(gamma)
    with mp.extradps(GUARD_DIGITS):
        if start:
            x = [mp.log(bandits.real(p)) for p in start]
        else:
            x = list(bandits.rlhf_logp(problem))
            with mp.workdps(GUARD_DIGITS):
                for k in range(1, STAGES):
                    x = newton(problem, x, goal * k / STAGES, 4)
        return tuple(newton(problem, x, goal, 60))


def point_of(item: Item) -> tuple[Any, ...]:
    """Return the stationary log-policy that an item speaks of."""
    return point(problem_of(item), strength(item), tuple(item.inputs.get("start", ())))


@number("stationary_probs")
def stationary_probs(item: Item) -> list[Any]:
    """Return its probabilities."""
    return [mp.exp(x) for x in point_of(item)]


@number("stationary_margin")
def stationary_margin(item: Item) -> list[Any]:
    """Return its margins."""
    return bandits.margins(problem_of(item), point_of(item))


@number("upward_directions")
def upward_directions(item: Item) -> int:
    """Count the positive eigenvalues of the second variation, in the basis e_y − e_0 of Σ v = 0."""
    problem, gamma = problem_of(item), bandits.real(strength(item))
    bends = [
        -bandits.real(problem.beta) * mp.exp(-x) - gamma * bandits.real(d) * mp.exp(-2 * x)
        for x, d in zip(point_of(item), pulls(problem), strict=True)
    ]
    size = len(bends) - 1
    matrix = mp.matrix(size, size)
    for i in range(size):
        for j in range(size):
            matrix[i, j] = bends[0] + (bends[i + 1] if i == j else 0)
    return sum(bool(value > 0) for value in mp.eigsy(matrix, eigvals_only=True))


@number("implicit_gap")
def implicit_gap(item: Item) -> list[Any]:
    """Return β(δ − δ_ref) there."""
    problem = problem_of(item)
    refs = bandits.margins(problem, bandits.ref_logp(problem))
    pairs = zip(stationary_margin(item), refs, strict=True)
    return [bandits.real(problem.beta) * (delta - ref) for delta, ref in pairs]


@number("printed_gap")
def printed_gap(item: Item) -> list[Any]:
    """Return Δr + γm(1/π(w) + 1/π(l)) there."""
    problem, probs = problem_of(item), stationary_probs(item)
    push = bandits.real(strength(item)) * mass(problem)
    return [
        bandits.real(problem.reward[w] - problem.reward[lo]) + push / probs[w] + push / probs[lo]
        for w, lo in problem.pairs
    ]


@number("initial_slope")
def initial_slope(item: Item) -> list[Any]:
    """Return dδ/dγ at γ = 0, by linear algebra from the derivative of the conditions at π*."""
    problem = problem_of(item)
    beta, best = bandits.real(problem.beta), bandits.rlhf_logp(problem)
    size, pull = len(best), pulls(problem)
    system, right = mp.zeros(size + 1), mp.zeros(size + 1, 1)
    for y in range(size):
        system[y, y], system[y, size], system[size, y] = beta, mpf(1), mp.exp(best[y])
        right[y] = bandits.real(pull[y]) * mp.exp(-best[y])
    rates = mp.lu_solve(system, right)
    return bandits.margins(problem, list(rates))


@number("net_degree")
def net_degree(item: Item) -> list[Fraction]:
    """Return the net degrees."""
    return pulls(problem_of(item))


@number("penalty_at_rlhf")
def penalty_at_rlhf(item: Item) -> Any:
    """Return the objective at the maximiser of J."""
    problem = problem_of(item)
    return objective(problem, bandits.rlhf_logp(problem), bandits.real(strength(item)))


@number("penalty_value")
def penalty_value(item: Item) -> list[Any]:
    """Return the objective where one response has given log-odds against it."""
    problem, y = problem_of(item), item.inputs["sinking"]
    best = bandits.rlhf_logp(problem)
    rest = mp.fsum(mp.exp(z) for i, z in enumerate(best) if i != y)

    def at(odds: Any) -> Any:
        small = 1 / (1 + mp.exp(odds))
        own = -odds + mp.log1p(-small)  # p = e^−T (1 − p)
        logp = [z - mp.log(rest) + mp.log1p(-small) for z in best]
        return objective(problem, [*logp[:y], own, *logp[y + 1 :]], bandits.real(strength(item)))

    return [at(bandits.real(odds)) for odds in item.inputs["log_odds"]]


def stars(item: Item) -> list[tuple[Any, Any, Any]]:
    """Return (δ*, β, m) of the pairs of the instance and of a second prompt, or of the inputs."""
    if item.problem is None:
        return [(bandits.real(s), mpf(1), mpf(1)) for s in item.inputs["optimal_margin"]]
    problems = [item.problem]
    if "other_ref" in item.inputs:
        other = item.inputs
        problems.append(
            Problem(
                tuple(map(Fraction, other["other_reward"])),
                tuple(map(Fraction, other["other_ref"])),
                item.problem.beta,
                item.problem.pairs,
                item.problem.labels,
            )
        )
    return [
        (star, bandits.real(problem.beta), mass(problem))
        for problem in problems
        for star in bandits.margins(problem, bandits.rlhf_logp(problem))
    ]


@number("critical_gamma")
def critical_gamma(item: Item) -> list[Any]:
    """Return the γ at which π = (½, ½) has β(δ − δ*) = γm(1/π(w) + 1/π(l))."""
    return [beta * (0 - star) / (m * (2 + 2)) for star, beta, m in stars(item)]


@number("exact_critical_gamma")
def exact_critical_gamma(item: Item) -> Fraction:
    """Return the γ at which (1/2, 1/2) is stationary, in rationals; the reference is (1/2, 1/2)."""
    problem = problem_of(item)
    ((w, lo),) = problem.pairs
    if set(problem.ref) != {Fraction(1, 2)}:
        raise ValueError("the reference is not (1/2, 1/2)")
    return (problem.reward[lo] - problem.reward[w]) / 4


@number("fold_margin")
def fold_margin(item: Item) -> list[Any]:
    """Return the margin at which (δ − δ*)/(1 + cosh δ) is largest, from its derivative."""
    return [_peak(star) for star, _, _ in stars(item)]


@number("fold_gamma")
def fold_gamma(item: Item) -> list[Any]:
    """Return the largest γ that any margin makes stationary."""
    found = []
    for star, beta, m in stars(item):
        peak = _peak(star)
        found.append(beta * (peak - star) / (m * (2 + 2 * mp.cosh(peak))))
    return found


@lru_cache(maxsize=32)
def _peak(star: Any) -> Any:
    with mp.extradps(GUARD_DIGITS):
        return mp.findroot(
            lambda d: (1 + mp.cosh(d)) / mp.sinh(d) + star - d,
            (mp.mpf("1e-3"), max(star, mpf(0)) + 3),
            solver="anderson",
            tol=mp.eps**1.5,
        )


@number("eq17_margin")
def eq17_margin(item: Item) -> list[Any]:
    """Return δ_ref + Δr/β + (γm/β)(1/π_ref(w) + 1/π_ref(l)), from the probabilities."""
    problem = problem_of(item)
    beta, push = bandits.real(problem.beta), bandits.real(strength(item)) * mass(problem)
    return [
        mp.log(bandits.real(problem.ref[w] / problem.ref[lo]))
        + bandits.real(problem.reward[w] - problem.reward[lo]) / beta
        + push / beta * bandits.real(1 / problem.ref[w] + 1 / problem.ref[lo])
        for w, lo in problem.pairs
    ]
