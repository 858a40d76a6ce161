"""`cpo-margin`: Eqs. 13–16, the margin of the penalty's optimum, and Eq. 17's π_ref for π.

Everything is about stationary points: Eq. 10 has no optimum (claim `cpo-penalty`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial

from flint import ctx

from prefeq import losses
from prefeq.claims import penalty_cases, penalty_lemmas, penalty_pair, penalty_ties, recheck
from prefeq.claims import penalty_certified as certified
from prefeq.claims import penalty_instances as at
from prefeq.claims import penalty_pair_checks as checks
from prefeq.claims import penalty_refutations as refutations
from prefeq.claims import penalty_samples as samples
from prefeq.claims.ball import DISPLAY_BITS, ball
from prefeq.claims.evidence import Evidence
from prefeq.claims.instance import build
from prefeq.claims.penalty_cases import PenaltyCase
from prefeq.claims.penalty_complete import complete
from prefeq.claims.registry import Claim, Part, Reading, register
from prefeq.claims.stationary import Sheet, local_maximum


def _stationarity() -> Iterator[Evidence]:
    yield from penalty_lemmas.stationarity()
    yield penalty_lemmas.one_pair()
    yield from samples.one_pair()
    yield complete()


def _several_pairs() -> Iterator[Evidence]:
    yield refutations.stationarity_per_pair(PenaltyCase(at.CHAIN, at.FAINTEST))
    yield from penalty_lemmas.second_order()
    yield from _fed(PenaltyCase(at.CHAIN, at.FAINTEST))


def _several_pairs_corrected() -> Iterator[Evidence]:
    yield from penalty_lemmas.stationarity()
    yield from penalty_lemmas.degrees()
    yield from samples.any_graph()
    yield complete()


def _certified() -> Iterator[Evidence]:
    yield from penalty_lemmas.stationarity()
    yield penalty_lemmas.one_pair()
    for instance, gamma, start in (
        (at.VIOLATED, at.FAINT, ["1/5", "4/5"]),
        (at.AMONG_FOUR, at.FAINTEST, ["1/4", "1/4", "3/10", "1/5"]),
    ):
        with ctx.workprec(DISPLAY_BITS):
            point = local_maximum(instance, gamma)
            if point is not None:
                yield certified.stationary_point(PenaltyCase(instance, gamma), point, start)
        yield from _fed(PenaltyCase(instance, gamma))
    with ctx.workprec(DISPLAY_BITS):  # and the saddle between the maximum and the boundary
        saddle = Sheet(at.VIOLATED).between(at.FAINT, ball(-4), ball(Fraction(-1, 2**40)))
        if saddle is not None:
            case = PenaltyCase(at.VIOLATED, at.FAINT)
            yield certified.stationary_point(case, saddle, ["49/50", "1/50"])


def _branch() -> Iterator[Evidence]:
    yield from penalty_pair.branch()
    yield penalty_pair.fold_height()
    yield from penalty_ties.fold()
    yield penalty_ties.local_maximum()
    yield recheck.rechecked("the solver's branch of two responses", checks.branch())


def _gamma_star() -> Iterator[Evidence]:
    yield from penalty_pair.branch()
    yield from penalty_pair.zero_crossing()
    yield from (penalty_ties.critical_gamma(), penalty_ties.local_maximum())
    yield recheck.rechecked("margins around gamma*", checks.around_critical())


def _fold() -> Iterator[Evidence]:
    yield from penalty_pair.branch()
    yield penalty_pair.fold_height()
    yield certified.fold_values()
    yield from penalty_ties.fold()
    yield recheck.rechecked("no stationary point above the fold, two below", checks.branch())


def _fold_width() -> Iterator[Evidence]:
    yield from penalty_pair.fold_exists()
    yield penalty_pair.fold_height()
    yield from penalty_pair.fold_width()
    yield from (penalty_ties.critical_gamma(), *penalty_ties.fold())


def _for_ever() -> Iterator[Evidence]:
    case = PenaltyCase(at.VIOLATED, at.STRONG)
    found = refutations.beyond_fold(case)
    yield found
    yield from penalty_pair.branch()
    yield penalty_pair.fold_height()
    yield recheck.rechecked("the package agrees", checks.beyond(found.data))
    yield from penalty_ties.fold()


def _eq17(decide: Callable[[PenaltyCase], Evidence]) -> Iterator[Evidence]:
    case = PenaltyCase(at.VIOLATED.labelled("bradley-terry"), at.FAINT)
    found = decide(case)
    yield found
    yield from penalty_lemmas.second_order()
    yield from _fed(case)

    def comparisons() -> Iterator[recheck.Comparison]:
        bandit, prefs = build(found.data["instance"])
        ref = losses.Reference(bandit.ref_logp[0], bandit.ref_logp[1])
        loss = losses.eq17(float(at.FAINT))
        got = loss.minimiser(ref, bandit.beta, prefs.reward_gap(bandit)[0])
        yield "Eq. 17's margin", recheck.close([got], found.data["eq17_margin"])

    yield recheck.rechecked("losses.eq17 agrees", comparisons())
    yield penalty_ties.eq17()


def _eq17_meets(part: Part) -> Iterator[Evidence]:
    yield from penalty_pair.slope()
    yield from penalty_pair.eq17_meets()
    yield from (penalty_ties.eq17(), penalty_ties.local_maximum())
    yield recheck.rechecked("Eq. 17 is exact where it lands on -delta_ref", checks.landing())


def _eq17_optimistic() -> Iterator[Evidence]:
    yield from penalty_pair.branch()
    yield from penalty_pair.zero_crossing()
    yield from penalty_pair.eq17()
    yield from (penalty_ties.eq17(), penalty_ties.critical_gamma(), penalty_ties.local_maximum())


def _fed(case: PenaltyCase) -> Iterator[Evidence]:
    """Re-check the certified local maximum of a case with the solvers."""
    data = case.data()
    yield recheck.rechecked("the solvers agree", penalty_cases.agreement(data))


_TWO = (
    "two responses, one pair of mass m, any delta* (delta* < 0 where gamma* is meant), "
    "beta, gamma > 0"
)
_EQ17 = (
    "two responses, one Bradley-Terry pair of mass 1, any delta_ref and gap, beta, gamma > 0; "
    "Eq. 17: delta = delta* + (gamma/beta)(1/pi_ref(w) + 1/pi_ref(l))"
)
_PAIR = ("first-order", "pair-stationarity", "one-pair")
_MAXIMUM = ("second-order", "cauchy-schwarz")
_MEETS = ("objective-slope", "below-optimal", "eq17-meets")
_MEETS_PARTS: tuple[tuple[Part, str], ...] = (
    ("if", "|delta| = |delta_ref| at Eq. 17's margin delta => it is a stationary point's margin"),
    ("only-if", "Eq. 17's margin delta is a stationary point's => |delta| = |delta_ref|"),
)

register(
    Claim(
        id="cpo-margin",
        title="the penalty's optimum has beta x = gap + gamma m (1/pi(w) + 1/pi(l)) (Eqs. 13-16); "
        "Eq. 17 puts pi_ref for pi",
        source="arXiv:2605.20834, Eqs. 13-17",
        provenance="secondary",
        readings=(
            Reading(
                "stationarity",
                "every stationary point has beta x = gap + gamma m (1/pi(w) + 1/pi(l)) on the pair",
                "one pair of mass m among any K responses, full-support reference, beta, gamma > 0",
                _stationarity,
                proof=_PAIR,
            ),
            Reading(
                "several-pairs",
                "every stationary point has beta x = gap + gamma m (1/pi(w) + 1/pi(l)) on each "
                "pair",
                "any K and distinct pairs, which may share responses, beta, gamma > 0",
                _several_pairs,
                lemmas=_MAXIMUM,
            ),
            Reading(
                "several-pairs-corrected",
                "every stationary point has beta x = gap + gamma d(w)/pi(w) - gamma d(l)/pi(l) on "
                "each pair, d the net degree (mass won less mass lost)",
                "any K, pairs and masses, full-support reference, beta, gamma > 0",
                _several_pairs_corrected,
                proof=("first-order", "pair-stationarity", "degrees"),
                corrects="several-pairs",
            ),
            Reading(
                "certified-points",
                "Eqs. 13-16 hold at stationary points with a margin other than zero, maxima and "
                "saddles",
                "the three enclosed points: two responses and four",
                _certified,
                proof=("certified-points", *_PAIR),
            ),
            Reading(
                "local-maximum",
                "with d the positive root of d - coth(d/2) = delta*, for 0 < gamma < "
                "beta/(2 m sinh d) exactly one local maximum exists; its margin rises with gamma "
                "from delta* to d",
                _TWO,
                _branch,
                proof=(*penalty_pair.BRANCH, "fold-height"),
            ),
            Reading(
                "gamma-star",
                "the local maximum has delta < 0, = 0, > 0 for gamma below, at, above "
                "gamma* = -beta delta*/(4 m), as long as it exists; it does at gamma*",
                _TWO,
                _gamma_star,
                proof=(*penalty_pair.BRANCH, "zero-crossing"),
            ),
            Reading(
                "fold",
                "a stationary point exists iff gamma <= gamma_fold = beta/(2 m sinh d), a local "
                "maximum iff gamma < gamma_fold",
                _TWO,
                _fold,
                proof=(*penalty_pair.BRANCH, "fold-height", "fold-values"),
                corrects="aligned-for-all-larger-gamma",
            ),
            Reading(
                "fold-width",
                "gamma_fold - gamma* < beta/(4 m |delta*|)",
                _TWO,
                _fold_width,
                proof=("fold-exists", "fold-height", "fold-width"),
            ),
            Reading(
                "aligned-for-all-larger-gamma",
                "for every gamma >= gamma* = -beta delta*/(4 m) there is an optimum, at least a "
                "local one, with delta >= 0",
                f"{_TWO}; delta* < 0",
                _for_ever,
                lemmas=(*penalty_pair.BRANCH, "fold-height"),
            ),
            Reading(
                "eq17-exact",
                "Eq. 17's margin is that of the local maximum",
                _EQ17,
                partial(_eq17, partial(refutations.eq17_margin, sign=False)),
                lemmas=_MAXIMUM,
            ),
            *(
                Reading(
                    "eq17-exact-corrected",
                    statement,
                    _EQ17,
                    partial(_eq17_meets, part),
                    part,
                    proof=_MEETS,
                    corrects="eq17-exact",
                )
                for part, statement in _MEETS_PARTS
            ),
            Reading(
                "eq17-sign",
                "Eq. 17's margin is > 0 => the local maximum, if there is one, has delta > 0",
                _EQ17,
                partial(_eq17, partial(refutations.eq17_margin, sign=True)),
                "if",
                lemmas=_MAXIMUM,
            ),
            Reading(
                "eq17-optimistic",
                "the local maximum has delta > 0 => Eq. 17's margin is > 0; that is so iff gamma > "
                "-beta delta*/(2 + 2 cosh delta_ref), which is <= gamma* = -beta delta*/4 if "
                "delta* <= 0; for delta* >= 0 it is so whatever gamma",
                _EQ17,
                _eq17_optimistic,
                proof=(*penalty_pair.BRANCH, "zero-crossing", *penalty_pair.EQ17),
                corrects="eq17-sign (if)",
            ),
        ),
    )
)
