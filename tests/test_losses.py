"""The loss family against 50-digit arithmetic, brute-force minimisation and gradient flow."""

from __future__ import annotations

import math
from itertools import product

import mpmath as mp
import numpy as np
import pytest
from array_oracle import EPS, LIBRARIES, floats, library, require_close, require_kind
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.optimize import minimize_scalar

from prefeq import margins
from prefeq.errors import ProblemError
from prefeq.losses import LOSSES, Loss, Reference, cdpo, easy, eq17, links, simpo, smooth, targets

mp.mp.dps = 50

FAMILY = {
    "dpo": LOSSES["dpo"],
    "hypo": LOSSES["hypo"],
    "smooth": smooth(alpha=1.0, gamma=0.5, tau=2.0),
    "smooth, alpha=.4": smooth(alpha=0.4, gamma=-0.25, tau=0.5),
    "smooth, alpha=3": smooth(alpha=3.0, gamma=1.0, tau=1.0),
    "eq17": eq17(gamma=0.125),
    "easy": easy(gamma=0.5),
    "simpo": simpo(gamma=1.25),
    "ipo": LOSSES["ipo"],
    "hinge": LOSSES["hinge"],
    "cdpo": cdpo(eps=0.125),
    "cdpo, eps=1e-12": cdpo(eps=1e-12),
}
SMOOTH = {
    "smooth": (1.0, 0.5, 2.0),
    "smooth, alpha=.4": (0.4, -0.25, 0.5),
    "smooth, alpha=3": (3.0, 1.0, 1.0),
}
LOGISTIC = [name for name, loss in FAMILY.items() if loss.link is links.LOGISTIC]
FINITE = [name for name in FAMILY if name not in LOGISTIC]
EPSILON = {"cdpo": 0.125, "cdpo, eps=1e-12": 1e-12}


# ---------------------------------------------------------------- the oracle, from the sources


def softplus(z):
    return mp.log1p(mp.exp(z))


def oracle_target(name, w, ell, beta):
    """Return t as printed, from the reference log-probabilities of winner and loser."""
    ref = w - ell
    if name in SMOOTH:
        alpha, gamma, tau = (mp.mpf(v) for v in SMOOTH[name])
        return ref + softplus(tau * (gamma - ref)) / (alpha * tau)
    return {
        "hypo": lambda: max(ref, mp.mpf(0)),
        "eq17": lambda: ref + mp.mpf("0.125") / beta * (mp.exp(-w) + mp.exp(-ell)),
        "easy": lambda: ref + mp.mpf("0.5") / beta * (1 / w + 1 / ell),
        "simpo": lambda: mp.mpf("1.25") / beta,
    }.get(name, lambda: ref)()


def oracle_value(name, delta, w, ell, beta):
    """Return the loss as its source writes it, in the working precision of mpmath."""
    x = delta - (w - ell)
    if name == "ipo":
        return (x - 1 / (2 * beta)) ** 2
    if name == "hinge":
        return max(mp.mpf(0), 1 - beta * x)
    if name in EPSILON:
        eps = mp.mpf(EPSILON[name])
        return (1 - eps) * softplus(-beta * x) + eps * softplus(beta * x)
    return softplus(-beta * (delta - oracle_target(name, w, ell, beta)))


def oracle_risk(name, delta, w, ell, beta, log_odds, flipped):
    """Return the soft-label risk: the flipped label swaps the pair, or negates δ − t."""
    q = 1 / (1 + mp.exp(-log_odds))
    forward = oracle_value(name, delta, w, ell, beta)
    if flipped == "per-label":
        backward = oracle_value(name, -delta, ell, w, beta)
    else:
        t = oracle_target(name, w, ell, beta)
        backward = oracle_value(name, 2 * t - delta, w, ell, beta)
    return q * forward + (1 - q) * backward


def oracle_risk_slope(name, delta, w, ell, beta, log_odds, flipped):
    """Return the derivative of the risk, its sign sure however flat the risk is."""
    delta, w, ell, beta, log_odds = (mp.mpf(v) for v in (delta, w, ell, beta, log_odds))
    z = beta * (delta - oracle_target(name, w, ell, beta))
    z_flipped = -z
    if flipped == "per-label":
        z_flipped = beta * (-delta - oracle_target(name, ell, w, beta))
    if name in LOGISTIC:  # far below both targets q·σ and (1 − q)·σ agree in all digits
        top = mp.exp(z) - mp.exp(log_odds + z_flipped) - mp.expm1(log_odds)
        return beta * top / (1 + mp.exp(z)) / (1 + mp.exp(z_flipped)) / (1 + mp.exp(log_odds))
    forward, backward = (oracle_slope(name, v, beta) for v in (z, z_flipped))
    return forward / (1 + mp.exp(-log_odds)) - backward / (1 + mp.exp(log_odds))


