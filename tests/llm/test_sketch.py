"""Quantiles are within their bound, merge exactly, and levels are counted exactly."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from prefeq.llm import sketch
from prefeq.llm.sketch import ABSOLUTE, RELATIVE, Levels, Sketch, bucket, count, edges, rank_of

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
NATS = st.floats(-900, 900) | st.integers(-3, 3).map(float) | st.sampled_from([-0.0, 5e-324, -1e-9])


def sketched(values: Any) -> Sketch:
    array = np.asarray(values, np.float64)
    found = Sketch()
    if array.size:
        found.add(count(np, array, float(array.min()), float(array.max())))
    return found


def check(values: Any) -> None:
    found, order = sketched(values), np.sort(np.asarray(values, np.float64))
    assert found.total == order.size
    ranked = found.ranked(range(1, order.size + 1)).tolist()
    for (low, value, high), true in zip(ranked, order.tolist(), strict=True):
        assert low <= value <= high
        assert low <= true <= high or math.isclose(true, low, rel_tol=1e-9, abs_tol=1e-18)
        if not math.isinf(true):
            assert abs(value - true) <= RELATIVE * abs(true) + ABSOLUTE


@given(st.lists(FLOATS, min_size=1, max_size=60))
@example([1.7e308, -1.7e308, 0.0])
@example([65535.9, 65536.0, -65536.1, 1e9])
def test_order_statistics_are_within_the_bound(values: list[float]) -> None:
    check(values)


@given(st.lists(NATS, min_size=1, max_size=60))
def test_so_are_those_of_margins(values: list[float]) -> None:
    check(values)


def test_infinities_are_values_at_the_ends() -> None:
    found = sketched([-math.inf, -math.inf, -math.inf, 1.0, 2.0])
    assert found.ranked([1, 2, 3, 5])[:, 1].tolist() == [-math.inf] * 3 + [2.0]
    with pytest.raises(IndexError):
        found.ranked([6])


def test_a_wrong_bound_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=500) * 30
    check(values)
    monkeypatch.setattr(sketch, "_edge", lambda outward, edge=sketch._edge: edge(outward + 1))
    with pytest.raises(AssertionError):
        check(values)


@given(st.lists(st.lists(NATS | FLOATS, max_size=20), min_size=1, max_size=6), st.randoms())
def test_merging_in_any_order_is_counting_at_once(parts: list[list[float]], random: Any) -> None:
    whole = sketched([v for part in parts for v in part])
    pieces = [sketched(part) for part in parts]
    random.shuffle(pieces)
    while len(pieces) > 1:
        pieces.append(pieces.pop().merge(pieces.pop(0)))
    assert pieces[0].to_plain() == whole.to_plain()
    assert Sketch.from_plain(pieces[0].to_plain()).to_plain() == whole.to_plain()


@given(st.lists(NATS | FLOATS, min_size=1, max_size=50), st.lists(NATS | FLOATS, max_size=12))
@example([0.0, -0.0, 1.0], [0.0])
@example([1e7, 3.0], [1e7, 2.0])
def test_levels_are_counted_exactly(values: list[float], levels: list[float]) -> None:
    levels = [*levels, values[0], math.nextafter(values[0], -math.inf)]
    levels = [v for v in levels if math.isfinite(v)]
    array = np.array(values)
    counts = count(np, array, min(values), max(values))
    found = Levels(levels).at_most(np, array, counts).tolist()
    assert found == [int(np.sum(array <= level)) for level in levels]


def test_buckets_keep_the_order() -> None:
    values = np.sort(np.random.default_rng(1).standard_cauchy(5000) * 10)
    places = [bucket(v) for v in values.tolist()]
    assert places == sorted(places)
    assert places == count(np, values, values[0], values[-1]).places.tolist()
    for value in (0.0, 3.7, -1e-5, -812.5):
        low, high = edges(bucket(value))
        assert low <= value <= high


@given(st.integers(1, 10**9), st.integers(0, 1000))
def test_ranks_are_those_of_exact_arithmetic(total: int, thousandths: int) -> None:
    assert rank_of(thousandths / 1000, total) == max(1, -(-thousandths * total // 1000))


def test_values_just_beyond_the_dense_buckets_are_counted() -> None:
    edge = 2.0**16 - 2.0**-10
    for value in (math.nextafter(edge, 0), edge, 65_536.0, math.nextafter(65_536.0, math.inf)):
        for values in ([1.0, value], [-value, 1.0], [-value, value]):
            found = sketched(values)
            assert found.total == 2
            assert sum(found.far.values()) == sum(abs(v) >= edge for v in values)
            check(values)
