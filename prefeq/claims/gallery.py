"""Small exact instances on which every reading of the equivalence is decided, and the deciders.

An implication is refuted by the first instance in its scope that satisfies the hypothesis and not
the conclusion. Which one that is, and whether there is one, is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from typing import Any, NamedTuple

from flint import ctx

from prefeq.claims import exact_graphs, formulas
from prefeq.claims.ball import BALL, DISPLAY_BITS, ball, digits, sign
from prefeq.claims.instance import Instance, numbers

GALLERY = (
    Instance.of("two equal responses", reward=[1, 0], ref=["1/2", "1/2"], pairs=[(0, 1)]),
    Instance.of(
        "a favoured wrong answer",
        reward=[1, 0, "1/2"],
        ref=["1/50", "9/10", "2/25"],
        pairs=[(0, 1), (0, 2), (2, 1)],
    ),
    Instance.of("two responses, violated", reward=[1, 0], ref=["1/20", "19/20"], pairs=[(0, 1)]),
    Instance.of("two islands", reward=[2, 1, 0, -1], ref=["1/4"] * 4, pairs=[(0, 1), (2, 3)]),
    Instance.of("a pair and a response apart", reward=[1, 0, 0], ref=["1/3"] * 3, pairs=[(0, 1)]),
    Instance.of(
        "two islands of equal mean",
        reward=[1, 0, 1, 0],
        ref=["1/40", "19/40", "1/4", "1/4"],
        pairs=[(0, 1), (2, 3)],
    ),
    Instance.of(
        "an aligned chain",
        reward=[2, 1, 0],
        ref=["1/2", "1/3", "1/6"],
        beta="1/2",
        pairs=[(0, 1), (1, 2)],
    ),
    Instance.of("a tie on the boundary", reward=[0, 0], ref=["1/2", "1/2"], pairs=[(0, 1)]),
    Instance.of(
        "two annotators disagree", reward=[0, 0], ref=["1/4", "3/4"], pairs=[(0, 1), (1, 0)]
    ),
    Instance.of(
        "a cycle of three",
        reward=[0, 0, 0],
        ref=["1/6", "1/3", "1/2"],
        beta=2,
        pairs=[(0, 1), (1, 2), (2, 0)],
    ),
)


class Decision(NamedTuple):
    """A yes, a no or an undecided None, the comparisons of the numbers that say so, the numbers."""

    answer: bool | None
    inequalities: tuple[str, ...]
    numbers: dict[str, Any]


Decider = Callable[[Instance], Decision]


def acyclic(instance: Instance) -> bool:
    """Tell whether the nominal order has no directed cycle."""
    return exact_graphs.heights(instance.size, instance.pairs) is not None


def connected(instance: Instance) -> bool:
    """Tell whether the comparison graph is connected."""
    return len(set(exact_graphs.components(instance.size, instance.pairs))) == 1


def assumption(instance: Instance) -> Decision:
    """Decide A 3.1: δ* > 0 on every pair."""
    return _margins(instance, lambda sign_of_margin: sign_of_margin > 0)


def weak_assumption(instance: Instance) -> Decision:
    """Decide δ* ≥ 0 on every pair."""
    return _margins(instance, lambda sign_of_margin: sign_of_margin >= 0)


def cpo_is_rlhf(instance: Instance) -> Decision:
    """Decide CPO(0) = RLHF: whether the RLHF optimum is feasible, π*(w) ≥ π*(l) on every pair."""
    policy = numbers_of(instance.rlhf_logp)
    signs = [_sign_of_difference(instance, k) for k in range(len(instance.pairs))]
    sides = [(f"rlhf_logp[{w}]", f"rlhf_logp[{lo}]") for w, lo in instance.pairs]
    return _over_pairs(sides, signs, lambda s: s >= 0, {"rlhf_logp": policy})


def dpo_is_aligned(instance: Instance) -> Decision:
    """Decide whether the minimisers of the population loss have δ > 0 on every pair.

    Every minimiser has βx = Δr on every pair (steps `edge-minimiser` and `rlhf-attains`).
    """

    def margin(k: int) -> Any:
        return instance.delta_ref(k) + ball(instance.gap(k)) / ball(instance.beta)

    count = len(instance.pairs)
    exact = [instance.ref_ratio(k) == 1 and not instance.gap(k) for k in range(count)]
    signs = [0 if exact[k] else sign(partial(margin, k))[0] for k in range(count)]
    shown = {"dpo_margin": numbers_of(lambda: [margin(k) for k in range(count)])}
    sides = [(f"dpo_margin[{k}]", "0") for k in range(count)]
    return _over_pairs(sides, signs, lambda s: s > 0, shown)


def dpo_is_rlhf(instance: Instance) -> Decision:
    """Decide whether DPO's answer, the limit of gradient descent from π_ref, is the RLHF optimum.

    No, if the loss has a slope there. If it is stationary it is a minimiser, as the loss is convex
    in the logits; the limit then is the minimiser whose logits have the reference's mean on every
    component, and π* is that one iff all components have the same mean reward.
    """
    slopes = [_slope_at_rlhf(instance, vertex) for vertex in range(instance.size)]
    signs = [0 if zero else sign(value)[0] for value, zero in slopes]
    shown: dict[str, Any] = {
        "rlhf_probs": numbers_of(lambda: [z.exp() for z in instance.rlhf_logp()]),
        "dpo_slope_at_rlhf": [0.0 if zero else digits(value) for value, zero in slopes],
    }
    slope = [f"dpo_slope_at_rlhf[{v}]" for v in range(instance.size)]
    steep = [v for v, s in enumerate(signs) if s]
    if steep:
        return Decision(False, (_compared(slope[steep[0]], signs[steep[0]], "0"),), shown)
    if None in signs:
        return Decision(None, (), shown)
    means = component_means(instance)
    shown["component_mean_rewards"] = [str(mean) for mean in means]
    if len(set(means)) > 1:
        shown["dpo_probs"] = numbers_of(lambda: [z.exp() for z in descent_limit(instance)])
        apart = _first_apart(instance)
        return Decision(None if apart is None else False, (apart,) if apart else (), shown)
    equal = [f"component_mean_rewards[{v}] == component_mean_rewards[0]" for v in range(len(means))]
    return Decision(True, (*(_compared(s, 0, "0") for s in slope), *equal[1:]), shown)


def component_means(instance: Instance) -> list[Fraction]:
    """Return the mean reward of each response's component, exactly."""
    label = exact_graphs.components(instance.size, instance.pairs)
    groups: dict[int, list[Fraction]] = {}
    for name, reward in zip(label, instance.reward, strict=True):
        groups.setdefault(name, []).append(reward)
    means = {name: sum(rewards, Fraction(0)) / len(rewards) for name, rewards in groups.items()}
    return [means[name] for name in label]


