"""Steps of the proofs about the penalty objective, Eq. 10 of arXiv:2605.20834.

F(π) = J(π) + γ Σ m δ = J(π) + Σ c(y) log π(y), c(y) = γ d(y), d the net degree: the mass of the
pairs that y wins less that of those it loses. Stationary means: on the simplex, with full support.
For two responses and one pair the module `penalty_pair` has the steps.
"""

from __future__ import annotations

import sympy as sp

from prefeq.claims import penalty_formulas
from prefeq.claims.evidence import Evidence
from prefeq.claims.symbolic import (
    SYMPY,
    as_written,
    positive,
    prove_equal,
    prove_independent,
    prove_limit,
    prove_positive,
    real,
)


def degrees() -> list[Evidence]:
    """Σ m δ = Σ d(y) log π(y) and Σ d(y) = 0, pair by pair: so if any d is not 0, one is < 0."""
    pw, pl = real("logp_w logp_l")
    m, rest = positive("m rest")
    return [
        prove_equal(
            "degrees",
            "a pair adds m log pi(w) - m log pi(l): its mass to d(w), minus its mass to d(l)",
            (m * (pw - pl), m * pw + (-m) * pl),
        ),
        prove_equal("degrees-cancel", "and m - m = 0 to their sum", (as_written(lambda: m - m), 0)),
        prove_positive("degrees-cancel", "positive ones alone add up to no zero", rest, m + rest),
    ]


def no_degrees() -> Evidence:
    """With d = 0 everywhere the penalty is 0 · log π, whatever γ: F = J, the RLHF objective."""
    p, reward = real("log_ref r")
    prob, beta, gamma = positive("p beta gamma")
    plain = prob * (reward - beta * (sp.log(prob) - p))
    term = as_written(
        lambda: penalty_formulas.penalty_term(SYMPY, prob, p, reward, beta, gamma * sp.S.Zero)
    )
    return prove_equal("penalty-vanishes", "F = J if every net degree is zero", (term, plain))


def towards_zero() -> list[Evidence]:
    """F along π(y) → 0, the others in fixed proportion, T the log-odds against y.

    J is π(y)(A − β log π(y)) + (1 − π(y))(B − β log(1 − π(y))), where A is r + β log π_ref of y
    and B = Σ ρ(r − β log(ρ/π_ref)) over the others, ρ their proportions: π = (1 − π(y))ρ there.
    As c(y) = −|c(y)| and the others' c add up to |c(y)|, the penalty is |c(y)| T + Σ c log ρ.
    """
    rewards, others, k = real("A B k")
    reward, ref = real("r log_ref")
    beta, c, t, rho, left = positive("beta c T rho left")
    inside, outside = _odds(t)
    own = penalty_formulas.penalty_term(SYMPY, inside, ref, reward, beta, 0)
    one = penalty_formulas.penalty_term(SYMPY, left * rho, ref, reward, beta, 0)
    share = rho * (reward - beta * (sp.log(rho) - ref))
    value = inside * (rewards - beta * sp.log(inside))
    value += outside * (others - beta * sp.log(outside))
    slope = c - inside * outside * (rewards - others + beta * t)
    return [
        prove_equal("penalty-along", "(1 - pi(y))/pi(y) = e^T", (outside / inside, sp.exp(t))),
        prove_equal(
            "penalty-along",
            "c(y) log pi(y) + |c(y)| log(1 - pi(y)) = |c(y)| T where c(y) = -|c(y)|",
            (-c * sp.log(inside) + c * sp.log(outside), c * t),
        ),
        prove_equal(
            "objective-along",
            "y's term of J is pi(y)(A - beta log pi(y)), A = r + beta log pi_ref",
            (own, inside * (reward + beta * ref - beta * sp.log(inside))),
        ),
        prove_equal(
            "objective-along",
            "another's, at pi = s rho: s times its term of B, minus rho beta s log s; sum rho = 1",
            (one, left * share - rho * beta * left * sp.log(left)),
        ),
        prove_limit("bounded-part", "J tends to B: it stays bounded", value, t, sp.oo, others),
        prove_limit(
            "rises-without-bound", "F -> +oo as pi(y) -> 0", value + c * t + k, t, sp.oo, sp.oo
        ),
        prove_equal(
            "slope-along",
            "dF/dT = c - pi(y)(1 - pi(y))(A - B + beta T)",
            (sp.diff(value + c * t + k, t), slope),
        ),
    ]


