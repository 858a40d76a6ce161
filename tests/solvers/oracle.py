"""High-precision answers that share no code with the solvers: formulas, Newton, brute force."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import mpmath as mp


class Pair(NamedTuple):
    """δ(winner, loser) ≥ margin for Constrained PO."""

    winner: int
    loser: int
    margin: float


class Label(NamedTuple):
    """A labelled pair of the DPO loss: log-odds (±inf allowed) and mass."""

    winner: int
    loser: int
    log_odds: float
    mass: float


def logsumexp(values: Sequence[mp.mpf]) -> mp.mpf:
    top = max(values)
    return top + mp.log(mp.fsum(mp.exp(v - top) for v in values))


def normalise(values: Sequence[mp.mpf]) -> list[mp.mpf]:
    total = logsumexp(values)
    return [v - total for v in values]


def rlhf(reward, ref_logp, beta, dps: int = 50) -> tuple[list[mp.mpf], mp.mpf]:
    """Return log π* over the support (−inf elsewhere) and J(π*) = β log Σ π_ref e^{r/β}."""
    with mp.workdps(dps + 20):
        on = [i for i, x in enumerate(ref_logp) if x != -mp.inf]
        ref = normalise([mp.mpf(float(ref_logp[i])) for i in on])
        tilted = [p + mp.mpf(float(reward[i])) / mp.mpf(beta) for i, p in zip(on, ref, strict=True)]
        value = mp.mpf(beta) * logsumexp(tilted)
        logp = [-mp.inf] * len(ref_logp)
        for i, v in zip(on, normalise(tilted), strict=True):
            logp[i] = v
        return logp, value


# --- DPO -----------------------------------------------------------------------------------------


def dpo(
    n: int, labels: Sequence[Label], start: Sequence[float], dps: int = 50, steps: int = 2000
) -> list[mp.mpf]:
    """Return the s (mean zero) that minimises Σ m [q softplus(−t) + (1−q) softplus(t)].

    For a strongly connected comparison graph. Damped Newton on the Laplacian system; any `start`
    ends at the one minimiser: the loss is strictly convex, and the last step must be < 10^−dps.
    """
    reach = max([abs(float(x)) for x in start] + [abs(x.log_odds) for x in labels if _finite(x)])
    masses = [mp.log(x.mass) for x in labels]
    reach += float(max(masses) - min(masses))
    with mp.workdps(dps + 40 + int(2.0 * reach / 2.3)):
        s = [mp.mpf(float(x)) for x in start]
        rows = [(w, lo, _prob(odds), mp.mpf(mass)) for w, lo, odds, mass in labels]
        for _ in range(steps):
            move = _newton_step(n, rows, s)
            size = max(abs(move[w] - move[lo]) for w, lo, _, _ in rows)
            damp = mp.log1p(size) / size if size else mp.mpf(1)
            s = [a + damp * b for a, b in zip(s, move, strict=True)]
            if size < mp.mpf(10) ** -dps:
                mean = mp.fsum(s) / n
                return [x - mean for x in s]
    raise AssertionError("the oracle itself did not converge")


def _finite(label: Label) -> bool:
    return abs(label.log_odds) < float("inf")


def _prob(log_odds: float) -> mp.mpf:
    if abs(log_odds) == float("inf"):
        return mp.mpf(1 if log_odds > 0 else 0)
    return 1 / (1 + mp.exp(-mp.mpf(log_odds)))


def _newton_step(n, rows, s) -> list[mp.mpf]:
    """Solve Laplacian · step = force with vertex 0 held, so the system is definite."""
    matrix, force = mp.zeros(n - 1, n - 1), mp.zeros(n - 1, 1)
    for w, lo, q, mass in rows:
        p = 1 / (1 + mp.exp(s[lo] - s[w]))
        bend = mass * p / (1 + mp.exp(s[w] - s[lo]))
        for end, sign in ((w, 1), (lo, -1)):
            if end:
                force[end - 1] += sign * mass * (q - p)
                matrix[end - 1, end - 1] += bend
        if w and lo:
            matrix[w - 1, lo - 1] -= bend
            matrix[lo - 1, w - 1] -= bend
    return [mp.mpf(0), *mp.lu_solve(matrix, force)]


# --- Constrained PO ------------------------------------------------------------------------------


def cpo(target: Sequence[float], pairs: Sequence[Pair], dps: int = 60) -> list[mp.mpf]:
    """Return log π of the KL projection of e^target on {π(w) ≥ e^m π(l)}: all active sets tried.

    The optimum is unique and has multipliers supported on a forest of tight pairs (a basic solution
    of the dual), so the first forest that passes the KKT conditions is the answer.
    """
    with mp.workdps(digits(target, pairs, dps)):
        for size in range(min(len(pairs), len(target) - 1) + 1):
            for forest in combinations(pairs, size):
                found = kkt(target, pairs, forest)
                if found is not None:
                    return found
    raise AssertionError("no active set satisfies the KKT conditions: infeasible margins")


def polish(target, pairs: Sequence[Pair], active: Sequence[Pair], dps: int = 60) -> list[mp.mpf]:
    """Return the exact optimum given its claimed active forest; raise if KKT says it is not."""
    with mp.workdps(digits(target, pairs, dps)):
        found = kkt(target, pairs, active)
    if found is None:
        raise AssertionError(f"the active set {list(active)} is not optimal")
    return found


def digits(target, pairs: Sequence[Pair], dps: int) -> int:
    """Digits enough to add up a block's weights, e^{sums of margins}, times nats of any size."""
    reach = sum(abs(p.margin) for p in pairs)
    return dps + 30 + int(2.0 * reach / 2.3 + mp.log10(1 + max(abs(mp.mpf(a)) for a in target)))