def oracle_slope(name, z, beta):
    """Return dL/dδ at z = β(δ − t)."""
    if name == "ipo":
        return 2 * (z / beta - 1 / (2 * beta))
    if name == "hinge":
        return -beta if z < 1 else mp.mpf(0)
    down, up = -beta / (1 + mp.exp(z)), beta / (1 + mp.exp(-z))
    eps = mp.mpf(EPSILON.get(name, 0))
    return (1 - eps) * down + eps * up


def slope_of(function, point):
    """Differentiate in extra digits; exact to far beyond double precision."""
    with mp.workdps(90):
        h = mp.mpf(10) ** -30 * (1 + abs(point))
        return (function(point + h) - function(point - h)) / (2 * h)


@pytest.mark.parametrize("flipped", ["fixed", "per-label"])
@pytest.mark.parametrize("name", FAMILY)
def test_the_two_oracles_agree(name, flipped):
    rng = np.random.default_rng(8)
    for _ in range(10):
        d, odds = (mp.mpf(v) for v in rng.normal(0, 3, 2))
        w, ell, beta = (mp.mpf(v) for v in (*-rng.exponential(2, 2), rng.uniform(0.1, 3)))
        rest = (w, ell, beta, odds, flipped)
        difference = slope_of(lambda x, rest=rest: oracle_risk(name, x, *rest), d)
        slope = oracle_risk_slope(name, d, *rest)
        assert abs(difference - slope) < mp.mpf(10) ** -40 * (1 + abs(slope))


# ---------------------------------------------------------------- the grid

DELTAS = (-800.0, -3.0, 0.0, 0.7, 40.0, 800.0)
REFS = ((-800.5, -0.5), (-0.25, -800.25), (-2.0, -1.0), (-1.0, -4.0), (-3.0, -3.0))
BETAS = (1e-6, 0.1, 1.0, 1e6)


def points():
    rng = np.random.default_rng(11)
    rows = [(d, w, ell, b) for d, (w, ell), b in product(DELTAS, REFS, BETAS)]
    for _ in range(60):
        w, ell = -rng.exponential(20, 2)
        rows.append((rng.normal(w - ell, 10), w, ell, 10 ** rng.uniform(-2, 1)))
    return [[float(v) for v in column] for column in zip(*rows, strict=True)]


def rounding(name, delta, w, ell, beta):
    """Return how far rounding may move z = β(δ − t)."""
    t = oracle_target(name, w, ell, beta)
    parts = abs(delta) + abs(w) + abs(ell) + abs(t) + abs(t - (w - ell)) * (2 + abs(w) + abs(ell))
    if name not in ("eq17",):
        parts = abs(delta) + abs(w - ell) + 2 * abs(t) + abs(t - (w - ell)) + 4
    return 4 * EPS * beta * parts


@pytest.fixture(params=LIBRARIES)
def make(request):
    return library(request.param)


def oracle_rows(name):
    columns = points()
    return columns, [tuple(mp.mpf(v) for v in row) for row in zip(*columns, strict=True)]


@pytest.mark.parametrize("name", FAMILY)
def test_target(make, name):
    (_, w, ell, beta), rows = oracle_rows(name)
    got = FAMILY[name].target(Reference(make(w), make(ell)), make(beta))
    require_kind(got, make(w))
    want = [oracle_target(name, w_, l_, b) for _, w_, l_, b in rows]
    bound = [rounding(name, mp.mpf(0), w_, l_, b) / b for _, w_, l_, b in rows]
    require_close(floats(got), want, bound)


@pytest.mark.parametrize("name", FAMILY)
def test_value_and_gradient(make, name):
    (delta, w, ell, beta), rows = oracle_rows(name)
    ref = Reference(make(w), make(ell))
    value = FAMILY[name].value(make(delta), ref, make(beta))
    gradient = FAMILY[name].gradient(make(delta), ref, make(beta))
    require_kind(value, make(delta))
    require_kind(gradient, make(delta))
    values, slopes, value_bounds, slope_bounds = [], [], [], []
    for d, w_, l_, b in rows:
        dz = rounding(name, d, w_, l_, b)
        values.append(oracle_value(name, d, w_, l_, b))
        slopes.append(oracle_slope(name, b * (d - oracle_target(name, w_, l_, b)), b))
        # First order in dz, with the curvature of each link: ℓ″ ≤ |ℓ′| for the logistic.
        value_bounds.append(8 * EPS * values[-1] + (abs(slopes[-1]) + curvature(name, b)) * dz / b)
        if name in LOGISTIC:
            slope_bounds.append(abs(slopes[-1]) * (8 * EPS + 2 * dz))
        elif name == "ipo":
            slope_bounds.append(8 * EPS * abs(slopes[-1]) + 2 * dz / b)
        else:
            slope_bounds.append(b * (8 * EPS + (dz if name != "hinge" else 0)))
    require_close(floats(value), values, value_bounds)
    require_close(floats(gradient), slopes, slope_bounds)


