"""The copy of what is chosen: current, and without anything that is computed."""

from __future__ import annotations

import json

import pytest
from whole_report import whole_report

import prefeq as pq
from prefeq.bundle import snapshot
from prefeq.bundle.canonical import canonical, document_of, load_texts
from prefeq.claims import registry


@pytest.fixture(scope="module")
def report():
    return pq.verify(["margin-ranking", "undesirable-space"])


@pytest.fixture(scope="module")
def texts(report):
    return snapshot.texts_of(report)


@pytest.mark.slow
def test_it_is_current():
    assert load_texts() == snapshot.texts_of(whole_report()), "run python -m prefeq.bundle.snapshot"


def test_it_speaks_of_every_claim_and_reading():
    held = {
        claim["id"]: [(r["reading"], r["part"]) for r in claim["readings"]]
        for claim in load_texts()["claims"]
    }
    assert held == {
        claim.id: [(reading.name, reading.part) for reading in claim.readings]
        for claim in registry.select()
    }


def test_what_is_computed_is_not_in_it(report, texts):
    for claim in texts["claims"]:
        for reading in claim["readings"]:
            assert not {"verdict", "vacuous"} & set(reading)
            for item in reading["evidence"]:
                assert set(item["data"]) <= set(snapshot.FIXED)
    text = canonical(texts)
    for number in ("0.587786664902119", "-0.287682072451781", '"outcome"', '"tree"'):
        assert number in canonical(document_of(report.to_dict())), "the test is out of date"
        assert number not in text


def test_with_the_numbers_it_is_the_bundle(report, texts):
    document = json.loads(canonical(document_of(report.to_dict())))
    items = [
        (found, fixed)
        for claim, texts_of_claim in zip(document["claims"], texts["claims"], strict=True)
        for reading, other in zip(claim["readings"], texts_of_claim["readings"], strict=True)
        for found, fixed in zip(reading["evidence"], other["evidence"], strict=True)
    ]
    assert len(items) > 50
    for found, fixed in items:
        data = found["data"]
        assert (found["kind"], found["summary"]) == (fixed["kind"], fixed["summary"])
        assert set(data) == {*fixed["data"], *fixed["numbers"], *snapshot.COMPUTED} & set(data)
        assert {key: data[key] for key in fixed["data"]} == fixed["data"]


def test_it_holds_what_each_verdict_is_made_of(texts):
    for claim in texts["claims"]:
        entries = {reading.label: reading for reading in registry.get_claim(claim["id"]).readings}
        for reading in claim["readings"]:
            part = f" ({reading['part']})" if reading["part"] else ""
            entry = entries[reading["reading"] + part]
            assert reading["proof"] == list(entry.proof)
            assert reading["lemmas"] == list(entry.lemmas)
            assert reading["never"] == list(entry.never)


def test_it_is_written_to_the_named_place(tmp_path, monkeypatch, report, texts):
    monkeypatch.setattr(snapshot.prefeq, "verify", lambda: report)
    snapshot.main(tmp_path / "texts.json")
    assert (tmp_path / "texts.json").read_text("utf-8") == canonical(texts)
