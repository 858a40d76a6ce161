"""Shrinking reaches the simplest counterexamples, and no further than certificates go."""

from __future__ import annotations

from fractions import Fraction
from itertools import count

import pytest
from counterexamples import toys

from prefeq.claims.evidence import Evidence
from prefeq.counterexamples.case import Case, Falsifier
from prefeq.counterexamples.shrink import Shrinker, violation
from prefeq.counterexamples.simplest import complexity
from prefeq.counterexamples.sources import RandomSource
from prefeq.errors import ProblemError


def shrunk(made: Falsifier, seed: int, **options: int) -> Shrinker:
    source = RandomSource(seed)
    case = next(case for _ in count() if violation(made, case := made.draw(source)) > 0)
    shrinker = Shrinker(made, case, made.certify(case), **options)
    shrinker.run()
    assert violation(made, shrinker.certified) > 0
    assert shrinker.evidence.holds
    return shrinker


@pytest.mark.parametrize("seed", range(5))
def test_numbers_shrink_to_the_simplest(seed: int) -> None:
    assert shrunk(toys.NUMBERS, seed).certified.numbers == toys.SIMPLEST


@pytest.mark.parametrize("seed", range(5))
def test_instances_shrink_to_the_smallest(seed: int) -> None:
    found = shrunk(toys.INSTANCES, seed).certified.instance
    assert found is not None
    assert found.reward == (2, 0)
    assert found.ref == (Fraction(1, 4), Fraction(3, 4))
    assert found.beta == 1
    assert found.pairs in [((0, 1), (0, 1)), ((0, 1), (1, 0))]


def test_kinds_bound_what_shrinking_tries() -> None:
    def never_outside(case: Case) -> float:
        assert 0 < case.numbers["p"] < 1
        assert case.numbers["n"].denominator == 1
        return float(case.numbers["p"]) - 0.7

    kinds = {"p": "unit", "n": "integer"}
    made = toys.falsifier(
        lambda source: Case({"p": Fraction(93, 100), "n": Fraction(17)}), never_outside, kinds
    )
    assert shrunk(made, 0).certified.numbers == {"p": Fraction(3, 4), "n": 1}


@pytest.mark.parametrize("seed", range(6))
def test_all_that_is_tried_is_consistent(seed: int) -> None:
    def picky(case: Case) -> float:
        toys.assert_consistent(case)
        assert case.instance is not None
        assert case.margins is not None
        return min(case.instance.size - 2, len(case.margins) - 1, seed / 4) - 0.5

    made = toys.falsifier(toys.everything, picky, {"p": "unit"})
    if seed < 3:  # nothing breaks it: any case will do to start from
        shrinker = Shrinker(made, toys.everything(RandomSource(seed)), Evidence("", "", "holds"))
        shrinker.run()
        assert shrinker.steps == 0
        return
    found = shrunk(made, seed).certified.instance
    assert found is not None
    assert (found.size, len(found.pairs)) == (3, 2)


def test_what_the_certificate_refuses_is_undone() -> None:
    """Floats call anything below −gap/β a violation; the certificate wants δ_ref < −3."""

    def certain(case: Case) -> bool:
        return case.numbers["delta_ref"] < -3

    made = toys.falsifier(toys.three_numbers, toys.violated, toys.KINDS, certain)
    source = RandomSource(0)
    cases = (made.draw(source) for _ in count())
    start = next(case for case in cases if violation(made, case) > 0 and certain(case))
    shrinker = Shrinker(made, start, made.certify(start))
    shrinker.run()
    assert shrinker.certified.numbers == {**toys.SIMPLEST, "delta_ref": -4}


def test_work_is_bounded() -> None:
    calls = 0

    def counted(case: Case) -> float:
        nonlocal calls
        calls += 1
        return toys.tilted(case)

    made = toys.falsifier(toys.any_instance, counted, certify=lambda case: True)
    source = RandomSource(1)
    start = next(case for _ in count() if toys.tilted(case := made.draw(source)) > 0)
    Shrinker(made, start, made.certify(start), evaluations=25).run()
    assert 10 < calls <= 25


def test_the_package_refusing_a_case_is_outside_the_scope() -> None:
    def refuse(case: Case) -> float:
        raise ProblemError("beta = 0")

    made = toys.falsifier(toys.three_numbers, refuse)
    assert violation(made, Case()) == -float("inf")


def test_a_violation_that_is_no_number_is_an_error() -> None:
    made = toys.falsifier(toys.three_numbers, lambda case: float("nan"))
    with pytest.raises(ArithmeticError, match="not a number"):
        violation(made, Case())


def test_complexity_counts_responses_then_pairs_then_digits() -> None:
    source = RandomSource(0)
    cases = sorted((toys.any_instance(source) for _ in range(200)), key=complexity)
    sizes = [(case.instance.size, len(case.instance.pairs)) for case in cases if case.instance]
    assert sizes == sorted(sizes)
