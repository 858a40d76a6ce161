"""TRL's loss types, run through TRL's own code, against closed forms written here."""

from __future__ import annotations

import importlib.util
import math
from functools import cache
from typing import Any

import mpmath
import numpy as np
import pytest
from loss_cards import planted

import prefeq as pq
from prefeq.errors import ProblemError
from prefeq.llm.oracle import INPUTS, load_oracle
from prefeq.loss_cards import LossCard, Pairs, adapt

WITHOUT = [n for n in ("trl", "datasets", "transformers") if importlib.util.find_spec(n) is None]
pytestmark = [
    pytest.mark.llm,
    pytest.mark.filterwarnings("default"),
    pytest.mark.skipif(bool(WITHOUT), reason=f"needs {', '.join(WITHOUT)}"),
]


@cache
def card(name: str, **parameters: float) -> LossCard:
    return pq.analyse_loss(f"trl:{name}", **parameters)


def test_the_stub_gives_what_the_oracle_table_has() -> None:
    oracle = load_oracle()
    columns = [oracle.points[name] for name in INPUTS]
    pairs = Pairs(*columns)
    seen = set()
    for case in oracle.cases:
        name = case.loss.removeprefix("trl/")
        if not case.loss.startswith("trl/") or name == "discopop" or case.beta != 0.1:
            continue  # discopop is NaN far out
        tau = {k: v for k, v in case.parameters.items() if k == "label_smoothing"}
        loss = adapt(f"trl:{name}", beta=case.beta, **tau)
        value = np.array([float(loss.call(pairs.rows(i)).values) for i in range(0, 40, 8)])
        np.testing.assert_allclose(value, case.value[:40:8], rtol=2e-6, atol=1e-12)
        seen.add(name)
    assert len(seen) == 14


def test_it_runs_trls_code_and_not_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.nn import functional

    pairs = Pairs.one(-1.0, -2.0, -1.5, -1.5)
    before = adapt("trl:sigmoid", beta=1.0).value(pairs)
    assert before == pytest.approx(math.log1p(math.exp(-1.0)))
    true = functional.logsigmoid
    monkeypatch.setattr(functional, "logsigmoid", lambda z: 2 * true(z))
    assert adapt("trl:sigmoid", beta=1.0).value(pairs) == pytest.approx(2 * before)


def test_a_name_without_trl_in_front() -> None:
    assert adapt("sppo_hard").name == "trl:sppo_hard"
    assert adapt("hinge").library == "prefeq"
    with pytest.raises(ProblemError, match="choose from sigmoid, hinge"):
        adapt("trl:sigmoyd")
    with pytest.raises(ProblemError, match="takes beta, label_smoothing, discopop_tau"):
        adapt("trl:sigmoid", gamma=1.0)


def test_sigmoid_is_dpo() -> None:
    found = card("sigmoid", beta=1.0)
    assert found.same_as == ("dpo",)
    assert (found.aligned, found.aligned_per_label, found.trap) == (False, False, False)


def test_exo_traps_at_the_logit() -> None:
    found = card("exo_pair", beta=0.5, label_smoothing=0.1)
    (region,) = found.trap_region.regions
    assert region[1] == pytest.approx(-math.log(9.0) / 0.5, rel=1e-6)  # TRL's epsilon is float32
    assert not found.shape.convex


def test_discopop_goes_down_first_and_has_a_local_minimum() -> None:
    found = card("discopop", beta=1.0)
    assert found.first_step.direction == "down"
    for row in found.ordered:
        (low, high), *_ = row["minima"]
        assert low == high
        assert low - row["ref_margin"] == pytest.approx(-0.1186, abs=5e-5)
    assert found.trap is False  # the minimum is below δ_ref, outside U
    assert "nan" in [fault.name for fault in found.faults]


