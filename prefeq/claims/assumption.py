"""`assumption`: Assumption 3.1 of arXiv:2605.20834, δ* > 0 on every pair, i.e. δ_ref > −Δr/β."""

from __future__ import annotations

from collections.abc import Iterator

import sympy as sp

from prefeq import bandit as bandits
from prefeq import margins, preferences, solvers
from prefeq.claims import formulas, gallery, lemmas, recheck, samples, ties
from prefeq.claims.ball import digits
from prefeq.claims.evidence import Evidence
from prefeq.claims.registry import Claim, Reading, register
from prefeq.claims.symbolic import as_written, positive, prove_equal, prove_positive, real


def _identity() -> Iterator[Evidence]:
    yield lemmas.rlhf_closed_form()
    yield from lemmas.gibbs_inequality()
    yield lemmas.rlhf_margin_identity()
    yield ties.rlhf_margin()
    yield samples.asserted("solve_rlhf has margins delta*", samples.connected(30), _margins_agree)
    yield recheck.rechecked("solve_rlhf agrees with the ball arithmetic", _gallery_margins())


def _threshold() -> Iterator[Evidence]:
    delta_ref, gap = real("delta_ref gap")
    beta = positive("beta")
    star = formulas.rlhf_margin(delta_ref, gap, beta)
    critical = formulas.critical_gap(delta_ref, beta)
    above = gap - critical
    yield prove_equal("critical-gap", "beta delta* = gap - critical gap", (beta * star, above))
    below = as_written(lambda: delta_ref - (-gap / beta))
    yield prove_equal("threshold", "delta* = delta_ref - (-gap/beta)", (star, below))
    yield prove_positive("same-sign", "delta* and beta delta* have one sign", 1 / beta, beta)
    yield from (ties.rlhf_margin(), ties.critical_gap(), ties.assumption())


def _labels() -> Iterator[Evidence]:
    delta_ref, gap = real("delta_ref gap")
    beta, excess = positive("beta excess")
    q = 1 / (1 + sp.exp(-gap))
    critical = 1 / (1 + sp.exp(beta * delta_ref))
    odds = sp.exp(gap) - sp.exp(-beta * delta_ref)
    yield prove_equal(
        "label-odds",
        "q - q_crit = (odds - critical odds)/((1 + odds)(1 + critical odds))",
        (q - critical, odds / ((1 + sp.exp(gap)) * (1 + sp.exp(-beta * delta_ref)))),
    )
    rise = sp.exp(formulas.critical_gap(delta_ref, beta)) * (sp.exp(excess) - 1)
    yield prove_equal(
        "label-excess",
        "odds - critical odds = critical odds (e^excess - 1), excess = gap - critical gap",
        (odds.subs(gap, excess - beta * delta_ref), rise),
    )
    yield prove_positive("label-rise", "e^t is increasing", sp.diff(sp.exp(gap), gap))
    yield from (ties.assumption(), ties.critical_label_prob())


def _margins_agree(bandit: bandits.Bandit, prefs: preferences.Preferences) -> bool:
    want = margins.optimal_margin(prefs.ref_margin(bandit), prefs.reward_gap(bandit), bandit.beta)
    return recheck.close(solvers.solve_rlhf(bandit).margin(prefs), want)


def _gallery_margins() -> Iterator[recheck.Comparison]:
    for instance in gallery.GALLERY:
        bandit, prefs = instance.bandit(), instance.preferences()
        want = gallery.assumption(instance)
        rlhf = solvers.solve_rlhf(bandit)
        yield (
            f"{instance.name}: margins",
            recheck.close(rlhf.margin(prefs), want.numbers["rlhf_margin"]),
        )
        worth = digits(instance.rlhf_value)
        yield f"{instance.name}: J = beta log Z", recheck.close(rlhf.value, worth)
        policy = gallery.numbers_of(instance.rlhf_logp)
        yield f"{instance.name}: policy", recheck.close(rlhf.logp, policy)


_SCOPE = "any K, rewards, full-support reference, beta > 0"

register(
    Claim(
        id="assumption",
        title="the RLHF optimum prefers the winner of every pair: delta* > 0",
        source="arXiv:2605.20834, Assumption 3.1",
        provenance="quoted",
        readings=(
            Reading(
                "identity",
                "the RLHF optimum has margin delta* = delta_ref + gap/beta on every pair",
                _SCOPE,
                _identity,
                proof=("gibbs-identity", "gibbs-inequality", "margin-identity"),
            ),
            Reading(
                "threshold",
                "delta* > 0 iff delta_ref > -gap/beta iff gap > -beta delta_ref",
                _SCOPE,
                _threshold,
                proof=("critical-gap", "threshold", "same-sign"),
            ),
            Reading(
                "label-probability",
                "delta* > 0 iff the Bradley-Terry label has q > sigma(-beta delta_ref)",
                f"{_SCOPE}; q = sigma(gap)",
                _labels,
                proof=("label-odds", "label-excess", "label-rise"),
            ),
        ),
    )
)