def curvature(name, beta):
    """Return what the second order adds to a first-order error bound: only IPO has a zero slope."""
    return EPS if name == "ipo" else 0


@pytest.mark.parametrize("name", FAMILY)
def test_gradient_is_the_difference_quotient(make, name):
    loss = FAMILY[name]
    rng = np.random.default_rng(3)
    beta = 10 ** rng.uniform(-3, 3, 80)
    w, ell = -rng.exponential(2, (2, 80))
    ref = Reference(make(w), make(ell))
    t = np.array(floats(loss.target(ref, make(beta))))
    delta = t + rng.uniform(-20, 20, 80) / beta
    h = 1e-5 / beta
    high, low = delta + h, delta - h
    z = beta * (delta - t)
    assert np.all(np.abs(z - 1) > 1e-4)  # away from the kink of the hinge
    quotient = np.array(floats(loss.value(make(high), ref, make(beta))))
    quotient = (quotient - floats(loss.value(make(low), ref, make(beta)))) / (high - low)
    noise = 1e-10 + 16 * EPS * (1 + np.abs(z) ** 2 + beta * np.abs(t)) / 1e-5
    scale = beta * beta**loss.link.beta_power
    got = floats(loss.gradient(make(delta), ref, make(beta)))
    require_close(got, quotient, scale * noise)


@pytest.mark.parametrize("name", FAMILY)
def test_gradient_is_what_autograd_says(name):
    torch = pytest.importorskip("torch")
    (delta, w, ell, beta), _ = oracle_rows(name)
    delta, w, ell, beta = delta[-60:], w[-60:], ell[-60:], beta[-60:]
    make = library("torch")
    leaf = make(delta).requires_grad_()
    ref = Reference(make(w), make(ell))
    (auto,) = torch.autograd.grad(FAMILY[name].value(leaf, ref, make(beta)).sum(), leaf)
    want = floats(FAMILY[name].gradient(make(delta), ref, make(beta)))
    largest = [abs(v) + b for v, b in zip(want, beta, strict=True)]
    require_close(floats(auto), want, [1e-12 * v for v in largest])


LABELS = (-math.inf, -800.0, -1.0, 0.0, 1e-9, 0.5, 3.0, 40.0, 800.0, math.inf)


@pytest.mark.parametrize("flipped", ["fixed", "per-label"])
@pytest.mark.parametrize("name", FAMILY)
def test_population_value_and_gradient(make, name, flipped):
    rng = np.random.default_rng(5)
    draws = [
        (rng.normal(0, 3), *-rng.exponential(3, 2), rng.uniform(0.1, 2), odds)
        for odds in LABELS
        for _ in range(6)
    ]
    rows = [tuple(float(v) for v in draw) for draw in draws]
    delta, w, ell, beta, odds = (list(column) for column in zip(*rows, strict=True))
    given_ = (make(delta), Reference(make(w), make(ell)), make(beta), make(odds), flipped)
    value = FAMILY[name].population_value(*given_)
    gradient = FAMILY[name].population_gradient(*given_)
    require_kind(value, make(delta))
    values, slopes, bounds = [], [], []
    for row in rows:
        d, *rest, o = (mp.mpf(v) for v in row)
        at = lambda x, rest=rest, o=o: oracle_risk(name, x, *rest, o, flipped)  # noqa: E731
        values.append(at(d))
        slopes.append(slope_of(at, d))
        bounds.append(1e-13 * (1 + abs(values[-1])) * (1 + abs(oracle_target(name, *rest))))
    require_close(floats(value), values, bounds)
    beta_bounds = [b * 10 for b in bounds]
    require_close(floats(gradient), slopes, beta_bounds)


# ---------------------------------------------------------------- minimisers


@pytest.mark.parametrize("flipped", ["fixed", "per-label"])
@pytest.mark.parametrize("name", FAMILY)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_risk_is_least_at_the_minimiser(name, flipped, data):
    # A convex risk is least where its slope, in 50 digits, changes sign: no search, however flat.
    logp = st.floats(-30, -0.01)
    w, ell = data.draw(logp), data.draw(logp)
    odds = data.draw(st.floats(-20, 20) | st.sampled_from([-1e-9, 1e-9, 0.0, -0.5, 0.5]))
    beta = data.draw(st.floats(0.01, 10))
    best = float(FAMILY[name].minimiser(Reference(w, ell), beta, odds, flipped))
    t = [oracle_target(name, *pair, mp.mpf(beta)) for pair in ((w, ell), (ell, w))]
    reach = mp.mpf(4e-15) * (1 + abs(t[0]) + abs(t[1]) + (1 + abs(odds)) / beta)
    if name == "eq17":  # whose target is an exponential of its input
        reach *= 1 + abs(w) + abs(ell)
    low, high = (
        oracle_risk_slope(name, d, w, ell, beta, odds, flipped)
        for d in (best - reach, best + reach)
    )
    assert low <= 0 <= high
    if name != "hinge":
        assert low < 0 < high


