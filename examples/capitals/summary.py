#!/usr/bin/env python3
"""Print the numbers of README.md as Markdown: python examples/capitals/summary.py."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

import prefeq as pq

SENTENCES = Path(__file__).resolve().parent / "sentences.csv"
BETAS = (0.05, 0.1, 0.2, 0.5, 1.0)
TOLD = ("Australia", "Turkey", "Tanzania", "United States", "France")


def sentence_table() -> dict[str, list[Any]]:
    """Columns of sentences.csv: the same cities, each in a full sentence."""
    with SENTENCES.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    table: dict[str, list[Any]] = {name: [row[name] for row in rows] for name in rows[0]}
    table["ref_logp"] = [float(value) for value in table["ref_logp"]]
    table["tokens"] = [int(value) for value in table["tokens"]]
    return table


def per_token(table: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """The same table with mean instead of summed token log-probs."""
    means = [s / n for s, n in zip(table["ref_logp"], table["tokens"], strict=True)]
    return {**table, "ref_logp": means}


def margins(table: dict[str, list[Any]], beta: float = 1.0) -> tuple[Any, Any]:
    """δ_ref and δ* of every (capital, other city) pair, shape (countries, 5), capital first."""
    bandit = pq.Bandit.from_table(table, beta=beta)
    pairs = pq.Preferences.bradley_terry(bandit)
    return pairs.ref_margin(bandit), pq.solve_rlhf(bandit).margin(pairs)


def violation_table(tables: dict[str, dict[str, list[Any]]]) -> list[str]:
    """Pairs that violate the assumption, and countries whose RLHF optimum is not the capital."""
    head = " | ".join(f"{name}: pairs | countries" for name in tables)
    lines = [f"| β | {head} |", "|---:" * (1 + 2 * len(tables)) + "|"]
    for beta in BETAS:
        cells = [f"{beta:g}"]
        for table in tables.values():
            ref, optimal = margins(table, beta)
            bad = ~pq.margins.assumption_holds(ref, np.ones_like(ref), beta)
            wrong = np.sum(optimal.min(axis=-1) <= 0)
            cells += [f"{bad.sum()} ({100 * bad.mean():.1f} %)", f"{wrong}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def country_table(table: dict[str, list[Any]]) -> list[str]:
    """A few countries: the capital, the famous city and the favourite of the reference."""
    lines = [
        "| country | capital | famous city | favourite | δ_ref against it | violated from β = |",
        "|---|---|---|---|---:|---:|",
    ]
    for country in TOLD:
        rows = [i for i, name in enumerate(table["country"]) if name == country]
        logp = [table["ref_logp"][i] for i in rows]
        named = [f"{table['response'][i]} {table['ref_logp'][i]:.2f}" for i in rows]
        top = int(np.argmax(logp))
        ref = logp[0] - logp[top]
        edge = f"{ref:.2f} | {-1 / ref:.3f}" if top else "– | never"
        lines.append(f"| {country} | {named[0]} | {named[1]} | {named[top]} | {edge} |")
    return lines


def coverage(table: dict[str, list[Any]]) -> float:
    """Median over countries of the probability that the model says one of the six responses."""
    mass = np.exp(np.array(table["ref_logp"])).reshape(-1, 6).sum(axis=-1)
    return float(np.median(mass))


def reference_line(name: str, table: dict[str, list[Any]]) -> str:
    """What one table says about the reference alone."""
    ref = margins(table)[0]
    famous = np.array(table["role"]).reshape(len(ref), 6)[:, 1:] == "famous"
    return (
        f"- {name}: a wrong city beats the capital in {np.sum(ref.min(axis=-1) < 0)} countries, the"
        f" famous one in {np.sum(ref[famous] < 0)}; δ_ref < 0 for {np.sum(ref < 0)} pairs; the six"
        f" answers together have probability {coverage(table):.1e} (median country)."
    )


def main() -> None:
    """Print everything."""
    bare, said = pq.capitals_table(), sentence_table()
    means = per_token(bare)
    ref = margins(bare)[0]
    print(f"{len(ref)} countries, {ref.size} pairs (capital, other city). The reference:\n")
    print(reference_line("bare city, sum over tokens", bare))
    print(reference_line("sentence, sum over tokens", said), end="\n\n")
    print("\n".join(country_table(bare)), end="\n\n")
    tables = {"bare city, sums": bare, "bare city, means": means, "sentence, sums": said}
    print("\n".join(violation_table(tables)))


if __name__ == "__main__":
    main()
