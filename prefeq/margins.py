"""The margin calculus: everything the paper says of one preference pair, as pure functions.

Notation, per pair of a winner w and a loser l: the policy margin δ = log π(w) − log π(l), the
reference margin δ_ref, the reward gap Δr = r(w) − r(l) and β > 0; all in nats (Δr in units of
reward). The RLHF optimum has margin δ* = δ_ref + Δr/β. Source: arXiv:2605.20834.

Every function takes Python numbers or arrays of any library that follows the array API standard
(NumPy, torch, …), broadcasts them, computes in float64 on the device of the arrays, and returns
an array of that library. Margins of ±800 nats and β from 1e-6 to 1e6 are ordinary input. Infinite
margins give the limit where there is one. A NaN raises `ProblemError`, and so does an expression
that has no limit, such as the margin between two responses of probability zero: no function
returns a NaN.
"""

from __future__ import annotations

from typing import Any

from prefeq import _elementary as elementary
from prefeq._namespace import LN2, Array, answer, quiet, real, require, require_positive, scalar
from prefeq._penalty import penalty_critical_gamma, penalty_fold, penalty_margin
from prefeq.errors import ProblemError

__all__ = [
    "assumption_holds",
    "critical_gap",
    "critical_label_prob",
    "exit_steps_bounds",
    "exit_time",
    "hinge_gap",
    "log_exit_time",
    "log_sigmoid",
    "logit",
    "margin",
    "margin_lower_bound",
    "misaligned_share_bound",
    "optimal_margin",
    "penalty_critical_gamma",
    "penalty_fold",
    "penalty_margin",
    "price_of_alignment",
    "relative_margin",
    "sigmoid",
    "softplus",
    "undesirable",
    "undesirable_from_loss",
]


@quiet
def softplus(z: Array) -> Array:
    """Return log(1 + e^z) = max(z, 0) + log1p(e^−|z|), accurate in both tails.

    >>> float(softplus(0.0)), float(softplus(-800.0)), float(softplus(800.0))
    (0.6931471805599453, 0.0, 800.0)
    """
    xp, z = real(z=z)
    return answer(xp, "softplus", elementary.softplus(xp, z))


@quiet
def sigmoid(z: Array) -> Array:
    """Return the logistic function 1/(1 + e^−z), accurate in both tails.

    >>> float(sigmoid(0.0)), float(sigmoid(-700.0))
    (0.5, 9.85967654375977e-305)
    """
    xp, z = real(z=z)
    return answer(xp, "sigmoid", elementary.sigmoid(xp, z))


@quiet
def log_sigmoid(z: Array) -> Array:
    """Return log σ(z) = −softplus(−z).

    >>> float(log_sigmoid(-800.0))
    -800.0
    """
    xp, z = real(z=z)
    return answer(xp, "log_sigmoid", -elementary.softplus(xp, -z))


@quiet
def logit(prob: Array) -> Array:
    """Return log(q/(1 − q)), the log-odds of a label of probability q; ±inf at 1 and 0.

    >>> float(logit(0.5)), float(logit(1.0))
    (0.0, inf)
    """
    xp, prob = real(prob=prob)
    inside = xp.logical_and(prob >= 0, prob <= 1)
    require(xp, "prob", prob, inside, "a label probability must be in [0, 1]")
    # Near ½ the two logarithms cancel: 2 atanh(2q − 1) does not, as 2q − 1 is exact there.
    middle = 2 * xp.atanh(2 * prob - 1)
    tails = xp.log(prob) - xp.log1p(-prob)
    return answer(xp, "logit", xp.where(xp.abs(prob - 0.5) < 0.25, middle, tails))


@quiet
def margin(logp_winner: Array, logp_loser: Array) -> Array:
    """Return δ = log π(w) − log π(l), in nats.

    A response of probability zero (−inf) gives ±inf; two of them have no margin.

    Raises
    ------
    ProblemError
        If both log-probabilities of a pair are −inf.

    >>> float(margin(-1.0, -3.5))
    2.5
    """
    xp, winner, loser = real(logp_winner=logp_winner, logp_loser=logp_loser)
    return answer(xp, "margin", winner - loser)


@quiet
def relative_margin(margin: Array, ref_margin: Array) -> Array:
    """Return x = δ − δ_ref; β·x is the implicit reward margin of DPO.

    >>> float(relative_margin(-1.0, -3.0))
    2.0
    """
    xp, margin, ref_margin = real(margin=margin, ref_margin=ref_margin)
    return answer(xp, "relative margin", margin - ref_margin)


