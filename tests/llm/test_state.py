"""States merge: any order, any grouping, any cutting into batches, one report."""

from __future__ import annotations

import json
import math
import pickle
from typing import Any

import numpy as np
import pytest
from llm import naive

import prefeq as pq
from prefeq.llm import chunking
from prefeq.llm.audit import audit_batches
from prefeq.llm.chunking import aligned
from prefeq.llm.columns import Batch, layout_of
from prefeq.llm.plan import Plan
from prefeq.llm.report import AuditReport
from prefeq.llm.state import AuditState

GROUPS = ("policy", "gap", "tokens", "prompt")


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunking, "CHUNK", 64)


def shards(rng: np.random.Generator, count: int = 7) -> list[Batch]:
    found = []
    for i in range(count):
        data = naive.only(naive.draw(rng, int(rng.integers(1, 400)), "extreme"), *GROUPS)
        for column in rng.choice(list(naive.LOGPS), 2):
            data[column] = np.array(data[column])
            data[column][rng.random(len(data[column])) < 0.05] = np.nan
        found.append(Batch.of(data, source=f"shard-{i}"))
    return found


def plan_of(batches: list[Batch]) -> Plan:
    return Plan(0.1, layout=layout_of(batches[0].columns))


def form(state: AuditState) -> str:
    """Return all that is in a state, to the last digit."""
    plain = state.to_plain()
    plain["symptoms"]["rows"] = dict(sorted(plain["symptoms"]["rows"].items()))
    for name in ("sums", "lows", "highs", "sketches", "worst"):
        plain[name] = dict(sorted(plain[name].items()))
    return json.dumps(plain)


def test_any_order_and_grouping(rng: np.random.Generator) -> None:
    batches = shards(rng)
    plan = plan_of(batches)
    whole = audit_batches(batches, plan)
    report = AuditReport.of(whole).to_dict()
    assert report["excluded"] > 0
    for _ in range(6):
        pieces = [audit_batches([batches[i]], plan) for i in rng.permutation(len(batches))]
        while len(pieces) > 1:
            i = int(rng.integers(len(pieces) - 1))
            pieces[i : i + 2] = [pieces[i].merge(pieces[i + 1])]
        assert form(pieces[0]) == form(whole)
        assert AuditReport.of(pieces[0]).to_dict() == report
    backwards = audit_batches(batches[::-1], plan)
    assert form(backwards) == form(whole)


def test_any_cutting_into_batches(rng: np.random.Generator) -> None:
    (batch,) = shards(rng, 1)
    whole = audit_batches([batch], plan_of([batch]))
    for _ in range(5):
        ends = np.sort(rng.integers(0, len(batch) + 1, 5)).tolist()
        cuts = zip([0, *ends], [*ends, len(batch)], strict=True)
        parts = [batch.part(start, stop) for start, stop in cuts]
        assert form(audit_batches(parts, plan_of([batch]))) == form(whole)


def test_chunks_begin_at_the_same_rows(rng: np.random.Generator) -> None:
    batch = Batch.of(naive.only(naive.draw(rng, 150), "policy"))
    parts = list(aligned(batch.part(i, i + 1) for i in range(150)))
    assert [(part.start, len(part)) for part in parts] == [(0, 64), (64, 64), (128, 22)]
    (same,) = aligned([batch.part(0, 128)])
    assert np.shares_memory(same.columns["chosen_logps"], batch.columns["chosen_logps"])


def test_the_comparison_sees_a_row_too_many(rng: np.random.Generator) -> None:
    (batch,) = shards(rng, 1)
    plan = plan_of([batch])
    whole, short = (audit_batches([batch.part(0, len(batch) - k)], plan) for k in (0, 1))
    assert form(whole) != form(short)


def test_states_travel(rng: np.random.Generator) -> None:
    batches = shards(rng, 3)
    state = audit_batches(batches, plan_of(batches))
    through_json = AuditState.from_plain(json.loads(json.dumps(state.to_plain(), allow_nan=False)))
    for copy in (through_json, pickle.loads(pickle.dumps(state))):
        assert form(copy) == form(state)
        assert AuditReport.of(copy).to_dict() == AuditReport.of(state).to_dict()
        assert form(copy.merge(state)) == form(state.merge(copy))


def test_merging_leaves_the_parts_alone(rng: np.random.Generator) -> None:
    batches = shards(rng, 2)
    one, other = (audit_batches([batch], plan_of(batches)) for batch in batches)
    before = form(one), form(other)
    one.merge(other).update(batches[0])
    assert (form(one), form(other)) == before


def test_a_state_is_small(rng: np.random.Generator) -> None:
    data = naive.only(naive.draw(rng, 20_000), "policy", "gap", "tokens")
    state = pq.audit(data, beta=0.1).state
    assert len(pickle.dumps(state)) < 2e6
    assert len(json.dumps(state.to_plain())) < 1e6


def test_states_of_other_plans_and_columns_are_refused(rng: np.random.Generator) -> None:
    one, other = shards(rng, 2)
    state = audit_batches([one], plan_of([one]))
    with pytest.raises(pq.ProblemError, match="different audits"):
        state.merge(AuditState(Plan(0.2, layout=state.plan.layout)))
    fewer = {name: values for name, values in other.columns.items() if name != "prompt"}
    with pytest.raises(pq.ProblemError, match="shard-1 has no column prompt"):
        state.update(Batch(fewer, source="shard-1"))
    with pytest.raises(pq.ProblemError, match="columns change at row"):
        list(aligned([one, Batch(fewer, start=len(one), source=one.source)]))


def test_rows_are_named_by_source_and_number() -> None:
    columns: dict[str, Any] = {"ref_chosen_logps": [-9.0, -1.0], "ref_rejected_logps": [-1.0, -9.0]}
    batches = [
        Batch.of(columns, start=10, source="b.parquet"),
        Batch.of(columns | {"row_id": np.array(["x", "y"])}, source="a.parquet"),
    ]
    state = audit_batches(batches, plan_of(batches))
    names = [row["row"] for row in AuditReport.of(state)["examples"]["ref_below_zero"]]
    assert names == ["x", "b.parquet:10"]


def test_an_end_at_zero_has_one_sign_whatever_the_order() -> None:
    def batch(name: str, x: float) -> Batch:
        columns: dict[str, Any] = dict(zip(naive.LOGPS, ([x], [0.0], [0.0], [0.0]), strict=True))
        return Batch.of(columns, source=name)

    batches = [batch("a", -0.0), batch("b", 0.0)]
    plan = plan_of(batches)
    states = [audit_batches(order, plan) for order in (batches, batches[::-1], batches[:1])]
    for state in states:
        ends = [*state.lows.values(), *state.highs.values()]
        assert all(math.copysign(1, end) > 0 for end in ends if end == 0)