@pytest.mark.parametrize("flipped", ["fixed", "per-label"])
@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("seed", range(4))
def test_minimiser_is_found_by_brute_force(name, flipped, seed):
    rng = np.random.default_rng(seed)
    w, ell = -rng.exponential(2, 2) - 0.2
    beta, odds = rng.uniform(0.3, 3), rng.normal(0, 2)
    ref, loss = Reference(float(w), float(ell)), FAMILY[name]
    best = float(loss.minimiser(ref, beta, odds, flipped))

    def risk(delta):
        return float(loss.population_value(float(delta), ref, beta, odds, flipped))

    found = minimize_scalar(risk, bounds=(best - 31, best + 37), method="bounded")
    assert risk(best) <= found.fun + 1e-12 * (1 + abs(found.fun))
    assert found.x == pytest.approx(best, abs=1e-3 * (1 + 1 / beta))


@pytest.mark.parametrize("name", LOGISTIC)
def test_fixed_target_minimiser_is_target_plus_gap(name):
    ref = Reference(np.array([-800.5, -3.0, -0.2]), np.array([-0.5, -2.0, -700.0]))
    for beta, gap in product(BETAS, (-3.0, 0.0, 0.5, 800.0)):
        target = FAMILY[name].target(ref, beta)
        got = FAMILY[name].minimiser(ref, beta, gap)
        require_close(got, target + gap / beta, 2 * EPS * (np.abs(target) + abs(gap / beta)))


def test_finite_targets_in_closed_form():
    # q = σ(L): IPO (2q − 1)/(2β) above the target, hinge at the kink of the likelier label,
    # label smoothing at logit(ε + (1 − 2ε)q)/β.
    ref, beta, odds = -2.0, 0.5, 1.3
    q = 1 / (1 + math.exp(-odds))
    smoothed = 0.1 + 0.8 * q
    assert LOSSES["ipo"].minimiser(ref, beta, odds) == pytest.approx(ref + (2 * q - 1) / (2 * beta))
    assert LOSSES["hinge"].minimiser(ref, beta, odds) == ref + 1 / beta
    assert LOSSES["hinge"].minimiser(ref, beta, -odds) == ref - 1 / beta
    assert cdpo(0.1).minimiser(ref, beta, odds) == pytest.approx(
        ref + math.log(smoothed / (1 - smoothed)) / beta
    )
    for name, z in (("ipo", 0.5), ("hinge", 1.0), ("cdpo", math.log(0.9 / 0.1))):
        assert LOSSES[name].minimiser(ref, beta) == pytest.approx(ref + z / beta)
    assert LOSSES["dpo"].minimiser(ref, beta) == math.inf


def test_hinge_minimiser_is_where_the_flow_stops():
    # A fair label is flat between the kinks: the flow does not move, wherever it starts.
    shifted = Loss("shifted", "", "", targets.constant(2.0), links.HINGE)
    for ref, odds, rest in [
        (1.5, 0.0, 1.5),  # between the kinks 1 and 3 of β = 1, t = 2
        (7.0, 0.0, 3.0),
        (-7.0, 0.0, 1.0),
        (7.0, math.inf, 7.0),  # certain labels are flat beyond the kink
        (-7.0, math.inf, 3.0),
        (-7.0, -math.inf, -7.0),
    ]:
        assert shifted.minimiser(ref, 1.0, odds) == rest
    with pytest.raises(ProblemError, match="no closed form for per-label targets"):
        shifted.minimiser(0.0, 1.0, 1.0, "per-label")
    with pytest.raises(ProblemError, match="no closed form for per-label targets"):
        shifted.critical_gap(0.0, 1.0, "per-label")


@pytest.mark.parametrize("ref", [(-800.5, -0.5), (-0.5, -800.5), (-400.0, -3.0)])
@pytest.mark.parametrize("odds", [-40.0, -1.0, 1e-6, 0.7, 300.0])
@pytest.mark.parametrize("name", ["hypo", "smooth", "smooth, alpha=.4", "simpo", "easy"])
@pytest.mark.parametrize("beta", [1e-3, 1.0, 30.0])
def test_per_label_minimiser_at_hundreds_of_nats(name, odds, ref, beta):
    best = float(FAMILY[name].minimiser(Reference(*ref), beta, odds, "per-label"))
    reach = 16 * EPS * (1600 + (1 + abs(odds)) / beta)
    low, high = (
        oracle_risk_slope(name, best + r, *ref, beta, odds, "per-label") for r in (-reach, reach)
    )
    assert low < 0 < high


