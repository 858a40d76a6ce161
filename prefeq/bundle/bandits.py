"""RLHF and DPO on exact bandits in mpmath, by other routes than the closed forms of the checks.

Everything is written out anew: the package's solvers and the claims' formulas are what is checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any

from mpmath import mp, mpf

from prefeq.bundle.registry import Problem

GUARD_DIGITS = 25
STEPS = 400


def real(value: Fraction | int | str) -> Any:
    """Return a rational at the working precision."""
    q = Fraction(value)
    return mpf(q.numerator) / q.denominator


def margins(problem: Problem, logp: Sequence[Any]) -> list[Any]:
    """Return log π(w) − log π(l), pair by pair."""
    return [logp[w] - logp[lo] for w, lo in problem.pairs]


def ref_logp(problem: Problem) -> list[Any]:
    """Return the reference log-policy."""
    return [mp.log(real(p)) for p in problem.ref]


@lru_cache(maxsize=512)
def rlhf_logp(problem: Problem) -> tuple[Any, ...]:
    """Return the log-policy that maximises J, from its stationarity conditions.

    r(y) − β(log π(y) − log π_ref(y)) = λ at every response, with the λ for which π sums to 1:
    Newton from below, where the sum is too large and its logarithm convex.
    """
    with mp.extradps(GUARD_DIGITS):
        beta, rewards, refs = real(problem.beta), [*map(real, problem.reward)], ref_logp(problem)

        def probs(multiplier: Any) -> list[Any]:
            return [mp.exp(p + (r - multiplier) / beta) for p, r in zip(refs, rewards, strict=True)]

        multiplier = min(rewards)
        for _ in range(STEPS * 10):
            excess = mp.fsum(probs(multiplier)) - 1
            step = beta * excess / (1 + excess)
            multiplier += step
            if abs(step) < beta * mp.eps * 10:
                break
        return tuple(mp.log(p) for p in probs(multiplier))


def pair_loss(z: Any, q: Any) -> Any:
    """Return −q log σ(z) − (1 − q) log σ(−z), exact in both tails."""
    near = mp.log1p(mp.exp(-abs(z)))
    far = near + abs(z)
    return q * near + (1 - q) * far if z >= 0 else q * far + (1 - q) * near


def labels(problem: Problem) -> list[Any]:
    """Return the label probability of each pair: 1, or that of Bradley and Terry."""
    if problem.labels == "ordered":
        return [mpf(1)] * len(problem.pairs)
    gaps = [problem.reward[w] - problem.reward[lo] for w, lo in problem.pairs]
    return [1 / (1 + mp.exp(-real(gap))) for gap in gaps]


def loss(problem: Problem, logits: Sequence[Any]) -> Any:
    """Return the population DPO loss of a policy given by logits."""
    beta, refs = real(problem.beta), ref_logp(problem)
    terms = [
        pair_loss(beta * ((logits[w] - logits[lo]) - (refs[w] - refs[lo])), q)
        for (w, lo), q in zip(problem.pairs, labels(problem), strict=True)
    ]
    return mp.fsum(terms) / len(terms)


def slopes(problem: Problem, logits: Sequence[Any]) -> list[Any]:
    """Return the loss's slope in every logit, as a numerical derivative."""

    def along(vertex: int) -> Any:
        def moved(t: Any) -> Any:
            return loss(problem, [z + (t if v == vertex else 0) for v, z in enumerate(logits)])

        return mp.diff(moved, 0)

    return [along(vertex) for vertex in range(len(logits))]


def components(problem: Problem) -> list[set[int]]:
    """Return the connected components of the comparison graph, by merging sets."""
    parts = [{v} for v in range(len(problem.ref))]
    for pair in problem.pairs:
        joined = set().union(*(part for part in parts if part & set(pair)))
        parts = [part for part in parts if not part & joined] + [joined]
    return sorted(parts, key=min)


def has_minimiser(problem: Problem) -> bool:
    """Tell whether the DPO loss has a finite minimiser: soft labels, or a way back on every edge.

    (Zermelo 1929, Ford 1957: each component has to be strongly connected.)
    """
    return problem.labels != "ordered" or all(
        winner in _reached(problem.pairs, loser) for winner, loser in problem.pairs
    )


def _reached(pairs: Sequence[tuple[int, int]], start: int) -> set[int]:
    seen = {start}
    while more := {lo for w, lo in pairs if w in seen} - seen:
        seen |= more
    return seen


def is_acyclic(problem: Problem) -> bool:
    """Tell whether the nominal order of the pairs has no directed cycle: it can be peeled off."""
    pairs = list(problem.pairs)
    while pairs:
        losers = {lo for _, lo in pairs}
        rest = [(w, lo) for w, lo in pairs if w in losers]
        if len(rest) == len(pairs):
            return False
        pairs = rest
    return True


@lru_cache(maxsize=512)
def descent_limit(problem: Problem) -> tuple[Any, ...]:
    """Return the log-policy that gradient descent from π_ref tends to, by Newton's method.

    Descent keeps the sum of the logits of every component, so the limit is the minimiser with the
    reference's sums: Newton's step in the subspace that keeps them, halved while the loss rises.

    Raises
    ------
    ValueError
        If there is no finite minimiser.
    """
    if not has_minimiser(problem):
        raise ValueError("the loss has no finite minimiser")
    with mp.extradps(GUARD_DIGITS):
        size, beta, refs = len(problem.ref), real(problem.beta), ref_logp(problem)
        share, qs, parts = mpf(1) / len(problem.pairs), labels(problem), components(problem)
        u = [mpf(0)] * size
        for _ in range(STEPS):
            gradient, curvature = mp.zeros(size, 1), mp.zeros(size, size)
            for part in parts:
                for i in part:
                    for j in part:
                        curvature[i, j] += 1
            for (w, lo), q in zip(problem.pairs, qs, strict=True):
                sigma = 1 / (1 + mp.exp(-beta * (u[w] - u[lo])))
                push, bend = share * beta * (sigma - q), share * beta**2 * sigma * (1 - sigma)
                for i, a in ((w, 1), (lo, -1)):
                    gradient[i] += a * push
                    for j, b in ((w, 1), (lo, -1)):
                        curvature[i, j] += a * b * bend
            step = mp.lu_solve(curvature, -gradient)
            largest = max(abs(s) for s in step)
            pace = min(mpf(1), 2 / (beta * largest)) if largest else mpf(1)
            u = [x + pace * s for x, s in zip(u, step, strict=True)]
            if largest < mp.eps * 1000:
                break
        logits = [p + x for p, x in zip(refs, u, strict=True)]
        total = mp.log(mp.fsum(mp.exp(z) for z in logits))
        return tuple(z - total for z in logits)


def path(problem: Problem, step_size: Any, steps: int) -> list[list[Any]]:
    """Return the margins along gradient descent on softmax logits from π_ref, steps 0 to `steps`.

    Each response has a logit of its own; the checks iterate the margin of a single pair instead.
    """
    beta, refs, qs = real(problem.beta), ref_logp(problem), labels(problem)
    share, logits = mpf(1) / len(problem.pairs), list(refs)
    found = [margins(problem, logits)]
    for _ in range(steps):
        moved = list(logits)
        for (w, lo), q in zip(problem.pairs, qs, strict=True):
            z = beta * ((logits[w] - logits[lo]) - (refs[w] - refs[lo]))
            push = step_size * share * beta * (q - 1 / (1 + mp.exp(-z)))
            moved[w] += push
            moved[lo] -= push
        logits = moved
        found.append(margins(problem, logits))
    return found
