"""Elimination in lanes: exact potentials of networks of any span, and noise that covers it."""

from __future__ import annotations

from fractions import Fraction

import mpmath as mp
import numpy as np
import pytest
from solvers.batched.pair_lanes import XP

from prefeq.solvers.batched.laplacian import noisy_potentials, potentials
from prefeq.solvers.batched.triangle import Triangle
from prefeq.solvers.batched.wide import ABSENT, _System
from prefeq.solvers.bodies import EPS


def solve_exactly(size: int, bend: list, force: list) -> list:
    """Return the potentials, vertex 0 at 0, by elimination in exact or long arithmetic."""
    zero = 0 * bend[0]
    rows = [[zero] * (size + 1) for _ in range(size)]
    pairs = [(i, j) for i in range(size) for j in range(i)]
    for (i, j), g, f in zip(pairs, bend, force, strict=True):
        for one, other, sign in ((i, j, 1), (j, i, -1)):
            rows[one][one] += g
            rows[one][other] -= g
            rows[one][size] += sign * f
    for k in range(size - 1, 0, -1):
        for i in range(1, k):
            ratio = rows[i][k] / rows[k][k]
            rows[i] = [a - ratio * b for a, b in zip(rows[i], rows[k], strict=True)]
    x = [zero] * size
    for k in range(1, size):
        x[k] = (rows[k][size] - sum(rows[k][j] * x[j] for j in range(1, k))) / rows[k][k]
    return x


def circulations(rng: np.random.Generator, size: int, n: int) -> np.ndarray:
    """Return a triangle of pairs in each lane: +1 and −1 along it, and nothing elsewhere."""
    pairs = [(i, j) for i in range(size) for j in range(i)]
    flow = np.zeros((len(pairs), n))
    for lane in range(n):
        a, b, c = sorted(rng.choice(size, 3, replace=False).tolist())
        for pair, sign in (((b, a), 1), ((c, b), 1), ((c, a), -1)):
            flow[pairs.index(pair), lane] = sign
    return flow


@pytest.mark.parametrize("orders", [0, 3, 30, 100])
def test_potentials_are_exact_to_their_noise(orders: int) -> None:
    """Forces around triangles cancel, but not their rounding: what is left of it is the noise."""
    rng = np.random.default_rng(orders)
    for size in range(3, 7):
        triangle, n = Triangle.of(XP, size, "cpu"), 20
        shape = (size * (size - 1) // 2, n)
        bend = 10.0 ** rng.uniform(-orders, orders, shape)
        small = bend * rng.normal(0, 1e-9, shape)
        force = small + rng.uniform(0, 1, n) * bend.min(axis=0) * circulations(rng, size, n)
        noise = (size * size / 4 + 4.0 * size) * np.abs(force)
        plain = potentials(XP, triangle, bend.copy(), force.copy())
        x, blur = noisy_potentials(XP, triangle, bend.copy(), force.copy(), noise)
        assert np.array_equal(plain, x)
        for lane in range(n):
            columns = ([Fraction(v) for v in a[:, lane].tolist()] for a in (bend, force))
            exact = np.array([float(v) for v in solve_exactly(size, *columns)])
            off = np.abs(x[:, lane] - exact)
            assert np.all(off <= EPS * blur[:, lane] + 100 * EPS * np.ptp(exact))
            assert np.all(EPS * blur[:, lane] <= 1e-12)


@pytest.mark.parametrize("nats", [1.0, 100.0, 1000.0])
def test_potentials_in_logarithms_span_any_number_of_orders(nats: float) -> None:
    rng = np.random.default_rng(int(nats))
    for size in range(3, 6):
        triangle, n = Triangle.of(XP, size, "cpu"), 6
        shape = (size * (size - 1) // 2, n)
        bend, flow = rng.uniform(-nats, nats, shape), circulations(rng, size, n)
        won, lost = (bend + rng.normal(-25, 1, shape) for _ in range(2))
        turn = bend.min(axis=0) + rng.uniform(0, 1, n)
        won, lost = np.where(flow > 0, turn, won), np.where(flow < 0, turn, lost)
        system = _System.of(XP, triangle, bend, won, lost)
        noise = np.zeros(shape)
        for part in (won, lost):
            rough = 8 + size * size + 2 * np.abs(part) + 2 * np.abs(system.base)
            noise += rough * system.multiple(XP, part)
        x, blur = system.solve(XP, noise)
        for lane in range(n):
            with mp.workdps(60 + int(2 * nats)):
                g, up, down = ([mp.exp(v) for v in a[:, lane].tolist()] for a in (bend, won, lost))
                force = [a - b for a, b in zip(up, down, strict=True)]
                exact = np.array([float(v) for v in solve_exactly(size, g, force)])
            scale = np.exp(system.scale[lane])
            off = np.abs(scale * x[:, lane] - exact)
            slope = 10 * (nats + 10) * EPS * np.ptp(exact)
            assert np.all(off <= scale * EPS * blur[:, lane] + slope)
            assert np.all(scale * EPS * blur[:, lane] <= 1e-14 * (nats + 100))


def test_a_weak_pair_may_pull_hard() -> None:
    triangle = Triangle.of(XP, 3, "cpu")  # pairs 1-0, 2-0, 2-1
    bend = np.array([[0.0], [-900.0], [0.0]])
    won = np.array([[ABSENT], [0.0], [-40.0]])
    system = _System.of(XP, triangle, bend, won, np.full_like(bend, ABSENT))
    x, _ = system.solve(XP)
    np.testing.assert_allclose(np.exp(system.scale) * x, [[0], [1], [2]], rtol=1e-13)


def test_what_has_no_pair_stays_at_zero() -> None:
    triangle = Triangle.of(XP, 4, "cpu")  # pairs 1-0, 2-0, 2-1, 3-0, 3-1, 3-2
    bend = np.array([[0.0], [2.0], [0.0], [0.0], [1.0], [0.0]])
    force = np.array([[0.0], [1.0], [0.0], [0.0], [-3.0], [0.0]])
    assert potentials(XP, triangle, bend.copy(), force.copy()).T.tolist() == [[0, 0, 0.5, -3]]
    with np.errstate(divide="ignore"):
        logs = [np.maximum(np.log(np.abs(a)), ABSENT) for a in (bend, force)]
    none = np.full_like(bend, ABSENT)
    up, down = np.where(force > 0, logs[1], none), np.where(force < 0, logs[1], none)
    system = _System.of(XP, triangle, logs[0], up, down)
    x, _ = system.solve(XP, np.zeros_like(bend))
    np.testing.assert_allclose(np.exp(system.scale) * x, [[0], [0], [0.5], [-3]], atol=1e-15)
