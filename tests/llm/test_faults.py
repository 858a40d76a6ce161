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
    assert found(data | lengths) == ()  # of a fixed length, as far as anyone can see
    assert found(means(data | lengths, rng)) == ("sum_mean",)
    for size, n in ((8, 200), (10, 3)):
        few = healthy(rng, n) | {name: np.full(n, size) for name in lengths}
        assert found(few) == ()


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


def test_rows_that_cannot_be_used_are_told_their_cause(rng: np.random.Generator) -> None:
    def said(**columns: Any) -> str:
        (fault, *_) = audit(healthy(rng) | columns, beta=0.1)["faults"]
        assert fault["name"] == "nonfinite"
        return str(fault["message"])

    tokens = np.full(400, 20)
    tokens[[3, 5]] = 0, -1
    message = said(chosen_tokens=tokens, rejected_tokens=np.full(400, 20))
    assert "2 of 400 rows cannot be used (chosen_tokens 2)" in message
    assert "token counts have to be positive" in message
    assert "float32" not in message
    huge = np.full(400, -50.0)
    huge[7] = -1.7e308
    message = said(ref_chosen_logps=huge, ref_rejected_logps=-huge)
    assert "their difference is infinite" in message
    assert "float32" not in message
    nothing = np.full(400, np.nan)
    message = said(**dict.fromkeys((*POLICY, *REFERENCE), nothing))
    for name in (*POLICY, *REFERENCE):
        assert f"{name} 400" in message
    assert "difference" not in message
    assert "recompute these rows in float32" in message


@pytest.mark.parametrize(
    ("least", "most", "nats"), [(3, 30, 0.1), (2, 10, 0.1), (2, 10, 0.2), (1, 8, 0.1)]
)
def test_sums_of_short_answers_are_no_means(least: int, most: int, nats: float) -> None:
    for seed in range(50):
        rng = np.random.default_rng(seed)
        ends = np.log([least, most])
        tokens = np.exp(rng.uniform(*ends, (2, 1000))).astype(int)
        ref = -tokens * rng.gamma(6, nats / 6, (2, 1000))
        lengths = dict(zip(("chosen_tokens", "rejected_tokens"), tokens, strict=True))
        assert found(dict(zip(REFERENCE, ref, strict=True)) | lengths) == ()
        if seed < 5:
            ref = ref / tokens
            ref[:, seed] = 0.0  # nothing is the logarithm of nothing
            assert found(dict(zip(REFERENCE, ref, strict=True)) | lengths) == ("sum_mean",)


def test_sums_that_lie_in_the_first_tokens_are_no_means() -> None:
    rng = np.random.default_rng(0)
    tokens = rng.integers(50, 501, (2, 1000))
    ref = -(10 + 0.002 * tokens) * rng.gamma(400, 1 / 400, (2, 1000))
    lengths = dict(zip(("chosen_tokens", "rejected_tokens"), tokens, strict=True))
    assert found(dict(zip(REFERENCE, ref, strict=True)) | lengths) == ()


def labelled(gap: np.ndarray, **more: Any) -> Data:
    rng, n = np.random.default_rng(1), len(gap)
    data = dict(zip(REFERENCE, rng.normal(-50, 1, (2, n)), strict=True))
    return data | {"chosen_reward": gap, "rejected_reward": np.zeros(n), **more}


def test_few_labels_are_not_called_reversed() -> None:
    assert found(labelled(np.full(4, -0.01))) == ()
    assert found(labelled(np.full(9, -1.0))) == ()
    assert found(labelled(np.full(40, -1.0))) == ("label_reversed",)


def test_labels_of_a_prompt_go_together() -> None:
    prompt = np.repeat(np.arange(10), 100)
    for seed in range(40):
        rng = np.random.default_rng(seed)
        fair = np.where(rng.random(1000) < rng.beta(2, 2, 10)[prompt], 1.0, -1.0)
        assert found(labelled(fair, prompt=prompt)) == ()
    two = np.where(rng.random(1000) < 0.6, -1.0, 1.0)
    assert found(labelled(two, prompt=np.arange(1000) % 2)) == ()
    assert found(labelled(two, prompt=np.arange(1000) % 200)) == ("label_reversed",)


def test_an_answer_that_is_longer_does_not_hide_a_limit(rng: np.random.Generator) -> None:
    data = healthy(rng, 2000)
    names = ("chosen_tokens", "rejected_tokens")
    limit = int(np.quantile(data["chosen_tokens"], 0.822))
    data |= {name: np.minimum(data[name], limit) for name in names}
    (alone,) = audit(data, beta=0.1)["faults"]
    data["chosen_tokens"][5] = limit + 1
    report = audit(data, beta=0.1)
    (fault,) = report["faults"]
    assert fault["name"] == alone["name"] == "truncated"
    count = sum(int(np.sum(data[name] == limit)) for name in names)
    assert fault["count"] == count
    assert f"exactly {limit} tokens, and 1 more" in fault["message"]
    assert fault["rows"] == []  # they are not kept
    assert "truncated" in repr(report)
    assert "truncated" in report.to_html()


def test_margins_of_a_few_unrelated_pairs_are_not_called_swapped() -> None:
    for n in (10, 20):
        for seed in range(100):
            logps = -np.random.default_rng(seed).gamma(4, 30, (4, n))
            assert found(dict(zip(naive.LOGPS, logps, strict=True))) == ()


def test_step_0_is_compared_in_nats_whatever_the_normalisation(rng: np.random.Generator) -> None:
    data = policy_is_reference(healthy(rng), rng)
    off = np.zeros(400)
    off[[3, 8]] = 0.25, 7.0
    data |= {"chosen_logps": data["chosen_logps"] - off, "rejected_logps": data["rejected_logps"]}
    data["rejected_logps"] = data["rejected_logps"] - off[::-1] / 2
    for normalize in ("sum", "mean"):
        (fault,) = audit(data, beta=0.1, step0=True, normalize=normalize)["faults"]
        assert "by up to 7 nats" in fault["message"]
        assert fault["count"] == 4