# ---------------------------------------------------------------- alignment


@pytest.mark.parametrize("flipped", ["fixed", "per-label"])
@pytest.mark.parametrize("name", FAMILY)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_aligned_iff_the_label_exceeds_the_critical_gap(name, flipped, data):
    w, ell = (data.draw(st.floats(-6, -0.1)) for _ in range(2))
    beta, odds = data.draw(st.floats(0.05, 5)), data.draw(st.floats(-8, 8))
    loss, ref = FAMILY[name], Reference(w, ell)
    gap = float(loss.critical_gap(ref, beta, flipped))
    best = float(loss.minimiser(ref, beta, odds, flipped))
    assume(abs(odds - gap) > 1e-6 and abs(best) > 1e-9)
    if name == "hinge":
        assume(abs(abs(beta * (w - ell)) - 1) > 1e-9 and odds != 0)
    assert (best > 0) is (odds > gap)
    # The same from the 50-digit slope of the risk at δ = 0.
    slope = oracle_risk_slope(name, 0, w, ell, beta, odds, flipped)
    assert (best > 0) is bool(slope < 0)


def test_critical_gaps_as_printed():
    ref, beta = np.array([-800.0, -3.0, 0.0, 2.0]), 0.7
    dpo = LOSSES["dpo"].critical_gap(ref, beta)
    require_close(dpo, margins.critical_gap(ref, beta), np.zeros(4))
    require_close(LOSSES["dpo"].critical_gap(ref, beta, "per-label"), dpo, np.zeros(4))
    simpo_gap = FAMILY["simpo"].critical_gap(ref, beta, "per-label")
    require_close(simpo_gap, np.zeros(4), np.zeros(4))
    clip = LOSSES["clip"].critical_gap(ref[:2], beta, "per-label")
    want = [mp.log(2 / (1 + mp.exp(mp.mpf(0.7) * r))) for r in ref[:2]]
    require_close(clip, want, [4 * EPS] * 2)


@given(st.floats(-800, 800), st.floats(-6, 6).map(lambda e: 10.0**e), st.floats(0, 800))
def test_clip_aligns_from_two_thirds_on(ref, beta, extra):
    # Whatever the reference; e^−|βδ_ref| is what rounding to zero may hide.
    sure = math.log(2) * (1 + 1e-9) + extra
    assert LOSSES["clip"].minimiser(ref, beta, sure, "per-label") > 0


def test_clip_does_not_align_below_two_thirds():
    assert LOSSES["clip"].minimiser(-60.0, 1.0, math.log(2) - 1e-6, "per-label") < 0
    # With a fixed target it aligns at every gap, however small.
    assert LOSSES["clip"].minimiser(-800.0, 1.0, 1e-9, "fixed") > 0


@given(st.floats(-8, -0.01), st.floats(0.01, 3), st.floats(0.05, 5), st.floats(0.001, 3))
def test_eq17_is_aligned_from_its_own_threshold_on(ref, gap, beta, gamma):
    # Two responses: 1/π(w) + 1/π(l) = 2 + 2cosh δ_ref, so aligned iff γ exceeds
    # −βδ*/(2 + 2cosh δ_ref), at most γ* = −βδ*/4: Eq. 17 errs only optimistically.
    optimum = ref + gap / beta
    threshold = -beta * optimum / (2 + 2 * math.cosh(ref))
    assume(abs(gamma - threshold) > 1e-9)
    two = Reference(margins.log_sigmoid(ref), margins.log_sigmoid(-ref))
    assert bool(eq17(gamma).minimiser(two, beta, gap) > 0) is (gamma > threshold)
    assert threshold <= max(0.0, -beta * optimum / 4)


def test_eq17_instance():
    two = Reference(margins.log_sigmoid(-3.0), margins.log_sigmoid(3.0))
    assert float(eq17(0.1).minimiser(two, 1.0, 1.0)) == pytest.approx(0.2135, abs=5e-5)


# ---------------------------------------------------------------- targets


@given(st.floats(0.01, 1), st.floats(-5, 5), st.floats(0.05, 10))
def test_smooth_target_has_the_floor_of_binary_entropy(alpha, gamma, tau):
    assume(alpha < 0.999)
    entropy = -alpha * math.log(alpha) - (1 - alpha) * math.log(1 - alpha)
    floor = gamma + entropy / (alpha * tau)
    at = gamma - math.log(alpha / (1 - alpha)) / tau  # σ(τ(γ − δ_ref)) = α
    loss = smooth(alpha, gamma, tau)
    tolerance = 1e-13 * (1 + abs(gamma) + (1 + 1 / alpha) / tau)
    assert float(loss.target(at, 1.0)) == pytest.approx(floor, abs=tolerance)
    everywhere = loss.target(gamma + np.linspace(-60, 60, 2001) / tau, 1.0)
    assert everywhere.min() >= floor - tolerance


