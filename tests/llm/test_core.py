"""The fused pass has the figures of the audit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from llm import naive

import prefeq as pq
from prefeq.errors import ProblemError

torch = pytest.importorskip("torch")
core = pytest.importorskip("prefeq.llm.core")


def columns(kind: str, n: int, dtype: Any) -> list[Any]:
    data = naive.only(naive.draw(np.random.default_rng(3), n, kind), "policy")
    return [torch.tensor(data[name], dtype=dtype) for name in naive.LOGPS]


def check(tensors: list[Any], beta: float, found: dict[str, Any]) -> None:
    report = pq.audit(dict(zip(naive.LOGPS, tensors, strict=True)), beta=beta)
    assert (found["pairs"], found["excluded"]) == (report["pairs"], report["excluded"])
    for name in core.SHARES:
        assert found[name] == report[name], name
    assert found["mean_dpo_loss"] == pytest.approx(report["losses"]["dpo"]["mean"], rel=1e-12)


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
@pytest.mark.parametrize("kind", ["plain", "ties", "extreme"])
def test_it_is_the_audit(kind: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "EAGER_ROWS", 700)  # several pieces, the last a short one
    tensors = columns(kind, 3000, getattr(torch, dtype))
    tensors[1][5], tensors[2][2999] = float("nan"), float("inf")
    for beta in (1e-3, 0.1, 10.0):
        check(tensors, beta, core.core_pass(*tensors, beta=beta))


def test_no_pairs() -> None:
    found = core.core_pass(*[torch.tensor([float("nan")])] * 4, beta=1.0)
    assert (found["pairs"], found["excluded"], found["mean_dpo_loss"]) == (0, 1, None)
    assert core.core_pass(*[torch.zeros(0)] * 4, beta=1.0)["relative_accuracy"] is None


@pytest.mark.parametrize("order", [(1, 0, 2, 3), (0, 1, 3, 2), (2, 3, 0, 1)])
def test_exchanged_columns_are_seen(order: tuple[int, ...]) -> None:
    tensors = columns("plain", 500, torch.float64)
    with pytest.raises(AssertionError):
        check(tensors, 0.1, core.core_pass(*(tensors[i] for i in order), beta=0.1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"chosen_logps": torch.zeros(3)}, r"shapes \[\(2,\), \(3,\)\]"),
        ({"chosen_logps": torch.zeros(2, dtype=torch.int64)}, "not torch.int64"),
        ({"chosen_logps": np.zeros(2)}, "not float64; pq.audit takes anything"),
        ({"beta": 0.0}, "beta = 0.0"),
        ({"beta": float("inf")}, "beta = inf"),
    ],
)
def test_bad_input_is_refused(change: dict[str, Any], message: str) -> None:
    good = dict.fromkeys(naive.LOGPS, torch.zeros(2)) | {"beta": 0.1}
    with pytest.raises(ProblemError, match=message):
        core.core_pass(**(good | change))
