"""Symbolic findings judged by numbers: true ones survive, a wrong sign or factor does not."""

from __future__ import annotations

import pytest

from prefeq.bundle import symbolic
from prefeq.bundle.expression import ExpressionError

SIGNS = {
    "x": "real", "y": "real", "t": "positive", "beta": "positive", "d": "negative",
    "u": "nonnegative", "v": "nonpositive", "pi": "positive",
}  # fmt: skip


def decide(relation, left, assumptions=SIGNS, **more):
    left = [left] if isinstance(left, str) else left
    return symbolic.decide({"relation": relation, "left": left, "assumptions": assumptions, **more})


def equal(left, right):
    return decide("left = right", left, right=[right])


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("(x + y)**2", "x**2 + 2*x*y + y**2"),
        ("log(exp(x)*t)", "x + log(t)"),
        ("log(1 + exp(x)) - x", "log(1 + exp(-x))"),
        ("sqrt(d**2)", "-d"),
        ("Abs(v) + Abs(u)", "u - v"),
        ("LambertW(t*exp(t))", "t"),
        ("tanh(beta*x/2)", "1 - 2/(1 + exp(beta*x))"),
        ("exp(20*x)/(exp(20*x) + exp(20*y))", "1/(1 + exp(20*(y - x)))"),
        ("x", "x"),
    ],
)
def test_an_identity_survives_and_its_mutants_do_not(left, right):
    assert equal(left, right) is True
    for wrong in (f"-({right})", f"2*({right})", f"({right}) + 1/1000", f"({right})*(1 + x*1e-9)"):
        assert equal(left, wrong) is False, wrong


def test_a_mutant_of_one_of_several_identities_is_found():
    assert decide("left = right", ["x", "y"], right=["x", "y"]) is True
    assert decide("left = right", ["x", "y"], right=["x", "x"]) is False
    with pytest.raises(ValueError, match="zip"):
        decide("left = right", ["x", "y"], right=["x"])


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("beta/t", True),
        ("exp(x)", True),
        ("-d", True),
        ("u + t", True),
        ("1 - tanh(t)", True),
        ("1 - tanh(exp(t))", True),
        ("log(1 + exp(-t))", True),
        ("1/4 - exp(x)/(1 + exp(x))**2", True),
        ("-beta/t", False),
        ("x**2 - 1", False),
        ("t - 1e-4", False),
        ("8 - t", False),
        ("d", False),
        ("x - x", None),
        ("log(d)", None),
    ],
)
def test_signs(text, answer):
    assert decide("left > 0", text) is answer


@pytest.mark.parametrize(
    ("text", "to", "value", "answer"),
    [
        ("log(1 + exp(-t))", "oo", "0", True),
        ("log(1 + exp(t)) - t", "oo", "0", True),
        ("log(1 + exp(-t))", "oo", "log(2)", False),
        ("(x*t + 1)/t", "oo", "x", True),
        ("(x*t + 1)/t", "oo", "-x", False),
        ("t*log(t) - t + 1", "0", "1", True),
        ("t*log(t) - t + 1", "0", "-1", False),
        ("-log(t)", "0", "oo", True),
        ("log(t)", "0", "oo", False),
        ("log(t)", "0", "-oo", True),
        ("log(t)", "oo", "oo", True),
        ("t/(1 + t)", "oo", "oo", False),
        ("100 - 1/t", "oo", "oo", False),
        ("sinh(t)/exp(t)", "oo", "1/2", True),
        ("exp(exp(t))", "oo", "oo", None),
    ],
)
def test_limits(text, to, value, answer):
    side = "below" if to == "oo" else "above"
    got = decide("left -> value", text, symbol="t", to=to, side=side, value=value)
    assert got is answer


def test_a_limit_at_a_point_looks_at_the_given_side():
    for side in ("above", "below"):
        for value in ("1", "-1"):
            got = decide("left -> value", "Abs(x)/x", symbol="x", to="0", side=side, value=value)
            assert got is ((side == "above") == (value == "1"))


def test_independence():
    assert decide("left free of symbols", "(x + y) - x + t", symbols=["x"]) is True
    assert decide("left free of symbols", "(x + y) - x + t", symbols=["y"]) is False
    assert decide("left free of symbols", "t + x*1e-12", symbols=["x"]) is False


def test_points_are_the_same_every_time_and_keep_the_assumptions():
    one, two = (list(symbolic.points(sorted(SIGNS.items()), "a text")) for _ in range(2))
    assert one == two
    assert one != list(symbolic.points(sorted(SIGNS.items()), "another"))
    for names in one:
        assert names["t"] > 0 > names["d"]
        assert names["u"] >= 0 >= names["v"]
    sizes = [abs(names["x"]) for names in one]
    assert min(sizes) < 1e-2
    assert max(sizes) > 10
    assert {bool(names["x"] > 0) for names in one} == {True, False}


def test_nonsense_is_refused():
    with pytest.raises(ExpressionError, match="unknown relation"):
        decide("left < right", "x", right=["y"])
    with pytest.raises(ExpressionError, match="unknown assumption 'even'"):
        decide("left > 0", "x", {"x": "even"})
    assert equal("x + nobody", "x") is None  # no point has a value: nothing is decided