def rises_beyond() -> list[Evidence]:
    """dF/dT > 0 as soon as T ≥ 2(|A − B| + β)/c, for π(y)(1 − π(y)) < e^−T < 1/(1 + T + T²/2)."""
    beta, size, t, v, more = positive("beta D T v h")
    inside, outside = _odds(sp.log(1 + v))
    f = sp.exp(t) - (1 + t + t**2 / 2)
    slopes = [f, sp.diff(f, t), sp.diff(f, t, 2)]
    at_zero = [(as_written(lambda s=s: s.xreplace({t: sp.S.Zero})), 0) for s in slopes]  # type: ignore[misc]
    enough = 2 * (size + beta) / t + more
    step = "rises-beyond"
    return [
        prove_equal(
            step,
            "e^-T - pi(y)(1 - pi(y)) = (3 + 2v)/((1 + v)(2 + v)^2), v = e^T - 1",
            (1 / (1 + v) - inside * outside, (3 + 2 * v) / ((1 + v) * (2 + v) ** 2)),
        ),
        prove_positive(step, "> 0 for T > 0", (3 + 2 * v) / ((1 + v) * (2 + v) ** 2)),
        prove_equal(step, "e^T - 1 - T - T^2/2 vanishes twice over at 0", *at_zero),
        prove_positive(step, "its third derivative is > 0, so it is > 0", sp.diff(f, t, 3)),
        prove_positive(
            step,
            "c(1 + T + T^2/2) > |A - B| + beta T where c >= 2(|A - B| + beta)/T",
            sp.expand((enough - more) * (1 + t + t**2 / 2) - (size + beta * t)),
            more * (1 + t + t**2 / 2),
        ),
    ]


def stationarity() -> list[Evidence]:
    """Stationary: dF/dπ is one constant, so βx = Δr + c(w)/π(w) − c(l)/π(l) on every pair."""
    p, reward, c = real("log_ref r c")
    prob, beta = positive("p beta")
    term = penalty_formulas.penalty_term(SYMPY, prob, p, reward, beta, c)
    slope = penalty_formulas.penalty_slope(SYMPY, prob, p, reward, beta, c)
    pw, pl = positive("pi_w pi_l")
    refs, rewards, shares = real("ref_w ref_l"), real("r_w r_l"), real("c_w c_l")
    slopes = [
        penalty_formulas.penalty_slope(SYMPY, q, refs[i], rewards[i], beta, shares[i])
        for i, q in enumerate((pw, pl))
    ]
    x = (sp.log(pw) - sp.log(pl)) - (refs[0] - refs[1])
    gap = penalty_formulas.implicit_gap(rewards[0] - rewards[1], shares[0], shares[1], pw, pl)
    return [
        prove_independent(
            "first-order",
            "dF/dpi = r - beta log(pi/ref) + c/pi, up to the same constant everywhere",
            sp.expand(sp.diff(term, prob) - slope),
            prob,
            p,
            reward,
            c,
        ),
        prove_equal(
            "pair-stationarity",
            "slope(w) - slope(l) = gap + c(w)/pi(w) - c(l)/pi(l) - beta x",
            (slopes[0] - slopes[1], gap - beta * x),
        ),
    ]


def one_pair() -> Evidence:
    """A pair whose responses are in no other pair has c(w) = γm = −c(l): Eqs. 13–16."""
    pw, pl, gamma, m = positive("pi_w pi_l gamma m")
    gap = real("gap")
    return prove_equal(
        "one-pair",
        "gap + c(w)/pi(w) - c(l)/pi(l) = gap + gamma m (1/pi(w) + 1/pi(l))",
        (
            penalty_formulas.implicit_gap(gap, gamma * m, -gamma * m, pw, pl),
            penalty_formulas.printed_gap(gap, gamma, m, pw, pl),
        ),
    )


def second_order() -> list[Evidence]:
    """When diag(h), h = β/π + c/π², is positive on Σ v = 0, so that the point is a local maximum.

    If all h > 0; or if one h(j) < 0 and Σ 1/h < 0: v(j) = −Σ v, and by Cauchy–Schwarz
    (Σ v)² ≤ Σ h v² Σ 1/h over the others.
    """
    p, reward, c = real("log_ref r c")
    prob, beta, hi, hj = positive("p beta h_i h_j")
    vi, vj = real("v_i v_j")
    slope = penalty_formulas.penalty_slope(SYMPY, prob, p, reward, beta, c)
    return [
        prove_equal(
            "second-order",
            "-d2F/dpi2 = beta/pi + c/pi^2 = (beta pi + c)/pi^2",
            (-sp.diff(slope, prob), (beta * prob + c) / prob**2),
        ),
        prove_equal(
            "cauchy-schwarz",
            "h_i v_i^2/h_j + h_j v_j^2/h_i - 2 v_i v_j is a square over h_i h_j",
            (
                hi * vi**2 / hj + hj * vj**2 / hi - 2 * vi * vj,
                (hi * vi - hj * vj) ** 2 / (hi * hj),
            ),
        ),
    ]


