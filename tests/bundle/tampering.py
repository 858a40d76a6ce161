"""Tampering with a bundle at random: any number, verdict, identifier, text or list of it.

The digest is made to fit again, so that it takes the recomputation to notice.
"""

from __future__ import annotations

import copy
import random
import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, NamedTuple

from prefeq.bundle.canonical import canonical, digest
from prefeq.bundle.recheck import Disagreement, check_document
from prefeq.errors import ProblemError

Json = dict[str, Any]
Path = tuple[str | int, ...]

VERDICTS = ("proved", "refuted", "supported", "open")
OUTCOMES = ("holds", "fails", "undecided")
IDENTIFIERS = frozenset(
    {"id", "reading", "part", "kind", "step", "provenance", "version", "name", "check", "function"}
)
RATIONAL = re.compile(r"-?\d+(/\d+)?")

KINDS = (
    "float", "integer", "rational", "verdict", "outcome", "vacuous", "identifier", "text", "tree",
    "remove", "duplicate", "reorder", "drop key", "add key", "rename key",
)  # fmt: skip


class Tampering(NamedTuple):
    """What was done, where, and the document that came of it."""

    kind: str
    path: Path
    before: Any
    after: Any
    document: Json

    @property
    def pointer(self) -> str:
        """The place as a JSON pointer."""
        return pointer(self.path)

    @property
    def claim(self) -> int | None:
        """The index of the claim tampered with, None outside of all."""
        return int(self.path[1]) if len(self.path) > 1 else None


def pointer(path: Path) -> str:
    keys = (str(key).replace("~", "~0").replace("/", "~1") for key in path)
    return "".join(f"/{key}" for key in keys)


def tamper(document: Json, source: random.Random, kind: str | None = None) -> Tampering:
    """Tamper with a copy of a document, in a place and of a kind drawn at random."""
    while True:
        wanted = source.choice(KINDS) if kind is None else kind
        places = [path for path, value in walk(document) if wanted in kinds(path, value)]
        if not places:
            raise ValueError(f"nothing to tamper with by {wanted!r}")
        path = source.choice(places)
        made = copy.deepcopy(document)
        holder = made
        for key in path[:-1]:
            holder = holder[key]
        old = copy.deepcopy(holder[path[-1]])
        before = canonical([old])
        where = change(holder, path, wanted, source)
        if canonical([holder[path[-1]]]) != before:
            made["digest"] = digest(made)
            new = made
            for key in where:
                new = new[key] if _has(new, key) else None
            return Tampering(wanted, where, old, new, made)