@given(st.floats(-800, 800), st.floats(-5, 5), st.floats(0.05, 10))
def test_smooth_target_with_alpha_one_is_a_smooth_maximum(ref, gamma, tau):
    target = float(smooth(1.0, gamma, tau).target(ref, 1.0))
    assert max(ref, gamma) <= target <= (max(ref, gamma) + math.log(2) / tau) * (1 + EPS) + 1e-13


def test_smooth_target_with_alpha_above_one_is_unbounded_below():
    assert smooth(2.0, 1.0, 1.0).target(-1e6, 1.0) == pytest.approx(-499999.5)


def test_easy_is_below_and_eq17_above_the_target_of_dpo():
    rng = np.random.default_rng(0)
    ref = Reference(-rng.exponential(20, 200) - 0.01, -rng.exponential(20, 200) - 0.01)
    delta_ref = LOSSES["dpo"].target(ref, 0.3)
    assert np.all(easy().target(ref, 0.3) < delta_ref)
    assert np.all(eq17().target(ref, 0.3) > delta_ref)


def test_extremes_of_the_reference():
    inf = math.inf
    assert eq17().target(Reference(-800.0, -1.0), 1.0) == inf
    assert eq17().value(5.0, Reference(-800.0, -1.0), 2.0) == inf
    assert eq17().gradient(5.0, Reference(-800.0, -1.0), 2.0) == -2.0
    assert easy().target(Reference(0.0, -1.0), 1.0) == -inf
    assert smooth(0.5).target(-inf, 1.0) == inf
    assert smooth(1.0, 2.0).target(-inf, 1.0) == 2.0
    assert LOSSES["dpo"].value(0.0, -inf, 1.0) == 0
    with pytest.raises(ProblemError, match="margin - target"):
        LOSSES["dpo"].value(-inf, -inf, 1.0)
    with pytest.raises(ProblemError, match=r"ref_loser_logp = 0.5"):
        LOSSES["dpo"].value(0.0, Reference(-1.0, 0.5), 1.0)
    with pytest.raises(ProblemError, match="Reference"):
        eq17().value(0.0, -1.0, 1.0)


# ---------------------------------------------------------------- traps


def flow(loss, ref, beta, bystander, horizon):
    """Follow gradient flow on three softmax logits from δ_ref to the horizon, or until δ = 0.

    Return the last δ and whether it is the zero.
    """
    start = np.array([ref + 0.2, 0.2, bystander])

    def velocity(_, theta):
        slope = float(loss.gradient(theta[0] - theta[1], ref, beta))
        pi = np.exp(theta - theta.max())
        pi /= pi.sum()
        return -slope * ((np.eye(3)[0] - pi) - (np.eye(3)[1] - pi))

    def passing(_, theta):
        return theta[0] - theta[1]

    passing.terminal = True
    answer = solve_ivp(velocity, (0, horizon), start, events=passing, rtol=1e-8, atol=1e-10)
    return answer.y[0, -1] - answer.y[1, -1], answer.status == 1


@pytest.mark.parametrize("name", ["ipo", "hinge", "cdpo"])
@pytest.mark.parametrize("seed", range(8))
def test_traps_are_where_the_flow_ends(name, seed):
    rng = np.random.default_rng(seed)
    beta = float(10 ** rng.uniform(-1, 0.5))
    loss = LOSSES[name]
    depth = {"ipo": 0.5, "hinge": 1.0, "cdpo": math.log(9)}[name]
    # Twenty relaxation times: 1/4, 1/(2β²) and 1/(2β²ε(1 − ε)).
    horizon = {"ipo": 5.0, "hinge": 10 / beta**2, "cdpo": 112 / beta**2}[name]
    for factor, trapped in ((rng.uniform(1.02, 3), True), (rng.uniform(0.2, 0.98), False)):
        ref = -depth * float(factor) / beta
        assert bool(loss.traps(ref, beta)) is trapped
        end, passed = flow(loss, ref, beta, float(rng.normal()), horizon)
        assert passed is not trapped
        if trapped:
            assert ref < end < 0
            assert end == pytest.approx(float(loss.minimiser(ref, beta)), abs=2e-5 / beta)


