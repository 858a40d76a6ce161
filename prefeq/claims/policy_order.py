"""Whether the DPO loss L and the RLHF objective J order policies alike.

Readings of `different-objectives`. For two responses both are functions of the margin δ alone, with
dJ/dδ = βσ′(δ)(δ* − δ): J rises up to δ* and falls beyond.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from prefeq import bandit as bandits
from prefeq import losses, margins
from prefeq.claims import exact_graphs, formulas, gallery, order_lemmas, recheck, ties
from prefeq.claims.ball import BALL
from prefeq.claims.contradiction import counterexample
from prefeq.claims.evidence import Evidence
from prefeq.claims.instance import Instance, build
from prefeq.claims.registry import Reading
from prefeq.claims.several_policies import Policies
from prefeq.claims.tie import points, tie
from prefeq.solvers import rlhf

EVEN = Instance.of("two equal responses", reward=[1, 0], ref=["1/2", "1/2"], pairs=[(0, 1)])
OVERSHOT = Policies.of(EVEN, [["9/10", "1/10"], ["3/4", "1/4"]])
UNDERSHOT = Policies.of(EVEN.labelled("bradley-terry"), [["1/2", "1/2"], ["9/10", "1/10"]])


def _same_side() -> Iterator[Evidence]:
    yield from order_lemmas.same_side()
    yield from (ties.soft_loss(), ties.soft_gradient(), tie_value(), ties.rlhf_margin())


def _mirrored() -> Iterator[Evidence]:
    yield from order_lemmas.mirrored()
    yield recheck.rechecked("the package's L and J lean alike", _mirrored_comparisons())
    yield from (ties.soft_loss(), ties.soft_gradient(), tie_value(), ties.rlhf_margin())


def _mirrored_comparisons() -> Iterator[recheck.Comparison]:
    for delta_ref, gap, beta in ((-3.0, 1.0, 1.0), (-1.0, 0.5, 2.0), (0.5, 1.0, 0.5), (-1, 3, 1)):
        star = float(margins.optimal_margin(delta_ref, gap, beta))
        holds = bool(margins.assumption_holds(delta_ref, gap, beta))
        for h in (0.1, 1.0, 4.0):
            delta = np.array([star + h, star - h])
            out, back = losses.DPO.population_value(delta, delta_ref, beta, gap)
            ahead, behind = package_value(delta, delta_ref, gap, beta)
            yield f"L prefers {star + h:.3f} to {star - h:.3f}", bool(out < back)
            yield f"J does iff delta* = {star:.3f} > 0", bool(ahead > behind) == holds


def _tilted() -> Iterator[Evidence]:
    yield from order_lemmas.tilted()
    yield recheck.rechecked("the package's L and J both fall", _tilted_comparisons())
    yield from (ties.pair_loss(), ties.pair_gradient(), tie_value())


def _tilted_comparisons() -> Iterator[recheck.Comparison]:
    for instance in gallery.in_scope(gallery.acyclic, "ordered"):
        loss, value = along_tilt(instance, np.array([0.0, 0.25, 1.0, 4.0]))
        yield f"{instance.name}: L falls", bool(np.all(np.diff(loss) < 0))
        yield f"{instance.name}: J falls", bool(np.all(np.diff(value) < 0))


def along_tilt(instance: Instance, steps: Any) -> tuple[Any, Any]:
    """Return the package's L and J at the policies π* e^{sh}/Z of an acyclic instance."""
    bandit, prefs = build(instance.to_data())
    heights = np.array(exact_graphs.heights(instance.size, instance.pairs), dtype=float)
    logits = rlhf.rlhf_logp(bandit) + np.asarray(steps)[:, None] * heights
    logp = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
    delta = logp[:, prefs.winner] - logp[:, prefs.loser]
    loss = losses.DPO.value(delta, prefs.ref_margin(bandit), bandit.beta).mean(axis=-1)
    value = [float(rlhf.objective(bandit, row)) for row in logp]
    return loss, np.array(value)


def opposite(found: Policies, violated: bool = False) -> Evidence:
    """Decide whether the first policy has the lower L and the lower J, though A 3.1 holds."""
    held = gallery.assumption(found.instance)
    loss, value = found.sign_of(found.loss, 0, 1), found.sign_of(found.value, 0, 1)
    data = {**found.data("loss", "value"), **held.numbers}
    answer = None if held.answer is None else held.answer is not violated
    low, high = data["policy_loss"]
    worse, better = data["policy_value"]
    return counterexample(
        f"delta* = {data['rlhf_margin'][0]:.4g}: L = {low:.6f} < {high:.6f}, yet J = {worse:.6f} < "
        f"{better:.6f}",
        data,
        {
            **dict.fromkeys(held.inequalities, answer),
            "policy_loss[0] < policy_loss[1]": None if loss is None else loss > 0,
            "policy_value[0] < policy_value[1]": None if value is None else value > 0,
        },
    )


