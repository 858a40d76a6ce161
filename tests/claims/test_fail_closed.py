"""Whatever goes wrong while a claim is checked, the verdict is `open` and says why."""

from __future__ import annotations

import dataclasses
import threading

import pytest

from prefeq import losses, margins, solvers
from prefeq.claims import cpo_lemmas, exact_graphs, gallery, lemmas, registry, run, samples, tie
from prefeq.claims.evidence import Evidence
from prefeq.claims.registry import Claim, Reading
from prefeq.claims.verdict import Verdict

STEP = Evidence("symbolic", "a step", "holds", step="one")
TIE = Evidence("tie", "tied", "holds")


def reading(check, **kwargs):
    return Reading("made-up", "a statement", "a scope", check, **kwargs)


def reasons(result):
    return " ".join(item.summary for item in result.evidence if item.kind == "reason")


def check(claim_id, label):
    (wanted,) = [r for r in registry.get_claim(claim_id).readings if r.label == label]
    return run.check_reading(wanted)


def test_a_good_check_is_proved():
    result = run.check_reading(reading(lambda: [STEP, TIE], proof=("one",)))
    assert result.verdict is Verdict.PROVED
    assert result.ok
    assert result.scope == "a statement [a scope]"


@pytest.mark.parametrize("error", [ValueError, ZeroDivisionError, AssertionError, RecursionError])
def test_an_exception_is_open_and_keeps_what_was_found(error):
    def broken():
        yield STEP
        yield TIE
        raise error("in the middle")

    result = run.check_reading(reading(broken, proof=("one",)))
    assert result.verdict is Verdict.OPEN
    assert not result.ok
    assert result.evidence[:2] == (STEP, TIE)
    assert reasons(result) == f"{error.__name__}: in the middle"


@pytest.mark.parametrize("leave", [SystemExit, GeneratorExit])
def test_a_check_that_exits_is_open(leave):
    """Nothing that ends a check before its end may leave a proof behind."""

    def exits():
        yield STEP
        yield TIE
        raise leave

    result = run.check_reading(reading(exits, proof=("one",)))
    assert result.verdict is Verdict.OPEN
    assert leave.__name__ in reasons(result)


@pytest.mark.parametrize(
    "lemma", [lemmas.incidence_kernel, lemmas.acyclic_heights, cpo_lemmas.feasibility]
)
@pytest.mark.parametrize("left", [0, 1, -1])
def test_a_finite_argument_over_too_few_graphs_fails(monkeypatch, lemma, left):
    """A loop over no graphs, or over some of them, must not pass for a loop over all."""
    assert lemma().outcome == "holds"
    for name in ("graphs", "digraphs"):
        every = getattr(exact_graphs, name)
        monkeypatch.setattr(exact_graphs, name, lambda n, f=every: iter(list(f(n))[:left]))
    assert lemma().outcome == "fails"


def test_an_enclosure_too_wide_to_compare_with_breaks_the_tie():
    from flint import arb

    at = tie.points("x")
    assert tie.tie("x", lambda x: x, lambda x: x, at).outcome == "holds"
    wide = tie.tie("x", lambda x: x + arb(0, 1e-3), lambda x: x, at)
    assert wide.outcome == "fails"
    assert "too wide" in wide.summary


def test_a_descent_that_starts_aligned_refutes_nothing(monkeypatch):
    """The counterexample has to satisfy the hypothesis delta* < 0."""
    from prefeq.claims import pathological_convergence
    from prefeq.claims.instance import Instance

    mild = Instance.of("not violated", reward=[3, 0], ref=["1/5", "4/5"], pairs=[(0, 1)])
    monkeypatch.setattr(pathological_convergence, "VIOLATED", mild)
    assert check("pathological-convergence", "ordered-acyclic").verdict is Verdict.OPEN


@pytest.mark.parametrize("loss", ["ipo", "hinge", "cdpo"])
def test_the_proof_of_one_direction_does_not_prove_the_other(loss):
    both = registry.get_claim("pathological-convergence").readings
    forward, converse = (r for r in both if r.name == loss)
    for one, other in ((forward, converse), (converse, forward)):
        mixed = dataclasses.replace(one, check=other.check)
        assert run.check_reading(mixed).verdict is Verdict.SUPPORTED


def test_a_missed_deadline_is_open():
    release = threading.Event()

    def slow():
        yield STEP
        yield TIE
        release.wait(30)

    result = run.check_reading(reading(slow, proof=("one",)), deadline=0.2)
    release.set()
    assert result.verdict is Verdict.OPEN
    assert "no answer within 0.2 s" in reasons(result)


def test_an_empty_check_is_open():
    result = run.check_reading(reading(list))
    assert result.verdict is Verdict.OPEN
    assert "nothing" in reasons(result)