@pytest.mark.parametrize("tau", [0.09, 0.11])
def test_discopop_goes_down_iff_tau_is_small(tau: float) -> None:
    threshold = (1 - math.log(2)) / 3
    direction = card("discopop", beta=1.0, discopop_tau=tau).first_step.direction
    assert direction == ("down" if tau < threshold else "up")


def test_robust_is_unbounded_below() -> None:
    found = card("robust", beta=1.0, label_smoothing=0.1)
    assert not found.shape.bounded_below
    assert found.shape.right == "falls"
    assert found.ordered[0]["infinite"] == ["unbounded below at +inf"]


def sppo_slope(delta: Any, ref: Any, beta: Any) -> Any:
    """The slope of SPPO on two responses, halved, in fifty digits."""

    def log_sigma(z: Any) -> Any:
        return -mpmath.log1p(mpmath.exp(-z))

    a, b = log_sigma(delta) - log_sigma(ref), log_sigma(-delta) - log_sigma(-ref)
    first, second = a - 1 / (2 * beta), b + 1 / (2 * beta)
    return first * mpmath.exp(log_sigma(-delta)) - second * mpmath.exp(log_sigma(delta))


@pytest.mark.parametrize("beta", [0.1, 1.0])
def test_sppo_traps_below_its_own_threshold(beta: float) -> None:
    (region,) = card("sppo_hard", beta=beta).trap_region.regions
    if beta == 1.0:
        assert region[1] == pytest.approx(-1.0, abs=1e-8)  # −1/β, as one minimum passes 0
        return
    # β = .1: a minimum in U is born at −7.750, long before the slope at 0 turns at −1/β = −10.
    with mpmath.workdps(50):
        for ref, traps in ((region[1] - 1e-4, True), (region[1] + 1e-4, False)):
            grid = [mpmath.mpf(ref) * k / 4000 for k in range(4000, -1, -1)]
            signs = [sppo_slope(d, mpmath.mpf(ref), mpmath.mpf(beta)) > 0 for d in grid]
            assert signs[0] is False
            assert any(signs) is traps
    assert -10 < region[1] < -7


def test_nca_and_apo_down_trap_on_two_responses() -> None:
    nca, apo = card("nca_pair", beta=0.1), card("apo_down", beta=2.0)
    assert nca.trap is True
    assert apo.trap is True
    from prefeq.loss_cards import Curve, Field, Ranges, ordered

    for name, beta, ref, minimum in (
        ("nca_pair", 0.1, -12.0, -5.01),
        ("apo_down", 2.0, -2.0, -0.85),
    ):
        loss = adapt(f"trl:{name}", beta=beta)
        found = ordered(Field.of(Curve(loss), Ranges.of(loss)), ref)
        assert any(low == pytest.approx(minimum, abs=0.01) for low, _ in found.minima)


def test_what_the_losses_depend_on() -> None:
    kinds = {n: card(n, beta=1.0).dependence for n in ("sft", "ipo", "aot", "bco_pair")}
    assert (kinds["sft"].kind, kinds["sft"].on_batch) == ("policy log-probs", "lengths")
    assert (kinds["ipo"].kind, kinds["ipo"].on_length) == ("relative margin", True)
    assert (kinds["aot"].kind, kinds["aot"].on_batch) == ("relative margin", "yes")
    assert (kinds["bco_pair"].kind, kinds["bco_pair"].on_batch) == ("log-ratios", "no")
    assert not any(kinds[n].margin_only for n in kinds)
    assert card("aot", beta=1.0).stand_in


def test_smoothing_of_nothing_is_no_number() -> None:
    found = card("exo_pair", beta=1.0)  # log 0 of the default label_smoothing
    assert [fault.name for fault in found.faults if fault.severity == "fault"] == ["not-finite"]
    assert found.aligned is None


def test_a_second_implementation_is_compared() -> None:
    found = pq.analyse_loss(planted.dpo, against="trl:sigmoid", beta=1.0).agreements[0]
    assert found.same
