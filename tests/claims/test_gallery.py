"""The deciders' comparisons say what the deciders decide."""

from __future__ import annotations

from fractions import Fraction

import pytest

from prefeq.claims import gallery
from prefeq.claims.gallery import GALLERY

DECIDERS = (
    gallery.assumption,
    gallery.weak_assumption,
    gallery.cpo_is_rlhf,
    gallery.dpo_is_aligned,
    gallery.dpo_is_rlhf,
)


def exact(value):
    return [exact(v) for v in value] if isinstance(value, list) else Fraction(value)


@pytest.mark.parametrize("labels", ["bradley-terry", "ordered"])
@pytest.mark.parametrize("decider", DECIDERS, ids=lambda decider: decider.__name__)
def test_the_comparisons_are_of_its_numbers_and_true(decider, labels):
    answers = set()
    for instance in GALLERY:
        found = decider(instance.labelled(labels))
        names = {name: exact(value) for name, value in found.numbers.items()}
        assert found.answer is not None
        assert found.inequalities
        for text in found.inequalities:
            assert eval(text, {}, names) is True, (instance.name, text)
        answers.add(found.answer)
    assert answers == {True, False}


def test_a_yes_compares_every_pair_and_a_no_the_worst_one():
    by_name = {instance.name: instance for instance in GALLERY}
    aligned = gallery.assumption(by_name["an aligned chain"])
    assert aligned.inequalities == ("rlhf_margin[0] > 0", "rlhf_margin[1] > 0")
    tie = by_name["a tie on the boundary"]
    assert gallery.assumption(tie)[:2] == (False, ("rlhf_margin[0] == 0",))
    assert gallery.weak_assumption(tie)[:2] == (True, ("rlhf_margin[0] == 0",))
    cycle = gallery.assumption(by_name["a cycle of three"])
    assert cycle[:2] == (False, ("rlhf_margin[0] < 0",))
    islands = by_name["two islands"].labelled("bradley-terry")
    assert gallery.dpo_is_rlhf(islands)[:2] == (False, ("dpo_probs[0] < rlhf_probs[0]",))
