"""Steps that several proofs share. Each function returns the evidence for one named step.

Symbols: p and s are log π_ref and r of a response, c is log Z; a is Δr, z = βx (arXiv:2605.20834,
section 2).
"""

from __future__ import annotations

import itertools
import math

import sympy as sp

from prefeq.claims import exact_graphs, formulas
from prefeq.claims.evidence import Evidence, outcome_of
from prefeq.claims.symbolic import (
    SYMPY,
    as_written,
    positive,
    prove_equal,
    prove_limit,
    prove_positive,
    real,
)


def rlhf_closed_form() -> Evidence:
    """J(π) = β log Z − β KL(π‖π*), response by response, for any number of responses."""
    logp, p, reward, logz = real("logp p r logZ")
    beta = positive("beta")
    optimal = p + reward / beta - logz
    return prove_equal(
        "gibbs-identity",
        "r - beta log(pi/ref) = beta log Z - beta log(pi/pi*) at every response",
        (reward - beta * (logp - p), beta * logz - beta * (logp - optimal)),
    )


def gibbs_inequality() -> list[Evidence]:
    """KL > 0 unless the policies are equal: t log t − t + 1 is strictly convex, least at t = 1."""
    t = positive("t")
    phi = t * sp.log(t) - t + 1
    slope = sp.diff(phi, t)
    at_one = [(as_written(lambda f=f: f.xreplace({t: sp.S.One})), 0) for f in (phi, slope)]  # type: ignore[misc]
    step = "gibbs-inequality"
    return [
        prove_equal(step, "phi(1) = phi'(1) = 0 for phi(t) = t log t - t + 1", *at_one),
        prove_positive(step, "phi'' > 0, so KL = sum pi* phi(pi/pi*) > 0", sp.diff(phi, t, 2)),
        prove_limit(step, "phi -> 1 > 0 where pi vanishes", phi, t, 0, 1),
    ]


def rlhf_margin_identity() -> Evidence:
    """log π*(w) − log π*(l) = δ_ref + Δr/β: the normaliser cancels."""
    pw, pl, rw, rl, logz = real("p_w p_l r_w r_l logZ")
    beta = positive("beta")
    margin = as_written(lambda: (pw + rw / beta - logz) - (pl + rl / beta - logz))
    return prove_equal(
        "margin-identity",
        "log pi*(w) - log pi*(l) = delta_ref + gap/beta",
        (margin, formulas.rlhf_margin(pw - pl, rw - rl, beta)),
    )


def rlhf_attains() -> Evidence:
    """At π* the implicit reward margin of every pair is its reward gap: βx = Δr."""
    pw, pl, rw, rl, logz = real("p_w p_l r_w r_l logZ")
    beta = positive("beta")
    x = as_written(lambda: ((pw + rw / beta - logz) - (pl + rl / beta - logz)) - (pw - pl))
    return prove_equal(
        "rlhf-attains", "beta x = gap at pi*, on every pair at once", (beta * x, rw - rl)
    )


def edge_minimiser() -> list[Evidence]:
    """A Bradley–Terry pair's population loss has exactly one minimiser in z = βx: z = Δr."""
    z, a, q, delta, delta_ref = real("z a q delta delta_ref")
    beta = positive("beta")
    step = "edge-minimiser"
    loss = formulas.pair_loss(SYMPY, z, 0, 1, formulas.sigmoid(SYMPY, a))
    at_gap = sp.diff(loss, z).subs(z, a)
    slope = sp.diff(formulas.pair_loss(SYMPY, delta, delta_ref, beta, q), delta)
    closed = formulas.pair_gradient(SYMPY, delta, delta_ref, beta, q)
    return [
        prove_equal(step, "the pair's slope is zero at beta x = gap", (at_gap, 0)),
        prove_equal(step, "dL/ddelta = beta (sigma(beta x) - q)", (slope, closed)),
        prove_positive(step, "L'' > 0 for every q: one minimiser", curvature(z, q)),
    ]


def curvature(z: sp.Expr, q: sp.Expr) -> sp.Expr:
    """Return the second derivative of the pair loss in z = βx."""
    loss = formulas.pair_loss(SYMPY, z, 0, 1, q)
    return sp.factor(sp.simplify(sp.diff(loss, z, 2)))


