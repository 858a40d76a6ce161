"""`e-cpo` and `e-cpoc` by hand: a few lines of NumPy for every refutation and every sharp bound."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from prefeq.claims import eq17_lemmas, registry, run
from prefeq.claims.ball import digits
from prefeq.claims.symbolic import SYMPY, real


def counterexample(claim, label):
    (reading,) = (r for r in registry.get_claim(claim).readings if r.label == label)
    (item,) = [i for i in run.check_reading(reading).evidence if i.kind == "counterexample"]
    return item.data


def least(t, swapped, beta, gap):
    """Minimise the population loss of one pair numerically."""
    q = 1 / (1 + np.exp(-gap))

    def loss(delta):
        forward = np.logaddexp(0, -beta * (delta - t))
        return q * forward + (1 - q) * np.logaddexp(0, beta * (delta + swapped))

    room = 5 + (1 + gap) / beta
    low, high = min(t, -swapped) - room, max(t, -swapped) + room
    return minimize_scalar(loss, bounds=(low, high), options={"xatol": 1e-10}).x


LOW = np.log(1 / 19)  # delta_ref of the reference (1/20, 19/20)
WIN, LOSE = np.log(1 / 20), np.log(19 / 20)


def smooth(delta_ref, alpha, gamma, tau):
    return delta_ref + np.logaddexp(0, tau * (gamma - delta_ref)) / (alpha * tau)


REFUTED = {
    ("e-cpo", "eq17-fixed"): (LOW + 0.1 * (20 + 20 / 19), None, 0.5),
    ("e-cpo", "eq17-per-label"): (
        LOW + 0.25 * (20 + 20 / 19), -LOW + 0.25 * (20 + 20 / 19), 0.05),
    ("e-cpo", "easy-fixed"): (-2 / np.log(2), None, 1.0),
    ("e-cpo", "easy-per-label"): (
        LOW + 0.1 * (1 / WIN + 1 / LOSE), -LOW + 0.1 * (1 / WIN + 1 / LOSE), 0.5),
    ("e-cpoc", "smooth-alpha-above-one"): (smooth(LOW, 2, 1, 1), None, 0.5),
    ("e-cpoc", "smooth-per-label"): (smooth(LOW, 1, 0, 1), smooth(-LOW, 1, 0, 1), 0.5),
    ("e-cpoc", "clip-per-label"): (0.0, -LOW, 0.5),
}  # fmt: skip


@pytest.mark.parametrize(("claim", "label"), REFUTED)
def test_the_loss_is_least_at_a_negative_margin(claim, label):
    data = counterexample(claim, label)
    t, swapped, gap = REFUTED[claim, label]
    end = least(t, -t if swapped is None else swapped, 1.0, gap)
    assert end < 0
    assert data["target"][0] == pytest.approx(t, rel=1e-13)
    assert data["minimiser"][0] == pytest.approx(end, abs=1e-5)
    if swapped is not None:
        assert data["swapped_target"][0] == pytest.approx(swapped, rel=1e-13)
    assert data["critical_gap"][0] > gap > 0


def test_a_higher_target_may_still_misalign_with_per_label_targets():
    assert counterexample("e-cpo", "eq17-per-label")["target"][0] > 0


def test_the_easy_branch_lowers_the_target():
    data = counterexample("e-cpo", "easy-raises-target")
    assert data["target"][0] == pytest.approx(-2 / np.log(2), rel=1e-14)
    assert data["ref_margin"] == [0.0]


def test_the_least_gamma_over_beta_of_eq17():
    d = np.linspace(0, 20, 2_000_001)
    need = d / (2 + 2 * np.cosh(d))
    value, at = digits(eq17_lemmas.least), digits(eq17_lemmas.peak)
    assert need.max() == pytest.approx(value, abs=1e-11)
    assert d[need.argmax()] == pytest.approx(at, abs=1e-5)
    for share, aligned in ((value - 1e-4, False), (value + 1e-4, True)):
        t = -d + share * (2 + 2 * np.cosh(d))
        assert bool(np.all(t >= 0)) == aligned


def test_more_responses_only_raise_eq17s_target():
    rng = np.random.default_rng(3)
    for _ in range(200):
        ref = rng.dirichlet(np.ones(rng.integers(3, 7)))
        total = 1 / ref[0] + 1 / ref[1]
        assert total >= 2 + 2 * np.cosh(np.log(ref[0] / ref[1]))


@pytest.mark.parametrize("beta", [0.1, 1.0, 4.0])
def test_clip_aligns_from_two_thirds_on_and_from_no_less(beta):
    for q, everywhere in ((2 / 3 + 1e-6, True), (2 / 3 - 1e-3, False)):
        gap = np.log(q / (1 - q))
        ends = [least(0.0, a, beta, gap) > -1e-7 for a in np.geomspace(0.01, 30, 40) / beta]
        assert all(ends) == everywhere


@pytest.mark.parametrize("gamma", [-0.5, 0.0, 1.0])
def test_the_smooth_branchs_gap_with_per_label_targets(gamma):
    sure = np.logaddexp(0, -gamma)
    for gap, everywhere in ((sure + 1e-6, True), (sure - 1e-3, False)):
        ends = [
            least(smooth(-a, 1, gamma, 1), smooth(a, 1, gamma, 1), 1.0, gap) > -1e-7
            for a in np.linspace(0.1, 25, 60)
        ]
        assert all(ends) == everywhere


@pytest.mark.parametrize(("alpha", "gamma", "tau"), [(0.5, 0.0, 1.0), (0.1, -1.0, 3.0)])
def test_the_smooth_branchs_least_target(alpha, gamma, tau):
    found = minimize_scalar(lambda d: smooth(d, alpha, gamma, tau), bounds=(-50, 50))
    entropy = -alpha * np.log(alpha) - (1 - alpha) * np.log1p(-alpha)
    assert found.fun == pytest.approx(gamma + entropy / (alpha * tau), abs=1e-9)
    assert found.x == pytest.approx(gamma - np.log(alpha / (1 - alpha)) / tau, abs=1e-3)


def test_the_per_label_minimiser_solves_its_equation():
    from prefeq.claims import target_formulas as targets

    t, swapped, beta, gap = (mp.mpf(x) for x in ("-1.3", "2.1", "0.7", "0.4"))
    symbols = real("t s b g")
    found = targets.per_label_minimiser(SYMPY, *symbols)
    at = mp.mpf(str(found.subs(dict(zip(symbols, (t, swapped, beta, gap), strict=True))).evalf(40)))
    up = 1 / (1 + mp.exp(beta * (at - t)))
    down = 1 / (1 + mp.exp(-beta * (at + swapped)))
    assert mp.almosteq(mp.exp(gap) * up, down, 1e-15)


def test_every_refuted_reading_has_a_correction():
    for name in ("e-cpo", "e-cpoc", "violation-rate"):
        readings = registry.get_claim(name).readings
        corrected = {label for reading in readings for label in reading.corrected}
        refuted = {r.label for r in readings if not r.proof}
        assert refuted == corrected
