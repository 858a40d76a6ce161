"""The re-check of a bundle: it agrees with a true one, and fails closed on anything else."""

from __future__ import annotations

import copy
import json
import subprocess
import sys

import pytest
from bundle import small

import prefeq as pq
from prefeq import cli
from prefeq.bundle import findings, recheck
from prefeq.bundle.canonical import canonical, digest, load_texts
from prefeq.bundle.recheck import Disagreement, check_document
from prefeq.bundle.registry import NUMBERS
from prefeq.claims import enclosure, exact_graphs, formulas, gallery, run, symbolic
from prefeq.claims.verdict import Conclusion, Verdict
from prefeq.errors import ProblemError


@pytest.fixture(scope="module")
def made():
    return small.bundle()


@pytest.fixture
def file(made, tmp_path, monkeypatch):
    """The small bundle as a file, and its texts as those that ship."""
    document, texts = copy.deepcopy(made)
    monkeypatch.setattr(recheck, "load_texts", lambda: texts)
    path = tmp_path / "evidence.json"
    path.write_text(canonical(document), "utf-8")
    return path


def refreshed(document):
    document["digest"] = digest(document)
    return document


def disagreement(document, texts, only=None):
    with pytest.raises(Disagreement) as caught:
        check_document(document, texts, only)
    return caught.value


def test_a_true_bundle_agrees(made):
    document, texts = made
    report = check_document(document, texts)
    assert list(report.claims) == list(small.READINGS)
    assert report.verdicts == sum(len(c["readings"]) for c in document["claims"])
    assert report.numbers > 100
    assert str(report).endswith(
        f"{report.verdicts} verdicts and {report.numbers} numbers recomputed; all agree."
    )
    assert "margin-ranking" in str(report)


def test_only_one_claim(made):
    document, texts = made
    assert list(check_document(document, texts, "margin-ranking").claims) == ["margin-ranking"]
    with pytest.raises(ProblemError, match="no claim 'nobody'; choose from: assumption"):
        check_document(document, texts, "nobody")


def test_pq_recheck_and_the_command_line(file, capsys):
    assert pq.recheck(file, only="margin-ranking").verdicts == 5
    assert cli.main(["recheck", str(file), "--only", "undesirable-space"]) == cli.OK
    assert "all agree" in capsys.readouterr().out
    assert cli.main(["recheck", str(file.parent), "--only", "margin-ranking"]) == cli.OK


def test_the_command_line_names_the_first_field(file, capsys):
    document = json.loads(file.read_text("utf-8"))
    claim = document["claims"][-1]
    (k,) = (k for k, r in enumerate(claim["readings"]) if r["reading"] == "zero-limit-loss-ranks")
    reading = claim["readings"][k]
    reading["evidence"][0]["data"]["loss"][0] *= 1 + 1e-12
    reading["verdict"] = "proved"
    file.write_text(canonical(refreshed(document)), "utf-8")
    assert cli.main(["recheck", str(file)]) == cli.FAILED
    out = capsys.readouterr().out
    assert f"/readings/{k}/evidence/0/data/loss/0 (margin-ranking, zero-limit-loss-ranks)" in out
    assert "found 0.28" in out
    assert "recomputed 0.28" in out
    with pytest.raises(Disagreement, match="/data/loss/0"):
        pq.recheck(file)


@pytest.mark.parametrize(
    ("text", "trouble"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[1, 2]", "not a bundle of evidence"),
        ('"text"', "not a bundle of evidence"),
        ("{}", "its format is not"),
        ('{"format": "other", "version": "1", "claims": [], "digest": ""}', "its format is not"),
        ('{"format": "prefeq-evidence-1"}', "its keys are not"),
        ('{"format": "prefeq-evidence-1", "format": "prefeq-evidence-1"}', "stands twice"),
        (
            '{"format": "prefeq-evidence-1", "version": "1", "selection": null, "claims": {}, '
            '"digest": ""}',
            "claims are not a list",
        ),
        ('{"format": NaN}', "NaN is not a number"),
        ('{"format": -Infinity}', "-Infinity is not a number"),
        ('{"format": 1e999}', "out of range"),
        ('{"format": ' + "1" * 5000 + "}", "sensible size"),
        ("[" * 100_000, "sensible size|not JSON"),
    ],
)
def test_unusable_input(file, capsys, text, trouble):
    file.write_text(text, "utf-8")
    with pytest.raises(ProblemError, match=trouble):
        pq.recheck(file)
    assert cli.main(["recheck", str(file)]) == cli.BAD_INPUT
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert str(file) in error


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ProblemError, match="cannot be read"):
        pq.recheck(tmp_path / "missing.json")
    with pytest.raises(ProblemError, match="cannot be read"):
        pq.recheck(tmp_path)  # a folder without an evidence.json
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ProblemError, match="not UTF-8"):
        pq.recheck(tmp_path / "binary.json")