@pytest.mark.parametrize("name", LOGISTIC)
def test_logistic_losses_only_pass_through(name):
    rng = np.random.default_rng(9)
    for _ in range(3):
        beta = float(10 ** rng.uniform(-0.5, 0.5))
        ref = -float(rng.uniform(0.5, 4)) / beta
        pair = Reference(ref - 2.0, -2.0)
        loss = FAMILY[name]
        assert not loss.traps(pair, beta)
        assert loss.minimiser(pair, beta) == math.inf
        fixed = Loss("", "", "", targets.constant(beta * float(loss.target(pair, beta))), loss.link)
        time = float(margins.exit_time(ref, beta, loss.target(pair, beta)))
        assert not flow(fixed, ref, beta, 0.0, 0.999 * time)[1]
        assert flow(fixed, ref, beta, 0.0, 1.001 * time)[1]


@given(st.floats(-800, 800), st.floats(-6, 6).map(lambda e: 10.0**e))
def test_trap_thresholds(ref, beta):
    for name, depth in (("ipo", 0.5), ("hinge", 1.0), ("cdpo", math.log(9))):
        assume(abs(beta * ref + depth) > 1e-12)
        assert bool(LOSSES[name].traps(ref, beta)) is (ref < -depth / beta)
    for name in ("dpo", "clip", "smooth", "simpo"):
        assert not LOSSES[name].traps(ref, beta)


def test_a_coin_flip_leaves_dpo_at_a_reference_that_is_not_inside_u():
    """q = ½: the minimiser is π_ref itself, δ = δ_ref, and U is open there."""
    assert not bool(LOSSES["dpo"].traps(-2.0, 1.0, log_odds=0.0))
    assert bool(LOSSES["dpo"].traps(-2.0, 1.0, log_odds=1e-6))


@given(st.floats(-800, 800), st.floats(1e-9, 40), st.floats(-6, 6).map(lambda e: 10.0**e))
def test_soft_labels_trap_dpo_iff_the_assumption_fails(ref, gap, beta):
    # Bradley–Terry labels: the flow ends at δ*, in U iff δ* < 0 (Δr > 0).
    failing = not bool(margins.assumption_holds(ref, gap, beta, strict=False))
    assert bool(LOSSES["dpo"].traps(ref, beta, gap)) is failing
    assert bool(LOSSES["dpo"].traps(ref, beta, gap, "per-label")) is failing


def test_certificate_of_the_undesirable_space_fails_for_soft_labels():
    # Δr = .1, δ_ref = −10, δ = −.1 is in U, but its risk is far above ln 2.
    assert margins.undesirable(-0.1, -10.0)
    risk = float(LOSSES["dpo"].population_value(-0.1, -10.0, 1.0, 0.1))
    assert risk == pytest.approx(4.70, abs=0.005)
    assert not margins.undesirable_from_loss(risk, -10.0, 1.0)


# ---------------------------------------------------------------- the registry, the input


def test_registry():
    assert LOSSES["clip"] is LOSSES["hypo"]
    names = {"dpo", "hypo", "clip", "smooth", "eq17", "easy", "simpo", "ipo", "hinge", "cdpo"}
    assert set(LOSSES) == names
    for name, loss in LOSSES.items():
        assert loss.name == ("hypo" if name == "clip" else name)
        assert loss.summary
        assert "arXiv:" in loss.source or name == "cdpo"
    with pytest.raises(TypeError):
        LOSSES["new"] = LOSSES["dpo"]


@pytest.mark.parametrize("name", FAMILY)
def test_antisymmetric_targets_are_declared_as_they_are(name):
    rng = np.random.default_rng(4)
    w, ell = -rng.exponential(3, (2, 50)) - 0.01
    there = FAMILY[name].target(Reference(w, ell), 0.7)
    back = FAMILY[name].target(Reference(ell, w), 0.7)
    declared = FAMILY[name].target_rule.antisymmetric
    assert bool(np.allclose(there, -back, rtol=0, atol=1e-12)) is declared


def test_a_flipped_label_swaps_both_log_probabilities():
    # No loss of the registry tells w from l but through δ_ref, so take one that does.
    rule = targets.TargetRule("log π_ref(w)", lambda xp, ref, beta: ref.winner, needs_logps=True)
    loss = Loss("asymmetric", "", "", rule, links.LOGISTIC)
    there, back = Reference(-3.0, -1.0), Reference(-1.0, -3.0)
    risk = float(loss.population_value(0.5, there, 1.0, 0.25, "per-label"))
    q = float(margins.sigmoid(0.25))
    want = q * loss.value(0.5, there, 1.0) + (1 - q) * loss.value(-0.5, back, 1.0)
    assert risk == pytest.approx(float(want), rel=1e-14)


def test_a_label_that_never_occurs_costs_nothing_even_at_infinity():
    for margin in (math.inf, -math.inf):
        for name in ("dpo", "ipo", "hinge", "cdpo"):
            risk = LOSSES[name].population_value(margin, -1.0, 1.0, margin)
            assert risk == LOSSES[name].value(abs(margin), 0.0, 1.0)


