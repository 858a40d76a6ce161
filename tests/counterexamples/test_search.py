"""Every reading is attacked: the false ones fall, the true ones do not."""

from __future__ import annotations

import functools

import pytest

import prefeq as pq
from prefeq.claims import registry
from prefeq.counterexamples import targets
from prefeq.counterexamples.report import SearchResult
from prefeq.counterexamples.simplest import complexity, cost

READINGS = {
    f"{claim.id}/{reading.label}": reading
    for claim in registry.select()
    for reading in claim.readings
}
# What has no proof at all can only be refuted: that is how verdicts are concluded.
REFUTABLE = [name for name, r in READINGS.items() if not (r.proof or r.never)]
PROVED = [name for name, r in READINGS.items() if r.proof or r.never]
TRIES = 150


@functools.cache
def found(name: str) -> SearchResult:
    (result,) = pq.search(name, budget=10_000 if name in REFUTABLE else TRIES).results
    return result


def test_every_reading_has_a_falsifier_and_every_falsifier_a_reading() -> None:
    for claim in registry.select():
        module = f"prefeq.counterexamples.falsifiers.{claim.id.replace('-', '_')}"
        table = targets.importlib.import_module(module).FALSIFIERS
        assert set(table) == {reading.label for reading in claim.readings}, claim.id


@pytest.mark.parametrize("name", REFUTABLE)
def test_a_false_reading_falls_to_a_small_instance(name: str) -> None:
    result = found(name)
    assert result.found, result.outcome
    assert result.case is not None
    assert result.evidence is not None
    assert result.evidence.kind == "counterexample"
    assert result.evidence.holds
    assert complexity(result.case)[0] <= 4
    assert all(cost(x) <= 20 for x in numbers(result))


def numbers(result: SearchResult) -> list:
    case = result.case
    assert case is not None
    listed = [*case.numbers.values(), *(case.margins or ())]
    for probs in case.policies.values():
        listed += probs
    made = case.instance
    return listed if made is None else [*listed, *made.reward, *made.ref, made.beta]


@pytest.mark.parametrize("name", PROVED)
def test_a_true_reading_is_attacked_in_vain(name: str) -> None:
    """At least one case in five is in its scope, unless its hypothesis never holds."""
    result = found(name)
    assert not result.found, result
    assert result.uncertified == 0
    assert result.tries == TRIES
    if not READINGS[name].never:
        assert result.in_scope >= TRIES / 5
        assert result.nearest_miss is not None
