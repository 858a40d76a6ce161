"""Losses of preference pairs and their gradients to any number of digits, for the oracle table.

Written anew from the formulas, not from the code of `prefeq.losses` or of TRL; every expression is
stable in both tails, since working precision alone does not help log(1 + e^−1600).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import mpmath

Number: TypeAlias = Any
"""An `mpmath.mpf`."""


class Pair(NamedTuple):
    """One pair in exact numbers: log-probs are sums over tokens, in nats."""

    chosen: Number
    rejected: Number
    ref_chosen: Number
    ref_rejected: Number
    chosen_tokens: int
    rejected_tokens: int


class Answer(NamedTuple):
    """The mean loss of a batch, and its derivatives by the policy's log-probs of each pair."""

    value: Number
    chosen: list[Number]
    rejected: list[Number]


Parameters: TypeAlias = dict[str, Number]
Formula: TypeAlias = Callable[[Sequence[Pair], Number, Parameters], Answer]


def softplus(z: Number) -> Number:
    """Return log(1 + e^z)."""
    return max(z, mpmath.mpf(0)) + mpmath.log1p(mpmath.exp(-abs(z)))


def sigmoid(z: Number) -> Number:
    """Return 1/(1 + e^−z)."""
    small = mpmath.exp(-abs(z))
    return (1 if z >= 0 else small) / (1 + small)


# --- functions ℓ(z) of one number, as (value, slope) ---------------------------------------------

Scalar: TypeAlias = Callable[[Number, Parameters], tuple[Number, Number]]


def logistic(z: Number, p: Parameters) -> tuple[Number, Number]:
    """−log σ(z)."""
    return softplus(-z), -sigmoid(-z)


def hinge(z: Number, p: Parameters) -> tuple[Number, Number]:
    """max(0, 1 − z); at the kink the slope to its right."""
    return (1 - z, mpmath.mpf(-1)) if z < 1 else (mpmath.mpf(0), mpmath.mpf(0))


def square(z: Number, p: Parameters) -> tuple[Number, Number]:
    """(z − ½)²."""
    return (z - 0.5) ** 2, 2 * (z - 0.5)


def smoothed(z: Number, p: Parameters) -> tuple[Number, Number]:
    """−(1 − ε) log σ(z) − ε log σ(−z)."""
    e = p["label_smoothing"]
    return (1 - e) * softplus(-z) + e * softplus(z), e * sigmoid(z) - (1 - e) * sigmoid(-z)


def unbiased(z: Number, p: Parameters) -> tuple[Number, Number]:
    """(−(1 − ε) log σ(z) + ε log σ(−z))/(1 − 2ε)."""
    e = p["label_smoothing"]
    value, slope = (1 - e) * softplus(-z) - e * softplus(z), -(1 - e) * sigmoid(-z) - e * sigmoid(z)
    return value / (1 - 2 * e), slope / (1 - 2 * e)


def divergence(z: Number, p: Parameters) -> tuple[Number, Number]:
    """KL(p‖q) of p = (σ(z), σ(−z)) from q = (1 − ε, ε)."""
    e = p["label_smoothing"]
    first, second = sigmoid(z), sigmoid(-z)
    wins, loses = -softplus(-z) - mpmath.log(1 - e), -softplus(z) - mpmath.log(e)
    return first * wins + second * loses, first * second * (wins - loses)


def discovered(z: Number, p: Parameters) -> tuple[Number, Number]:
    """(1 − m)·softplus(−z) + m·e^−z with m = σ(z/τ)."""
    m, rest = sigmoid(z / p["discopop_tau"]), sigmoid(-z / p["discopop_tau"])
    soft, steep = softplus(-z), mpmath.exp(-z)
    bend = m * rest / p["discopop_tau"]
    return rest * soft + m * steep, bend * (steep - soft) - rest * sigmoid(-z) - m * steep


# --- losses of pairs -----------------------------------------------------------------------------


def ratios(pair: Pair) -> tuple[Number, Number]:
    """Return log π/π_ref of the chosen and of the rejected response."""
    return pair.chosen - pair.ref_chosen, pair.rejected - pair.ref_rejected


