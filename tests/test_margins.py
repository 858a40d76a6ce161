"""The margin calculus against 50-digit arithmetic, differential equations and its own theorems."""

from __future__ import annotations

import math
import subprocess
import sys
from fractions import Fraction
from itertools import product

import mpmath as mp
import numpy as np
import pytest
from array_oracle import EPS, LIBRARIES, floats, library, require_close, require_kind
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from prefeq import margins
from prefeq.errors import ProblemError

mp.mp.dps = 50

ZS = (0.0, -0.0, 1e-300, 1e-9, 0.3, 1.0, 36.7, 37.1, 709.0, 745.0, 800.0, 1e5)
ZS = (*ZS, *(-z for z in ZS), *np.random.default_rng(1).normal(0, 30, 40).tolist())
NATS = (-800.0, -37.5, -1.0, -1e-9, 0.0, 0.4, 20.0, 800.0)
BETAS = (1e-6, 0.1, 1.0, 1e6)


@pytest.fixture(params=LIBRARIES)
def make(request):
    return library(request.param)


def grid(*axes):
    """Return the product of the axes and some random points, as one list per argument."""
    rng = np.random.default_rng(7)
    rows = list(product(*axes))
    for _ in range(30):
        rows.append(tuple(float(rng.uniform(min(axis), max(axis))) for axis in axes))
    return [list(column) for column in zip(*rows, strict=True)]


def M(values):
    return [mp.mpf(v) for v in values]


# ---------------------------------------------------------------- values against 50 digits


@pytest.mark.parametrize(
    ("function", "oracle"),
    [
        (margins.softplus, lambda z: mp.log1p(mp.exp(z))),
        (margins.sigmoid, lambda z: 1 / (1 + mp.exp(-z))),
        (margins.log_sigmoid, lambda z: -mp.log1p(mp.exp(-z))),
    ],
    ids=["softplus", "sigmoid", "log_sigmoid"],
)
def test_elementary(make, function, oracle):
    z = make(ZS)
    got = function(z)
    require_kind(got, z)
    want = [oracle(v) for v in M(ZS)]
    require_close(floats(got), want, [4 * EPS * abs(w) for w in want])


def test_elementary_derivatives(make):
    # softplus' = σ and (log σ)'(z) = σ(−z), by central differences on exactly represented steps.
    z = np.random.default_rng(2).uniform(-30, 30, 60)
    h = 1e-5
    high, low = z + h, z - h
    for function, slope in (
        (margins.softplus, margins.sigmoid(make(z))),
        (margins.log_sigmoid, margins.sigmoid(make(-z))),
    ):
        difference = np.array(floats(function(make(high)))) - floats(function(make(low)))
        bound = 1e-10 + 4 * EPS * (1 + np.abs(z)) / h
        require_close(floats(slope), difference / (high - low), bound)


def test_logit(make):
    probs = [
        0.0,
        1e-300,
        1e-17,
        0.1,
        0.25,
        0.3,
        0.5,
        0.5 + 1e-9,
        0.5000010884552206,
        0.75,
        0.9,
        1.0,
    ]
    want = [mp.log(p / (1 - p)) if 0 < p < 1 else mp.inf * (2 * p - 1) for p in M(probs)]
    got = margins.logit(make(probs))
    require_close(floats(got), want, [8 * EPS * abs(w) if mp.isfinite(w) else 0 for w in want])


BILINEAR = [
    # function, oracle and the sum of the magnitudes that its rounding errors are relative to
    ("margin", lambda a, b: a - b, lambda a, b: abs(a - b)),
    ("relative_margin", lambda a, b: a - b, lambda a, b: abs(a - b)),
    ("undesirable", lambda a, b: b < a < 0, lambda a, b: 0),
]


@pytest.mark.parametrize(("name", "oracle", "scale"), BILINEAR, ids=[b[0] for b in BILINEAR])
def test_two_arguments(make, name, oracle, scale):
    a, b = grid(NATS, NATS)
    got = getattr(margins, name)(make(a), make(b))
    want = [oracle(x, y) for x, y in zip(M(a), M(b), strict=True)]
    bound = [4 * EPS * scale(x, y) for x, y in zip(M(a), M(b), strict=True)]
    require_close([float(g) for g in floats(got)], [mp.mpf(w) for w in want], bound)