def convex_and_smooth() -> list[Evidence]:
    """0 < L″ ≤ ¼ in z, and z is linear in the logits: gradient descent reaches a minimiser.

    Gradient descent on a convex function of Lipschitz gradient, with steps below 2/Lipschitz,
    converges to a minimiser if there is one, and L(θ_T) ≤ L(θ) + |θ − θ_0|²/(2ηT) for every θ if
    η ≤ 1/Lipschitz (Nesterov, Introductory Lectures on Convex Optimization, section 2.1.5).
    """
    z, q, tw, tl, pw, pl, lse, lse_ref = real("z q theta_w theta_l p_w p_l lse lse_ref")
    sigma = formulas.sigmoid(SYMPY, z)
    x = as_written(lambda: ((tw - lse) - (tl - lse)) - ((pw - lse_ref) - (pl - lse_ref)))
    half = sp.Rational(1, 2)
    step = "descent-converges"
    return [
        prove_equal(
            step,
            "x = (theta - theta_ref)(w) - (theta - theta_ref)(l): linear in logits",
            (x, as_written(lambda: (tw - pw) - (tl - pl))),
        ),
        prove_equal(
            step,
            "1/4 - L'' = (sigma - 1/2)^2 >= 0: curvature at most beta^2 m / 4",
            (sp.Rational(1, 4) - curvature(z, q), (sigma - half) ** 2),
        ),
        prove_positive(
            step, "L'' > 0: convex, so descent reaches a minimiser (Nesterov)", curvature(z, q)
        ),
    ]


def conserved_logits() -> Evidence:
    """Descent never moves a component's logit sum: a pair pushes w up by what it pushes l down."""
    q, tw, tl, pw, pl = real("q theta_w theta_l p_w p_l")
    loss = formulas.pair_loss(SYMPY, tw - tl, pw - pl, positive("beta"), q)
    slopes = sp.diff(loss, tw), sp.diff(loss, tl)
    return prove_equal(
        "conserved-logits",
        "dL/dtheta_w + dL/dtheta_l = 0 on every pair",
        (as_written(lambda: slopes[0] + slopes[1]), 0),
    )


def normalisation() -> Evidence:
    """Log-policies that differ by a constant are equal: log Σ e^{f + c} = c + log Σ e^f."""
    c, total = real("c"), positive("S")
    return prove_equal(
        "normalisation",
        "log(e^c S) - log S = c: a constant shift of a normalised log-policy is zero",
        (sp.log(sp.exp(c) * total) - sp.log(total), c),
    )


def incidence_kernel(largest: int = 5) -> Evidence:
    """Pair margins fix log π up to one constant a component: rank = K − components.

    For any K: margins telescope along a path, f(a) − f(c) = (f(a) − f(b)) + (f(b) − f(c)), so all
    margins zero means f constant on every component, and such f have zero margins. The kernel has
    the dimension of the number of components. All small graphs are counted besides.
    """
    count = connected = 0
    good = True
    for size in range(1, largest + 1):
        for edges in exact_graphs.graphs(size):
            parts = len(set(exact_graphs.components(size, edges)))
            rank = exact_graphs.incidence_rank(size, edges)
            good &= rank == size - parts
            count, connected = count + 1, connected + (parts == 1)
    good &= count == sum(2 ** math.comb(size, 2) for size in range(1, largest + 1))
    return Evidence(
        "exact",
        "any K: margins telescope along paths, (f_a - f_b) + (f_b - f_c) = f_a - f_c, so they "
        "vanish iff f is constant on every component: rank = K - components; computed, too, on "
        f"all {count} graphs up to K={largest}, {connected} of them connected",
        outcome_of(good),
        "incidence-kernel",
        {"inputs": {"largest_K": largest}, "count": count, "connected": connected},
    )