def test_another_version_disagrees(made):
    document, texts = copy.deepcopy(made)
    document["version"] = "9.9.9"
    assert disagreement(refreshed(document), texts).path == "/version"


def test_the_shape_is_closed(made):
    """Nothing more and nothing less than is expected, at any depth."""
    document, texts = copy.deepcopy(made)
    document["claims"][0]["readings"] = 3
    assert disagreement(refreshed(document), texts).path == "/claims/0/readings"
    document, texts = copy.deepcopy(made)
    document["claims"][0] = None
    assert disagreement(refreshed(document), texts).path == "/claims/0"
    document, texts = copy.deepcopy(made)
    document["claims"][0]["readings"][0]["evidence"][0]["data"] = []
    path = "/claims/0/readings/0/evidence/0/data"
    assert disagreement(refreshed(document), texts).path == path


def test_a_number_without_a_second_computation_disagrees(made, monkeypatch):
    document, texts = made
    monkeypatch.delitem(NUMBERS, ("", "limit_loss"))
    found = disagreement(document, texts, "margin-ranking")
    assert found.path.endswith("/data/limit_loss")
    assert "no second computation of this field" in str(found)


def test_a_second_computation_that_fails_disagrees(made, monkeypatch):
    document, texts = made

    def broken(item):
        raise ZeroDivisionError("on purpose")

    monkeypatch.setitem(NUMBERS, ("", "limit_loss"), broken)
    assert "on purpose" in str(disagreement(document, texts, "margin-ranking"))


def test_a_comparison_that_says_nothing_is_refused(made):
    """A counterexample has to say what its numbers show, and they have to show it."""
    document, texts = copy.deepcopy(made)
    claim, readings = document["claims"][-1], texts["claims"][-1]["readings"]
    (k,) = (k for k, r in enumerate(readings) if r["reading"] == "zero-limit-loss-ranks")
    for inequalities, why in (
        ([], "no inequality"),
        (["margin[0] > 0"], "'fails'"),
        (["limit_loss > 0"], "'undecided'"),
        (["__import__('os') > 0"], "unknown function"),
    ):
        for side in (claim["readings"][k], readings[k]):
            side["evidence"][0]["data"]["inequalities"] = inequalities
        found = disagreement(refreshed(document), texts, "margin-ranking")
        assert found.path.endswith("/evidence/0/data/outcome")
        assert why in str(found)


def test_every_number_that_ships_is_recomputed():
    """What stands in the fixed texts of this version: no number field is left without a check."""
    claims = load_texts()["claims"]
    assert len(claims) == 16
    for claim in claims:
        for reading in claim["readings"]:
            label = recheck._label(reading)
            for item in reading["evidence"]:
                if item["kind"] == "enclosure":
                    assert set(item["numbers"]) == {"cells", "worst_cell", "worst_value"}
                    continue
                done = findings.redo(
                    claim["id"], label, item["kind"], item["data"], item["numbers"]
                )
                assert set(done.numbers) == set(item["numbers"]), (claim["id"], label)
                assert done.outcome in (None, "holds"), (claim["id"], label, item["summary"])