def test_optimal_margin_and_its_sign(make):
    ref, gap, beta = grid(NATS, (0.0, 1e-9, 1.0, 37.5, 800.0, -3.0), BETAS)
    got = margins.optimal_margin(make(ref), make(gap), make(beta))
    rows = list(zip(M(ref), M(gap), M(beta), strict=True))
    require_close(
        floats(got),
        [d + g / b for d, g, b in rows],
        [4 * EPS * (abs(d) + abs(g / b)) for d, g, b in rows],
    )
    for strict in (True, False):
        holds = floats(margins.assumption_holds(make(ref), make(gap), make(beta), strict=strict))
        for answer, (d, g, b), *given_ in zip(holds, rows, ref, gap, beta, strict=True):
            tie = -given_[2] * given_[0] == given_[1]
            exact = d + g / b > 0 if strict else d + g / b >= 0
            assert answer == exact or (tie and answer is not strict)


def test_critical_gap_and_label(make):
    ref, beta = grid(NATS, BETAS)
    rows = list(zip(M(ref), M(beta), strict=True))
    gap = [-b * d for d, b in rows]
    require_close(
        floats(margins.critical_gap(make(ref), make(beta))), gap, [EPS * abs(g) for g in gap]
    )
    prob = [1 / (1 + mp.exp(-g)) for g in gap]
    bound = [4 * EPS * p * (1 + abs(g)) for p, g in zip(prob, gap, strict=True)]
    require_close(floats(margins.critical_label_prob(make(ref), make(beta))), prob, bound)


TARGETS = (None, -900.0, -5.0, 0.0, 3.0, 800.0)


@pytest.mark.parametrize("target", TARGETS)
def test_exit_time(make, target):
    ref, beta, mass = grid(NATS, BETAS, (0.01, 1.0, 3.0))
    rows = list(zip(M(ref), M(beta), M(mass), strict=True))

    def oracle(d, b, m):
        t = d if target is None else mp.mpf(target)
        u0, u1 = b * (d - t), -b * t
        with mp.workdps(400):  # as printed: it cancels
            time = (mp.exp(u1) + u1 - mp.exp(u0) - u0) / (2 * b**2 * m)
        return time if d < 0 else mp.mpf(0)

    want = [oracle(*row) for row in rows]
    t_of = [d if target is None else mp.mpf(target) for d, _, _ in rows]
    relative = [
        8 * EPS * (1 + b * (abs(d) + abs(t))) for (d, b, _), t in zip(rows, t_of, strict=True)
    ]
    bound = [abs(w) * r for w, r in zip(want, relative, strict=True)]
    got = margins.exit_time(make(ref), make(beta), target, make(mass))
    require_close(floats(got), want, bound)

    log_got = margins.log_exit_time(make(ref), make(beta), target, make(mass))
    log_want = [mp.log(w) if w > 0 else -mp.inf for w in want]
    log_bound = [
        8 * EPS * (abs(w) + 30) + r if mp.isfinite(w) else 0
        for w, r in zip(log_want, relative, strict=True)
    ]
    require_close(floats(log_got), log_want, log_bound)


def test_margin_lower_bound(make):
    losses = (0.0, 1e-320, 1e-300, 1e-17, 0.01, math.log(2), 0.7, 1.0, 37.0, 800.0, 1e5)
    loss, target, beta = grid(losses, NATS, BETAS)
    rows = list(zip(M(loss), M(target), M(beta), strict=True))
    with mp.workdps(400):
        logs = [mp.log(mp.expm1(ell)) if ell > 0 else -mp.inf for ell, _, _ in rows]
    want = [t - g / b for (_, t, b), g in zip(rows, logs, strict=True)]
    bound = [
        4 * EPS * (abs(t) + (abs(g) + ell + 1) / b) if mp.isfinite(g) else 0
        for (ell, t, b), g in zip(rows, logs, strict=True)
    ]
    got = margins.margin_lower_bound(make(loss), make(target), make(beta))
    require_close(floats(got), want, bound)