def averaged(pair: Pair) -> Pair:
    """Return the pair with log-probs a token."""
    n, m = pair.chosen_tokens, pair.rejected_tokens
    return Pair(
        pair.chosen / n, pair.rejected / m, pair.ref_chosen / n, pair.ref_rejected / m, n, m
    )


def of_difference(scalar: Scalar, per_token: bool = False) -> Formula:
    """ℓ(β(δ − δ_ref)), of sums or of means over tokens."""
    return of_target(scalar, lambda pair, beta, p: pair.ref_chosen - pair.ref_rejected, per_token)


def of_target(
    scalar: Scalar,
    target: Callable[[Pair, Number, Parameters], Number],
    per_token: bool = False,
    beta_power: int = 0,
) -> Formula:
    """β^k ℓ(β(δ − t))."""

    def one(pair: Pair, beta: Number, p: Parameters) -> tuple[Number, Number, Number]:
        seen = averaged(pair) if per_token else pair
        z = beta * (seen.chosen - seen.rejected - target(seen, beta, p))
        value, slope = (beta**beta_power * part for part in scalar(z, p))
        n, m = (pair.chosen_tokens, pair.rejected_tokens) if per_token else (1, 1)
        return value, beta * slope / n, -beta * slope / m

    return each(one)


def of_ratios(*terms: tuple[Number, Scalar, tuple[int, int]]) -> Formula:
    """Σ weight · ℓ(β(i·a + j·b)) with a, b the log-ratios of chosen and rejected."""

    def one(pair: Pair, beta: Number, p: Parameters) -> tuple[Number, Number, Number]:
        a, b = ratios(pair)
        total = [mpmath.mpf(0)] * 3
        for weight, scalar, (i, j) in terms:
            value, slope = scalar(beta * (i * a + j * b), p)
            part = (value, i * beta * slope, j * beta * slope)
            total = [old + weight * new for old, new in zip(total, part, strict=True)]
        return total[0], total[1], total[2]

    return each(one)


def each(one: Callable[[Pair, Number, Parameters], tuple[Number, Number, Number]]) -> Formula:
    """The mean over the batch of a loss of single pairs."""

    def formula(batch: Sequence[Pair], beta: Number, p: Parameters) -> Answer:
        found = [one(pair, beta, p) for pair in batch]
        value, chosen, rejected = ([row[i] / len(batch) for row in found] for i in range(3))
        return Answer(mpmath.fsum(value), chosen, rejected)

    return formula


def squared_ratios(pair: Pair, beta: Number, p: Parameters) -> tuple[Number, Number, Number]:
    """(a − 1/(2β))² + (b + 1/(2β))²."""
    a, b = ratios(pair)
    first, second = a - 1 / (2 * beta), b + 1 / (2 * beta)
    return first**2 + second**2, 2 * first, 2 * second


def squared_means(pair: Pair, beta: Number, p: Parameters) -> tuple[Number, Number, Number]:
    """(a − b − 1/(2β))², a and b per token."""
    a, b = ratios(averaged(pair))
    gap = a - b - 1 / (2 * beta)
    return gap**2, 2 * gap / pair.chosen_tokens, -2 * gap / pair.rejected_tokens


def probability(z: Number, p: Parameters) -> tuple[Number, Number]:
    """σ(z)."""
    return sigmoid(z), sigmoid(z) * sigmoid(-z)


def likelihood(batch: Sequence[Pair], beta: Number, p: Parameters) -> Answer:
    """−Σ log π(chosen)/Σ tokens: each token of the batch weighs the same."""
    tokens = sum(pair.chosen_tokens for pair in batch)
    value = -mpmath.fsum(pair.chosen for pair in batch) / tokens
    slope = mpmath.mpf(-1) / tokens
    return Answer(value, [slope for _ in batch], [mpmath.mpf(0) for _ in batch])


