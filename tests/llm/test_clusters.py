"""Counts by prompt: the intervals are those of the lists, in any order of merging."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import prefeq as pq
from prefeq.intervals import wilson_clustered
from prefeq.llm.clusters import Clusters, hashed, text_of
from prefeq.llm.file_audit import audit_shards
from prefeq.llm.plan import Plan
from prefeq.llm.readers import open_shards
from prefeq.llm.report import AuditReport
from prefeq.llm.sealed import seal, unseal
from prefeq.llm.state import AuditState

SHARES = 3


def draw(rng: np.random.Generator, n: int, prompts: int) -> tuple[np.ndarray, list[np.ndarray]]:
    keys = rng.integers(0, prompts, n).astype(np.uint64)
    lean = rng.random(prompts)[keys.astype(int)]
    return keys, [rng.random(n) < lean, rng.random(n) < 0.01, np.zeros(n, bool)]


def expected(keys: np.ndarray, flag: np.ndarray, level: float) -> tuple[float, float]:
    _, place = np.unique(keys, return_inverse=True)
    counts = np.bincount(place, weights=flag).astype(int).tolist()
    return wilson_clustered(counts, np.bincount(place).tolist(), level)


@pytest.mark.parametrize("order", ["as drawn", "prompt by prompt"])
@pytest.mark.parametrize(("n", "prompts"), [(50, 7), (3000, 400), (2000, 2)])
def test_intervals(rng: np.random.Generator, n: int, prompts: int, order: str) -> None:
    keys, flags = draw(rng, n, prompts)
    if order != "as drawn":
        sort = np.argsort(keys)
        keys, flags = keys[sort], [flag[sort] for flag in flags]
    table = Clusters.empty(SHARES)
    for part in np.array_split(np.arange(n), 5):
        table.add(keys[part], [flag[part] for flag in flags])
    assert len(table) == len(np.unique(keys))
    for share, flag in enumerate(flags):
        np.testing.assert_allclose(table.interval(share, 0.9), expected(keys, flag, 0.9), 1e-12)


def test_the_comparison_sees_pairs_taken_for_independent(rng: np.random.Generator) -> None:
    keys, (flag, *_) = draw(rng, 2000, 40)
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(
            expected(keys, flag, 0.95), expected(np.arange(2000), flag, 0.95), 1e-2
        )


def test_merging_in_any_order_and_grouping(rng: np.random.Generator) -> None:
    keys, flags = draw(rng, 4000, 300)
    parts = []
    for rows in np.array_split(rng.permutation(4000), 7):
        part = Clusters.empty(SHARES)
        part.add(keys[rows], [flag[rows] for flag in flags])
        parts.append(part)
    forms = []
    for _ in range(4):
        pieces = [parts[i] for i in rng.permutation(7)]
        while len(pieces) > 1:
            i = int(rng.integers(len(pieces) - 1))
            pieces[i : i + 2] = [pieces[i].merge(pieces[i + 1])]
        forms.append(pieces[0].to_plain())
    assert all(form == forms[0] for form in forms)
    assert Clusters.from_plain(forms[0]).to_plain() == forms[0]


def test_counts_widen_with_the_largest_prompt() -> None:
    table = Clusters.empty(1)
    for size, width in ((200, np.uint8), (200, np.uint16), (70_000, np.uint32)):
        table.add(np.zeros(size, np.uint64), [np.ones(size, bool)])
        assert len(table) == 1
        assert table.counts.dtype == width
    assert table.counts[:, 0].tolist() == [70_400, 70_400]


def test_one_prompt_says_nothing(rng: np.random.Generator) -> None:
    table = Clusters.empty(1)
    table.add(np.zeros(9, np.uint64), [rng.random(9) < 0.5])
    assert table.interval(0, 0.95) == (0.0, 1.0)


def test_hashes_do_not_depend_on_process_or_container() -> None:
    texts = ["a", "b", "a", "\ud800"]
    assert hashed(texts).tolist() == hashed(np.array(texts, object)).tolist()
    assert hashed(["a"])[0] == 3405396810240292928
    assert hashed([-1, 3]).tolist() == [2**64 - 1, 3]
    assert len(set(hashed([f"prompt {i}" for i in range(10_000)]).tolist())) == 10_000


def test_messages_are_told_apart_by_their_content_alone() -> None:
    message = {"role": "user", "content": "“Hi”", "n": np.int64(3), "x": np.float64(0.5)}
    text = '[{"content": "“Hi”", "n": 3, "role": "user", "x": 0.5}]'
    held = np.empty(1, object)
    held[0] = dict(reversed(message.items()))
    for same in ([message], (message,), held, [{**message, "name": None}]):
        assert text_of(same) == text
    others = [[message] * 2, message, [message | {"content": "Hi"}], [message, None], [[message]]]
    others += [[message | {"role": "system"}], [message | {"name": ""}], []]
    texts = {text_of(other) for other in (*others, [message])}
    assert len(texts) == len(others) + 1
    assert [text_of(plain) for plain in ("a", np.str_("a"), 3, 3.0, None)] == [
        "a", "a", "3", "3.0", "None"
    ]  # fmt: skip


def test_integers_are_themselves_and_whatever_else_is_its_text() -> None:
    for column in ([7, -1], (7, -1), np.array([7, -1], np.int8), [np.int64(7), np.int32(-1)]):
        assert hashed(column).tolist() == [7, 2**64 - 1]
    assert hashed([]).tolist() == []
    assert hashed([7, "7", np.int8(7), np.str_("7"), "-1"]).tolist() == [7, 7, 7, 7, 2**64 - 1]
    assert hashed(np.array([7], object)).tolist() == hashed(np.array(["7"])).tolist() == [7]
    alike = ["07", "+7", "7 ", "7.0", 7.0, "٧", True, "-0", "", "-", "7_0"]
    assert 7 not in hashed(alike).tolist()
    assert len(set(hashed(alike).tolist())) == len(alike) - 1  # 7.0 is its text
    assert hashed([True]).tolist() == hashed([True, "x"])[:1].tolist() == hashed(["True"]).tolist()
    large = [2**63, 2**64 - 1, -(2**63), 2**80]
    assert hashed(large).tolist() == hashed([*map(str, large)]).tolist()
    assert hashed(np.array(large[:2], np.uint64)).tolist() == hashed(large[:2]).tolist()
    assert hashed(np.array(large[:2], np.uint64))[1] != hashed([-1])[0]


def test_a_prompt_is_the_same_whatever_else_is_in_the_column() -> None:
    n = 2**15 + 10
    data: dict[str, Any] = dict.fromkeys(("ref_chosen_logps", "ref_rejected_logps"), np.full(n, -1))
    for column in ([5] * (n - 1) + ["x"], ["5", *[5] * (n - 2), "x"], [*["x"] * (n - 1), 5]):
        assert pq.audit(data | {"prompt": column}, beta=0.1)["prompts"] == 2


def test_tables_of_no_prompts() -> None:
    one, other = Clusters.empty(1), Clusters.empty(1)
    for table in (one, one.merge(other), Clusters.from_plain(one.merge(other).to_plain())):
        assert len(table) == 0
    full = Clusters.empty(1)
    full.add(np.array([3, 3], np.uint64), [np.array([True, False])])
    assert one.merge(full).to_plain() == full.merge(one).to_plain() == full.to_plain()
    with pytest.raises(pq.ProblemError, match="no pairs"):
        one.interval(0, 0.95)


def test_prompts_of_no_usable_row(tmp_path: Path) -> None:
    header = "prompt,ref_chosen_logps,ref_rejected_logps\n"
    texts = {"bad": "a,nan,-1\na,nan,-2\n", "empty": "", "good": "a,-1,-2\nb,-3,-1\nb,-3,-2\n"}
    for name, text in texts.items():
        (tmp_path / f"{name}.csv").write_text(header + text)
    assert pq.audit(tmp_path / "bad.csv", beta=0.1)["prompts"] == 0
    whole = pq.audit([tmp_path / "good.csv", tmp_path / "empty.csv"], beta=0.1)
    (shard,) = open_shards(tmp_path / "good.csv")
    plan = Plan(0.1, layout=shard.layout)
    parts = [audit_shards([shard], plan).state, AuditState(plan)]
    for one, other in (parts, parts[::-1]):
        merged = unseal(seal(one))[0].merge(unseal(seal(other))[0])
        report = AuditReport.of(merged).to_dict()
        assert report | {"files": None} == whole.to_dict() | {"files": None}
    nothing = parts[1].merge(AuditState(plan))
    assert AuditReport.of(nothing)["prompts"] == 0


@pytest.mark.parametrize(
    ("size", "width"), [(255, np.uint8), (256, np.uint16), (65_536, np.uint32)]
)
def test_counts_at_the_ends_of_a_width(size: int, width: Any) -> None:
    for cuts in (1, 2):
        table = Clusters.empty(1)
        for part in np.array_split(np.ones(size, bool), cuts):
            table.add(np.zeros(len(part), np.uint64), [part])
        assert len(table) == 1
        assert table.counts[:, 0].tolist() == [size, size]
        assert table.counts.dtype == width


def test_billions_of_pairs_do_not_overflow() -> None:
    counts, totals = [2**31, 5, 0, 2**30], [2**32 - 1, 2**31, 7, 2**30 + 9]
    table = Clusters(np.arange(4, dtype=np.uint64), np.array([totals, counts], np.uint32), [])
    np.testing.assert_allclose(table.interval(0, 0.95), wilson_clustered(counts, totals), 1e-12)


def test_a_prompt_that_holds_most_pairs_counts_for_one() -> None:
    rng = np.random.default_rng(0)
    sizes = np.array([900, *[5] * 20])
    keys = np.repeat(np.arange(21), sizes).astype(np.uint64)
    for lean in (rng.random(21), np.ones(21)):
        flags = rng.random(1000) < lean[keys.astype(int)]
        table = Clusters.empty(1)
        table.add(keys, [flags])
        low, high = table.interval(0, 0.95)
        assert high - low > 0.6
        np.testing.assert_allclose((low, high), expected(keys, flags, 0.95), 1e-12)
