"""Numbers against what is recomputed: to the last of 15 digits, and type by type."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from mpmath import mp, mpf

from prefeq.bundle.compare import MISSING, count, differences, shown


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (lambda: mp.pi / 1, "3.14159265358979"),
        (lambda: -mp.log(3) * 10**20, "-1.09861228866811e+20"),
        (lambda: mp.exp(-800), "3.67770659660332e-348"),
        (lambda: mpf(2), "2.0"),
        (lambda: mpf(0), "0.0"),
    ],
)
def test_a_float_has_15_digits(value, text):
    with mp.workdps(60):
        assert repr(shown(value(), 1e-300)) == repr(float(text))


def test_what_cancels_is_zero_only_where_zero_stands():
    noise = mpf("3e-58")
    assert shown(noise, 0.0) == 0.0
    assert shown([noise, noise], [0.0, 1e-58]) == [0.0, 3e-58]
    assert shown({"a": noise}, {"a": 0.0}) == {"a": 0.0}
    assert list(differences(1e-58, shown(noise, 1e-58), "/x"))


def test_the_neighbouring_float_differs():
    with mp.workdps(60):
        right = shown(mp.log(2))
        for wrong in (math.nextafter(right, 0), math.nextafter(right, 1), -right):
            assert list(differences(wrong, shown(mp.log(2), wrong), "")) == [("", wrong, right)]


@pytest.mark.parametrize(
    ("found", "computed", "where"),
    [
        (1, 1.0, ""),
        (1, True, ""),
        (0.0, -0.0, ""),
        ("1/3", "2/6", ""),
        (None, 0, ""),
        ([1, 2], [1], "/1"),
        ([1], [1, 2], "/1"),
        ([1, [2, 3]], [1, [2, 4]], "/1/1"),
        ({"a": 1, "b": 2}, {"a": 1}, "/b"),
        ({}, {"a": 1}, "/a"),
        ({"a/b": {"~": 1}}, {"a/b": {"~": 2}}, "/a~1b/~0"),
        ([1], {"0": 1}, ""),
    ],
)
def test_differences(found, computed, where):
    assert [path for path, _, _ in differences(found, computed, "")] == [where]
    assert not list(differences(found, found, ""))


def test_missing_values_say_so():
    ((_, stands, belongs),) = differences({}, {"a": 1}, "")
    assert (stands, belongs, repr(stands)) == (MISSING, 1, "nothing")


def test_shown_and_count():
    assert shown([Fraction(4, 2), Fraction(-1, 3), None, "x", 7]) == ["2", "-1/3", None, "x", 7]
    assert count({"a": [1, [2.0, "1/3"]], "b": 4}) == 4
    with pytest.raises(TypeError, match="complex"):
        shown(1j)