def descent_limit(instance: Instance) -> list[Any]:
    """Enclose the log-policy at θ_ref + (r − component mean of r)/β."""
    means = component_means(instance)
    return instance.tilted([r - mean for r, mean in zip(instance.reward, means, strict=True)])


def in_scope(scope: Callable[[Instance], bool], labels: Any) -> Iterator[Instance]:
    """Yield the gallery with these labels, as far as it is in scope."""
    for instance in GALLERY:
        if scope(instance):
            yield instance.labelled(labels)


def numbers_of(values: Callable[[], list[Any]]) -> list[float]:
    """Evaluate a list of balls at display precision."""
    with ctx.workprec(DISPLAY_BITS):
        return numbers(values())


def _margins(instance: Instance, good: Callable[[int], bool]) -> Decision:
    def margin(k: int) -> Any:
        gap, beta = ball(instance.gap(k)), ball(instance.beta)
        return formulas.rlhf_margin(instance.delta_ref(k), gap, beta)

    count = len(instance.pairs)
    signs = [instance.sign_of_optimal_margin(k) for k in range(count)]
    shown = {"rlhf_margin": numbers_of(lambda: [margin(k) for k in range(count)])}
    sides = [(f"rlhf_margin[{k}]", "0") for k in range(count)]
    return _over_pairs(sides, signs, good, shown)


def _over_pairs(
    sides: list[tuple[str, str]],
    signs: list[int | None],
    good: Callable[[int], bool],
    shown: dict[str, Any],
) -> Decision:
    """Decide a condition on the signs of left − right; show all, or the weakest if that is bad."""
    known = [s for s in signs if s is not None]
    if len(known) < len(signs):
        return Decision(None, (), shown)
    texts = tuple(_compared(left, s, right) for (left, right), s in zip(sides, known, strict=True))
    weakest = min(range(len(known)), key=known.__getitem__)
    answer = all(map(good, known))
    return Decision(answer, texts if answer else (texts[weakest],), shown)


def _compared(left: str, found: int | None, right: str) -> str:
    """Write the comparison that a sign of left − right decides."""
    return f"{left} {({-1: '<', 0: '==', 1: '>'})[found or 0]} {right}"


def _first_apart(instance: Instance) -> str | None:
    """Return the first response to which DPO's answer and RLHF decidedly give other chances."""
    for v in range(instance.size):

        def difference(v: int = v) -> Any:
            return descent_limit(instance)[v] - instance.rlhf_logp()[v]

        decided = sign(difference)[0]
        if decided:
            return _compared(f"dpo_probs[{v}]", decided, f"rlhf_probs[{v}]")
    return None


def _sign_of_difference(instance: Instance, k: int) -> int | None:
    """Return the sign of log π*(w) − log π*(l), from the two log-policies."""
    winner, loser = instance.pairs[k]
    if instance.ref_ratio(k) == 1 and instance.gap(k) == 0:
        return 0

    def difference() -> Any:
        logp = instance.rlhf_logp()
        return logp[winner] - logp[loser]

    return sign(difference)[0]


def _slope_at_rlhf(instance: Instance, vertex: int) -> tuple[Callable[[], Any], bool]:
    """Return dL/dθ_vertex at π*, and whether it is zero exactly.

    At π* every pair has βx = Δr, a rational, so a slope is Σ ±m β(σ(Δr) − q): exactly zero with
    Bradley–Terry labels; with ordered ones a rational plus a sum of σ(|Δr|), zero if all of its
    coefficients are.
    """
    signed = [
        (k, (winner == vertex) - (loser == vertex))
        for k, (winner, loser) in enumerate(instance.pairs)
    ]
    mass = Fraction(1, len(instance.pairs))
    rest, coefficients = Fraction(0), dict[Fraction, Fraction]()
    if instance.labels == "ordered":
        for k, end in signed:  # σ(Δr) − 1 = −σ(−Δr); σ(−a) = 1 − σ(a), σ(0) = ½
            gap = instance.gap(k)
            if gap == 0:
                rest -= Fraction(end, 2)
            else:
                rest -= end if gap > 0 else 0
                share = coefficients.get(abs(gap), Fraction(0))
                coefficients[abs(gap)] = share + (end if gap > 0 else -end)
    zero = rest == 0 and not any(coefficients.values())

    def slope() -> Any:
        total = ball(rest)
        for gap, share in coefficients.items():
            total += ball(share) * formulas.sigmoid(BALL, ball(gap))
        return ball(mass) * ball(instance.beta) * total

    return slope, zero