def test_hinge_gap(make):
    delta, ref, beta = grid(NATS, NATS, BETAS)
    rows = list(zip(M(delta), M(ref), M(beta), strict=True))
    want = []
    for d, r, b in rows:
        a = r - d
        with mp.workdps(800):  # the definition, which cancels
            raw = mp.log1p(mp.exp(b * a)) / b - max(mp.mpf(0), a) if b * abs(a) < 1700 else 0
        want.append(raw)
    bound = [
        8 * EPS * w * (1 + b * (abs(d) + abs(r))) for w, (d, r, b) in zip(want, rows, strict=True)
    ]
    got = margins.hinge_gap(make(delta), make(ref), make(beta))
    require_close(floats(got), want, bound)


def test_price_of_alignment(make):
    star, beta = grid((*NATS, -2.0, -1.9999, -1e-5), BETAS)
    rows = list(zip(M(star), M(beta), strict=True))
    want = [b * mp.log(mp.cosh(d / 2)) if d < 0 else mp.mpf(0) for d, b in rows]
    got = margins.price_of_alignment(make(star), make(beta))
    require_close(floats(got), want, [8 * EPS * abs(w) for w in want])


@pytest.mark.parametrize("mean", [0.0, 1e-300, 0.01, 0.5, 3.0, 1e4])
@pytest.mark.parametrize("beta", BETAS)
def test_misaligned_share_bound(make, mean, beta):
    for targets in ([0.0, 3.0], [-1.0, 2.0], [-800.0], [800.0], [20.0, 30.0]):
        least = min(mp.log1p(mp.exp(mp.mpf(beta) * mp.mpf(t))) for t in targets)
        want = min(mp.mpf(1), mp.mpf(mean) / least)
        got = float(margins.misaligned_share_bound(mean, make(targets), beta))
        scale = 1 + abs(mp.log(least)) + (abs(mp.log(mean)) if mean else 0)
        require_close([got], [want], [8 * EPS * want * scale * (1 + beta * abs(targets[0]))])


# ---------------------------------------------------------------- the theorems

reals = st.floats(-800, 800, allow_subnormal=False)
betas = st.floats(-6, 6).map(lambda e: 10.0**e)


@given(st.floats(1e-3, 600), st.floats(-1, 2), betas)
def test_undesirable_is_read_off_the_loss(u, share, beta):
    # π ∈ U ⟺ softplus(βδ_ref) < L < ln 2, at δ = share·δ_ref; on the two boundaries themselves
    # the loss is rounded, so stay 1e-6 of the way from them.
    assume(abs(share) > 1e-6 and abs(share - 1) > 1e-6)
    ref = -u / beta
    delta = share * ref
    loss = margins.softplus(-beta * (delta - ref))
    assert bool(margins.undesirable(delta, ref)) is (0 < share < 1)
    assert margins.undesirable_from_loss(loss, ref, beta) == margins.undesirable(delta, ref)


@given(reals, reals, betas)
def test_undesirable_is_read_off_the_exact_loss(delta, ref, beta):
    # The same in 60 digits and hence without exception, whatever the signs and sizes.
    d, r, b = mp.mpf(delta), mp.mpf(ref), mp.mpf(beta)
    with mp.workdps(60):
        assume(abs(b * (d - r)) > 1e-40 or d == r)
        assume(abs(b * d) > 1e-40 or d == 0)
        loss = mp.log1p(mp.exp(-b * (d - r)))
        inside = mp.log1p(mp.exp(b * r)) < loss < mp.log(2)
    assert bool(margins.undesirable(delta, ref)) is bool(inside)


@given(reals, reals, betas)
def test_assumption_is_exact_but_for_float_ties(ref, gap, beta):
    exact = Fraction(beta) * Fraction(ref) + Fraction(gap)
    if margins.assumption_holds(ref, gap, beta):
        assert exact > 0
    if not margins.assumption_holds(ref, gap, beta, strict=False):
        assert exact < 0
    if gap != -beta * ref:
        assert bool(margins.assumption_holds(ref, gap, beta)) is (exact > 0)
        assert bool(margins.assumption_holds(ref, gap, beta, strict=False)) is (exact > 0)