@pytest.mark.parametrize("name", FAMILY)
def test_margin_alone_is_enough_unless_declared(name):
    loss, ref = FAMILY[name], Reference(-2.0, -1.25)
    if loss.target_rule.needs_logps:
        with pytest.raises(ProblemError, match="needs both reference log-probabilities"):
            loss.target(-0.75, 0.5)
    else:
        assert loss.value(0.3, -0.75, 0.5) == loss.value(0.3, ref, 0.5)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: smooth(alpha=0.0), "alpha = 0.0"),
        (lambda: smooth(tau=math.inf), "tau = inf"),
        (lambda: smooth(gamma=math.nan), "gamma = nan"),
        (lambda: eq17(0.0), "gamma = 0.0"),
        (lambda: easy(-1.0), "gamma = -1.0"),
        (lambda: simpo(math.inf), "gamma = inf"),
        (lambda: cdpo(0.5), "eps = 0.5"),
        (lambda: cdpo(0.0), "eps = 0.0"),
        (lambda: LOSSES["dpo"].value(0.0, 0.0, -1.0), "beta = -1.0"),
        (lambda: LOSSES["dpo"].value([0.0, math.nan], 0.0, 1.0), r"margin\[1\] = nan"),
        (lambda: LOSSES["hypo"].minimiser(0.0, 1.0, 0.0, "both"), "flipped = 'both'"),
    ],
)
def test_bad_parameters_are_named(build, message):
    with pytest.raises(ProblemError, match=message):
        build()


@pytest.mark.parametrize("name", FAMILY)
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_nothing_returns_nan(name, data):
    anything = st.floats(allow_nan=False)
    delta, odds = data.draw(anything), data.draw(anything)
    ref = Reference(data.draw(st.floats(max_value=0)), data.draw(st.floats(max_value=0)))
    beta = data.draw(st.floats(min_value=0, exclude_min=True, allow_infinity=False))
    flipped = data.draw(st.sampled_from(["fixed", "per-label"]))
    loss = FAMILY[name]
    for call in (
        lambda: loss.target(ref, beta),
        lambda: loss.value(delta, ref, beta),
        lambda: loss.gradient(delta, ref, beta),
        lambda: loss.population_value(delta, ref, beta, odds, flipped),
        lambda: loss.population_gradient(delta, ref, beta, odds, flipped),
        lambda: loss.minimiser(ref, beta, odds, flipped),
        lambda: loss.critical_gap(ref, beta, flipped),
        lambda: loss.traps(ref, beta, odds, flipped),
    ):
        try:
            assert not math.isnan(float(call()))
        except ProblemError:
            continue


@pytest.mark.parametrize("name", FAMILY)
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_ordinary_input_has_an_answer(name, data):
    nats = st.floats(-800, 800, allow_subnormal=False)
    logp = st.floats(-600, -1e-3)
    delta, odds = data.draw(nats), data.draw(nats)
    ref, beta = Reference(data.draw(logp), data.draw(logp)), 10 ** data.draw(st.floats(-6, 6))
    loss = FAMILY[name]
    for flipped in ("fixed", "per-label"):
        answers = [
            loss.value(delta, ref, beta),
            loss.gradient(delta, ref, beta),
            loss.population_value(delta, ref, beta, odds, flipped),
            loss.population_gradient(delta, ref, beta, odds, flipped),
            loss.minimiser(ref, beta, odds, flipped),
            loss.critical_gap(ref, beta, flipped),
            loss.traps(ref, beta, odds, flipped),
        ]
        assert not np.any(np.isnan(np.array(answers, dtype=float)))


# ---------------------------------------------------------------- planted bugs are seen

WRONG = {
    "winner and loser swapped": lambda d, r, b: (-d, Reference(r.loser_logp, r.winner_logp), b),
    "sign of the reference": lambda d, r, b: (d, Reference(r.loser_logp, r.winner_logp), b),
    "beta doubled": lambda d, r, b: (d, r, 2 * b),
    "no reference": lambda d, r, b: (d, Reference(r.loser_logp, r.loser_logp), b),
}


@pytest.mark.parametrize("bug", WRONG)
@pytest.mark.parametrize("name", ["dpo", "ipo", "hinge", "cdpo"])
def test_the_oracle_sees_planted_bugs(name, bug):
    d, w, ell, b = 0.75, -2.0, -1.0, 0.5
    want = oracle_value(name, *(mp.mpf(v) for v in (d, w, ell, b)))
    right = float(FAMILY[name].value(d, Reference(w, ell), b))
    require_close([right], [want], [mp.mpf(1e-14)])
    wrong = float(FAMILY[name].value(*WRONG[bug](d, Reference(w, ell), b)))
    with pytest.raises(AssertionError):
        require_close([wrong], [want], [mp.mpf(1e-14)])
