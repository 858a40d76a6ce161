"""`cpo-alignment`: Thm 4.9, "γ ≥ γ* = max −βδ*/(4m) aligns all pairs" under the penalty of Eq. 10.

Whether a stationary point exists is kept apart from the signs of its margins: "every stationary
point is aligned" says nothing where there is none.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import partial

from prefeq.claims import penalty_cases, penalty_lemmas, penalty_pair, penalty_ties, recheck
from prefeq.claims import penalty_instances as at
from prefeq.claims import penalty_pair_checks as checks
from prefeq.claims import penalty_refutations as refutations
from prefeq.claims import penalty_samples as samples
from prefeq.claims import samples as problems
from prefeq.claims.evidence import Evidence
from prefeq.claims.instance import Instance
from prefeq.claims.penalty_cases import PenaltyCase
from prefeq.claims.penalty_complete import complete
from prefeq.claims.registry import PARTS, Claim, Part, Reading, register


def _aligned(kind: str) -> Iterator[Evidence]:
    """Every stationary point: βδ = βδ* + γ(d(w)/π(w) − d(l)/π(l)), and the push is at least s γ."""
    yield from penalty_lemmas.stationarity()
    yield from penalty_lemmas.least_push()
    yield from penalty_lemmas.aligned_beyond()
    yield from (penalty_ties.critical_gamma(), complete())
    if kind == "net degrees":
        yield from penalty_lemmas.degrees()
        yield problems.asserted(
            "the criterion on random acyclic orders",
            problems.acyclic(40),
            samples.aligned_by_degrees,
        )
        return
    yield penalty_lemmas.one_pair()
    if kind == "two responses":
        yield recheck.rechecked("two responses at and above gamma*", checks.beyond_critical())
    yield problems.asserted(
        "aligned at every stationary point beyond gamma*",
        samples.disjoint(30),
        partial(samples.aligned_disjoint, strict=kind == "strict"),
    )


def _strict() -> Iterator[Evidence]:
    case = PenaltyCase(at.TIED, Fraction(1, 4))
    found = refutations.tied_at_critical(case)
    yield found
    yield from penalty_pair.branch()
    yield from penalty_pair.zero_crossing()
    yield recheck.rechecked("the solvers agree", penalty_cases.agreement(found.data))
    yield penalty_ties.critical_gamma()


def _existence() -> Iterator[Evidence]:
    found = refutations.beyond_fold(PenaltyCase(at.VIOLATED, at.STRONG))
    yield found
    yield from penalty_pair.branch()
    yield penalty_pair.fold_height()
    yield recheck.rechecked("the package agrees", checks.beyond(found.data))
    yield from penalty_ties.fold()


def _existence_corrected(part: Part) -> Iterator[Evidence]:
    yield from penalty_pair.branch()
    yield from penalty_pair.zero_crossing()
    yield penalty_pair.fold_height()
    yield from (penalty_ties.critical_gamma(), *penalty_ties.fold())
    yield recheck.rechecked("the solver's fold of two responses", checks.windows(part))


def _one_gamma() -> Iterator[Evidence]:
    found = refutations.no_common_gamma(at.VIOLATED, at.WORSE)
    yield found
    yield from penalty_pair.branch()
    yield from penalty_pair.zero_crossing()
    yield penalty_pair.fold_height()
    yield recheck.rechecked("the package agrees", checks.two_prompts(found.data))
    yield penalty_ties.critical_gamma()


def _one_gamma_corrected() -> Iterator[Evidence]:
    yield from penalty_pair.branch()
    yield from penalty_pair.zero_crossing()
    yield penalty_pair.fold_height()
    yield recheck.rechecked("which gamma serve two prompts", checks.common_window())
    yield penalty_ties.critical_gamma()


def _misaligned(instance: Instance, gamma: Fraction) -> Iterator[Evidence]:
    case = PenaltyCase(instance, gamma)
    found = refutations.misaligned_beyond_critical(case)
    yield found
    yield from penalty_lemmas.second_order()
    yield recheck.rechecked("the solvers agree", penalty_cases.agreement(found.data))
    yield recheck.rechecked("gamma* agrees", samples.critical(found.data))
    yield penalty_ties.critical_gamma()


def _some_gamma() -> Iterator[Evidence]:
    found = refutations.idle_pair(at.LONG_CHAIN)
    yield found
    yield from penalty_lemmas.stationarity()
    yield penalty_lemmas.idle_pair()
    yield recheck.rechecked("the solvers agree", samples.idle(found.data))


def _some_gamma_corrected() -> Iterator[Evidence]:
    yield from penalty_lemmas.stationarity()
    yield from penalty_lemmas.degrees()
    yield penalty_lemmas.idle_pair()
    yield recheck.rechecked(
        "delta = delta* between responses of net degree 0", samples.idle_pairs()
    )
    yield complete()


def _more_gamma() -> Iterator[Evidence]:
    case = PenaltyCase(at.FALLING, at.BEFORE_FOLD)
    found = refutations.falling_margin(case)
    yield found
    yield from penalty_lemmas.branch_slopes()
    yield from penalty_lemmas.second_order()
    yield recheck.rechecked("the solvers agree", penalty_cases.agreement(found.data))
    yield recheck.rechecked("the slope of the solver's branch", samples.slopes(found.data))


def _mean_margin() -> Iterator[Evidence]:
    yield from penalty_lemmas.degrees()
    yield from penalty_lemmas.branch_slopes()
    yield from penalty_lemmas.mean_rises()
    yield problems.asserted(
        "sum m delta rises along the solver's branch", problems.acyclic(25), samples.mean_rises
    )
    yield recheck.rechecked("on the exact instances", samples.mean_on(*_INSTANCES))


_INSTANCES = (at.VIOLATED, at.SHORT_CHAIN, at.ALIGNED, at.LONG_CHAIN, at.FALLING)

_ANY = "any K, rewards, full-support reference, pairs and masses, beta, gamma > 0"
_DISJOINT = (
    "disjoint pairs (no response in two of them), any K, rewards, masses, beta, gamma > 0; "
    "gamma* = max over pairs of -beta delta*/(4 m)"
)
_TWO = "two responses, one pair of mass m, beta, gamma > 0; gamma* = -beta delta*/(4 m)"
_PUSH = ("first-order", "pair-stationarity", "one-pair", "least-push", "push-grows")
_MAXIMUM = ("second-order", "cauchy-schwarz")
_FOLD = (*penalty_pair.BRANCH, "zero-crossing", "fold-height")
_WINDOW: dict[Part, str] = {
    "if": "gamma < gamma_fold = beta/(2 m sinh d), d > 0 the root of d - coth(d/2) = delta* => "
    "there is a local maximum; the interval [gamma*, gamma_fold) is not empty",
    "only-if": "there is a local maximum => gamma < gamma_fold = beta/(2 m sinh d), d > 0 the root "
    "of d - coth(d/2) = delta*",
}

register(
    Claim(
        id="cpo-alignment",
        title="gamma >= gamma* = max -beta delta*/(4 m) aligns all pairs (Thm 4.9)",
        source="arXiv:2605.20834, Theorem 4.9",
        provenance="secondary",
        readings=(
            Reading(
                "two-responses",
                "gamma >= gamma* => every stationary point has delta >= 0",
                _TWO,
                partial(_aligned, "two responses"),
                proof=(*_PUSH, "aligned-beyond"),
            ),
            Reading(
                "disjoint-pairs",
                "gamma >= gamma* => every stationary point has delta >= 0 on all pairs",
                _DISJOINT,
                partial(_aligned, "disjoint"),
                proof=(*_PUSH, "aligned-beyond"),
            ),
            Reading(
                "strict",
                "gamma >= gamma* => every stationary point has delta > 0 on all pairs",
                _DISJOINT,
                _strict,
                lemmas=(*penalty_pair.BRANCH, "zero-crossing"),
            ),
            Reading(
                "strict-corrected",
                "gamma > gamma* => every stationary point has delta > 0 on all pairs",
                _DISJOINT,
                partial(_aligned, "strict"),
                proof=(*_PUSH, "aligned-beyond", "aligned-strictly"),
                corrects="strict",
            ),
            Reading(
                "existence",
                "gamma >= gamma* => a stationary point exists",
                _DISJOINT,
                _existence,
                lemmas=(*penalty_pair.BRANCH, "fold-height"),
            ),
            *(
                Reading(
                    "existence-corrected",
                    _WINDOW[part],
                    f"{_TWO}; delta* < 0",
                    partial(_existence_corrected, part),
                    part,
                    _FOLD,
                    corrects="existence",
                )
                for part in PARTS
            ),
            Reading(
                "one-gamma-for-all-prompts",
                "some gamma gives every prompt a local maximum with delta >= 0",
                "two prompts of two responses and one pair each, delta* < 0, one beta",
                _one_gamma,
                lemmas=_FOLD,
            ),
            Reading(
                "one-gamma-for-all-prompts-corrected",
                "gamma gives every prompt a local maximum with delta >= 0 iff max gamma* <= gamma "
                "< min gamma_fold",
                "prompts of two responses and one pair each, any delta*, beta, gamma > 0",
                _one_gamma_corrected,
                proof=_FOLD,
                corrects="one-gamma-for-all-prompts",
            ),
            Reading(
                "chain",
                "gamma >= max -beta delta*/(4 m) => every local maximum has delta >= 0 on all "
                "pairs",
                "chains a > b > c of equal masses, full-support reference, beta, gamma > 0",
                partial(_misaligned, at.SHORT_CHAIN, at.CHAINED),
                lemmas=_MAXIMUM,
            ),
            Reading(
                "overlapping",
                "gamma >= max -beta delta*/(4 m), which is any gamma if delta* > 0 on all pairs "
                "(Assumption 3.1) => every local maximum has delta >= 0 on all pairs",
                f"{_ANY}; acyclic orders of distinct pairs",
                partial(_misaligned, at.ALIGNED, at.FAINTEST),
                lemmas=_MAXIMUM,
            ),
            Reading(
                "overlapping-corrected",
                "gamma >= max -beta delta*/(sqrt(d(w)) + sqrt(-d(l)))^2, d the net degrees (mass "
                "won less mass lost) => every stationary point has delta >= 0 on all pairs; the "
                "square is 4 m for disjoint pairs, m for a chain of three of equal masses",
                f"{_ANY}; on each pair d(w) >= 0 >= d(l), not both 0",
                partial(_aligned, "net degrees"),
                proof=(
                    "first-order",
                    "pair-stationarity",
                    "degrees",
                    "least-push",
                    "push-grows",
                    "aligned-beyond",
                ),
                corrects=("overlapping", "chain"),
            ),
            Reading(
                "some-gamma",
                "some gamma gives a local maximum with delta >= 0 on all pairs",
                f"{_ANY}; acyclic orders of distinct pairs",
                _some_gamma,
                lemmas=("first-order", "pair-stationarity", "idle-pair"),
            ),
            Reading(
                "some-gamma-corrected",
                "a pair of two responses of net degree zero has delta = delta* at every "
                "stationary point, whatever gamma (all inner pairs of a chain of equal masses)",
                _ANY,
                _some_gamma_corrected,
                proof=("first-order", "pair-stationarity", "degrees", "idle-pair"),
                corrects="some-gamma",
            ),
            Reading(
                "more-gamma-is-better",
                "raising gamma lowers no margin at the local maximum that starts at pi*",
                f"{_ANY}; acyclic orders of distinct pairs",
                _more_gamma,
                lemmas=("branch-slope", "initial-slope", *_MAXIMUM),
            ),
            Reading(
                "more-gamma-is-better-corrected",
                "along a branch of local maxima with definite second variation the mean margin "
                "sum m delta rises strictly with gamma, unless every net degree is zero; with one "
                "pair that is its margin",
                _ANY,
                _mean_margin,
                proof=("degrees", "branch-slope", "mean-margin-slope", "mean-margin-strict"),
                corrects="more-gamma-is-better",
            ),
        ),
    )
)