@quiet
def optimal_margin(ref_margin: Array, reward_gap: Array, beta: Array) -> Array:
    """Return δ* = δ_ref + Δr/β, the margin of the RLHF optimum.

    >>> float(optimal_margin(-3.0, 1.0, 0.5))
    -1.0
    """
    xp, ref_margin, gap, beta = real(ref_margin=ref_margin, reward_gap=reward_gap, beta=beta)
    require_positive(xp, beta=beta)
    return answer(xp, "optimal margin", ref_margin + gap / beta)


@quiet
def assumption_holds(
    ref_margin: Array, reward_gap: Array, beta: Array, strict: bool = True
) -> Array:
    """Tell, pair by pair, whether Assumption 3.1 of arXiv:2605.20834 holds: δ* > 0.

    Decided as Δr > −β·δ_ref with a single rounding, that of the product: a strict ``True`` is
    true of the given floats, and so is a weak ``False``; only an equality can be one of floats
    alone.

    Parameters
    ----------
    ref_margin, reward_gap, beta
        δ_ref in nats, Δr and β > 0; they broadcast.
    strict
        The assumption as printed, δ* > 0; otherwise δ* ≥ 0, the exact condition for the
        constrained program with zero margins to equal RLHF.

    >>> [bool(assumption_holds(-1.0, gap, 1.0)) for gap in (0.5, 1.0, 1.5)]
    [False, False, True]
    """
    xp, ref_margin, gap, beta = real(ref_margin=ref_margin, reward_gap=reward_gap, beta=beta)
    require_positive(xp, beta=beta)
    critical = -beta * ref_margin
    # Opposite infinities have no sum; finite inputs that overflow the product do have a sign.
    answer(xp, "optimal margin", xp.where(xp.isinf(ref_margin), ref_margin + gap, ref_margin))
    return scalar(gap > critical if strict else gap >= critical)


@quiet
def critical_gap(ref_margin: Array, beta: Array) -> Array:
    """Return −β·δ_ref: the assumption holds iff the reward gap exceeds it.

    >>> float(critical_gap(-3.0, 0.5))
    1.5
    """
    xp, ref_margin, beta = real(ref_margin=ref_margin, beta=beta)
    require_positive(xp, beta=beta)
    return answer(xp, "critical gap", -beta * ref_margin)


@quiet
def critical_label_prob(ref_margin: Array, beta: Array) -> Array:
    """Return σ(−β·δ_ref): how sure a Bradley–Terry label must be for the assumption to hold.

    >>> float(critical_label_prob(0.0, 0.1))
    0.5
    """
    xp, ref_margin, beta = real(ref_margin=ref_margin, beta=beta)
    require_positive(xp, beta=beta)
    return answer(xp, "critical label probability", elementary.sigmoid(xp, -beta * ref_margin))


@quiet
def undesirable(margin: Array, ref_margin: Array) -> Array:
    """Tell whether the policy is in U: δ_ref < δ < 0, better than the reference and still wrong.

    >>> [bool(undesirable(d, -2.0)) for d in (-3.0, -1.0, 0.0)]
    [False, True, False]
    """
    xp, margin, ref_margin = real(margin=margin, ref_margin=ref_margin)
    return scalar(xp.logical_and(ref_margin < margin, margin < 0))


@quiet
def undesirable_from_loss(loss: Array, ref_margin: Array, beta: Array) -> Array:
    """Tell from the DPO loss alone whether the policy is in U: softplus(β·δ_ref) < L < ln 2.

    Exact for the loss L = softplus(−β(δ − δ_ref)) of one ordered pair (not for soft labels). As
    certificates go it is as fine as the loss: it cannot tell margins whose losses round to the
    same float, and beyond β(δ − δ_ref) ≈ 745 the loss of every margin is 0.

    >>> float(softplus(-1.0)), bool(undesirable_from_loss(0.3132, -2.0, 1.0))
    (0.31326168751822286, True)
    """
    xp, loss, ref_margin, beta = real(loss=loss, ref_margin=ref_margin, beta=beta)
    require_positive(xp, beta=beta)
    require(xp, "loss", loss, loss >= 0, "a DPO loss is never negative")
    return scalar(xp.logical_and(elementary.softplus(xp, beta * ref_margin) < loss, loss < LN2))