@given(reals, st.floats(0.01, 100), betas)
def test_assumption_is_about_the_critical_gap_and_label(ref, gap, beta):
    holds = bool(margins.assumption_holds(ref, gap, beta))
    assert holds is bool(gap > margins.critical_gap(ref, beta))
    sure, needed = margins.sigmoid(gap), margins.critical_label_prob(ref, beta)
    if abs(sure - needed) > 1e-12 * needed * (1 + beta * abs(ref)):
        assert holds is bool(sure > needed)
    # Joint scaling of rewards and β changes nothing (by a power of two: no rounding).
    assert holds is bool(margins.assumption_holds(ref, 4 * gap, 4 * beta))


def flow_time(ref, beta, target, mass, rest):
    """Return when δ reaches 0 by integrating gradient flow on three softmax logits."""
    logits = np.array([ref + 0.3, 0.3, rest])  # w, l, a bystander

    def velocity(_, theta):
        pi = np.exp(theta - theta.max())
        pi /= pi.sum()
        delta = np.log(pi[0]) - np.log(pi[1])
        slope = -beta * mass / (1 + np.exp(beta * (delta - target)))
        gradient = slope * ((np.eye(3)[0] - pi) - (np.eye(3)[1] - pi))
        return -gradient

    def crossing(_, theta):
        return theta[0] - theta[1]

    crossing.terminal = True
    answer = solve_ivp(
        velocity, (0, 1e9), logits, events=crossing, rtol=1e-10, atol=1e-12, method="LSODA"
    )
    assert answer.status == 1, "the flow must reach δ = 0"
    return answer.t_events[0][0]


@pytest.mark.parametrize("seed", range(12))
def test_exit_time_is_that_of_gradient_flow(seed):
    rng = np.random.default_rng(seed)
    beta, mass = float(rng.uniform(0.1, 3)), float(rng.uniform(0.2, 2))
    ref = -float(rng.uniform(0.05, 6)) / beta
    for target in (ref, max(ref, 0.0), float(rng.uniform(-1, 1)) / beta):
        measured = flow_time(ref, beta, target, mass, rest=float(rng.normal(0, 2)))
        predicted = margins.exit_time(ref, beta, target, mass)
        require_close([measured], [predicted], [1e-6 * predicted])
    assert margins.exit_time(ref, beta, None, mass) == margins.exit_time(ref, beta, ref, mass)


def descent_steps(ref, beta, target, mass, step):
    """Count gradient-descent steps on two logits until δ ≥ 0."""
    theta = np.array([ref, 0.0])
    for count in range(10**6):
        delta = theta[0] - theta[1]
        if delta >= 0:
            return count
        push = step * mass * beta / (1 + math.exp(beta * (delta - target)))
        theta = theta + push * np.array([1.0, -1.0])
    raise AssertionError("no exit in 1e6 steps")


@pytest.mark.parametrize("seed", range(25))
def test_steps_to_exit_lie_within_the_bounds(seed):
    rng = np.random.default_rng(seed)
    beta, mass = float(rng.uniform(0.2, 2)), float(rng.uniform(0.2, 2))
    ref = -float(rng.uniform(0.1, 5)) / beta
    step = float(10 ** rng.uniform(-2, 0.7)) / (mass * beta**2)
    for target in (None, 0.0, float(rng.uniform(-1, 2)) / beta):
        low, high = margins.exit_steps_bounds(ref, beta, step, mass, target)
        count = descent_steps(ref, beta, ref if target is None else target, mass, step)
        assert low <= count <= high
    # The bounds close on each other as the step shrinks, so they are not vacuous.
    low, high = margins.exit_steps_bounds(ref, beta, step / 1e4, mass)
    assert high - 1 <= low * math.exp(2e-4 * step * mass * beta**2)