def test_one_open_reading_makes_the_report_not_ok(monkeypatch):
    good = reading(lambda: [STEP, TIE], proof=("one",))
    bad = Reading("other", "s", "s", lambda: [Evidence("tie", "torn", "fails")])
    for readings, ok in (((good,), True), ((good, bad), False), ((), False)):
        claim = Claim("assumption", "t", "arXiv", "quoted", readings)
        monkeypatch.setattr(registry, "select", lambda claims=None, claim=claim: (claim,))
        report = run.verify()
        assert report.ok is ok
        assert ("NOT everything" in str(report)) is not ok


def test_a_broken_margin_function_opens_the_reading_it_is_tied_to(monkeypatch):
    assert check("assumption", "threshold").verdict is Verdict.PROVED
    monkeypatch.setattr(margins, "critical_gap", lambda delta_ref, beta: beta * delta_ref)
    result = check("assumption", "threshold")
    assert result.verdict is Verdict.OPEN
    assert "critical_gap is broken" in reasons(result)


def test_a_broken_solver_opens_a_proof_and_a_refutation(monkeypatch):
    right = solvers.solve_rlhf

    def tilted(bandit, **kwargs):
        return right(type(bandit)(2 * bandit.reward, bandit.ref_logp, bandit.beta))

    monkeypatch.setattr(solvers, "solve_rlhf", tilted)
    for claim_id, label in (("assumption", "identity"), ("equivalence", "ordered-pair (if)")):
        assert check(claim_id, label).verdict is Verdict.OPEN


def test_a_raising_solver_opens(monkeypatch):
    def out_of_order(*args, **kwargs):
        raise RuntimeError("out of order")

    monkeypatch.setattr(solvers, "solve_dpo", out_of_order)
    result = check("equivalence", "bradley-terry-connected (if)")
    assert result.verdict is Verdict.OPEN
    assert "out of order" in reasons(result)


def test_a_raising_loss_breaks_its_tie(monkeypatch):
    monkeypatch.setattr(losses, "DPO", None)
    assert check("margin-ranking", "limit").verdict is Verdict.OPEN


def test_an_undecided_instance_opens(monkeypatch):
    """A sign that the balls cannot decide must not count as either answer."""
    monkeypatch.setattr("prefeq.claims.instance.sign_of_log", lambda ratio, shift: None)
    assert gallery.assumption(gallery.GALLERY[0]).answer is None
    result = check("equivalence", "ordered-pair (if)")
    assert result.verdict is Verdict.OPEN
    assert "undecided" in reasons(result)


def test_an_instance_that_does_not_violate_refutes_nothing(monkeypatch):
    """Leave only instances on which the implication holds: the refutation must go."""
    kept = tuple(i for i in gallery.GALLERY if not gallery.assumption(i).answer)
    monkeypatch.setattr(gallery, "GALLERY", kept)
    result = check("equivalence", "ordered-pair (if)")
    assert result.verdict is not Verdict.REFUTED
    assert result.instance is None


def test_an_empty_gallery_decides_nothing(monkeypatch):
    monkeypatch.setattr(gallery, "GALLERY", ())
    for label in ("ordered-pair (if)", "ordered-pair (only-if)", "bradley-terry-connected (if)"):
        assert check("equivalence", label).verdict is Verdict.OPEN


def test_a_counterexample_against_a_proof_is_a_contradiction(monkeypatch):
    """If the deciders ever disagreed with a proof, neither would be believed."""
    no = gallery.Decision(False, "made up", {})
    lie = gallery.cpo_is_rlhf
    monkeypatch.setitem(lie.__globals__, "_over_pairs", lambda name, *rest: no._replace(
        answer=name == "delta*", numbers={"rlhf_margin": [1.0], "rlhf_logp": [0.0]}
    ))  # fmt: skip
    assert check("equivalence", "constrained (if)").verdict is Verdict.OPEN


def test_a_sample_that_breaks_the_theorem_fails():
    found = samples.asserted("never", samples.connected(3), lambda bandit, prefs: False)
    assert found.outcome == "fails"
    assert "random problem 1" in found.summary
    assert samples.asserted("none", iter(()), lambda bandit, prefs: True).outcome == "fails"


@pytest.mark.parametrize("maker", [samples.connected, samples.acyclic])
def test_samples_replay_from_their_seed(maker):
    for (one, p), (two, q) in zip(maker(5), maker(5), strict=True):
        assert one.reward.tolist() == two.reward.tolist()
        assert p.winner.tolist() == q.winner.tolist()
    assert all(bool(p.is_connected(b)) for b, p in samples.connected(20))


def test_a_wrong_lemma_is_not_proved(monkeypatch):
    """Plant a wrong formula where the algebra looks: its identity fails."""
    from prefeq.claims import formulas

    monkeypatch.setattr(formulas, "rlhf_margin", lambda delta_ref, gap, beta: delta_ref + gap)
    assert lemmas.rlhf_margin_identity().outcome == "fails"
