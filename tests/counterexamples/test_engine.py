"""The search finds what there is, says what it tried, and survives being interrupted anywhere."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from counterexamples import toys

import prefeq as pq
from prefeq.counterexamples import engine, targets
from prefeq.counterexamples.case import Case, Falsifier
from prefeq.counterexamples.report import SearchReport
from prefeq.errors import ProblemError

REFUTED = "undesirable-space/non-empty:only-if"
PROVED = "margin-ranking/limit"


def search(monkeypatch: Any, *made: Falsifier, **options: Any) -> SearchReport:
    chosen = tuple(toys.target(f, label=f"toy {i}") for i, f in enumerate(made))
    monkeypatch.setattr(targets, "select", lambda target: chosen)
    return engine.search("toys", **options)


def test_a_false_statement_is_refuted_by_its_simplest_case(monkeypatch: Any) -> None:
    for seed in range(3):
        (result,) = search(monkeypatch, toys.NUMBERS, seed=seed).results
        assert result.found
        assert result.case is not None
        assert result.case.numbers == toys.SIMPLEST
        assert result.evidence is not None
        assert result.evidence.holds
        assert result.shrinks > 0
        assert 1 <= result.tries == result.in_scope
        assert result.nearest_miss is None


def test_a_true_statement_has_a_nearest_miss(monkeypatch: Any) -> None:
    (result,) = search(monkeypatch, toys.TRUE, budget=2000).results
    assert not result.found
    assert result.case is result.evidence is None
    assert (result.tries, result.in_scope, result.uncertified) == (2000, 2000, 0)
    assert result.nearest_miss is not None
    assert -1e-6 < result.nearest_miss.violation <= 0
    assert toys.true(result.nearest_miss.case) == result.nearest_miss.violation


def test_refinement_comes_nearer_than_draws_alone(monkeypatch: Any) -> None:
    """The maximum of a smooth function is found by hill climbing, not by drawing."""

    def hill(case: Case) -> float:
        return -sum((float(x) - 0.7391) ** 2 for x in case.numbers.values())

    made = toys.falsifier(toys.three_numbers, hill, toys.KINDS)
    refined = search(monkeypatch, made, budget=3000).results[0].nearest_miss
    monkeypatch.setattr(engine, "mutated", lambda source, case, kinds: made.draw(source))
    drawn = search(monkeypatch, made, budget=3000).results[0].nearest_miss
    assert refined is not None
    assert drawn is not None
    assert drawn.violation < 100 * refined.violation < 0


def test_the_nearest_misses_are_kept() -> None:
    hunt = engine.Hunt(toys.target(toys.TRUE), budget=500, seed=0)
    for _ in range(500):
        hunt._try(fresh=True)
    source = engine.RandomSource("0/assumption/toy")
    amounts = [toys.true(toys.three_numbers(source)) for _ in range(500)]
    assert sorted(amount for amount, _ in hunt._near) == sorted(amounts)[-engine.KEPT :]


def test_the_nearest_miss_is_made_simpler_and_no_farther(monkeypatch: Any) -> None:
    def ridge(case: Case) -> float:
        return -abs(float(case.numbers["gap"]) - 0.7391)

    made = toys.falsifier(toys.three_numbers, ridge, toys.KINDS)
    simple = search(monkeypatch, made, budget=300).results[0].nearest_miss
    monkeypatch.setattr(engine, "_SIMPLIFY", 0)
    raw = search(monkeypatch, made, budget=300).results[0].nearest_miss
    assert raw is not None
    assert simple is not None
    assert raw.violation <= simple.violation <= 0
    assert raw.case != simple.case
    assert (simple.case.numbers["delta_ref"], simple.case.numbers["beta"]) == (0, 1)


def test_a_violation_that_floats_only_see_is_not_reported(monkeypatch: Any) -> None:
    made = toys.falsifier(toys.three_numbers, toys.violated, toys.KINDS, lambda case: False)
    (result,) = search(monkeypatch, made, budget=400).results
    assert not result.found
    assert result.uncertified > 0
    assert "apparent but not certified" in result.outcome


def test_an_undecided_certificate_is_not_a_counterexample(monkeypatch: Any) -> None:
    made = toys.falsifier(toys.three_numbers, toys.violated, toys.KINDS, lambda case: None)
    assert not search(monkeypatch, made, budget=100).results[0].found


def test_numpy_scalars_do_not_reach_the_report(monkeypatch: Any) -> None:
    made = toys.falsifier(toys.three_numbers, lambda case: np.float64(-1.0), certify=certain)
    form = search(monkeypatch, made, budget=50).results[0].to_dict()
    assert type(form["in_scope"]) is int
    assert type(form["nearest_miss"]["violation"]) is float


def test_nothing_in_scope_is_said(monkeypatch: Any) -> None:
    made = toys.falsifier(toys.three_numbers, lambda case: -float("inf"))
    (result,) = search(monkeypatch, made, budget=100).results
    assert (result.tries, result.in_scope, result.nearest_miss) == (100, 0, None)
    assert result.outcome == "none in 100 tries, 0 of them in scope"


def test_a_result_depends_on_the_seed_and_the_reading_only(monkeypatch: Any) -> None:
    alone = pq.search(REFUTED, seed=3).results
    together = pq.search(["undesirable-space", PROVED], seed=3, budget=40)
    assert together.result("undesirable-space", "non-empty", "only-if") == alone[0]
    other = pq.search(PROVED, seed=4, budget=40).results[0]
    assert other != together.result("margin-ranking", "limit")


CODE = f"""
import json, prefeq as pq
print(json.dumps(pq.search([{REFUTED!r}, {PROVED!r}], budget=50, seed=1).to_dict()))
"""


def test_a_result_does_not_depend_on_the_hash_seed() -> None:
    found = {
        subprocess.run(
            [sys.executable, "-c", CODE],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in (1, 2)
    }  # fmt: skip
    assert len(found) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"target": "nonsense"}, "unknown claim 'nonsense'; choose from: assumption, equivalence"),
        ({"target": "margin-ranking/nonsense"}, "choose from: uniform-bound, "),
        ({"target": "undesirable-space/non-empty:both"}, r"no reading 'non-empty:both'"),
        ({"target": []}, "no claim to search; choose from: assumption"),
        ({"target": PROVED, "budget": 0}, "budget = 0"),
        ({"target": PROVED, "seed": -1}, "seed = -1"),
    ],
)
def test_bad_input(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ProblemError, match=words):
        pq.search(**options)


def test_targets_are_named_in_several_ways() -> None:
    def labels(*names: str) -> list[str]:
        return [t.reading.label for t in targets.select(names)]

    both = ["non-empty (if)", "non-empty (only-if)"]
    assert labels("undesirable-space/non-empty") == both
    assert labels("undesirable-space/non-empty:if") == both[:1]
    assert labels("undesirable-space/non-empty (only-if)") == both[1:]
    assert labels("undesirable-space/non-empty:only-if", "undesirable-space/non-empty:if") == both
    assert len(labels("undesirable-space")) == len(set(labels("undesirable-space"))) > 5


def test_a_reading_without_a_falsifier_is_refused(monkeypatch: Any) -> None:
    from prefeq.counterexamples.falsifiers import margin_ranking

    monkeypatch.setattr(margin_ranking, "FALSIFIERS", {})
    with pytest.raises(ProblemError, match="reading 'limit' of claim 'margin-ranking' cannot be"):
        pq.search(PROVED)


# interruption -------------------------------------------------------------------------------------


def interrupting(function: Callable[..., Any], at: int) -> Callable[..., Any]:
    """Return the function as it is, but for Ctrl-C in its call number `at`."""
    calls = iter(range(10**9))

    def wrapped(*args: Any) -> Any:
        if next(calls) == at:
            raise KeyboardInterrupt
        return function(*args)

    return wrapped


@pytest.mark.parametrize("at", [0, 1, 5, 50, 1000])
def test_an_interrupt_keeps_the_nearest_miss(monkeypatch: Any, at: int) -> None:
    made = toys.falsifier(toys.three_numbers, interrupting(toys.true, at), toys.KINDS)
    report = search(monkeypatch, made, toys.NUMBERS, budget=2000)
    (result,) = report.results
    assert report.interrupted
    assert result.interrupted
    assert result.tries == at
    assert (result.nearest_miss is None) == (at == 0)
    assert "(interrupted)" in str(report)


def test_an_interrupted_shrinking_keeps_the_simplest_certified_case(monkeypatch: Any) -> None:
    whole = search(monkeypatch, toys.NUMBERS).results[0]
    simplest = [
        search(
            monkeypatch,
            toys.falsifier(
                toys.three_numbers, interrupting(toys.violated, at), toys.KINDS, certain
            ),
        ).results[0]
        for at in range(whole.tries, whole.tries + 40, 3)
    ]
    assert all(result.found and result.interrupted for result in simplest)
    assert all(result.case and toys.violated(result.case) > 0 for result in simplest)
    assert simplest[0].shrinks < simplest[-1].shrinks


def certain(case: Case) -> bool:
    return True


def test_an_interrupted_certificate_is_taken_up_again(monkeypatch: Any) -> None:
    made = toys.falsifier(
        toys.three_numbers, toys.violated, toys.KINDS, interrupting(lambda case: True, 0)
    )
    (result,) = search(monkeypatch, made).results
    assert result.found
    assert result.interrupted


def test_an_interrupt_between_readings_keeps_the_first(monkeypatch: Any) -> None:
    class Interrupted(engine.Hunt):
        def __init__(self, target: Any, *args: Any) -> None:
            if target.reading.label == "toy 1":
                raise KeyboardInterrupt
            super().__init__(target, *args)

    monkeypatch.setattr(engine, "Hunt", Interrupted)
    report = search(monkeypatch, toys.NUMBERS, toys.TRUE)
    assert report.interrupted
    assert [result.found for result in report.results] == [True]


# progress -----------------------------------------------------------------------------------------


def test_progress_counts_tries_and_is_closed(monkeypatch: Any) -> None:
    seen: list[Any] = []

    def bar(items: Sequence[Any], label: str) -> Iterator[Any]:
        seen.append((label, len(items)))
        try:
            yield from items
        finally:
            seen.append("wiped")

    search(monkeypatch, toys.NUMBERS, toys.TRUE, budget=1000, progress=bar)
    assert seen == [
        ("assumption/toy 0, hundreds of tries", 10),
        "wiped",
        ("assumption/toy 1, hundreds of tries", 10),
        "wiped",
    ]


@pytest.mark.parametrize("numbers", [{"budget": 2.5}, {"seed": "a"}, {"budget": True}])
def test_a_count_that_is_no_whole_number_is_named(numbers) -> None:
    ((name, value),) = numbers.items()
    with pytest.raises(pq.ProblemError, match=f"{name} = {value!r}: pass a whole number"):
        pq.search("assumption", **numbers)
