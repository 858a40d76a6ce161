#!/usr/bin/env python3
"""Turn the scored cities into preference pairs (capital, other city), as `prefeq audit` reads them.

    python examples/capitals/pairs.py                       # capitals-pairs.csv, here
    python examples/capitals/pairs.py --out capitals.parquet
    python examples/capitals/pairs.py --form sentence --out sentences-pairs.csv
    prefeq audit capitals-pairs.csv --beta 0.1 --html capitals.html --json capitals.json

One row a response comes in (prefeq/data/capitals.csv, from score.py), one row a pair goes out. The
right answer is worth 1 and the others 0, so the reward gap of every pair is 1.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
from pathlib import Path
from typing import Any

import prefeq as pq
from prefeq.strict_json import write_text

HERE = Path(__file__).resolve().parent
TABLES = {
    "city": HERE.parents[1] / "prefeq" / "data" / "capitals.csv",
    "sentence": HERE / "sentences.csv",
}
COLUMNS = (
    *("row_id", "prompt", "ref_chosen_logps", "ref_rejected_logps"),
    *("chosen_reward", "rejected_reward", "chosen_tokens", "rejected_tokens"),
)


def pairs(path: Path = TABLES["city"]) -> dict[str, list[Any]]:
    """Columns of the pairs of a table: each other city against the capital of its country."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    capital = {row["country"]: row for row in rows if row["role"] == "capital"}
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    for other in rows:
        right = capital[other["country"]]
        if other is right:
            continue
        values = (
            f"{other['country']}: {right['response']} > {other['response']}",
            right["prompt"],
            *(float(row["ref_logp"]) for row in (right, other)),
            *(float(row["reward"]) for row in (right, other)),
            *(int(row["tokens"]) for row in (right, other)),
        )
        for name, value in zip(COLUMNS, values, strict=True):
            columns[name].append(value)
    return columns


def write(path: Path, columns: dict[str, list[Any]]) -> None:
    """Write the columns as CSV or, by its suffix, as Parquet."""
    if path.suffix == ".parquet":
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.table(columns), path)
        return
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(columns)
    lines.writerows(zip(*columns.values(), strict=True))
    write_text(path, text.getvalue())


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or ""), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--form", choices=sorted(TABLES), default="city", help="which of the two tables")
    add("--table", type=Path, help="another table that score.py wrote")
    add("--out", type=Path, default=Path("capitals-pairs.csv"), help="default: %(default)s")
    args = parser.parse_args(argv)
    try:
        columns = pairs(args.table or TABLES[args.form])
        write(args.out, columns)
    except (OSError, pq.ProblemError) as error:
        print(f"pairs.py: {error}", file=sys.stderr)
        return 2
    print(f"{args.out}: {len(columns['row_id'])} pairs written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