def transport(
    left: Callable[[Pair], Number], right: Callable[[Pair], Number], paired: bool
) -> Formula:
    """Mean of ℓ(β(u₍ᵢ₎ − v₍ᵢ₎)) over order statistics of u = left, v = right of the batch.

    Paired: u = δ, v = δ_ref. Unpaired: u and v are the log-ratios of chosen and of rejected.
    """

    def formula(batch: Sequence[Pair], beta: Number, p: Parameters) -> Answer:
        size = len(batch)
        us = sorted(range(size), key=lambda i: left(batch[i]))
        vs = sorted(range(size), key=lambda i: right(batch[i]))
        value = mpmath.mpf(0)
        chosen, rejected = [mpmath.mpf(0)] * size, [mpmath.mpf(0)] * size
        for i, j in zip(us, vs, strict=True):
            part, slope = smoothed(beta * (left(batch[i]) - right(batch[j])), p)
            value += part / size
            chosen[i] += beta * slope / size
            rejected[i if paired else j] -= beta * slope / size
        return Answer(value, chosen, rejected)

    return formula


def soft_maximum(pair: Pair, beta: Number, p: Parameters) -> Number:
    """δ_ref + softplus(τ(γ − δ_ref))/(ατ)."""
    ref, tau = pair.ref_chosen - pair.ref_rejected, p["tau"]
    return ref + softplus(tau * (p["gamma"] - ref)) / (p["alpha"] * tau)


def inverse_probabilities(pair: Pair, beta: Number, p: Parameters) -> Number:
    """δ_ref + (γ/β)(1/π_ref(w) + 1/π_ref(l))."""
    inverse = mpmath.exp(-pair.ref_chosen) + mpmath.exp(-pair.ref_rejected)
    return pair.ref_chosen - pair.ref_rejected + p["gamma"] / beta * inverse


def inverse_logps(pair: Pair, beta: Number, p: Parameters) -> Number:
    """δ_ref + (γ/β)(1/log π_ref(w) + 1/log π_ref(l))."""
    inverse = 1 / pair.ref_chosen + 1 / pair.ref_rejected
    return pair.ref_chosen - pair.ref_rejected + p["gamma"] / beta * inverse


def _reference(pair: Pair, beta: Number, p: Parameters) -> Number:
    return pair.ref_chosen - pair.ref_rejected


FORMULAS: dict[str, Formula] = {
    "prefeq/dpo": of_difference(logistic),
    "prefeq/hypo": of_target(
        logistic, lambda pair, b, p: max(_reference(pair, b, p), mpmath.mpf(0))
    ),
    "prefeq/smooth": of_target(logistic, soft_maximum),
    "prefeq/eq17": of_target(logistic, inverse_probabilities),
    "prefeq/easy": of_target(logistic, inverse_logps),
    "prefeq/simpo": of_target(logistic, lambda pair, b, p: p["gamma"] / b, per_token=True),
    "prefeq/ipo": of_target(square, _reference, per_token=True, beta_power=-2),
    "prefeq/hinge": of_difference(hinge),
    "prefeq/cdpo": of_difference(smoothed),
    "trl/sigmoid": of_difference(logistic),
    "trl/hinge": of_difference(hinge),
    "trl/ipo": each(squared_means),
    "trl/exo_pair": of_difference(divergence),
    "trl/nca_pair": of_ratios(
        (1, logistic, (1, 0)), (0.5, logistic, (-1, 0)), (0.5, logistic, (0, -1))
    ),
    "trl/robust": of_difference(unbiased),
    "trl/bco_pair": of_ratios((1, logistic, (1, 0)), (1, logistic, (0, -1))),
    "trl/sppo_hard": each(squared_ratios),
    "trl/aot": transport(
        lambda pair: pair.chosen - pair.rejected,
        lambda pair: pair.ref_chosen - pair.ref_rejected,
        paired=True,
    ),
    "trl/aot_unpaired": transport(
        lambda pair: ratios(pair)[0], lambda pair: ratios(pair)[1], paired=False
    ),
    "trl/apo_zero": of_ratios((1, probability, (-1, 0)), (1, probability, (0, 1))),
    "trl/apo_down": of_ratios((1, probability, (1, 0)), (1, probability, (-1, 1))),
    "trl/discopop": of_difference(discovered),
    "trl/sft": likelihood,
    "trl/sigmoid_norm": of_difference(logistic, per_token=True),
}
"""Every loss of `prefeq.losses`, and every loss type of TRL's DPOTrainer (without f-divergences,
WPO weights and LD-DPO), by library and name."""

OF_BATCHES = ("trl/aot", "trl/aot_unpaired", "trl/sft")
"""Losses that are no mean over pairs: a pair's part depends on the batch it is in."""
