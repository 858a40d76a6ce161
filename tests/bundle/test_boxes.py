"""Enclosures replayed: the tree has to tile the box, every leaf has to be positive."""

from __future__ import annotations

from fractions import Fraction

import pytest

from prefeq.bundle import boxes, findings
from prefeq.bundle.compare import shown
from prefeq.bundle.expression import ExpressionError
from prefeq.bundle.registry import BOXED
from prefeq.claims import enclosure

BOX = {"x": (Fraction(1, 10), 2), "y": (0, 1)}


@pytest.fixture
def saddle(monkeypatch):
    """A function whose cells have to be halved along both axes."""
    monkeypatch.setitem(BOXED, "saddle", lambda m, x, y: x * x - x * y + y / 4 + m.exact("1/20"))


@pytest.fixture
def found(saddle):
    """The enclosure as the claims make it."""
    from prefeq.claims.ball import ball

    def function(x, y):
        return x * x - x * y + y / 4 + ball(Fraction(1, 20))

    return enclosure.positive_on_box("saddle", function, BOX, name="saddle")


def test_the_claims_enclosure_is_replayed(found):
    assert found.outcome == "holds"
    numbers, answer = boxes.replay(found.data["inputs"], found.data["tree"])
    assert answer is True
    assert numbers["cells"] == found.data["cells"] > 4
    assert numbers["worst_cell"] == found.data["worst_cell"]
    assert shown(numbers["worst_value"]) == found.data["worst_value"]


@pytest.mark.parametrize(
    ("mutate", "trouble"),
    [
        (lambda t: t[:-1], "too early"),
        (lambda t: t + "0", "goes on"),
        (lambda t: "1" + t, "too early"),
        (lambda t: t[1:], "goes on"),
        (lambda t: t.replace("0", "2", 1), "in 0 and 1"),
        (lambda t: "", "too early"),
    ],
)
def test_a_tree_that_does_not_tile_is_refused(found, mutate, trouble):
    with pytest.raises(ExpressionError, match=trouble):
        boxes.replay(found.data["inputs"], mutate(found.data["tree"]))


def test_a_coarser_tree_has_another_count(found):
    """The box itself is no leaf: there the balls are too wide, but a leaf may be halved again."""
    numbers, answer = boxes.replay(found.data["inputs"], "0")
    assert numbers["cells"] == 1 != found.data["cells"]
    assert answer in (True, None)


def test_a_function_that_is_not_positive_is_seen(found, monkeypatch):
    monkeypatch.setitem(BOXED, "saddle", lambda m, x, y: x * x - x * y - m.exact("1/20"))
    assert boxes.replay(found.data["inputs"], found.data["tree"])[1] is not True
    monkeypatch.setitem(BOXED, "saddle", lambda m, x, y: -x)
    assert boxes.replay(found.data["inputs"], found.data["tree"])[1] is False


def test_an_unknown_function_is_refused(found):
    with pytest.raises(ExpressionError, match="no second copy of the enclosed function 'other'"):
        boxes.replay({**found.data["inputs"], "function": "other"}, found.data["tree"])


def test_every_copy_runs_in_balls_and_in_points():
    """A copy that only worked in one arithmetic would be found when a bundle is checked: sooner."""
    findings.load()
    assert {"loss-below-ln-2", "hinge-gap-within-bounds"} <= set(BOXED)
