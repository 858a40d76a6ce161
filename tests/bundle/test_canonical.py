"""One text a value, and a digest that notices any other value."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from prefeq.bundle.canonical import canonical, digest, document_of
from prefeq.errors import ProblemError

VALUE: dict[str, Any] = {"b": 1, "a": [0.1, 1e-300, -0.0, 2.0, "1/3", "δ → ∞", None, True, {}]}


def test_reading_and_writing_give_the_text_back():
    text = canonical(VALUE)
    assert canonical(json.loads(text)) == text
    assert text.endswith("\n}\n")
    assert "δ → ∞" in text
    assert list(json.loads(text)) == ["b", "a"], "keys keep their order"


@pytest.mark.parametrize(
    ("value", "text"), [(0.1, "0.1"), (1 / 3, repr(1 / 3)), (1e22, "1e+22"), (1.0, "1.0"), (1, "1")]
)
def test_numbers_have_one_form(value, text):
    assert canonical(value) == f"{text}\n"


def test_what_strict_json_cannot_hold_is_refused():
    with pytest.raises(ProblemError, match="NaN"):
        canonical({"x": float("nan")})


def test_the_digest_is_of_everything_but_itself():
    assert digest({**VALUE, "digest": "sha256:0"}) == digest(VALUE)
    assert digest(VALUE).startswith("sha256:")
    assert len(digest(VALUE)) == len("sha256:") + 64
    others: list[Any] = [dict(reversed(VALUE.items()))]
    for place, other in [(0, 0.1 + 2**-56), (2, 0.0), (3, 2), (4, "1/4"), (7, 1), (6, False)]:
        made = copy.deepcopy(VALUE)
        made["a"][place] = other
        others.append(made)
    assert len({digest(value) for value in [VALUE, *others]}) == 1 + len(others)


def test_a_document_has_its_digest_and_no_tuple():
    made = document_of({"version": "1", "claims": ({"id": "x"},)})
    assert list(made) == ["format", "version", "selection", "claims", "digest"]
    assert made["claims"] == [{"id": "x"}]
    assert made["digest"] == digest(made) == digest(json.loads(canonical(made)))