def least_push() -> list[Evidence]:
    """a/π(w) + b/π(l) ≥ (√a + √b)²/(π(w) + π(l)) ≥ (√a + √b)²; with a = b = γm this is 4γm."""
    pw, pl, rest = positive("pi_w pi_l rest")
    a, b = sp.symbols("sqrt_a sqrt_b", nonnegative=True)
    total = pw + pl
    square = (a * pl - b * pw) ** 2 / (pw * pl * total)
    whole = pw + pl + rest
    return [
        prove_equal(
            "least-push",
            "a/pi(w) + b/pi(l) - (sqrt a + sqrt b)^2/(pi(w) + pi(l)) is a square",
            (a**2 / pw + b**2 / pl - (a + b) ** 2 / total, square),
        ),
        prove_equal(
            "push-grows",
            "1/(pi(w) + pi(l)) - 1 is the others' share over that of the pair, hence >= 0",
            (1 / ((pw + pl) / whole) - 1, rest / (pw + pl)),
        ),
        prove_positive("push-grows", "(> 0 if there are others)", rest / (pw + pl)),
    ]


def aligned_beyond() -> list[Evidence]:
    """βδ = βδ* + push with push ≥ γs and γs ≥ −βδ* gives δ ≥ 0; any excess makes it positive."""
    star = real("delta_star")
    beta, s, push, excess, gamma = positive("beta s push excess gamma")
    at_least = -beta * star / s
    return [
        prove_equal(
            "aligned-beyond",
            "beta delta* + (gamma s + push) = s (gamma - gamma*) + push, gamma* = -beta delta*/s",
            (beta * star + (gamma * s + push), s * (gamma - at_least) + push),
        ),
        prove_positive("aligned-strictly", "> 0 as soon as gamma > gamma*", s * excess, push),
    ]


def idle_pair() -> Evidence:
    """A pair between two responses of net degree zero is not moved: δ = δ*, whatever γ."""
    pw, pl = positive("pi_w pi_l")
    gap, zero = real("gap"), sp.S.Zero
    return prove_equal(
        "idle-pair",
        "gap + 0/pi(w) - 0/pi(l) = gap: beta x = gap, so delta = delta*",
        (as_written(lambda: penalty_formulas.implicit_gap(gap, zero, zero, pw, pl)), gap),
    )


def branch_slopes() -> list[Evidence]:
    """How log π moves with γ along a branch of stationary points: h π′ = d/π + κ′, Σ π′ = 0."""
    gamma, beta, prob = positive("gamma beta p")
    star, d, rate, common = real("log_star d v kappa_rate")
    moving = sp.Function("p", positive=True)(gamma)
    condition = beta * (sp.log(moving) - star) - gamma * d / moving
    slope = sp.diff(condition, gamma).subs(sp.diff(moving, gamma), rate).subs(moving, prob)
    h = beta / prob + gamma * d / prob**2
    start = as_written(lambda: (common + d / prob) / (beta / prob) / prob)
    return [
        prove_equal(
            "branch-slope",
            "d/dgamma of beta log(pi/pi*) - gamma d/pi is h pi' - d/pi",
            (slope, h * rate - d / prob),
        ),
        prove_equal(
            "initial-slope",
            "at gamma = 0, h = beta/pi: (log pi)' = (d/pi + a constant)/beta",
            (start, (common + d / prob) / beta),
        ),
    ]


def mean_rises() -> list[Evidence]:
    """d/dγ Σ m δ = Σ (d/π) π′ = Σ h π′² − κ′ Σ π′ = Σ h π′² ≥ 0 at a local maximum."""
    h, rate, common = real("h v kappa_rate")
    prob, size = positive("p kappa_size")
    return [
        prove_equal(
            "mean-margin-slope",
            "(d/pi) pi' = h pi'^2 - kappa' pi', where h pi' = d/pi + kappa'",
            ((h * rate - common) * rate, h * rate**2 - common * rate),
        ),
        prove_positive(
            "mean-margin-strict",
            "pi' = 0 would need d = -kappa' pi, of one sign: no sum to zero but by d = 0",
            size * prob,
        ),
    ]


def _odds(t: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
    """Return π(y) and 1 − π(y) at log-odds t against y."""
    return 1 / (1 + sp.exp(t)), 1 / (1 + sp.exp(-t))
