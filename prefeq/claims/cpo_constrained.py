"""`cpo-constrained`: the hard-constrained program max J(π) subject to δ ≥ m aligns provably.

What alignment costs is in `alignment_price`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from prefeq import bandit as bandits
from prefeq import errors, preferences, solution, solvers
from prefeq.claims import (
    alignment_price,
    cpo_lemmas,
    cpo_theorems,
    gallery,
    lemmas,
    recheck,
    samples,
    ties,
)
from prefeq.claims.contradiction import counterexample
from prefeq.claims.evidence import Evidence
from prefeq.claims.implication import Equivalence
from prefeq.claims.instance import Instance, build
from prefeq.claims.registry import Claim, Part, Reading, register
from prefeq.claims.symbolic import positive, prove_positive, real

VIOLATED = Instance.of(
    "two responses, violated", reward=[1, 0], ref=["1/20", "19/20"], pairs=[(0, 1)]
)
STRICT = Equivalence(gallery.assumption, gallery.cpo_is_rlhf, lambda i: True, "bradley-terry")


def _unique() -> Iterator[Evidence]:
    """A strictly concave objective on a compact convex set has one maximiser.

    The set is cut out of the simplex by the linear constraints; feasible margins give it a point
    with full support, towards which J rises infinitely fast from any point without.
    """
    yield lemmas.linear_constraint()
    yield from cpo_lemmas.strict_concavity()
    yield cpo_lemmas.feasibility()
    yield recheck.rechecked("solve_cpo refuses exactly the positive cycles", _refusals())
    problems = samples.acyclic(25)
    formula = "one pair: the closed form"
    yield samples.asserted(formula, samples.acyclic(15), cpo_theorems.one_pair)
    yield samples.asserted("no feasible policy beats it", problems, cpo_theorems.beats_all)


def _meets_margins() -> Iterator[Evidence]:
    yield lemmas.linear_constraint()
    yield from cpo_lemmas.strict_concavity()
    yield lemmas.cycle_sum()
    yield cpo_lemmas.feasibility()
    yield samples.asserted(
        "delta >= m on every pair", samples.acyclic(40), cpo_theorems.meets_margins
    )
    yield recheck.rechecked("on the exact instances", _gallery_margins())


def _rlhf(part: Part) -> Iterator[Evidence]:
    yield lemmas.linear_constraint()
    yield lemmas.rlhf_margin_identity()
    if part == "if":
        yield lemmas.rlhf_closed_form()
        yield from lemmas.gibbs_inequality()
        yield from cpo_lemmas.strict_concavity()
    yield samples.asserted(
        "CPO(m) = RLHF iff delta* >= m", samples.acyclic(40), cpo_theorems.rlhf_iff
    )
    yield ties.rlhf_margin()
    yield recheck.rechecked("on the exact instances", _gallery_margins())


def _rlhf_strict(part: Part) -> Iterator[Evidence]:
    yield from STRICT.decide(part)
    yield lemmas.linear_constraint()
    yield lemmas.rlhf_margin_identity()
    yield lemmas.rlhf_closed_form()
    yield from lemmas.gibbs_inequality()
    yield from (ties.rlhf_margin(), ties.assumption())


def _isotonic() -> Iterator[Evidence]:
    yield from cpo_lemmas.stationarity()
    yield from cpo_lemmas.strict_concavity()
    yield samples.asserted(
        "CPO(0) = the min-max isotonic regression of log pi*, normalised",
        samples.acyclic(40),
        cpo_theorems.is_isotonic,
    )
    yield recheck.rechecked("on the exact instances, cycles included", _gallery_isotonic())


def _strict_alignment(part: Part) -> Iterator[Evidence]:
    yield lemmas.linear_constraint()
    if part == "if":
        yield cpo_lemmas.feasibility()
        m, slack = positive("m"), positive("slack")
        yield prove_positive("aligned", "delta >= m > 0", m, m + slack)
        yield samples.asserted("delta >= m > 0", samples.acyclic(40), cpo_theorems.meets_margins)
    else:
        # a bandit with δ* < m ≤ 0 on its one pair: δ = max(δ*, m) = m ≤ 0
        yield from cpo_lemmas.two_responses()
        short, below = positive("h"), real("m")
        star = below - short
        yield prove_positive("misaligned-bandit", "delta* = m - h is below m", below - star)
    yield recheck.rechecked("two responses: delta = max(delta*, m)", _two_responses())
    yield ties.rlhf_margin()


def _zero_margin() -> Iterator[Evidence]:
    """A violated pair ends at δ = 0 exactly."""
    star = gallery.assumption(VIOLATED)
    below = None if star.answer is None else not star.answer
    data: dict[str, Any] = {
        "instance": VIOLATED.to_data(),
        "inputs": {"margins": [0]},
        **star.numbers,
        "cpo_margin": [0],
    }
    yield counterexample(
        f"delta* = {data['rlhf_margin'][0]:.4f} < 0, so CPO(0) ends at delta = max(delta*, 0) = 0",
        data,
        {"rlhf_margin[0] < 0": below, "cpo_margin[0] == 0": below},
    )
    yield from cpo_lemmas.two_responses()

    def comparisons() -> Iterator[recheck.Comparison]:
        bandit, prefs = build(data["instance"])
        rlhf, cpo = solvers.solve_rlhf(bandit), solvers.solve_cpo(bandit, prefs, margin=0.0)
        yield "delta*", recheck.close(rlhf.margin(prefs), data["rlhf_margin"])
        yield "delta = 0", recheck.close(cpo.margin(prefs)[0], 0.0)
        yield "policy (1/2, 1/2)", recheck.close(np.exp(cpo.logp), [0.5, 0.5])

    yield recheck.rechecked("the solvers agree", comparisons())
    yield ties.rlhf_margin()


def _gallery_isotonic() -> Iterator[recheck.Comparison]:
    for instance in gallery.GALLERY:
        bandit, prefs = build(instance.to_data())
        yield instance.name, cpo_theorems.is_isotonic(bandit, prefs)


def _gallery_margins() -> Iterator[recheck.Comparison]:
    for instance in gallery.GALLERY:
        bandit, prefs = build(instance.to_data())
        cpo = solvers.solve_cpo(bandit, prefs, margin=0.0)
        optimal = cpo.status is solution.Status.OPTIMAL
        yield f"{instance.name}: delta >= 0", bool(np.all(cpo.margin(prefs) >= -recheck.CLOSE))
        yield f"{instance.name}: optimal", optimal and cpo.residual <= recheck.CLOSE
        same = recheck.close(cpo.logp, solvers.solve_rlhf(bandit).logp)
        yield f"{instance.name}: CPO = RLHF", same == gallery.weak_assumption(instance).answer


def _two_responses() -> Iterator[recheck.Comparison]:
    for margin in (-2.5, -1.0, 0.0, 0.5, 3.0, 800.0):
        bandit, prefs = build(VIOLATED.to_data())
        star = float(solvers.solve_rlhf(bandit).margin(prefs)[0])
        cpo = solvers.solve_cpo(bandit, prefs, margin=margin)
        yield f"m = {margin}", recheck.close(cpo.margin(prefs), [max(star, margin)])


def _refusals() -> Iterator[recheck.Comparison]:
    """Feed a share of all small graphs to the solver: infeasible iff a cycle is positive."""
    graphs = [*cpo_lemmas.margined_digraphs(2, (-1, 0, 1))]
    graphs += list(cpo_lemmas.margined_digraphs(3, (-1, 0, 1)))[::17]
    for edges in graphs:
        if not edges:
            continue
        size = 1 + max(max(pair) for pair in edges)
        bandit = bandits.Bandit(np.zeros(size), np.zeros(size), 1.0)
        ends = np.array(list(edges), dtype=np.int64)
        prefs = preferences.Preferences(ends[:, 0], ends[:, 1])
        try:
            cpo = solvers.solve_cpo(bandit, prefs, margin=list(map(float, edges.values())))
            solved = bool(np.all(cpo.margin(prefs) >= np.array([*edges.values()]) - recheck.CLOSE))
        except errors.InfeasibleError as error:
            yield f"{edges} is infeasible", not cpo_lemmas.feasible(size, edges)
            yield f"the cycle of {edges}", error.margin_sum > 0
        else:
            yield f"{edges} is feasible", solved and cpo_lemmas.feasible(size, edges)


_ANY = "any K, rewards, full-support reference, pairs and beta > 0"
_SCOPE = f"{_ANY}; margins without a positive cycle"

_CONCAVE = ("linear-constraint", "strictly-concave", "interior-optimum")
_GIBBS = ("linear-constraint", "margin-identity", "gibbs-identity", "gibbs-inequality")

register(
    Claim(
        id="cpo-constrained",
        title="the hard-constrained program max J subject to delta >= m aligns provably",
        source="arXiv:2605.20834, Constrained Preference Optimization",
        provenance="reconstructed",
        readings=(
            Reading(
                "unique-optimum",
                "the program has exactly one optimum, finite on the support",
                _SCOPE,
                _unique,
                proof=(*_CONCAVE, "feasible-iff-no-positive-cycle"),
            ),
            Reading(
                "meets-margins",
                "it is feasible iff no directed cycle has a positive sum of margins, and its "
                "optimum has delta >= m on every pair",
                f"{_ANY}; any margins",
                _meets_margins,
                proof=(*_CONCAVE, "cycle-sum", "feasible-iff-no-positive-cycle"),
            ),
            Reading(
                "rlhf",
                "delta* >= m on every pair => CPO(m) = RLHF",
                _SCOPE,
                partial(_rlhf, "if"),
                "if",
                (*_GIBBS, "strictly-concave"),
            ),
            Reading(
                "rlhf",
                "CPO(m) = RLHF => delta* >= m on every pair",
                _SCOPE,
                partial(_rlhf, "only-if"),
                "only-if",
                ("linear-constraint", "margin-identity"),
                corrects="rlhf-strict (only-if)",
            ),
            Reading(
                "rlhf-strict",
                "delta* > 0 on every pair (Assumption 3.1) => CPO(0) = RLHF",
                _ANY,
                partial(_rlhf_strict, "if"),
                "if",
                _GIBBS,
            ),
            Reading(
                "rlhf-strict",
                "CPO(0) = RLHF => delta* > 0 on every pair (Assumption 3.1)",
                _ANY,
                partial(_rlhf_strict, "only-if"),
                "only-if",
                lemmas=("linear-constraint", "gibbs-inequality"),
            ),
            Reading(
                "isotonic",
                "CPO(0) is the isotonic regression of log pi* over the preference order "
                "(unweighted least squares), normalised once",
                f"{_ANY}; cycles included",
                _isotonic,
                proof=(
                    "same-conditions",
                    "constant-cancels",
                    "strictly-concave",
                    "interior-optimum",
                ),
            ),
            Reading(
                "strict-alignment",
                "m > 0 => CPO(m) has delta > 0 on every pair of every bandit",
                _SCOPE,
                partial(_strict_alignment, "if"),
                "if",
                ("linear-constraint", "feasible-iff-no-positive-cycle", "aligned"),
                corrects="strict-alignment-zero-margin",
            ),
            Reading(
                "strict-alignment",
                "CPO(m) has delta > 0 on every pair of every bandit => m > 0",
                "one m for all pairs",
                partial(_strict_alignment, "only-if"),
                "only-if",
                ("linear-constraint", "two-responses", "misaligned-bandit"),
            ),
            Reading(
                "strict-alignment-zero-margin",
                "CPO(0) has delta > 0 on every pair",
                _ANY,
                _zero_margin,
                lemmas=("two-responses",),
            ),
            *alignment_price.READINGS,
        ),
    )
)
