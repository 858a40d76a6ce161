"""The nine faults: planted, named, and silent on healthy numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from llm import naive

from prefeq.llm.audit import audit
from prefeq.llm.columns import Batch
from prefeq.llm.faults import NAMES
from prefeq.llm.report import AuditReport
from prefeq.llm.state import AuditState

Data = dict[str, Any]
POLICY, REFERENCE = naive.LOGPS[:2], naive.LOGPS[2:]


def healthy(rng: np.random.Generator, n: int = 400, trained: float = 3.0) -> Data:
    """Return columns as a language model gives them: sums over answers of many lengths."""
    tokens = np.maximum(1, rng.lognormal(4.5, 0.7, (2, n))).astype(int)
    ref = -tokens * rng.gamma(16, 1.2 / 16, (2, n)) * tokens**-0.1
    policy = ref + rng.normal(0, 2, (2, n)) + trained * np.array([[0.3], [-1.7]])
    policy, ref = np.minimum(policy, -1e-3), np.minimum(ref, -1e-3)
    data = dict(zip(naive.LOGPS, [*policy, *ref], strict=True))
    reward = rng.normal([[0.8], [0.0]], 1, (2, n))  # one label in four is noise
    data |= {"chosen_reward": reward[0], "rejected_reward": reward[1]}
    return data | {"chosen_tokens": tokens[0], "rejected_tokens": tokens[1]}


def found(data: Data, **options: Any) -> tuple[str, ...]:
    return audit(data, beta=0.1, **options).faults


def policy_is_reference(data: Data, rng: np.random.Generator) -> Data:
    return data | {name: data[f"ref_{name}"] for name in POLICY}


def half_precision(data: Data, rng: np.random.Generator) -> Data:
    noise = {n: data[f"ref_{n}"] * (1 + rng.normal(0, 2e-3, len(data[n]))) for n in POLICY}
    return data | noise


def means(data: Data, rng: np.random.Generator) -> Data:
    lengths = {"chosen": data["chosen_tokens"], "rejected": data["rejected_tokens"]}
    return data | {n: data[n] / lengths[n.split("_")[-2]] for n in naive.LOGPS}


def means_of_reference(data: Data, rng: np.random.Generator) -> Data:
    return data | {name: means(data, rng)[name] for name in REFERENCE}


def losses(data: Data, rng: np.random.Generator) -> Data:
    return data | {name: -data[name] for name in naive.LOGPS}


def one_score(data: Data, rng: np.random.Generator) -> Data:
    column = np.array(data["chosen_logps"])
    column[7] = 2.5
    return data | {"chosen_logps": column}


def overflow(data: Data, rng: np.random.Generator) -> Data:
    column = np.array(data["ref_rejected_logps"])
    column[[3, 11]] = [np.nan, -np.inf]
    return data | {"ref_rejected_logps": column}


def same_answer(data: Data, rng: np.random.Generator) -> Data:
    return data | {"rejected_logps": data["chosen_logps"]}


def same_reference(data: Data, rng: np.random.Generator) -> Data:
    return data | {"ref_rejected_logps": data["ref_chosen_logps"]}


def same_reward(data: Data, rng: np.random.Generator) -> Data:
    return data | {"rejected_reward": data["chosen_reward"]}


def one_copied(data: Data, rng: np.random.Generator) -> Data:
    return data | {"chosen_logps": data["ref_chosen_logps"]}


def swapped_reference(data: Data, rng: np.random.Generator) -> Data:
    return data | {n: data[m] for n, m in zip(REFERENCE, REFERENCE[::-1], strict=True)}


def swapped_policy(data: Data, rng: np.random.Generator) -> Data:
    return data | {n: data[m] for n, m in zip(POLICY, POLICY[::-1], strict=True)}


def cut(data: Data, rng: np.random.Generator) -> Data:
    limit = int(np.quantile(data["chosen_tokens"], 0.93))
    return data | {n: np.minimum(data[n], limit) for n in ("chosen_tokens", "rejected_tokens")}


def costs(data: Data, rng: np.random.Generator) -> Data:
    return data | {n: -data[n] for n in ("chosen_reward", "rejected_reward")}


PLANTED: list[tuple[str, Callable[[Data, np.random.Generator], Data], dict[str, Any]]] = [
    ("same_policy", policy_is_reference, {}),
    ("step0_mismatch", half_precision, {"step0": True}),
    ("sum_mean", means, {}),
    ("sum_mean", means, {"normalize": "mean"}),
    ("sum_mean", means_of_reference, {}),
    ("positive_logp", losses, {}),
    ("positive_logp", one_score, {}),
    ("nonfinite", overflow, {}),
    ("duplicate_columns", same_answer, {}),
    ("duplicate_columns", same_reference, {}),
    ("duplicate_columns", same_reward, {}),
    ("duplicate_columns", one_copied, {}),
    ("swapped_columns", swapped_reference, {}),
    ("swapped_columns", swapped_policy, {}),
    ("truncated", cut, {}),
    ("label_reversed", costs, {}),
]


@pytest.mark.parametrize(("name", "plant", "options"), PLANTED)
@pytest.mark.parametrize("n", [200, 20_000])
def test_a_planted_fault_is_named(
    rng: np.random.Generator, name: str, plant: Any, options: dict[str, Any], n: int
) -> None:
    data = plant(healthy(rng, n), rng)
    report = audit(data, beta=0.1, **options)
    assert report.faults == (name,)
    (fault,) = report["faults"]
    assert 0 < fault["count"] <= 2 * n
    assert fault["rows"]
    assert set(fault["rows"]) <= set(range(n))
    assert len(fault["message"]) > 60
    assert name in repr(report)


def test_all_nine_are_planted() -> None:
    assert {name for name, *_ in PLANTED} == set(NAMES)
    assert set(NAMES) == {
        *("same_policy", "step0_mismatch", "sum_mean", "positive_logp", "nonfinite"),
        *("duplicate_columns", "swapped_columns", "truncated", "label_reversed"),
    }


@pytest.mark.parametrize("trained", [0.0, 3.0, 30.0, 100.0])
@pytest.mark.parametrize("n", [2, 5, 30, 400, 20_000])
@pytest.mark.parametrize("normalize", ["sum", "mean"])
def test_healthy_numbers_show_none(n: int, trained: float, normalize: str) -> None:
    for seed in range(3 if n < 10_000 else 1):
        data = healthy(np.random.default_rng(seed), n, trained)
        assert found(data, normalize=normalize) == ()


def test_columns_that_have_nothing_to_do_with_each_other_show_none(
    rng: np.random.Generator,
) -> None:
    for n in (20, 500, 5000):
        data = {name: -rng.gamma(4, 30, n) for name in naive.LOGPS}
        tokens = {name: rng.integers(10, 200, n) for name in ("chosen_tokens", "rejected_tokens")}
        assert found(data | tokens) == ()
        short = {name: rng.integers(1, 4, n) for name in tokens}
        assert found(data | short) == ()


def test_step_0_of_a_healthy_run(rng: np.random.Generator) -> None:
    data = policy_is_reference(healthy(rng), rng)
    assert found(data, step0=True) == ()
    rounded = {name: data[name].astype(np.float32) for name in POLICY}
    assert found(data | rounded, step0=True) == ()
    assert found(healthy(rng), step0=True) == ("step0_mismatch",)


def test_rows_of_a_fault(rng: np.random.Generator) -> None:
    def rows(plant: Any, data: Data, **options: Any) -> tuple[list[Any], int]:
        (fault,) = audit(plant(data, rng), beta=0.1, **options)["faults"]
        return fault["rows"], fault["count"]

    data = healthy(rng)
    assert rows(one_score, data) == ([7], 1)
    assert rows(overflow, data) == ([3, 11], 2)
    short = cut(data, rng)
    longest = short["chosen_tokens"].max()
    where = (short["chosen_tokens"] == longest) | (short["rejected_tokens"] == longest)
    assert rows(cut, data)[0] == np.flatnonzero(where)[:10].tolist()
    gap = data["rejected_reward"] - data["chosen_reward"]
    assert rows(costs, data) == (np.argsort(gap)[:5].tolist(), int(np.sum(gap < 0)))


def test_what_causes_positive_numbers_is_told_apart(rng: np.random.Generator) -> None:
    def message(plant: Any) -> str:
        (fault,) = audit(plant(healthy(rng), rng), beta=0.1)["faults"]
        return str(fault["message"])

    assert "change their sign" in message(losses)
    assert "400 of 400 pairs" in message(losses)
    assert "chosen_logps 1" in message(one_score)
    assert "change their sign" not in message(one_score)


def test_answers_of_one_length(rng: np.random.Generator) -> None:
    data = healthy(rng)
    lengths = {name: np.full(400, 64) for name in ("chosen_tokens", "rejected_tokens")}
    assert found(data | lengths) == ("truncated",)
    assert set(found(means(data | lengths, rng))) == {"truncated", "sum_mean"}


def test_labels_reversed_by_probability(rng: np.random.Generator) -> None:
    data = {name: healthy(rng)[name] for name in naive.LOGPS}
    assert found(data | {"label_prob": rng.beta(2, 5, 400)}) == ("label_reversed",)
    assert found(data | {"label_prob": rng.beta(5, 2, 400)}) == ()


def test_several_faults_at_once(rng: np.random.Generator) -> None:
    data = costs(overflow(swapped_policy(healthy(rng), rng), rng), rng)
    assert set(found(data)) == {"label_reversed", "nonfinite", "swapped_columns"}
    assert "sick" in audit(data, beta=0.1).verdict[0]


def test_faults_are_found_whatever_the_cutting(rng: np.random.Generator) -> None:
    for _, plant, options in PLANTED:
        batch = Batch.of(plant(healthy(rng, 300), rng))
        state = audit(batch.columns, beta=0.1, **options).state
        parts = [
            AuditState(state.plan).update(batch.part(start, start + 100)) for start in (0, 100, 200)
        ]
        merged = parts[2].merge(parts[0]).merge(parts[1])
        assert AuditReport.of(merged)["faults"] == AuditReport.of(state)["faults"]