def test_steps_bounds_in_closed_form_for_dpo():
    time = float(margins.exit_time(-3.0, 0.7, None, 0.5))
    low, high = margins.exit_steps_bounds(-3.0, 0.7, 0.2, 0.5)
    assert float(low) == pytest.approx(time / 0.2 * math.exp(-0.2 * 0.5 * 0.7**2), rel=1e-14)
    assert float(high) == math.ceil(time / 0.2)
    low, high = margins.exit_steps_bounds(-800.0, 1.0, 100.0, 1.0)
    assert high == math.inf
    assert low == pytest.approx(math.exp(800 - math.log(200) - 100), rel=1e-9)


def test_clip_leaves_in_linear_time_where_dpo_takes_exponential():
    for a, ratio in ((3.0, 5.59), (10.0, 2003.4)):
        clip = float(margins.exit_time(-a, 1.0, target=0.0))
        assert clip == pytest.approx((1 + a - math.exp(-a)) / 2, rel=1e-14)
        assert float(margins.exit_time(-a, 1.0)) / clip == pytest.approx(ratio, rel=1e-3)


@given(st.floats(-30, 30), st.floats(-20, 20), st.floats(0.05, 20))
def test_loss_certifies_exactly_its_margin(z, target, beta):
    # Tight: the bound from the loss of δ is δ itself, up to the conditioning of the inverse.
    delta = target + z / beta
    loss = margins.softplus(-beta * (delta - target))
    bound = float(margins.margin_lower_bound(loss, target, beta))
    # dℓ/dδ = −βσ(−z): a relative error of EPS in ℓ costs EPS·ℓ/(βσ(−z)) in δ.
    sensitivity = float(loss / (beta * margins.sigmoid(-z)))
    assert abs(bound - delta) <= 16 * EPS * (sensitivity + abs(target) + (abs(z) + 1) / beta)
    # Monotone: a smaller loss certifies more; and ℓ ≤ ln 2 certifies the target.
    assert margins.margin_lower_bound(0.5 * loss, target, beta) > bound
    if loss <= 0.6931471805599453:
        assert bound >= target - 4 * EPS * (1 + abs(target) + 1 / beta)


@given(
    st.lists(st.tuples(st.floats(-6, 6), st.floats(-3, 3)), min_size=1, max_size=8),
    st.floats(0.1, 5),
)
def test_misaligned_share_is_bounded(pairs, beta):
    delta, target = np.array(pairs).T
    loss = margins.softplus(-beta * (delta - target))
    share = np.mean(delta <= 0)
    bound = margins.misaligned_share_bound(np.mean(loss), target, beta)
    assert share <= bound * (1 + 1e-12)


@pytest.mark.parametrize("beta", [0.1, 2.0])
def test_misaligned_share_bound_is_attained(beta):
    # Three of ten pairs exactly at δ = 0 with the least target, the others at δ = +inf.
    delta = np.array([0.0] * 3 + [np.inf] * 7)
    loss = margins.softplus(-beta * (delta - 0.5))
    bound = margins.misaligned_share_bound(loss.mean(), np.full(10, 0.5), beta)
    assert float(bound) == pytest.approx(0.3, rel=1e-14)


@given(reals, reals, betas)
def test_hinge_gap_is_between_zero_and_ln2_over_beta(delta, ref, beta):
    gap = margins.hinge_gap(delta, ref, beta)
    assert 0 <= gap <= math.log(2) / beta * (1 + EPS)
    assert margins.hinge_gap(ref, ref, beta) == math.log(2) / beta
    if beta * abs(ref - delta) > 1e-12:
        assert gap < math.log(2) / beta


# ---------------------------------------------------------------- what goes in, what comes out

