"""The command `prefeq audit`: its options, and what it writes."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from prefeq.errors import ProblemError

if TYPE_CHECKING:
    from prefeq.llm.ranks import Ranks

HELP = """examples:
  prefeq audit pairs.parquet --beta 0.1
  prefeq audit run/ --beta 0.1 --normalize mean --json report.json
  prefeq audit pairs.parquet --beta 0.1 --html report.html
  prefeq audit 'shards/*.jsonl' --beta 0.1 --flags flags.parquet
  prefeq audit before.npz --beta 0.1 --step0 --betas 0.05 0.2
  prefeq audit pairs.csv --beta 0.1 --columns ref_chosen_logps=lp_w ref_rejected_logps=lp_l
  prefeq audit run/ --beta 0.1 --resume states --scheduler tcp://10.0.0.1:8786
  torchrun --nproc-per-node 2 -m prefeq audit run/ --beta 0.1 --json report.json

FILES    Parquet, CSV, JSON Lines, Arrow or Feather, safetensors or npz, one row a pair; folders
         (those that `datasets` saves too) and quoted patterns, ** among them. All of one kind and
         with the same columns. Parquet and Arrow need pyarrow: pip install 'prefeq[data]'.
columns  ref_chosen_logps, ref_rejected_logps (or reference_...): log-probs in nats, summed over
         tokens. Optional: chosen_logps, rejected_logps of the policy; chosen_reward and
         rejected_reward, or label_prob; chosen_tokens, rejected_tokens; prompt; row_id.
         Columns of numbers that look like these under other names (score_chosen) are named, not
         used, until --columns says what they are.
OUT      strict JSON: every figure with its interval, and examples by row_id or FILE:ROW, rows
         counted from 0; null where a column is missing.
PAGE     HTML: one file with tables, figures and definitions; opens from disk, asks no network.
FLAGS    Parquet: a row for every pair that holds numbers, its margins and what is true of it.
         Written in one go by one process: not with --resume, --scheduler or torchrun.
FOLDER   a small file of strict JSON for every finished shard. The same command again takes these
         from there and reads the others; what has changed or is damaged is read again, and named.
ADDRESS  of a dask scheduler: its workers, with the same prefeq and the same paths, read the shards,
         one at a time. pip install 'prefeq[dask]'. Under torchrun each process reads its share.
         The report is the same in every case.

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
        usage="%(prog)s FILES [FILES ...] --beta BETA [OPTIONS]",
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
    option("--html", metavar="PAGE", help="write the report as a page with figures to PAGE")
    option("--flags", metavar="FLAGS", help="write what holds of each pair to FLAGS, a .parquet")
    option("--resume", metavar="FOLDER", help="store finished shards in FOLDER, go on from them")
    option("--scheduler", metavar="ADDRESS", help="let the workers of a dask scheduler read")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Audit the files, write what is asked for, print the report; return the exit code.

    Raises
    ------
    ProblemError
        If the input cannot be used: then nothing is written but finished shards.
    """
    from prefeq.llm.ranks import launched

    with launched() as ranks:
        return ranks.run(lambda: _run(args, ranks))


def _run(args: argparse.Namespace, ranks: Ranks) -> int:
    from prefeq.llm.file_audit import audit_shards
    from prefeq.llm.plan import Plan
    from prefeq.llm.readers import open_shards
    from prefeq.strict_json import write_json
    from prefeq.text import fit

    def note(words: str) -> None:
        if ranks.first:
            print("prefeq: note:", words, file=sys.stderr)

    shards = open_shards(args.files, mapping(args.columns), note)
    outputs = {"--json": args.json, "--html": args.html, "--flags": args.flags}
    check_outputs({name: out for name, out in outputs.items() if out}, [s.path for s in shards])
    plan = Plan(args.beta, args.normalize, args.step0, shards[0].layout, args.betas, args.level)
    with bar("auditing") as track:
        report = audit_shards(
            shards,
            plan,
            flags=args.flags,
            resume=args.resume,
            scheduler=args.scheduler,
            ranks=ranks,
            track=track if ranks.first else None,
            note=lambda words: print("prefeq: note:", words, file=sys.stderr),
        )
    if not ranks.first:
        return 0
    if args.json:
        write_json(args.json, report.to_dict())
    if args.html:
        report.save_html(args.html, title=f"Audit of {fit(', '.join(args.files), 80)}")
    print(report)
    return 0


def check_outputs(outputs: dict[str, str], inputs: Iterable[str | os.PathLike[str]]) -> None:
    """Check, before any work, that outputs can be written and are neither inputs nor each other.

    >>> check_outputs({"--json": "a.json", "--html": "./a.json"}, [])
    Traceback (most recent call last):
    prefeq.errors.ProblemError: --json and --html both name a.json; name two files
    """
    from prefeq.strict_json import check_writable

    taken = {os.path.realpath(path) for path in inputs}
    by_place: dict[str, str] = {}
    for option, path in outputs.items():
        if path == "-":
            raise ProblemError(f"{option} -: is written to a file, so that it is whole; name one")
        place = os.path.realpath(path)
        if place in taken:
            raise ProblemError(f"{option} {path} would replace its own input; name another file")
        if place in by_place:
            first = by_place[place]
            raise ProblemError(f"{first} and {option} both name {outputs[first]}; name two files")
        if os.path.isfile(place) or not os.path.exists(place):  # a pipe takes both
            by_place[place] = option
        check_writable(path)


def mapping(texts: list[str]) -> dict[str, str]:
    """Return {our name: theirs} of arguments such as ``chosen_logps=lp``.

    >>> mapping(["chosen_logps=lp", "prompt=a=b"])
    {'chosen_logps': 'lp', 'prompt': 'a=b'}
    """
    columns: dict[str, str] = {}
    for text in texts:
        ours, equals, theirs = text.partition("=")
        if not equals or not ours or not theirs:
            what = "is a file" if os.path.exists(text) else "names no column"
            raise ProblemError(
                f"--columns {text}: {what}; write FILES --columns NAME=COLUMN ..., the FILES first"
            )
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