@quiet
def exit_time(
    ref_margin: Array, beta: Array, target: Array | None = None, mass: Array = 1.0
) -> Array:
    """Return the time that gradient flow from the reference needs to reach δ = 0, leaving U.

    For softmax logits, any number of responses, one ordered pair of mass m and the loss
    m·softplus(−β(δ − t)):

        T = (e^u₁ + u₁ − e^u₀ − u₀) / (2β²m),   u₀ = β(δ_ref − t),   u₁ = −βt.

    Zero where δ_ref ≥ 0; +inf where it overflows (`log_exit_time` does not).

    Parameters
    ----------
    ref_margin, beta, mass
        δ_ref in nats, β > 0 and m > 0.
    target
        The target margin t; by default δ_ref, which is DPO: T = (e^u + u − 1)/(2β²m) with
        u = −βδ_ref.

    >>> float(exit_time(-3.0, 1.0)), float(exit_time(-3.0, 1.0, target=0.0))
    (11.042768461593834, 1.975106465816068)
    """
    xp, distance, u1, beta, mass = _exit(ref_margin, beta, target, mass)
    # e^u₁ − e^u₀ = e^u₁ (1 − e^−distance) overflows only when the time does.
    twice = distance + xp.exp(u1) * -xp.expm1(-distance)
    time = twice / beta / beta / mass / 2
    return answer(xp, "exit time", xp.where(distance > 0, time, xp.zeros_like(time)))


@quiet
def log_exit_time(
    ref_margin: Array, beta: Array, target: Array | None = None, mass: Array = 1.0
) -> Array:
    """Return the logarithm of `exit_time`: finite at hundreds of nats, −inf where δ_ref ≥ 0.

    >>> round(float(log_exit_time(-800.0, 1.0)), 6)
    799.306853
    """
    xp, distance, u1, beta, mass = _exit(ref_margin, beta, target, mass)
    twice = xp.logaddexp(xp.log(distance), u1 + elementary.log1mexp(xp, distance))
    log_time = twice - 2 * xp.log(beta) - xp.log(mass) - LN2
    nothing = xp.full_like(log_time, -float("inf"))
    return answer(xp, "log exit time", xp.where(distance > 0, log_time, nothing))


@quiet
def exit_steps_bounds(
    ref_margin: Array,
    beta: Array,
    step_size: Array,
    mass: Array = 1.0,
    target: Array | None = None,
) -> tuple[Array, Array]:
    """Return bounds (low, high) on the number of gradient steps until δ ≥ 0.

    With T = `exit_time` and steps of size η on softmax logits, low ≤ N ≤ high, where
    low = (T/η)·exp(−2ηmβ²σ(−u₀)) and high = ⌈T/η⌉ (up to the rounding of T/η); for DPO u₀ = 0
    and the exponent is −ηmβ². Both are floats, as counts beyond 2⁵³ occur.

    >>> low, high = exit_steps_bounds(-3.0, 1.0, 0.1)
    >>> round(float(low), 3), float(high)
    (99.919, 111.0)
    """
    xp, ref_margin, beta, step, mass = real(
        ref_margin=ref_margin, beta=beta, step_size=step_size, mass=mass
    )
    require_positive(xp, beta=beta, step_size=step, mass=mass)
    steps = exit_time(ref_margin, beta, target, mass) / step
    u0 = xp.zeros_like(ref_margin)
    if target is not None:
        xp, ref_margin, target = real(ref_margin=ref_margin, target=target)
        u0 = answer(xp, "ref_margin - target", beta * (ref_margin - target))
    shrink = -2 * step * mass * beta * beta * elementary.sigmoid(xp, -u0)
    # Where T/η overflows its product with a tiny factor may not.
    log_low = log_exit_time(ref_margin, beta, target, mass) - xp.log(step) + shrink
    low = xp.where(xp.isinf(steps), xp.exp(log_low), steps * xp.exp(shrink))
    return answer(xp, "steps", low), answer(xp, "steps", xp.ceil(steps))


@quiet
def margin_lower_bound(loss: Array, target: Array, beta: Array) -> Array:
    """Return the margin that a loss certifies: softplus(−β(δ − t)) ≤ ℓ iff δ ≥ t − log(e^ℓ − 1)/β.

    A loss of exactly 0 gives +inf and an infinite one −inf. A loss of at most ln 2 certifies
    δ ≥ t.

    Parameters
    ----------
    loss, target, beta
        ℓ ≥ 0 in nats, the target margin t (δ_ref for DPO) and β > 0.

    >>> round(float(margin_lower_bound(0.1, -3.0, 1.0)), 6)
    -0.747832
    """
    xp, loss, target, beta = real(loss=loss, target=target, beta=beta)
    require_positive(xp, beta=beta)
    require(xp, "loss", loss, loss >= 0, "a loss of this family is never negative")
    return answer(xp, "margin bound", target - (loss + elementary.log1mexp(xp, loss)) / beta)


