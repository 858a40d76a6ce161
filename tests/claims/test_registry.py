"""The registry: one entry a claim, found by its id, and light until it is asked for one."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest

from prefeq.claims import claim_ids, registry
from prefeq.errors import ProblemError

PROVENANCE = {"quoted", "secondary", "code", "reconstructed"}


def test_the_ids_of_this_paper():
    assert claim_ids() == (
        "assumption",
        "equivalence",
        "relative-advantage",
        "undesirable-space",
        "gradient-weakening",
        "pathological-convergence",
        "different-objectives",
        "cpo-penalty",
        "cpo-margin",
        "cpo-alignment",
        "cpo-constrained",
        "e-cpo",
        "e-cpoc",
        "loss-to-delta",
        "margin-ranking",
        "violation-rate",
    )


@pytest.mark.parametrize("claim_id", claim_ids())
def test_every_entry_is_complete(claim_id):
    claim = registry.get_claim(claim_id)
    assert claim.id == claim_id
    assert claim.title
    assert claim.source.startswith("arXiv:2605.20834")
    assert claim.provenance in PROVENANCE
    assert claim.readings
    for reading in claim.readings:
        assert reading.statement
        assert reading.scope
        assert reading.part in (None, "if", "only-if")
        assert not (reading.proof and reading.lemmas), "a proof or a refutation, not both"
    assert len({r.label for r in claim.readings}) == len(claim.readings)


def test_equivalence_has_the_five_readings_in_both_parts():
    readings = registry.get_claim("equivalence").readings
    for name in (
        "ordered-pair",
        "bradley-terry-connected",
        "bradley-terry-disconnected",
        "alignment",
        "constrained",
    ):
        assert [r.part for r in readings if r.name == name] == ["if", "only-if"]


def test_select_keeps_the_order_and_drops_repeats():
    chosen = registry.select(["margin-ranking", "assumption", "assumption"])
    assert [claim.id for claim in chosen] == ["assumption", "margin-ranking"]
    assert [claim.id for claim in registry.select("equivalence")] == ["equivalence"]
    assert len(registry.select()) == len(claim_ids())


@pytest.mark.parametrize("bad", ["equivalance", "", "os"])
def test_an_unknown_claim_lists_the_known_ones(bad):
    with pytest.raises(ProblemError, match="choose from: assumption, equivalence"):
        registry.select([bad])


def test_an_entry_outside_the_order_or_with_two_equal_readings_is_refused():
    one = registry.Reading("r", "s", "all", list)
    with pytest.raises(ProblemError, match="ORDER"):
        registry.register(registry.Claim("new", "t", "arXiv", "quoted", (one,)))
    with pytest.raises(ProblemError, match="two readings"):
        registry.register(registry.Claim("assumption", "t", "arXiv", "quoted", (one, one)))


def test_listing_the_claims_loads_nothing_heavy():
    code = (
        "import sys, prefeq.claims; prefeq.claims.claim_ids(); "
        "print([m for m in ('sympy', 'flint', 'scipy', 'cvxpy') if m in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert out.stdout.strip() == "[]"


def test_a_correction_names_a_reading_of_its_own_claim():
    claim = registry.get_claim("undesirable-space")
    reading = claim.readings[0]
    stray = dataclasses.replace(reading, name="stray", corrects="no such reading")
    with pytest.raises(ProblemError, match="no such reading"):
        registry.register(dataclasses.replace(claim, readings=(*claim.readings, stray)))
    assert registry.get_claim("undesirable-space") is claim


@pytest.mark.parametrize("claim_id", claim_ids())
def test_only_refuted_readings_are_corrected(claim_id):
    claim = registry.get_claim(claim_id)
    proofs = {reading.label: reading.proof for reading in claim.readings}
    for reading in claim.readings:
        for wrong in reading.corrected:
            assert not proofs[wrong], f"{wrong} has a proof; what is there to correct?"
            assert reading.proof, f"{reading.label} is no correction without a proof"