def kkt(target, pairs: Sequence[Pair], forest: Sequence[Pair]) -> list[mp.mpf] | None:
    """Return the stationary point with exactly this forest tight, or None if it violates KKT.

    log π = log π* + Aᵀλ + const with A_{kw} = 1, A_{kl} = −e^m; multiplied by π(y) this says that
    g_y = π(y)(log π − log π* − const) is the net flow of Λ_k = λ_k π(w) out of winners' sides.
    """
    n, tiny = len(target), mp.mpf(10) ** (20 - mp.mp.dps)
    links: list[list[tuple[int, mp.mpf]]] = [[] for _ in range(n)]
    for w, lo, m in forest:
        links[w].append((lo, -mp.mpf(m)))
        links[lo].append((w, mp.mpf(m)))
    block, f = [-1] * n, [mp.mpf(0)] * n
    for root in range(n):
        if block[root] >= 0:
            continue
        members, block[root] = [root], root
        for vertex in members:
            for other, step in links[vertex]:
                if block[other] < 0:
                    block[other], f[other] = root, f[vertex] + step
                    members.append(other)
        if sum(block[p.winner] == root for p in forest) != len(members) - 1:
            return None  # a cycle of tight pairs: not a forest
        top = max(f[v] for v in members)
        weight = {v: mp.exp(f[v] - top) for v in members}
        total = mp.fsum(weight.values())
        centre = mp.fsum(weight[v] * (mp.mpf(float(target[v])) - f[v]) for v in members) / total
        for v in members:
            f[v] += centre
    for w, lo, m in pairs:
        if f[w] - f[lo] - mp.mpf(m) < -tiny * (1 + abs(mp.mpf(m)) + abs(f[w]) + abs(f[lo])):
            return None
    for edge in forest:
        rest = [p for p in forest if p is not edge]
        side = _reach(n, rest, edge.winner)
        top = max(f[v] for v in range(n) if block[v] == block[edge.winner])
        flows = [mp.exp(f[v] - top) * (f[v] - mp.mpf(float(target[v]))) for v in side]
        if mp.fsum(flows) < -tiny * (1 + max(map(abs, flows))):
            return None
    return normalise(f)


def _reach(n: int, edges: Sequence[Pair], start: int) -> list[int]:
    found = [start]
    for vertex in found:
        for w, lo, _ in edges:
            for a, b in ((w, lo), (lo, w)):
                if a == vertex and b not in found:
                    found.append(b)
    return found