ONE_BETA = {"beta": 1.0}
CALLS = {
    "softplus": ("z",),
    "sigmoid": ("z",),
    "log_sigmoid": ("z",),
    "margin": ("logp_winner", "logp_loser"),
    "relative_margin": ("margin", "ref_margin"),
    "optimal_margin": ("ref_margin", "reward_gap", "beta"),
    "assumption_holds": ("ref_margin", "reward_gap", "beta"),
    "critical_gap": ("ref_margin", "beta"),
    "critical_label_prob": ("ref_margin", "beta"),
    "undesirable": ("margin", "ref_margin"),
    "undesirable_from_loss": ("loss", "ref_margin", "beta"),
    "exit_time": ("ref_margin", "beta", "target", "mass"),
    "log_exit_time": ("ref_margin", "beta", "target", "mass"),
    "exit_steps_bounds": ("ref_margin", "beta", "step_size", "mass", "target"),
    "margin_lower_bound": ("loss", "target", "beta"),
    "misaligned_share_bound": ("mean_loss", "target", "beta"),
    "hinge_gap": ("margin", "ref_margin", "beta"),
    "logit": ("prob",),
    "price_of_alignment": ("optimal_margin", "beta"),
    "penalty_critical_gamma": ("optimal_margin", "beta", "mass"),
    "penalty_fold": ("optimal_margin", "beta", "mass"),
    "penalty_margin": ("optimal_margin", "beta", "gamma", "mass"),
}
POSITIVE = ("beta", "mass", "step_size")
NONNEGATIVE = ("loss", "mean_loss", "gamma")


def test_every_public_function_is_listed():
    assert sorted(CALLS) == sorted(margins.__all__)


@pytest.mark.parametrize("name", CALLS)
@settings(max_examples=60)
@given(data=st.data())
def test_nothing_returns_nan(name, data):
    # Any float whatever but NaN: an answer or a ProblemError.
    values = {key: data.draw(st.floats(allow_nan=False), label=key) for key in CALLS[name]}
    try:
        got = getattr(margins, name)(**values)
    except ProblemError:
        return
    assert not np.any(np.isnan(np.asarray(got, dtype=float)))


@pytest.mark.parametrize("name", CALLS)
@settings(max_examples=60)
@given(data=st.data())
def test_ordinary_input_has_an_answer(name, data):
    def draw(key):
        if key in POSITIVE:
            return data.draw(betas, label=key)
        if key == "prob":
            return data.draw(st.floats(0, 1), label=key)
        return data.draw(st.floats(0, 800) if key in NONNEGATIVE else reals, label=key)

    got = getattr(margins, name)(**{key: draw(key) for key in CALLS[name]})
    assert not np.any(np.isnan(np.asarray(got, dtype=float)))


@pytest.mark.parametrize("name", CALLS)
def test_nan_is_named_with_its_index(make, name):
    for bad in CALLS[name]:
        values = {key: make([[0.5, 0.5], [0.5, 0.5]]) for key in CALLS[name]}
        values[bad] = make([[0.5, 0.5], [math.nan, 0.5]])
        with pytest.raises(ProblemError, match=rf"{bad}\[1, 0\] = nan"):
            getattr(margins, name)(**values)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.inf])
@pytest.mark.parametrize("name", [name for name, keys in CALLS.items() if "beta" in keys])
def test_beta_must_be_positive_and_finite(name, bad):
    values = dict.fromkeys(CALLS[name], 0.5) | {"beta": bad}
    with pytest.raises(ProblemError, match=rf"beta = {bad}"):
        getattr(margins, name)(**values)


def test_infinite_margins_give_the_limit_or_a_complaint():
    inf = math.inf
    assert margins.margin(-inf, -2.0) == -inf
    with pytest.raises(ProblemError, match="margin = nan: undefined"):
        margins.margin(-inf, -inf)
    assert margins.softplus(-inf) == 0
    assert margins.sigmoid(inf) == 1
    assert not margins.assumption_holds(-inf, 5.0, 1.0)
    with pytest.raises(ProblemError, match="optimal margin"):
        margins.assumption_holds(-inf, inf, 1.0)
    assert margins.exit_time(-inf, 1.0) == inf
    assert margins.exit_time(inf, 1.0) == 0
    assert margins.log_exit_time(2.0, 1.0) == -inf
    assert margins.hinge_gap(inf, 0.0, 1.0) == 0
    assert margins.margin_lower_bound(inf, 0.0, 1.0) == -inf
    assert margins.misaligned_share_bound(0.0, -inf, 1.0) == 1
    assert margins.price_of_alignment(-inf, 1.0) == inf
    assert margins.price_of_alignment(inf, 1.0) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros(2, dtype=complex), 0.0), "margin has dtype complex128"),
        ((np.array(["a"], dtype=object), 0.0), "margin has dtype object"),
        ((1j, 0.0), "must be numbers or arrays"),
        (([1.0, [2.0]], 0.0), "margin is not a rectangular list"),
        ((np.zeros(2), np.zeros(3)), r"margin \(2,\), ref_margin \(3,\)"),
        ((None, 0.0), "must be numbers or arrays"),
    ],
)
def test_other_input_is_refused(arguments, message):
    with pytest.raises(ProblemError, match=message):
        margins.relative_margin(*arguments)


