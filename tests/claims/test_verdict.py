"""The one function that turns evidence into a verdict: every way to fail must end in `open`."""

from __future__ import annotations

import pytest

from prefeq.claims.evidence import Evidence, outcome_of
from prefeq.claims.verdict import Verdict, conclude

STEP = Evidence("symbolic", "a step", "holds", step="one")
OTHER = Evidence("exact", "another", "holds", step="two")
TIE = Evidence("tie", "tied", "holds")
RECHECK = Evidence("recheck", "re-checked", "holds")
COUNTER = Evidence("counterexample", "an instance", "holds")
SAMPLE = Evidence("sample", "random problems", "holds")


def test_all_steps_and_a_tie_prove():
    conclusion = conclude([STEP, OTHER, TIE], proof=["one", "two"])
    assert conclusion == (Verdict.PROVED, False, "")


def test_a_counterexample_with_its_lemmas_refutes():
    assert conclude([COUNTER, RECHECK]).verdict is Verdict.REFUTED
    assert conclude([COUNTER, STEP, RECHECK], lemmas=["one"]).verdict is Verdict.REFUTED


def test_a_hypothesis_that_never_holds_proves_vacuously():
    assert conclude([STEP, TIE], never=["one"]) == (Verdict.PROVED, True, "")
    assert conclude([TIE, SAMPLE], never=["one"]).verdict is Verdict.SUPPORTED


def test_samples_alone_only_support():
    assert conclude([SAMPLE, TIE]).verdict is Verdict.SUPPORTED
    assert conclude([SAMPLE, TIE], proof=["one"]).verdict is Verdict.SUPPORTED


def test_a_missing_step_does_not_prove():
    assert conclude([STEP, TIE], proof=["one", "two"]).verdict is Verdict.SUPPORTED


@pytest.mark.parametrize("kind", ["sample", "tie", "recheck", "counterexample", "reason"])
def test_a_step_of_a_kind_that_proves_nothing_does_not_prove(kind):
    step = Evidence(kind, "not a proof", "holds", step="one")
    assert conclude([step, TIE], proof=["one"]).verdict is not Verdict.PROVED


@pytest.mark.parametrize("outcome", ["fails", "undecided"])
@pytest.mark.parametrize(
    "kind", ["symbolic", "exact", "tie", "recheck", "sample", "counterexample"]
)
def test_anything_that_does_not_hold_is_open(kind, outcome):
    bad = Evidence(kind, "the bad one", outcome, step="one")
    for rest in ([STEP, TIE], [COUNTER, RECHECK]):
        conclusion = conclude([*rest, bad], proof=["one"])
        assert conclusion.verdict is Verdict.OPEN
        assert "the bad one" in conclusion.reason


@pytest.mark.parametrize(
    ("evidence", "kwargs", "words"),
    [
        ([], {}, "nothing"),
        ([STEP], {"proof": ["one"]}, "ties"),
        ([COUNTER], {}, "ties"),
        ([COUNTER, RECHECK], {"lemmas": ["one"]}, "one"),
        ([COUNTER, STEP, TIE], {"proof": ["one"]}, "both"),
        ([COUNTER, STEP, TIE], {"never": ["one"]}, "both"),
    ],
)
def test_fail_closed(evidence, kwargs, words):
    conclusion = conclude(evidence, **kwargs)
    assert conclusion.verdict is Verdict.OPEN
    assert words in conclusion.reason


def test_outcome_of_is_three_valued():
    assert [outcome_of(x) for x in (True, False, None)] == ["holds", "fails", "undecided"]


def test_evidence_is_frozen_and_shows_its_outcome():
    with pytest.raises(AttributeError):
        STEP.outcome = "fails"
    assert STEP.to_dict() == {
        "kind": "symbolic",
        "summary": "a step",
        "data": {"outcome": "holds", "step": "one"},
    }
