"""The same seed draws the same on every platform; hypothesis draws the same things."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

from hypothesis import find, given
from hypothesis import strategies as st

from prefeq.counterexamples import draws
from prefeq.counterexamples.sources import HypothesisSource, RandomSource

CODE = """
from prefeq.counterexamples import draws, sources
source = sources.RandomSource("0/claim/reading")
print([draws.instance(source) for _ in range(20)])
"""


def test_a_seed_is_a_stream_whatever_the_hash_seed() -> None:
    found = {
        subprocess.run(
            [sys.executable, "-c", CODE],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in (0, 1)
    }  # fmt: skip
    assert len(found) == 1


def test_the_stream_is_the_same_on_every_version_of_python() -> None:
    source = RandomSource("20834")
    assert [source.integer(0, 99) for _ in range(8)] == [5, 13, 11, 99, 51, 71, 78, 57]


def test_integers_are_even_over_their_range() -> None:
    source = RandomSource(0)
    counts = Counter(source.integer(-2, 3) for _ in range(6000))
    assert set(counts) == {-2, -1, 0, 1, 2, 3}
    assert min(counts.values()) > 850


@given(st.data())
def test_hypothesis_draws_valid_instances(data) -> None:
    made = draws.instance(HypothesisSource(data.draw))
    assert sum(made.ref) == 1
    assert made.beta > 0


def test_hypothesis_shrinks_towards_the_simple() -> None:
    @st.composite
    def numbers(draw):
        return draws.number(HypothesisSource(draw), "positive")

    assert find(numbers(), lambda x: x >= 1) == 1
