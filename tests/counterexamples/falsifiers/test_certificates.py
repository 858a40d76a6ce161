"""Certificates stand on their own: their comparisons hold of their numbers, by other arithmetic."""

from __future__ import annotations

import json
import math

import pytest

from prefeq.bundle import expression
from prefeq.claims.registry import get_claim
from prefeq.counterexamples.shrink import violation
from prefeq.counterexamples.sources import RandomSource
from prefeq.counterexamples.targets import falsifier

CLAIMS = (
    "equivalence",
    "relative-advantage",
    "undesirable-space",
    "pathological-convergence",
    "cpo-constrained",
    "margin-ranking",
)
REFUTED = [
    (claim, reading.label)
    for claim in CLAIMS
    for reading in get_claim(claim).readings
    if not (reading.proof or reading.never)
]
TRIES, ENOUGH = 250, 8


def attacked(claim, label):
    attack, source = falsifier(claim, label), RandomSource("certificates")
    for _ in range(TRIES):
        case = attack.draw(source)
        yield case, violation(attack, case), attack


@pytest.mark.parametrize(("claim", "label"), REFUTED)
def test_its_comparisons_hold_of_its_numbers(claim, label):
    seen = 0
    for case, amount, attack in attacked(claim, label):
        if amount <= 0:
            continue
        evidence = attack.certify(case)
        assert evidence.kind == "counterexample"
        assert evidence.holds, evidence
        data = json.loads(json.dumps(evidence.data, allow_nan=False))
        assert data["instance"]["exact"]
        names = {**data, **data.get("inputs", {})}
        assert data["inequalities"]
        for comparison in data["inequalities"]:
            assert expression.holds(comparison, names), comparison
        seen += 1
        if seen == ENOUGH:
            return
    pytest.fail(f"only {seen} counterexamples in {TRIES} tries")


@pytest.mark.parametrize(("claim", "label"), REFUTED)
def test_a_clear_miss_is_not_certified(claim, label):
    seen = 0
    for case, amount, attack in attacked(claim, label):
        if -math.inf < amount < -1e-6 and seen < ENOUGH:
            assert attack.certify(case).outcome in ("fails", "undecided")
            seen += 1