PLANTED = [
    pytest.param(
        formulas,
        "rlhf_margin",
        lambda f: lambda delta_ref, gap, beta: delta_ref - gap / beta,
        {"undesirable-space": ("non-empty (only-if)",)},
        "/data/rlhf_margin/0",
        id="delta* with the sign of the gap",
    ),
    pytest.param(
        formulas,
        "pair_loss",
        lambda f: lambda m, delta, ref, beta, q=1: f(m, ref, delta, beta, q),
        {"undesirable-space": ("lower-loss-soft-labels",)},
        "/data/loss/0",
        id="the loss with policy and reference swapped",
    ),
    pytest.param(
        formulas,
        "sigmoid",
        lambda f: lambda m, z: f(m, -z),
        {"equivalence": ("ordered-pair (if)",)},
        "/data/dpo_slope_at_rlhf/0",
        id="a mirrored sigmoid",
    ),
    pytest.param(
        formulas,
        "pair_gradient",
        lambda f: lambda m, delta, ref, beta, q=1: 2 * f(m, delta, ref, beta, q),
        {"pathological-convergence": ("ordered-acyclic",)},
        "/data/first_aligned_step",
        id="a gradient of twice the size",
    ),
    pytest.param(
        gallery,
        "component_means",
        lambda f: lambda instance: [sum(instance.reward) / instance.size] * instance.size,
        {"equivalence": ("bradley-terry-disconnected (if)",)},
        "/data/outcome",  # no instance is against the reading any more, says the check
        id="one mean for all components",
    ),
    pytest.param(
        exact_graphs,
        "components",
        lambda f: lambda size, edges: f(size, edges[:-1]),
        {"equivalence": ("bradley-terry-disconnected (if)",)},
        "/data/component_mean_rewards/",
        id="components without the last pair",
    ),
    pytest.param(
        gallery,
        "acyclic",
        lambda f: lambda instance: not f(instance),
        {"equivalence": ("ordered-pair-with-cycles (if)",)},
        "/data/outcome",  # the instances are others, and one of them is against the reading
        id="cyclic and acyclic swapped",
    ),
    pytest.param(
        run,
        "conclude",
        lambda f: lambda *a: Conclusion(Verdict.PROVED),
        {"margin-ranking": ("zero-limit-loss-ranks",)},
        "/verdict",
        id="a verdict that is always proved",
    ),
    pytest.param(
        run,
        "conclude",
        lambda f: lambda *a: Conclusion(Verdict.PROVED, True),
        {"margin-ranking": ("limit",)},
        "/vacuous",
        id="a proof that is always vacuous",
    ),
    pytest.param(
        enclosure,
        "_middle",
        lambda f: lambda cell: [low for low, _ in cell],
        {"undesirable-space": ("lower-loss",)},
        "/data/worst_value",
        id="a cell's corner for its middle",
    ),
]


@pytest.mark.parametrize(("owner", "name", "mutate", "readings", "path"), PLANTED)
def test_a_wrong_formula_in_the_check_is_caught(owner, name, mutate, readings, path, monkeypatch):
    """With a bug in the claims, and fixed texts written with that same bug, numbers disagree."""
    with monkeypatch.context() as patched:
        patched.setattr(owner, name, mutate(getattr(owner, name)))
        document, texts = small.made(readings)
    assert path in disagreement(document, texts).path


def test_an_algebra_that_proves_everything_is_caught(monkeypatch):
    """... of a wrong formula: the points tell."""
    right = formulas.hinge_gap
    monkeypatch.setattr(symbolic, "_is_zero", lambda expression: True)
    monkeypatch.setattr(formulas, "hinge_gap", lambda m, t, beta: -right(m, t, beta))
    document, texts = small.made({"margin-ranking": ("bound-is-tight",)})
    found = disagreement(document, texts)
    assert (found.found, found.recomputed) == ("holds", "fails")


def test_the_recheck_imports_none_of_what_it_checks(file):
    script = (
        "import sys, prefeq.bundle.recheck as r\n"
        "from pathlib import Path\n"
        "from prefeq.bundle.reading import read_strict\n"
        "import json\n"
        "document = read_strict(sys.argv[1])\n"
        "texts = json.loads(Path(sys.argv[2]).read_text('utf-8'))\n"
        "r.check_document(document, texts)\n"
        "bad = ('prefeq.claims', 'prefeq.counterexamples', 'prefeq.losses', 'sympy', 'scipy')\n"
        "print([m for m in sys.modules if m.startswith(bad)])\n"
    )
    texts = file.with_name("texts.json")
    texts.write_text(canonical(recheck.load_texts()), "utf-8")
    done = subprocess.run(
        [sys.executable, "-c", script, str(file), str(texts)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_a_disagreement_is_one_of_the_package_s_own_errors() -> None:
    assert issubclass(pq.Disagreement, ProblemError)
    assert issubclass(pq.Disagreement, ValueError)