def test_two_libraries_are_not_mixed():
    torch = pytest.importorskip("torch")
    with pytest.raises(ProblemError, match="arrays of one library"):
        margins.relative_margin(np.zeros(2), torch.zeros(2))


def test_negative_losses_and_improper_probabilities_are_refused():
    with pytest.raises(ProblemError, match=r"loss\[1\] = -0.1"):
        margins.margin_lower_bound([0.1, -0.1], 0.0, 1.0)
    with pytest.raises(ProblemError, match=r"loss = -1.0"):
        margins.undesirable_from_loss(-1.0, 0.0, 1.0)
    with pytest.raises(ProblemError, match=r"prob = 1.5"):
        margins.logit(1.5)
    with pytest.raises(ProblemError, match="target is empty"):
        margins.misaligned_share_bound(0.1, [], 1.0)


@pytest.mark.parametrize("dtype", ["int64", "float32", "bool"])
def test_narrow_dtypes_are_computed_in_float64(dtype):
    torch = pytest.importorskip("torch")
    for array in (np.array([1, 0], dtype=dtype), torch.tensor([1, 0], dtype=getattr(torch, dtype))):
        got = margins.softplus(array)
        assert str(got.dtype).endswith("float64")
        require_close(floats(got), [mp.log1p(mp.e), mp.log(2)], [4 * EPS, 4 * EPS])


def test_scalars_lists_and_arrays_mix(make):
    got = margins.optimal_margin(make([-1.0, 2.0]), np.float64(3), 2)
    require_kind(got, make([0.0, 0.0]))
    assert floats(got) == [0.5, 3.5]
    assert margins.optimal_margin([-1, 2], 3, 2).tolist() == [0.5, 3.5]
    assert isinstance(margins.softplus(1), float)


def test_input_is_never_written_to():
    fixed = np.array([-3.0, 2.0])
    fixed.setflags(write=False)
    before = fixed.copy()
    margins.exit_steps_bounds(fixed, 1.0, 0.1, 1.0, fixed)
    margins.misaligned_share_bound(0.1, fixed, 1.0)
    margins.hinge_gap(fixed, fixed, 1.0)
    assert np.array_equal(fixed, before)


def test_margins_are_light_to_import():
    heavy = ["torch", "scipy", "cvxpy", "sympy", "matplotlib", "flint", "hypothesis"]
    code = f"import sys, prefeq.margins; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


# ---------------------------------------------------------------- the checks can fail


@pytest.mark.parametrize(
    ("got", "want"),
    [([1.0 + 1e-12], [1]), ([math.nan], [1]), ([math.inf], [1]), ([-math.inf], [mp.inf]), ([], [])],
)
def test_require_close_rejects_wrong_answers(got, want):
    with pytest.raises(AssertionError):
        require_close(got, want, [mp.mpf(1e-14)] * len(want))


def test_require_kind_rejects_another_library():
    with pytest.raises(AssertionError, match="came out"):
        require_kind(np.zeros(2), library("array_api_strict")([0.0, 0.0]))
    with pytest.raises(AssertionError, match="shape"):
        require_kind(np.zeros(2), np.zeros(3))
    with pytest.raises(AssertionError, match="dtype"):
        require_kind(np.zeros(2, dtype=np.float32), np.zeros(2))
