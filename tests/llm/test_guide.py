"""docs/audit.md: what is not a doctest there runs too, and its tables name what there is."""

from __future__ import annotations

import doctest
import importlib.util
import os
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from llm import naive, shards
from script_loader import load_script

import prefeq as pq
from prefeq import cli
from prefeq.llm.columns import NAMES
from prefeq.llm.faults import NAMES as FAULTS

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "audit.md").read_text("utf-8")


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", GUIDE, re.DOTALL)


def test_the_commands_run_and_print_what_is_shown(
    tmp_path: Path, rng: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    (tmp_path / "run").mkdir()
    shards.write(tmp_path / "run" / "a.parquet", naive.draw(rng, 50))
    monkeypatch.chdir(tmp_path)
    assert len(blocks("sh")) == 2
    for block in blocks("sh"):
        for line in block.splitlines():
            capsys.readouterr()
            program, *args = shlex.split(line)
            if program == "python":
                assert load_script(ROOT / args[0]).main(args[1:]) == 0
            else:
                assert program == "prefeq"
                assert cli.main(args) == 0
    (shown,) = blocks("text")
    out = capsys.readouterr().out
    assert doctest.OutputChecker().check_output(shown, out, doctest.ELLIPSIS)
    made = {"report.json", "report.html", "flags.parquet", "capitals.html", "capitals.json"}
    assert made <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.filterwarnings("default")  # those of transformers and torch are theirs to fix
def test_the_blocks_that_need_a_model_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = [n for n in ("transformers", "trl") if importlib.util.find_spec(n) is None]
    if missing:
        pytest.skip(f"needs {missing[0]}")
    import tiny_model
    from datasets import Dataset

    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(os.environ, "TQDM_DISABLE", "1")
    names: dict[str, Any] = {
        "pq": pq,
        "reference": tiny_model.model(0),
        "policy": tiny_model.model(1),
        "tokenizer": tiny_model.tokenizer(),
        "dataset": Dataset.from_list(tiny_model.TALKS),
        "options": {"use_cpu": True, "bf16": False, "report_to": [], "disable_tqdm": True},
    }
    score, train = (block for block in blocks("python") if ">>>" not in block)
    exec(score, names)
    report = names["report"]
    assert (report["pairs"], report["reward_gap"]) == (1, "rewards")
    assert report["absolute_accuracy"] is not None
    exec(train, names)
    assert names["report"]["pairs"] == len(tiny_model.TALKS)
    logs = names["trainer"].state.log_history
    assert any("prefeq/absolute_accuracy" in entry for entry in logs)


def test_the_tables_name_every_column_figure_and_fault() -> None:
    rows = re.findall(r"^\| (`.*?) \|", GUIDE, re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert set(NAMES) <= set(named)
    assert tuple(name for name in named if name in FAULTS) == FAULTS
    figures = pq.audit(beta=1.0, ref_chosen_logps=[-1.0], ref_rejected_logps=[-2.0]).figures
    assert set(named) - set(NAMES) - set(FAULTS) <= set(figures)
    for image in re.findall(r"\]\((images/.*?)\)", GUIDE):
        assert (ROOT / "docs" / image).stat().st_size < 300_000
