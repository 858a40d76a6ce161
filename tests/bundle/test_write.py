"""The bundle on disk: closed, the same from every run, whole or not at all, and readable."""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from whole_report import whole_report

import prefeq as pq
from prefeq.bundle import recheck, scripts, write
from prefeq.bundle.canonical import canonical, digest, document_of
from prefeq.bundle.pages import page
from prefeq.bundle.snapshot import COMPUTED, FIXED
from prefeq.bundle.write import EVIDENCE, SCHEMA, check_directory, write_bundle
from prefeq.claims.evidence import Evidence
from prefeq.claims.instance import Instance
from prefeq.errors import ProblemError

CLAIMS = ["undesirable-space", "margin-ranking"]


@pytest.fixture(scope="module")
def report():
    return pq.verify(CLAIMS)


@pytest.fixture(scope="module")
def document(report):
    return document_of(report.to_dict())


@pytest.fixture(scope="module")
def validator():
    schema = json.loads(write.schema_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def walk(value: Any, path: tuple[str | int, ...] = ()):
    yield path, value
    children = value.items() if isinstance(value, dict) else ()
    children = enumerate(value) if isinstance(value, list) else children
    for key, child in children:
        yield from walk(child, (*path, key))


def at(value: Any, path: tuple[str | int, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


class TestTheFiles:
    def test_there_are_the_evidence_its_schema_and_a_page_a_claim(self, report, tmp_path):
        found = write_bundle(report, tmp_path / "new" / "place")
        assert found == tmp_path / "new" / "place" / EVIDENCE
        names = {path.name for path in found.parent.iterdir()}
        assert names == {EVIDENCE, SCHEMA, *(f"{name}.md" for name in CLAIMS)}
        document = json.loads(found.read_bytes())
        assert found.read_text("utf-8") == canonical(document)
        assert document["digest"] == digest(document)
        assert {"version": pq.__version__, "claims": document["claims"]} == report.to_dict()

    def test_it_is_the_same_from_every_process(self, report, tmp_path):
        places = [tmp_path / name for name in ("here", "a", "b")]
        write_bundle(report, places[0])
        code = (
            "import sys, prefeq as pq\nfrom prefeq.bundle.write import write_bundle\n"
            f"write_bundle(pq.verify({CLAIMS}), sys.argv[1])"
        )
        for place, seed in zip(places[1:], "17", strict=True):
            env = {**os.environ, "PYTHONHASHSEED": seed}
            subprocess.run([sys.executable, "-c", code, str(place)], env=env, check=True)
        for path in places[0].iterdir():
            assert len({(place / path.name).read_bytes() for place in places}) == 1, path.name

    def test_other_files_stay_and_old_ones_are_replaced(self, report, tmp_path):
        (tmp_path / "notes.txt").write_text("mine")
        (tmp_path / EVIDENCE).write_text("old")
        write_bundle(report, tmp_path)
        assert (tmp_path / "notes.txt").read_text() == "mine"
        assert (tmp_path / EVIDENCE).read_text("utf-8") != "old"

    def test_a_failed_write_leaves_everything_as_it_was(self, report, tmp_path, monkeypatch):
        (tmp_path / EVIDENCE).write_text("old")
        written = []
        original = Path.write_text

        def full(self: Path, *args: Any, **options: Any) -> int:
            written.append(self.name)
            if len(written) == 3:
                raise OSError(28, "No space left on device")
            return original(self, *args, **options)

        monkeypatch.setattr(Path, "write_text", full)
        with pytest.raises(ProblemError, match="No space left on device"):
            write_bundle(report, tmp_path)
        monkeypatch.undo()
        assert [path.name for path in tmp_path.iterdir()] == [EVIDENCE]
        assert (tmp_path / EVIDENCE).read_text() == "old"

    def test_places_that_do_not_do_are_refused(self, report, tmp_path, monkeypatch):
        (tmp_path / "file").write_text("a file")
        for place in (tmp_path / "file", tmp_path / "file" / "below"):
            with pytest.raises(ProblemError, match="not a directory"):
                write_bundle(report, place)
        (tmp_path / "odd" / EVIDENCE).mkdir(parents=True)
        with pytest.raises(ProblemError, match="is a directory"):
            write_bundle(report, tmp_path / "odd")
        monkeypatch.setattr(os, "access", lambda *args: False)
        with pytest.raises(ProblemError, match="permission denied"):
            check_directory(tmp_path)


class TestTheSchema:
    def test_the_bundle_fits(self, document, validator):
        validator.validate(document)

    def test_every_object_in_it_is_closed(self, validator):
        objects = [s for _, s in walk(validator.schema) if isinstance(s, dict)]
        objects = [s for s in objects if s.get("type") == "object"]
        assert len(objects) > 20
        assert all(s["additionalProperties"] is False for s in objects)

    def test_one_field_more_or_less_does_not_fit(self, document, validator):
        # one of each shape: what holds of the first holds of all of them
        small = copy.deepcopy(document)
        for claim in small["claims"]:
            claim["readings"] = claim["readings"][:2]
        shapes: dict[tuple[str, ...], tuple[str | int, ...]] = {}
        for path, value in walk(small):
            if isinstance(value, dict) and "assumptions" not in path and "inputs" not in path:
                shapes.setdefault((str(path[-1:]), *value), path)
        assert len(shapes) > 10
        for path in shapes.values():
            made = copy.deepcopy(small)
            at(made, path)["a field"] = 1
            assert not validator.is_valid(made), path
        for key in small:
            assert not validator.is_valid({k: v for k, v in small.items() if k != key})

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("verdict", "true"),
            ("vacuous", 0),
            ("part", "then"),
            ("evidence", []),
            ("reading", "A b"),
        ],
    )
    def test_other_values_do_not_fit(self, document, validator, key, value):
        made = copy.deepcopy(document)
        made["claims"] = made["claims"][-1:]
        validator.validate(made)
        made["claims"][0]["readings"][0][key] = value
        assert not validator.is_valid(made)

    @pytest.mark.slow
    def test_everything_that_is_found_fits(self, validator):
        validator.validate(document_of(whole_report().to_dict()))


def computed_floats(document):
    """Yield (path, value) of every float among the numbers of the evidence."""
    for path, value in walk(document["claims"]):
        if "data" in path and isinstance(value, float):
            name = path[path.index("data") + 1]
            if name not in (*FIXED, *COMPUTED):
                yield path, value


def assert_fifteen_digits(document):
    found = list(computed_floats(document))
    assert found
    for path, value in found:
        assert float(f"{value:.15g}") == value, (path, value)


class TestTheNumbers:
    def test_they_have_fifteen_digits(self, document):
        assert_fifteen_digits(document)
        path, value = next((p, v) for p, v in computed_floats(document) if v)
        made = copy.deepcopy(document)
        at(made["claims"], path[:-1])[path[-1]] = float(np.nextafter(value, np.inf))
        with pytest.raises(AssertionError):
            assert_fifteen_digits(made)

    @pytest.mark.slow
    def test_all_of_them_have(self):
        assert_fifteen_digits(document_of(whole_report().to_dict()))

    def test_there_is_no_path_and_no_time(self, report, tmp_path):
        write_bundle(report, tmp_path)
        for path in tmp_path.iterdir():
            text = path.read_text("utf-8")
            assert str(tmp_path) not in text
            assert str(Path.cwd()) not in text
            assert not re.search(r'"(seconds|time|date|duration|elapsed)"', text)


class TestThePages:
    def test_they_say_what_every_reading_says(self, report):
        for claim in report.claims:
            text = page(claim)
            assert text.startswith(f"# {claim.id}\n")
            assert claim.provenance in text
            for reading in claim.readings:
                assert f"\n## {reading.label}: {reading.verdict.value}" in text
            assert text.count("(vacuously") == sum(r.vacuous for r in claim.readings)

    def test_a_refutation_can_be_retyped_and_its_correction_is_there(self, report):
        text = page(report.claims[0])
        _, part = text.split("## non-empty (only-if): refuted\n")
        part, _ = part.split("\n## non-empty-corrected (if): proved\n")
        for line in (
            "ref = [3/8, 5/8]",
            "pairs = [(0, 1)]",
            'labels = "ordered"',
            "policy = [3/7, 4/7]",
            "rlhf_margin = [0.489174376234009]",
            "ref_margin[0] < margin[0]",
        ):
            assert f"\n   {line}\n" in part
        assert "true instead, non-empty-corrected (only-if)" in part
        assert "**Corrects.** non-empty (only-if)" in text

    def test_the_proofs_show_their_identities(self, report):
        text = page(report.claims[1])
        assert "\n   log(1 + exp(-t)) -> 0 as t -> oo from below\n" in text
        assert re.search(r"\d+ cells; the least value at a centre is \d\S+\n", text)


def run_scripts(results) -> int:
    """Run the program of every counterexample and compare its numbers with the evidence."""
    count = 0
    for result in results:
        for item in result.evidence:
            program = scripts.script(item.data) if item.kind == "counterexample" else ""
            if program:
                count += 1
                made: dict[str, Any] = {}
                exec(program, made)
                for name in ("gap", "ref_margin", "rlhf_margin", "margin", "loss"):
                    if name in made and name in item.data:
                        want = [float(eval(str(x))) for x in np.ravel(item.data[name])]
                        np.testing.assert_allclose(
                            np.ravel(made[name]), want, rtol=1e-12, atol=1e-12
                        )
    return count


class TestTheScripts:
    def test_they_confirm_the_refutations(self, report):
        assert run_scripts(r for claim in report.claims for r in claim.readings) >= 5

    @pytest.mark.slow
    def test_they_confirm_all_of_them(self):
        assert run_scripts(r for claim in whole_report().claims for r in claim.readings) >= 15

    def test_the_pages_show_them(self, report):
        (item,) = [
            item
            for item in report.reading("undesirable-space", "non-empty", "only-if").evidence
            if item.kind == "counterexample"
        ]
        shown = page(report.claims[0]).replace("\n   ", "\n")
        assert f"```python\n{scripts.script(item.data)}\n```" in shown

    def test_a_wrong_instance_is_not_confirmed(self):
        made = Instance.of("wrong", reward=[1, 0], ref=["1/2", "1/2"], pairs=[(0, 1)])
        data = {"instance": made.to_data(), "rlhf_margin": [1.0]}
        for text, right in [
            ("rlhf_margin[0] < 0", False),
            ("rlhf_margin[0] > 0", True),
            ("rlhf_margin[0] == 1", True),
            ("rlhf_margin[0] == 2", False),
        ]:
            program = scripts.script({**data, "inequalities": [text]})
            if right:
                exec(program, {})
            else:
                with pytest.raises(AssertionError):
                    exec(program, {})

    def test_what_they_cannot_compute_they_leave_out(self):
        made = Instance.of("one", reward=[1, 0], ref=["1/2", "1/2"], pairs=[(0, 1)])
        data = {"instance": made.to_data(), "steps": 3, "inequalities": ["steps > 2"]}
        assert scripts.script(data) == ""
        assert scripts.script({"inequalities": ["1 > 0"]}) == ""
        data["inequalities"].append("log(2) > 0")
        assert "steps" not in scripts.script(data)

    def test_every_inequality_speaks_of_what_is_there(self, report):
        for claim in report.claims:
            for item in (item for r in claim.readings for item in r.evidence):
                assert_named(item)


def assert_named(item: Evidence) -> None:
    known = {*item.data, *item.data.get("inputs", {}), *FUNCTIONS}
    for text in item.data.get("inequalities", []):
        assert set(re.findall(r"[A-Za-z_]\w*", text)) <= known, text


FUNCTIONS = {"exp", "log", "softplus", "sigmoid", "sinh", "cosh", "tanh", "abs", "W"}


class TestASelection:
    def test_a_bundle_of_some_claims_says_so_and_rechecks(self, tmp_path):
        made = write_bundle(pq.verify(["margin-ranking", "assumption"]), tmp_path)
        document = json.loads(made.read_text("utf-8"))
        assert document["selection"] == ["assumption", "margin-ranking"]
        assert set(pq.recheck(made).claims) == {"assumption", "margin-ranking"}
        assert set(pq.recheck(made, only="assumption").claims) == {"assumption"}
        with pytest.raises(pq.ProblemError, match="no claim 'equivalence'"):
            pq.recheck(made, only="equivalence")

    @pytest.mark.parametrize("selection", [None, ["assumption"], ["margin-ranking"], [], "all"])
    def test_another_selection_is_noticed(self, tmp_path, selection):
        made = write_bundle(pq.verify(["margin-ranking", "assumption"]), tmp_path)
        document = {**json.loads(made.read_text("utf-8")), "selection": selection}
        made.write_text(canonical({**document, "digest": digest(document)}), "utf-8")
        with pytest.raises(recheck.Disagreement, match=r"/(claims|selection)"):
            pq.recheck(made)