def acyclic_heights(largest: int = 4) -> Evidence:
    """An acyclic order has heights that rise by at least 1 along every pair.

    For any K: without a cycle a path visits no response twice, so there is a longest one down from
    each; its number of pairs is the height. A pair w ≻ l put before the longest path down from l
    is a path down from w. All small orders are counted besides.
    """
    count, seen, good = 0, 0, True
    for size in range(2, largest + 1):
        for edges in exact_graphs.digraphs(size):
            seen += 1
            reach = exact_graphs.reachable(size, edges)
            cyclic = any(reach[loser][winner] for winner, loser in edges)
            height = exact_graphs.heights(size, edges)
            good &= cyclic == (height is None)
            if height is not None:
                good &= all(height[w] >= height[lo] + 1 for w, lo in edges)
                count += 1
    good &= seen == sum(4 ** math.comb(size, 2) for size in range(2, largest + 1))
    return Evidence(
        "exact",
        "any K: the height of a response is the length of the longest path down from it (finite "
        "without a cycle), and w > l before that of l is a path from w, one longer; computed, "
        f"too, on all {count} acyclic orders up to K={largest}, and no other order has heights",
        outcome_of(good),
        "acyclic-heights",
        {"inputs": {"largest_K": largest}, "count": count},
    )


def ordered_slope() -> list[Evidence]:
    """Along the heights the loss of ordered pairs falls at every policy, and tends to zero."""
    delta, delta_ref = real("delta delta_ref")
    beta, rise, time = positive("beta rise t")
    loss = formulas.pair_loss(SYMPY, delta + time * rise, delta_ref, beta)
    falling = -sp.diff(loss, time).subs(time, 0)
    start = formulas.pair_loss(SYMPY, time, 0, 1)
    return [
        prove_positive("ordered-slope", "-dL/dt > 0 on every pair along the heights", falling),
        prove_limit("ordered-limit", "the loss tends to 0 along them", start, time, sp.oo, 0),
    ]


def descent_aligns() -> list[Evidence]:
    """On ordered pairs without a cycle L → 0 along the descent, so every pair ends with δ > 0.

    A pair whose term m·L_k is below m·softplus(βδ_ref) has δ > 0.
    """
    return [
        *convex_and_smooth(),
        acyclic_heights(),
        *ordered_slope(),
        *ordered_loss_falls(),
    ]


def cycle_sum(largest: int = 6) -> Evidence:
    """Margins around a directed cycle sum to zero, so they cannot all be positive."""
    sums = []
    for size in range(2, largest + 1):
        f = sp.symbols(f"f0:{size}", real=True)
        around = list(itertools.pairwise((*f, f[0])))
        sums.append((as_written(lambda around=around: sum(a - b for a, b in around)), 0))  # type: ignore[misc]
    return prove_equal(
        "cycle-sum",
        "margins around a cycle telescope to 0, as each response comes once with + and once with "
        f"- (spelled out for 2 to {largest})",
        *sums,
    )


def linear_constraint() -> Evidence:
    """δ ≥ m is linear in π: log π(w) − log π(l) ≥ m iff π(w) − e^m π(l) ≥ 0, as e^t increases."""
    pw, pl = positive("pi_w pi_l")
    m = real("m")
    excess = sp.log(pw) - sp.log(pl) - m
    return prove_equal(
        "linear-constraint",
        "pi(w) - e^m pi(l) = pi(l) e^m (e^(delta - m) - 1), of the sign of delta - m",
        (pw - sp.exp(m) * pl, pl * sp.exp(m) * (as_written(lambda: sp.exp(excess)) - 1)),
    )


def ordered_loss_falls() -> list[Evidence]:
    """The ordered pair's loss falls strictly, from ln 2 at δ_ref to softplus(βδ_ref) at δ = 0."""
    delta, delta_ref = real("delta delta_ref")
    beta = positive("beta")
    loss = formulas.pair_loss(SYMPY, delta, delta_ref, beta)
    low, high = formulas.certificate(SYMPY, delta_ref, beta)
    start = as_written(lambda: formulas.pair_loss(SYMPY, delta_ref, delta_ref, beta))
    end = as_written(lambda: formulas.pair_loss(SYMPY, 0, delta_ref, beta))
    return [
        prove_positive("loss-decreases", "dL/ddelta < 0 everywhere", -sp.diff(loss, delta)),
        prove_equal("loss-at-reference", "L = ln 2 at pi_ref", (start, high)),
        prove_equal("loss-at-zero", "L = softplus(beta delta_ref) at delta = 0", (end, low)),
    ]
