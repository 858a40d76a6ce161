"""Whatever is tampered with, the recomputation notices and names it."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path

import pytest
from bundle import small, tampering
from script_loader import load_script

from prefeq.bundle.canonical import digest
from prefeq.bundle.recheck import Disagreement, check_document

EACH = 2


@pytest.fixture(scope="module")
def bundle():
    return small.bundle()


@pytest.mark.parametrize("kind", tampering.KINDS)
def test_tampering_is_caught_and_named(bundle, kind):
    document, texts = bundle
    source = random.Random(f"tampering by {kind}")
    for _ in range(EACH):
        found = tampering.tamper(document, source, kind)
        error = tampering.caught(found, document, texts)
        shown = (found.kind, found.pointer, found.before, found.after)
        assert error is not None, shown
        assert tampering.names_it(found, error), (shown, str(error))


def test_every_number_of_one_claim_is_watched(bundle):
    """Change each number of a claim by a part in 10^13, one at a time."""
    document, texts = bundle
    numbers = [
        path
        for path, value in tampering.walk(document)
        if isinstance(value, float) and document["claims"][path[1]]["id"] == "margin-ranking"
    ]
    assert len(numbers) > 5
    for path in numbers:
        made = copy.deepcopy(document)
        holder = made
        for key in path[:-1]:
            holder = holder[key]
        holder[path[-1]] = holder[path[-1]] * (1 + 1e-13) + 1e-300
        made["digest"] = digest(made)
        with pytest.raises(Disagreement) as caught:
            check_document(made, texts, "margin-ranking")
        assert caught.value.path == tampering.pointer(path)


def test_without_a_new_digest_the_digest_alone_tells(bundle):
    document, texts = bundle
    source = random.Random(0)
    for kind in ("float", "verdict", "text", "remove"):
        made = tampering.tamper(document, source, kind).document
        made["digest"] = document["digest"]
        with pytest.raises(Disagreement, match=r"^/digest: found 'sha256:"):
            check_document(made, texts, "margin-ranking")


def test_a_tampering_tampers(bundle):
    """The tool itself: what it returns is different, where it says."""
    document, _ = bundle
    source, kinds = random.Random(1), set()
    for _ in range(40):
        found = tampering.tamper(document, source)
        kinds.add(found.kind)
        assert found.document["claims"] != document["claims"] or found.path[0] != "claims"
        assert found.document["digest"] == digest(found.document) != document["digest"]
    assert len(kinds) > 10


def test_the_campaign_in_small(bundle, monkeypatch):
    campaign = load_script(Path(__file__).parents[2] / "benchmarks" / "tampering.py")
    document, texts = bundle
    result = campaign.measure(document, texts, count=8, seed=3)
    assert campaign.keeps_its_promise(result)
    assert sum(result["kinds"].values()) == result["caught"] == 8
    monkeypatch.setattr(tampering, "names_it", lambda *args: False)
    assert campaign.measure(document, texts, count=2)["named"] == 0
    monkeypatch.setattr(tampering, "caught", lambda *args: None)
    blind = campaign.measure(document, texts, count=2)
    assert (blind["caught"], len(blind["missed"])) == (0, 2)
    assert not campaign.keeps_its_promise(blind)


def test_the_committed_campaign_keeps_its_promise():
    campaign = load_script(Path(__file__).parents[2] / "benchmarks" / "tampering.py")
    result = json.loads(campaign.RESULT.read_text("utf-8"))
    assert campaign.keeps_its_promise(result)
    assert (result["tamperings"], set(result["kinds"])) == (200, set(tampering.KINDS))
