"""How the readings of `violation-rate` are attacked: on the capitals, and on any pair."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import cache

import numpy as np

from prefeq import intervals, margins
from prefeq.arrays import FloatArray
from prefeq.claims import capital_rates as claim
from prefeq.claims import exact_capitals as capitals
from prefeq.claims.evidence import Evidence
from prefeq.counterexamples import draws
from prefeq.counterexamples.case import Case, Falsifier, Kind, Source
from prefeq.counterexamples.falsifiers import _common as common

BETA = float(claim.BETA)
_PAIR: dict[str, Kind] = {"delta_ref": "real", "gap": "positive", "beta": "positive"}


@cache
def _margins(way: capitals.Normalize) -> FloatArray:
    """Return δ_ref of all pairs, in the order of the table."""
    return np.array([float(m) for row in capitals.margins(way) for m in row])


@cache
def _places() -> list[tuple[str, tuple[int, int]]]:
    """Return where each pair is: its country and its two cities."""
    table = capitals.countries().items()
    return [(name, (0, i)) for name, cities in table for i in range(1, len(cities))]


def _violating(beta: float, way: capitals.Normalize = "sum") -> FloatArray:
    """Ask the package which pairs violate at β."""
    return ~np.asarray(margins.assumption_holds(_margins(way), 1.0, beta))


def _index(case: Case, name: str, count: int) -> int:
    """Return a number of the case as an index, −1 outside the table."""
    value = case.numbers[name]
    return int(value) - 1 if 1 <= value <= count else -1


def _draw_index(name: str, count: int) -> Callable[[Source], Case]:
    return lambda source: Case({name: Fraction(source.integer(1, count))})


# ------------------------------------------------------------------------- counts


def _none_violates(case: Case) -> float:
    return -float(np.sum(_violating(BETA)))


def _certify_none(case: Case) -> Evidence:
    answer = not capitals.violating(claim.BETA, "sum")
    return common.harmless(case, "some pairs of the capitals violate at beta = 0.1", answer)


def _below_quoted(case: Case) -> float:
    """Measure by how much the interval ends below the quoted rate; shown is a violating prompt."""
    at = _index(case, "country", len(capitals.countries()))
    if at < 0 or not capitals.violations(claim.BETA, "sum")[at]:
        return common.OUTSIDE
    bad = _violating(BETA)
    return float(claim.QUOTED) - intervals.wilson(int(np.sum(bad)), bad.size).high


def _certify_below(case: Case) -> Evidence:
    names = list(capitals.countries())
    at = _index(case, "country", len(names))
    if at < 0:
        return common.harmless(case, "no such country")
    return claim.quoted_too_high(names[at])


def _not_below(case: Case) -> float:
    """Measure by how much an interval reaches above the quoted rate, or the count is off."""
    bad = _violating(BETA)
    ends = [intervals.wilson(int(np.sum(bad)), bad.size).high]
    counts = np.sum(bad.reshape(len(capitals.countries()), -1), axis=1).tolist()
    ends.append(intervals.wilson_clustered(counts, [bad.size // len(counts)] * len(counts)).high)
    return max(max(ends) - float(claim.QUOTED), float(abs(np.sum(bad) - claim.COUNTS["sum"][1])))


def _certify_not_below(case: Case) -> Evidence:
    found = claim.quoted_too_high(claim.PAIR[0])
    right = sum(capitals.violations(claim.BETA, "sum")) == claim.COUNTS["sum"][1]
    return common.harmless(case, found.summary, not (found.holds and right))


def _told_apart(case: Case) -> float:
    """Measure how far apart sum and mean are on the two sides of −Δr/β."""
    at = _index(case, "pair", len(_places()))
    if at < 0:
        return common.OUTSIDE
    found = [float(margins.optimal_margin(_margins(way)[at], 1.0, BETA)) for way in capitals.WAYS]
    return common.disagreement(*found)


def _certify_told_apart(case: Case) -> Evidence:
    at = _index(case, "pair", len(_places()))
    return common.harmless(case, "no such pair") if at < 0 else claim.told_apart(*_places()[at])


def _miscounted(case: Case) -> float:
    """Measure by how much the package counts otherwise than is said, at one β."""
    at = _index(case, "which", len(capitals.BETAS))
    if at < 0:
        return common.OUTSIDE
    beta = float(capitals.BETAS[at])
    off = [abs(int(np.sum(_violating(beta, way))) - claim.COUNTS[way][at]) for way in capitals.WAYS]
    return float(max(off))


def _certify_miscounted(case: Case) -> Evidence:
    wrong = any(
        sum(capitals.violations(beta, way)) != said
        for way in capitals.WAYS
        for beta, said in zip(capitals.BETAS, claim.COUNTS[way], strict=True)
    )
    return common.harmless(case, "counted in decimals", wrong)


# ------------------------------------------------------------------------- any pair


def _draw_pair(source: Source) -> Case:
    """Draw a pair, often at its critical β, and a rise of β."""
    gap, beta = draws.number(source, "positive"), draws.number(source, "positive")
    delta_ref = draws.number(source)
    if source.integer(0, 1):
        delta_ref = draws.near(source, -gap / beta)
    rise = draws.number(source, "positive")
    return Case({"delta_ref": delta_ref, "gap": gap, "beta": beta, "rise": rise})


def _floats(case: Case) -> tuple[float, float, float]:
    delta_ref, gap, beta = (float(case.numbers[name]) for name in _PAIR)
    return delta_ref, gap, beta


def _rounding(case: Case, times: float = 1.0) -> float:
    delta_ref, gap, beta = _floats(case)
    return common.ROUNDING * (gap + times * beta * abs(delta_ref))


def _recovers(case: Case) -> float:
    """Measure βδ* at a larger β, where the pair violates at the smaller one."""
    delta_ref, gap, beta = _floats(case)
    if margins.assumption_holds(delta_ref, gap, beta):
        return common.OUTSIDE
    more = beta + float(case.numbers["rise"])
    star = float(margins.optimal_margin(delta_ref, gap, more))
    return more * star - _rounding(case, more / beta)


def _exact(case: Case) -> tuple[Fraction, Fraction, Fraction]:
    return case.numbers["delta_ref"], case.numbers["gap"], case.numbers["beta"]


def _certify_recovers(case: Case) -> Evidence:
    delta_ref, gap, beta = _exact(case)
    more = beta + case.numbers["rise"]
    answer = beta * delta_ref + gap <= 0 < more * delta_ref + gap
    return common.harmless(case, "gap + beta delta_ref falls with beta once it is <= 0", answer)


def _critical_if(case: Case) -> float:
    """Measure how far β is beyond the critical one of a pair that does not violate."""
    delta_ref, gap, beta = _floats(case)
    if delta_ref >= 0:
        return common.OUTSIDE
    beyond = (beta - gap / -delta_ref) * -delta_ref
    if beyond < 0:
        return common.OUTSIDE
    holds = bool(margins.assumption_holds(delta_ref, gap, beta))
    return (beyond if holds else -beyond) - _rounding(case)


def _critical_only_if(case: Case) -> float:
    """Measure how far β is below the critical one of a pair that violates."""
    delta_ref, gap, beta = _floats(case)
    if margins.assumption_holds(delta_ref, gap, beta):
        return common.OUTSIDE
    if delta_ref >= 0:
        return gap
    return (gap / -delta_ref - beta) * -delta_ref - _rounding(case)


def _certify_critical(part: str, case: Case) -> Evidence:
    delta_ref, gap, beta = _exact(case)
    beyond = delta_ref < 0 and beta >= gap / -delta_ref
    violated = delta_ref + gap / beta <= 0
    answer = beyond and not violated if part == "if" else violated and not beyond
    return common.harmless(case, "delta_ref + gap/beta and beta + gap/delta_ref agree", answer)


_PROMPT: dict[str, Kind] = {"country": "integer"}
_ANY = Falsifier(_draw_pair, _recovers, _certify_recovers, {**_PAIR, "rise": "positive"})

FALSIFIERS: dict[str, Falsifier] = {
    "some-pairs-violate": Falsifier(
        _draw_index("country", 144), _none_violates, _certify_none, _PROMPT
    ),
    "quoted-rate-carries-over": Falsifier(
        _draw_index("country", 144), _below_quoted, _certify_below, _PROMPT
    ),
    "quoted-rate-carries-over-corrected": Falsifier(
        _draw_index("country", 144), _not_below, _certify_not_below, _PROMPT
    ),
    "sum-or-mean": Falsifier(
        _draw_index("pair", 720), _told_apart, _certify_told_apart, {"pair": "integer"}
    ),
    "sum-and-mean-rates": Falsifier(
        _draw_index("which", len(capitals.BETAS)),
        _miscounted,
        _certify_miscounted,
        {"which": "integer"},
    ),
    "increases-with-beta": _ANY,
    "critical-beta (if)": Falsifier(
        _draw_pair, _critical_if, lambda case: _certify_critical("if", case), _ANY.kinds
    ),
    "critical-beta (only-if)": Falsifier(
        _draw_pair, _critical_only_if, lambda case: _certify_critical("only-if", case), _ANY.kinds
    ),
}