def walk(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield every value of a document with its path; digest and format are left alone."""
    if path and path[0] in ("digest", "format"):
        return
    if path:
        yield path, value
    children: Any = ()
    if isinstance(value, dict):
        children = value.items()
    elif isinstance(value, list):
        children = enumerate(value)
    for key, child in children:
        yield from walk(child, (*path, key))


def kinds(path: Path, value: Any) -> tuple[str, ...]:
    """Return the kinds of tampering that a value allows."""
    key = path[-1]
    if isinstance(value, dict):
        return ("drop key", "add key", "rename key") if value else ("add key",)
    if isinstance(value, list):
        many = any(item != value[0] for item in value)
        return ("remove", "duplicate", *(["reorder"] if many else [])) if value else ()
    if key in ("verdict", "outcome", "vacuous", "tree"):
        return (str(key),)
    if key in IDENTIFIERS:
        return ("identifier",)
    if isinstance(value, bool):
        return ("vacuous",)
    if isinstance(value, int | float):
        return ("float" if isinstance(value, float) else "integer",)
    return ("rational",) if RATIONAL.fullmatch(str(value)) else ("text",)


def change(holder: Any, path: Path, kind: str, source: random.Random) -> Path:
    """Change one value in place, and return the path of what is different now."""
    key = path[-1]
    value = holder[key]
    if kind in ("remove", "duplicate", "reorder"):
        return (*path, _in_list(value, kind, source))
    if kind in ("drop key", "add key", "rename key"):
        return (*path, _in_object(value, kind, source))
    holder[key] = {
        "float": lambda: _float(value, source),
        "integer": lambda: source.choice([value + 1, value - 1, -value, 10 * value]),
        "rational": lambda: _rational(value, source),
        "verdict": lambda: source.choice([word for word in VERDICTS if word != value]),
        "outcome": lambda: source.choice([word for word in OUTCOMES if word != value]),
        "vacuous": lambda: not value,
        "identifier": lambda: _text(value, source),
        "text": lambda: _text(value, source),
        "tree": lambda: _tree(value, source),
    }[kind]()
    return path


def _float(value: float, source: random.Random) -> float:
    if value == 0.0:
        return source.choice([1e-15, -1e-15, 1e-40, 1.0])
    way = source.randrange(4)
    if way == 0:
        return -value
    if way == 1:
        return value * source.choice([0.1, 0.5, 2.0, 10.0])
    return value * (1 + source.choice([-1, 1]) * 10 ** source.uniform(-13, 1))


def _rational(value: str, source: random.Random) -> str:
    number = Fraction(value)
    top, bottom = number.numerator, number.denominator
    ways = [(top + 1, bottom), (top - 1, bottom), (top, bottom + 1), (-top, bottom)]
    made = Fraction(*source.choice(ways))
    return str(made)


def _text(value: str | None, source: random.Random) -> str:
    if not value:
        return source.choice(["if", "only-if", "x"])
    at = source.randrange(len(value))
    other = source.choice([c for c in "abcxyz0123456789+-*/<>()" if c != value[at]])
    ways = (value[:at] + other + value[at + 1 :], value[:at] + value[at + 1 :], value + other)
    return source.choice(ways)


def _tree(value: str, source: random.Random) -> str:
    at = source.randrange(len(value) + 1)
    ways = (value[:at] + "0" + value[at:], value[:at] + "1" + value[at:], value[:at] + "100")
    return source.choice([*ways, value[:-1], value.replace("0", "100", 1)])


def _in_list(value: list[Any], kind: str, source: random.Random) -> int:
    at = source.randrange(len(value))
    if kind == "remove":
        del value[at]
    elif kind == "duplicate":
        value.insert(at, copy.deepcopy(value[at]))
    else:
        other = source.randrange(len(value))
        value[at], value[other] = value[other], value[at]
        return min(at, other)
    return at


def _in_object(value: Json, kind: str, source: random.Random) -> str:
    key = source.choice([*value]) if value else ""
    if kind == "drop key":
        del value[key]
        return key
    new = f"{key}{source.choice('abcxyz')}"
    value[new] = value.pop(key) if kind == "rename key" else 1
    return new


def caught(tampering: Tampering, original: Json, texts: Json) -> Exception | None:
    """Re-check a tampered document, as far as it concerns the claim; return what was raised."""
    index = 0 if tampering.claim is None else min(tampering.claim, len(original["claims"]) - 1)
    try:
        check_document(tampering.document, texts, original["claims"][index]["id"])
    except (Disagreement, ProblemError) as error:
        return error
    return None


def names_it(tampering: Tampering, error: Exception) -> bool:
    """Whether what was raised points at the place: to the field, or into the list or object."""
    if not isinstance(error, Disagreement):
        return len(tampering.path) == 1  # the outer shape: it is not a bundle any more
    place = tampering.pointer
    if tampering.kind == "tree":
        return error.path.startswith(place.rsplit("/", 1)[0])
    if tampering.kind in ("remove", "duplicate", "reorder", "drop key", "add key", "rename key"):
        place = place.rsplit("/", 1)[0]
        return error.path.startswith(place)
    return error.path == place


def _has(value: Any, key: Any) -> bool:
    return key in value if isinstance(value, dict) else isinstance(key, int) and key < len(value)
