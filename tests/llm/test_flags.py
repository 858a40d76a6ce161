"""Flags of each pair add up to the shares of the audit."""

from __future__ import annotations

import numpy as np
import pytest
from llm import naive

import prefeq as pq
from prefeq import margins
from prefeq.llm import chunking
from prefeq.llm.flags import pair_flags
from prefeq.losses import LOSSES


@pytest.mark.parametrize("groups", [("policy", "gap", "tokens"), (), ("label",), ("policy",)])
@pytest.mark.parametrize("kind", ["plain", "ties", "extreme"])
def test_flags(rng: np.random.Generator, groups: tuple[str, ...], kind: str) -> None:
    data = naive.draw(rng, 1500, kind) | {"label_prob": rng.random(1500)}
    data = naive.only(data, *groups)
    found = pair_flags(data, beta=0.1)
    report, true = pq.audit(data, beta=0.1), naive.figures(data, 0.1)
    assert found["row"].tolist() == list(range(1500))
    for flag, rate in (
        ("violated", "violation_rate"),
        ("ref_below_zero", "ref_below_zero"),
        ("relative", "relative_accuracy"),
        ("absolute", "absolute_accuracy"),
        ("undesirable", "undesirable_share"),
        ("displaced", "displaced_share"),
        ("reward_below_zero", "reward_below_zero"),
    ):
        assert (flag in found) == (report[rate] is not None)
        if flag in found:
            assert np.mean(found[flag]) == report[rate] == true["rates"][rate][0]
    for name in ("ipo", "hinge", "cdpo"):
        assert np.mean(found[f"{name}_trap"]) == report["losses"][name]["trap_share"]
    for name in ("ipo", "easy"):
        share = report["losses"][name]["negative_target_share"]
        assert np.mean(found[f"{name}_negative_target"]) == share
    ref = found["ref_margin"]
    assert (ref == true["ref"]).all()
    assert (found["critical_gap"] == margins.critical_gap(ref, 0.1)).all()
    assert (found["exit_time"] == margins.exit_time(ref, 0.1)).all()
    assert ("margin" in found) == ("policy" in groups)
    assert (found["hinge_trap"] == LOSSES["hinge"].traps(ref, 0.1)).all()


def test_rows_left_out_are_missing(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunking, "CHUNK", 64)
    data = naive.only(naive.draw(rng, 200), "policy")
    data["chosen_logps"][[5, 70, 199]] = np.nan
    data["rejected_logps"][64:128] = np.inf
    data["ref_chosen_logps"][0] = 0.5
    found = pair_flags(data, beta=0.1)
    kept = [i for i in range(200) if i not in (5, 199) and not 64 <= i < 128]
    assert found["row"].tolist() == kept
    assert {len(column) for column in found.values()} == {len(kept)}
    assert np.flatnonzero(found["positive_logp"]).tolist() == [0]
    nothing = {name: [np.nan] for name in naive.LOGPS}
    assert pair_flags(nothing, beta=0.1)["row"].size == 0
