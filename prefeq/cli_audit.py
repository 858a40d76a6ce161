"""The command `prefeq audit`: its options, and what it writes."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from prefeq.errors import ProblemError

HELP = """examples:
  prefeq audit pairs.parquet --beta 0.1
  prefeq audit run/ --beta 0.1 --normalize mean --json report.json
  prefeq audit 'shards/*.jsonl' --beta 0.1 --flags flags.parquet
  prefeq audit before.npz --beta 0.1 --step0 --betas 0.05 0.2
  prefeq audit pairs.csv --beta 0.1 --columns ref_chosen_logps=lp_w ref_rejected_logps=lp_l

FILES    Parquet, CSV, JSON Lines, Arrow or Feather, safetensors or npz, one row a pair; folders
         (those that `datasets` saves too) and quoted patterns, ** among them. All of one kind and
         with the same columns. Parquet and Arrow need pyarrow: pip install 'prefeq[data]'.
columns  ref_chosen_logps, ref_rejected_logps (or reference_...): log-probs in nats, summed over
         tokens. Optional: chosen_logps, rejected_logps of the policy; chosen_reward and
         rejected_reward, or label_prob; chosen_tokens, rejected_tokens; prompt; row_id.
OUT      strict JSON: every figure with its interval, and examples by row_id or FILE:ROW, rows
         counted from 0; null where a column is missing.
FLAGS    Parquet: a row for every pair that holds numbers, its margins and what is true of it.

exit code: 0 if a report is written, whatever it says; 2 if the input cannot be used
"""


def add(commands: Any, formatter: Any) -> None:
    """Add the command to a parser's commands."""
    parser = commands.add_parser(
        "audit",
        help="is DPO to be trusted on the log-probs of these pairs?",
        description="Audit log-probs of preference pairs: violations, losses, sick numbers.",
        epilog=HELP,
        formatter_class=formatter,
    )
    option = parser.add_argument
    option("files", nargs="+", metavar="FILES", help="files, folders or patterns")
    option("--beta", type=float, required=True, help="KL strength, > 0")
    option(
        "--normalize",
        choices=("sum", "mean"),
        default="sum",
        help="log-probs as they are, or divided by token counts (default: %(default)s)",
    )
    option(
        "--columns",
        metavar="NAME=COLUMN",
        nargs="+",
        action="extend",
        default=[],
        help="what a column is called in the files",
    )
    option("--step0", action="store_true", help="taken before training: both models must agree")
    option(
        "--betas",
        metavar="B",
        type=float,
        nargs="+",
        default=[],
        help="other beta to look at (default: an eighth to eight times --beta)",
    )
    option("--level", type=float, default=0.95, help="of the intervals (default: %(default)s)")
    option("--json", metavar="OUT", help="write the full report to OUT")
    option("--flags", metavar="FLAGS", help="write what holds of each pair to FLAGS, as Parquet")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Audit the files, write what is asked for, print the report; return the exit code.

    Raises
    ------
    ProblemError
        If the input cannot be used: then nothing is written.
    """
    from prefeq.llm.file_audit import audit_shards
    from prefeq.llm.readers import open_shards
    from prefeq.strict_json import write_json

    shards = open_shards(args.files, mapping(args.columns))
    if args.json:
        if os.path.realpath(args.json) in {os.path.realpath(shard.path) for shard in shards}:
            raise ProblemError(f"--json {args.json} would replace its own input; name another file")
        if args.flags and os.path.realpath(args.json) == os.path.realpath(args.flags):
            raise ProblemError(f"--json and --flags both name {args.json}; name two files")
    with bar("auditing") as track:
        report = audit_shards(
            shards,
            beta=args.beta,
            normalize=args.normalize,
            step0=args.step0,
            betas=args.betas,
            level=args.level,
            flags=args.flags,
            track=track,
        )
    if args.json:
        write_json(args.json, report.to_dict())
    print(report)
    return 0


def mapping(texts: list[str]) -> dict[str, str]:
    """Return {our name: theirs} of arguments such as ``chosen_logps=lp``.

    >>> mapping(["chosen_logps=lp", "prompt=a=b"])
    {'chosen_logps': 'lp', 'prompt': 'a=b'}
    """
    columns: dict[str, str] = {}
    for text in texts:
        ours, equals, theirs = text.partition("=")
        if not equals or not ours or not theirs:
            raise ProblemError(f"--columns {text}: write NAME=COLUMN, and FILES before the options")
        if ours in columns:
            raise ProblemError(f"--columns {text}: {ours} was named before, as {columns[ours]}")
        columns[ours] = theirs
    return columns


@contextmanager
def bar(label: str) -> Iterator[Callable[[float], None]]:
    """Show a progress bar in percent, while what is yielded is told what share is done."""
    from prefeq.progress import progress

    steps = progress(range(100), label)
    shown = next(steps)

    def track(share: float) -> None:
        nonlocal shown
        while shown < min(99, int(100 * share)):
            shown = next(steps)

    try:
        yield track
    finally:
        steps.close()  # type: ignore[attr-defined]
