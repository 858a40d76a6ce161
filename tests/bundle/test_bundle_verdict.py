"""Two implementations of the verdict, written apart, agree on everything."""

from __future__ import annotations

import itertools
import random

from prefeq.bundle.verdict import Finding, verdict
from prefeq.claims.evidence import Evidence
from prefeq.claims.verdict import conclude

KINDS = ("symbolic", "exact", "ball", "enclosure", "counterexample", "tie", "recheck", "sample")
OUTCOMES = ("holds", "fails", "undecided")
STEPS = (None, "a", "b")
ARGUMENTS = ((), ("a",), ("a", "b"))


def both(findings, proof, lemmas, never):
    evidence = [Evidence(f.kind, "", f.outcome, f.step) for f in findings]
    want = conclude(evidence, proof, lemmas, never)
    assert verdict(findings, proof, lemmas, never) == (want.verdict.value, want.vacuous), findings
    return want.verdict.value


def test_they_agree_on_all_small_cases():
    pool = [Finding(kind, step, "holds") for kind in KINDS for step in STEPS]
    seen = set()
    for size in (0, 1, 2):
        for findings in itertools.combinations(pool, size):
            for arguments in itertools.product(ARGUMENTS, repeat=3):
                seen.add(both(findings, *arguments))
    assert seen == {"open", "proved", "refuted", "supported"}


def test_they_agree_on_random_cases():
    source, seen = random.Random(5), set()
    for _ in range(4000):
        findings = [
            Finding(
                source.choice(KINDS), source.choice(STEPS), source.choices(OUTCOMES, (20, 1, 1))[0]
            )
            for _ in range(source.randrange(7))
        ]
        seen.add(both(findings, *(source.choice(ARGUMENTS) for _ in range(3))))
    assert len(seen) == 4