def _opposite(found: Policies) -> Iterator[Evidence]:
    shown = opposite(found)
    yield shown

    def comparisons() -> Iterator[recheck.Comparison]:
        bandit, prefs = build(dict(shown.data)["instance"])
        logp = np.log([[float(p) for p in case.policy] for case in found.cases])
        delta = logp[:, prefs.winner] - logp[:, prefs.loser]
        odds = prefs.log_odds
        loss = losses.DPO.population_value(delta, prefs.ref_margin(bandit), bandit.beta, odds)
        yield "losses", recheck.close(loss.mean(axis=-1), shown.data["policy_loss"])
        value = [float(rlhf.objective(bandit, row)) for row in logp]
        yield "objectives", recheck.close(value, shown.data["policy_value"])

    yield recheck.rechecked("the package agrees", comparisons())
    yield from (ties.soft_loss(), tie_value(), ties.rlhf_margin(), ties.assumption())


def _uneven() -> Iterator[Evidence]:
    yield from order_lemmas.uneven()
    yield from (ties.soft_loss(), ties.soft_gradient(), tie_value(), ties.rlhf_margin())


def package_value(delta: Any, delta_ref: Any, gap: Any, beta: Any) -> Any:
    """Return the package's own J of two responses with rewards Δr and 0."""
    delta, delta_ref, gap, beta = np.broadcast_arrays(delta, delta_ref, gap, beta)
    both = [-margins.softplus(-delta_ref), -margins.softplus(delta_ref)]
    reward = np.stack([gap, np.zeros_like(gap)], axis=-1)
    bandit = bandits.Bandit(reward, np.stack(both, axis=-1), beta)
    logp = np.stack([-margins.softplus(-delta), -margins.softplus(delta)], axis=-1)
    return rlhf.objective(bandit, logp)


def tie_value() -> Evidence:
    """J of two responses against `rlhf.objective`, the solvers' own."""
    return tie(
        "J of two responses agrees with the RLHF objective of the solvers",
        lambda delta, delta_ref, gap, beta: formulas.two_response_value(
            BALL, delta, delta_ref, gap, beta
        ),
        lambda delta, delta_ref, gap, beta: package_value(delta, delta_ref, gap, beta),
        points("delta", "delta_ref", "gap", "beta"),
        scale=lambda value, p: (
            abs(p["gap"]) + p["beta"] * (1 + abs(p["delta"]) + abs(p["delta_ref"]))
        ),
    )


_PAIR = "one Bradley-Terry pair and no third response, gap > 0, beta > 0"
_VIOLATED = "delta* <= 0 on some pair"
_ORDER = "some two policies have L(pi) < L(pi') and J(pi) < J(pi')"
_ACYCLIC = "ordered pairs (q = 1) without a directed cycle, any K, beta > 0"
_TILT = ("acyclic-heights", "ordered-slope", "gibbs-identity", "tilt-costs")
_LEANS = ("value-slope", "loss-slope", "loss-leans", "value-leans")
_ALIKE = "L and J order the policies of margins delta* - h and delta* + h alike"

READINGS = (
    Reading(
        "order-ordered",
        f"{_VIOLATED} => {_ORDER}",
        _ACYCLIC,
        _tilted,
        "if",
        proof=_TILT,
    ),
    Reading(
        "order-ordered",
        f"{_ORDER} => {_VIOLATED}",
        _ACYCLIC,
        lambda: _opposite(OVERSHOT),
        "only-if",
    ),
    Reading(
        "order-ordered-corrected",
        f"violated or not, {_ORDER}: pi proportional to pi* e^(s h) with s > 0, h rising along "
        "every pair, against pi' = pi*",
        _ACYCLIC,
        _tilted,
        proof=_TILT,
        corrects="order-ordered (only-if)",
    ),
    Reading(
        "order-population",
        f"delta* <= 0 => {_ORDER}",
        _PAIR,
        _mirrored,
        "if",
        proof=_LEANS,
    ),
    Reading(
        "order-population",
        f"{_ORDER} => delta* <= 0",
        _PAIR,
        lambda: _opposite(UNDERSHOT),
        "only-if",
    ),
    Reading(
        "order-population-corrected",
        f"violated or not, {_ORDER} unless 2 (2 pi*(w) - 1) = beta (2q - 1)",
        _PAIR,
        _uneven,
        proof=("value-slope", "loss-slope", "taylor-terms", "opposite-order"),
        corrects="order-population (only-if)",
    ),
    Reading(
        "same-side",
        "of two policies on the same side of delta* the one with the lower L has the higher J",
        _PAIR.replace("gap > 0", "any gap"),
        _same_side,
        proof=("value-slope", "loss-slope", "sigma-slope"),
    ),
    Reading(
        "mirrored",
        f"delta* > 0 => {_ALIKE}, for every h > 0",
        _PAIR,
        _mirrored,
        "if",
        proof=_LEANS,
    ),
    Reading(
        "mirrored",
        f"{_ALIKE} for some h > 0 => delta* > 0",
        _PAIR,
        _mirrored,
        "only-if",
        proof=_LEANS,
    ),
)
