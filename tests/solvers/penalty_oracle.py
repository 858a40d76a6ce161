"""The penalty objective to 50 digits and by brute force, sharing no code with its solver.

Everything starts from the raw system log p_y − log π*_y − γ a_y/p_y = κ, Σ p = 1 with a = d/β.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import mpmath as mp
import numpy as np
from scipy.integrate import solve_ivp
from scipy.optimize import root
from solvers import oracle

import prefeq as pq


@dataclass(frozen=True)
class Raw:
    """log π* and a = d/β to many digits, on the support."""

    target: list[mp.mpf]
    a: list[mp.mpf]

    @classmethod
    def of(cls, bandit: pq.Bandit, pairs: pq.Preferences, dps: int = 70) -> Raw:
        with mp.workdps(dps):
            degree = [Fraction(0)] * bandit.K
            for w, lo, m in zip(pairs.winner, pairs.loser, pairs.mass, strict=True):
                degree[w] += Fraction(float(m))
                degree[lo] -= Fraction(float(m))
            target, _ = oracle.rlhf(bandit.reward, bandit.ref_logp, bandit.beta, dps)
            on = np.flatnonzero(bandit.support)
            beta = mp.mpf(float(bandit.beta))
            a = [mp.mpf(degree[y].numerator) / degree[y].denominator / beta for y in on]
            return cls([target[y] for y in on], a)

    @property
    def floats(self) -> tuple[np.ndarray, np.ndarray]:
        return np.array(self.target, dtype=float), np.array(self.a, dtype=float)


def polish(raw: Raw, gamma: float, start: np.ndarray, dps: int = 70) -> list[mp.mpf]:
    """Return the stationary log π that Newton reaches from `start`, on the raw system."""
    with mp.workdps(dps):
        gamma = mp.mpf(float(gamma))
        x = [mp.mpf(float(v)) for v in start]
        for _ in range(300):
            pull = [gamma * a * mp.exp(-v) for a, v in zip(raw.a, x, strict=True)]
            gap = [v - t - c for v, t, c in zip(x, raw.target, pull, strict=True)]
            # dx = (κ − gap)/(1 + pull), with κ such that Σ p dx = 1 − Σ p
            p = [mp.exp(v) for v in x]
            weight = [q / (1 + c) for q, c in zip(p, pull, strict=True)]
            short = 1 - mp.fsum(p)
            pushed = mp.fsum(w * g for w, g in zip(weight, gap, strict=True))
            kappa = (short + pushed) / mp.fsum(weight)
            step = [(kappa - g) / (1 + c) for g, c in zip(gap, pull, strict=True)]
            size = max(abs(s) for s in step)
            damp = 1 if size < 1 else 1 / size
            x = [v + damp * s for v, s in zip(x, step, strict=True)]
            if size < mp.mpf(10) ** (-dps // 2 - 8):
                return x
    raise AssertionError("the oracle itself did not converge")


def residual(raw: Raw, gamma: float, logp: np.ndarray) -> float:
    """Return the spread of log p − log π* − γa/p, in nats."""
    with mp.workdps(70):
        x = [mp.mpf(float(v)) for v in logp]
        pull = [mp.mpf(float(gamma)) * a * mp.exp(-v) for a, v in zip(raw.a, x, strict=True)]
        gap = [v - t - c for v, t, c in zip(x, raw.target, pull, strict=True)]
        return float(max(max(gap) - min(gap), abs(mp.log(mp.fsum(map(mp.exp, x))))))


def fold(raw: Raw, log_gamma: float, logp: np.ndarray, dps: int = 50) -> tuple[mp.mpf, list]:
    """Return (log γ, log π) of the fold near a guess: Newton on the raw system in (x, κ, log γ).

    Its last row says that the Hessian is singular on the tangent: Σ p/(1 + γa/p) = 0, times the
    1 + γa/p that is nearest to 0. Enough digits are carried for the smallest p to be seen beside 1.
    """
    with mp.workdps(dps + 40 + int(2 * max(np.max(-logp), -log_gamma, 0) / 2.3)):
        k = len(raw.a)
        x, log_g = [mp.mpf(float(v)) for v in logp], mp.mpf(log_gamma)
        y = max(range(k), key=lambda i: raw.a[i])  # a coordinate away from its turning point
        kappa = x[y] - raw.target[y] - raw.a[y] * mp.exp(log_g - x[y])
        for _ in range(60):
            p = [mp.exp(v) for v in x]
            pull = [mp.exp(log_g - v) * a for a, v in zip(raw.a, x, strict=True)]
            rows = [v - t - c - kappa for v, t, c in zip(x, raw.target, pull, strict=True)]
            flat = [q / (1 + c) if c != -1 else mp.inf for q, c in zip(p, pull, strict=True)]
            j = min(range(k), key=lambda i: abs(1 + pull[i]))
            rest = mp.fsum(f for i, f in enumerate(flat) if i != j)
            force = mp.matrix([*rows, mp.fsum(p) - 1, p[j] + (1 + pull[j]) * rest])
            slope = mp.zeros(k + 2, k + 2)
            for i in range(k):
                slope[i, i], slope[i, k], slope[i, k + 1] = 1 + pull[i], -1, -pull[i]
                slope[k, i] = p[i]
                if i != j:
                    bend = flat[i] / (1 + pull[i]) * (1 + pull[j])
                    slope[k + 1, i] = bend * (1 + 2 * pull[i])
                    slope[k + 1, k + 1] -= bend * pull[i]
            slope[k + 1, j] = p[j] - pull[j] * rest
            slope[k + 1, k + 1] += pull[j] * rest
            try:
                step = mp.lu_solve(slope, force)
            except ZeroDivisionError as error:
                raise AssertionError("no fold near the guess") from error
            x = [v - s for v, s in zip(x, step, strict=False)]
            kappa, log_g = kappa - step[k], log_g - step[k + 1]
            if max(abs(s) for s in step) < mp.mpf(10) ** (-dps // 2 - 8):
                return log_g, x
    raise AssertionError("the oracle itself did not converge")


def follow(raw: Raw, gamma: float) -> np.ndarray:
    """Return log π at γ by integrating the branch from π* at γ = 0: an ODE in γ."""
    target, a = raw.floats

    def velocity(g: float, x: np.ndarray) -> np.ndarray:
        stiff, push = 1 + g * a * np.exp(-x), a * np.exp(-x)
        weight = np.exp(x) / stiff
        return (push - np.sum(weight * push) / np.sum(weight)) / stiff

    done = solve_ivp(velocity, (0.0, gamma), target, method="DOP853", rtol=1e-10, atol=1e-12)
    assert done.success
    return done.y[:, -1]


def objective(raw: Raw, gamma: float, logp: np.ndarray) -> np.ndarray:
    """Return (F − J(π*))/β = −KL(π‖π*) + γ Σ a log π of rows of log-policies."""
    target, a = raw.floats
    return np.sum(-np.exp(logp) * (logp - target) + gamma * a * logp, axis=-1)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    logits = np.concatenate([logits, np.zeros((*logits.shape[:-1], 1))], axis=-1)
    return logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)


def multi_start(raw: Raw, gamma: float, rng: np.random.Generator, starts: int) -> list[np.ndarray]:
    """Return the distinct stationary points that MINPACK finds in log-odds from random starts."""
    target, a = raw.floats

    def system(logits: np.ndarray) -> np.ndarray:
        x = log_softmax(logits)
        gap = x - target - gamma * a * np.exp(-x)
        return gap[:-1] - gap[-1]

    found: list[np.ndarray] = []
    for _ in range(starts):
        start = rng.normal(0, rng.choice([1.0, 3.0, 6.0]), target.size - 1)
        with np.errstate(all="ignore"):
            done = root(system, start, options={"xtol": 1e-13})
        if not done.success or np.max(np.abs(done.fun)) > 1e-9:
            continue
        logp = log_softmax(done.x)
        if all(np.max(np.abs(logp - other)) > 1e-6 for other in found):
            found.append(logp)
    return found


def is_local_maximum(raw: Raw, gamma: float, logp: np.ndarray) -> bool:
    """Whether −F has a positive definite Hessian on the tangent of the simplex."""
    h = np.exp(-logp) + gamma * raw.floats[1] * np.exp(-2 * logp)
    tangent = np.linalg.svd(np.ones((1, h.size)))[2][1:]
    return bool(np.all(np.linalg.eigvalsh(tangent @ np.diag(h) @ tangent.T) > 0))