@quiet
def misaligned_share_bound(mean_loss: Array, target: Array, beta: Array) -> Array:
    """Return an upper bound on the share of pairs with δ ≤ 0, from the mean loss alone.

    Markov's inequality: a pair with δ ≤ 0 has a loss of at least softplus(βt), hence
    share ≤ mean L / min softplus(βt), clipped to 1. The minimum is taken over all entries of
    `target` and `beta`; the ratio is formed in log space, so that it holds at 800 nats.

    >>> float(misaligned_share_bound(0.1, 0.0, 1.0))
    0.14426950408889638
    """
    xp, mean_loss, target, beta = real(mean_loss=mean_loss, target=target, beta=beta)
    require_positive(xp, beta=beta)
    require(xp, "mean_loss", mean_loss, mean_loss >= 0, "a loss of this family is never negative")
    scaled = beta * target
    if 0 in scaled.shape:
        raise ProblemError("target is empty: there is no pair whose share could be bounded")
    least = xp.min(scaled)
    # log softplus(z) is z to within e^z/2 below −37, where softplus itself starts to underflow.
    log_least = xp.where(least < -37, least, xp.log(elementary.softplus(xp, least)))
    log_mean = xp.log(mean_loss)
    share = xp.exp(log_mean - log_least)
    return answer(xp, "share", xp.where(log_mean < log_least, share, xp.ones_like(share)))


@quiet
def hinge_gap(margin: Array, ref_margin: Array, beta: Array) -> Array:
    """Return softplus(βa)/β − max(0, a) with a = δ_ref − δ: how far DPO/β is from its hinge.

    Equal to log1p(e^{−β|a|})/β, hence between 0 and ln 2/β, the latter at a = 0 (Prop. 5.1).

    >>> round(float(hinge_gap(-1.0, -1.0, 2.0)), 6)
    0.346574
    """
    xp, margin, ref_margin, beta = real(margin=margin, ref_margin=ref_margin, beta=beta)
    require_positive(xp, beta=beta)
    distance = answer(xp, "relative margin", xp.abs(ref_margin - margin))
    return answer(xp, "hinge gap", xp.log1p(xp.exp(-beta * distance)) / beta)


@quiet
def price_of_alignment(optimal_margin: Array, beta: Array) -> Array:
    """Return what alignment costs in J: J(π*) − J(π_CPO) for two responses and δ ≥ 0.

    β log cosh(δ*/2) where δ* < 0, as CPO then answers (½, ½); 0 where the RLHF optimum is aligned
    by itself. About β|δ*|/2 − β ln 2 far out and βδ*²/8 near zero, each without cancellation.

    Parameters
    ----------
    optimal_margin, beta
        δ* in nats (see `optimal_margin`) and β > 0.

    >>> float(price_of_alignment(-2.0, 1.0)), float(price_of_alignment(2.0, 1.0))
    (0.4337808304830272, 0.0)
    """
    xp, star, beta = real(optimal_margin=optimal_margin, beta=beta)
    require_positive(xp, beta=beta)
    half = -xp.minimum(star, xp.zeros_like(star)) / 2
    near = xp.minimum(half, xp.ones_like(half))
    small = xp.log1p(2 * xp.sinh(near / 2) ** 2)
    large = half - LN2 + xp.log1p(xp.exp(-2 * half))
    return answer(xp, "price of alignment", beta * xp.where(half < 1, small, large))


def _exit(ref_margin: Array, beta: Array, target: Array | None, mass: Array) -> tuple[Any, ...]:
    """Check the arguments of an exit time; return the namespace, u₁ − u₀, u₁, β and m."""
    given = {"ref_margin": ref_margin, "beta": beta, "mass": mass}
    if target is not None:
        given["target"] = target
    xp, ref_margin, beta, mass, *rest = real(**given)
    require_positive(xp, beta=beta, mass=mass)
    distance = -beta * ref_margin
    return xp, distance, (-beta * rest[0] if rest else distance), beta, mass
