"""The command line: parse, call, print. Bad input is one line on standard error and exit code 2."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, NoReturn

from prefeq import __version__, cli_atlas, cli_audit, cli_figures, cli_loss
from prefeq.errors import ProblemError

OK, FAILED, BAD_INPUT, INTERRUPTED, BROKEN_PIPE = 0, 1, 2, 130, 141

_VERIFY = """examples:
  prefeq verify                           every claim, in every reading; then the capitals
  prefeq verify equivalence assumption    only these, with what each reading says
  prefeq verify --json report.json        the same with all evidence, for a machine
  prefeq verify --bundle evidence         evidence to recheck, and a page a claim

exit code: 0 if every reading is decided and all evidence re-checks, 1 otherwise
"""

_SOLVE = """examples:
  prefeq solve answers.csv --beta 0.1
  prefeq solve answers.jsonl --beta 0.1 --pairs labels.csv --json report.json
  prefeq solve answers.parquet --beta 1 --labels ordered --margin 0.5

TABLE   columns prompt, response, ref_logp, reward: one row a response. ref_logp is in nats,
        normalised over the responses listed for a prompt; -inf marks an impossible one.
FILE    columns prompt, winner, loser and optionally prob (the probability that the winner is
        preferred; it overrides --labels) and mass (default: equal, of sum 1 in each prompt).
OUT     strict JSON: infinities are the strings "inf" and "-inf"; what does not exist is null
        (the log-policy of a DPO that diverges, everything of a CPO whose margins contradict).
"""

_SEARCH = """examples:
  prefeq search equivalence                             every reading of a claim
  prefeq search margin-ranking/limit --budget 100000    one reading, with more tries
  prefeq search "undesirable-space/non-empty (only-if)"
  prefeq search undesirable-space/non-empty:only-if     the same: one part of a reading

What is found is shrunk to a small instance of simple numbers, and certified exactly. The same
seed finds the same. Ctrl-C ends a search early; what it has found is printed and written.

exit code: 0 whether or not a counterexample is found, 2 on bad input, 130 if interrupted
"""

_RECHECK = """examples:
  prefeq verify --bundle evidence                         write evidence/evidence.json
  prefeq recheck evidence/evidence.json                   recompute all of it
  prefeq recheck evidence/evidence.json --only equivalence

Every number and every verdict is computed anew in other arithmetic (mpmath, integers, balls);
statements, instances, counts and seeds are compared with the list that ships with prefeq.

exit code: 0 if all agree, 1 at the first field that does not (it is named), 2 on unusable input
"""


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        if message.endswith("required: FILES"):
            message += " (options that take several words, such as --columns, come after them)"
        raise ProblemError(f"{message}; see {self.prog} --help")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Refuse what is not known here, where the command and its options are known."""
        found, rest = super().parse_known_args(args, namespace)
        if rest:
            known = [name for name in self._option_string_actions if name.startswith("--")]
            near = get_close_matches(rest[0].partition("=")[0], known, 1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            self.error(f"unrecognized arguments: {' '.join(rest)}{hint}")
        return found, rest


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = _Parser(
        prog="prefeq",
        description="When is DPO the same as RLHF? Claims of arXiv:2605.20834, decided and solved.",
        epilog="examples:\n  prefeq verify\n  prefeq solve answers.csv --beta 0.1",
        formatter_class=raw,
    )
    parser.add_argument("--version", action="version", version=f"prefeq {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    verify = commands.add_parser(
        "verify",
        help="prove or refute the paper's claims, with evidence",
        description="Prove or refute the claims of arXiv:2605.20834, each in every reading.",
        epilog=_VERIFY,
        formatter_class=raw,
    )
    verify.add_argument("claims", nargs="*", metavar="CLAIM", help="claim ids (default: all)")
    verify.add_argument(
        "--bundle", metavar="DIR", help="write evidence.json, its schema and a page a claim to DIR"
    )
    verify.set_defaults(run=_verify)

    solve = commands.add_parser(
        "solve",
        help="RLHF, DPO and CPO side by side on a table of your own",
        description="Solve RLHF, DPO and constrained PO exactly on every prompt of a table.",
        epilog=_SOLVE,
        formatter_class=raw,
    )
    solve.add_argument("table", metavar="TABLE", help=".csv, .jsonl or .parquet")
    solve.add_argument("--beta", type=float, required=True, help="KL strength, > 0")
    solve.add_argument(
        "--labels",
        choices=("bradley-terry", "ordered"),
        default="bradley-terry",
        help="how sure the labels are: sigma(reward gap), or certain (default: %(default)s)",
    )
    solve.add_argument(
        "--margin", type=float, default=0.0, help="margin that CPO guarantees, in nats (default: 0)"
    )
    solve.add_argument("--pairs", metavar="FILE", help="pairs to use (default: all, by reward)")
    solve.set_defaults(run=_solve)

    search = commands.add_parser(
        "search",
        help="search for a counterexample to a claim",
        description="Search for counterexamples to readings of a claim: random and structured.",
        epilog=_SEARCH,
        formatter_class=raw,
    )
    search.add_argument(
        "targets", nargs="+", metavar="CLAIM[/READING]", help="a claim, or one of its readings"
    )
    search.add_argument(
        "--budget", type=int, default=10_000, help="tries for each reading (default: %(default)s)"
    )
    search.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    search.set_defaults(run=_search)

    recheck = commands.add_parser(
        "recheck",
        help="recompute a bundle of evidence by other arithmetic",
        description="Recompute every number and every verdict of a bundle of evidence.",
        epilog=_RECHECK,
        formatter_class=raw,
    )
    recheck.add_argument("bundle", metavar="FILE", help="evidence.json, or the folder that has it")
    recheck.add_argument("--only", metavar="CLAIM", help="recompute this claim alone")
    recheck.set_defaults(run=_recheck, json=None)

    cli_atlas.add(commands, raw)
    cli_audit.add(commands, raw)
    cli_figures.add(commands, raw)
    cli_loss.add(commands, raw)

    for command in (verify, solve, search):
        command.add_argument("--json", metavar="OUT", help="write the full report to OUT")
    return parser


def _verify(args: argparse.Namespace) -> int:
    from prefeq.claims import verify
    from prefeq.progress import progress
    from prefeq.strict_json import write_json

    if args.bundle:
        from prefeq.bundle.write import check_directory, write_bundle

        check_directory(args.bundle)
    report = verify(args.claims or None, progress)
    if args.json:
        write_json(args.json, report.to_dict())
    written = write_bundle(report, args.bundle) if args.bundle else None
    print(report)
    if args.claims:
        print(f"\n{report.statements}")
    else:
        from prefeq.story import capitals_story

        print(f"\n{capitals_story()}")
    if written:
        print(f"\nThe evidence is in {written}; a page a claim is beside it.")
    return OK if report.ok else FAILED


def _solve(args: argparse.Namespace) -> int:
    from prefeq.progress import progress
    from prefeq.strict_json import write_json
    from prefeq.tabular import solve_table

    for source in (args.table, args.pairs):
        if args.json and source and os.path.realpath(source) == os.path.realpath(args.json):
            raise ProblemError(f"--json {args.json} would replace its own input; name another file")
    report = solve_table(
        args.table,
        args.pairs,
        beta=args.beta,
        labels=args.labels,
        margin=args.margin,
        track=lambda prompts: progress(prompts, "solving"),
    )
    if args.json:
        write_json(args.json, report.to_dict())
    print(report)
    return OK


def _search(args: argparse.Namespace) -> int:
    from prefeq.counterexamples import search
    from prefeq.progress import progress
    from prefeq.strict_json import write_json

    report = search(args.targets, budget=args.budget, seed=args.seed, progress=progress)
    if args.json:
        write_json(args.json, report.to_dict())
    print(report)
    return INTERRUPTED if report.interrupted else OK


def _recheck(args: argparse.Namespace) -> int:
    from prefeq.bundle.recheck import Disagreement, recheck
    from prefeq.progress import progress

    try:
        print(recheck(args.bundle, args.only, progress))
    except Disagreement as disagreement:
        print(f"DISAGREES: {disagreement}")
        return FAILED
    return OK


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Examples
    --------
    >>> main(["solve", "answers.csv", "--beta", "zero"])
    2
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # any prompt can be shown on any terminal
    try:
        args = _parser().parse_args(argv)
        if args.json:
            from prefeq.strict_json import check_writable

            check_writable(args.json)
        code: int = args.run(args)
        sys.stdout.flush()
        return code
    except ProblemError as error:
        print("prefeq: error:", " ".join(str(error).split()), file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("prefeq: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has gone (say, `| head`): nothing is wrong, and nothing more can be written.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except OSError as error:
        if error.filename is not None:  # of a file: files have their own errors
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print("prefeq: error: the output cannot be written:", error.strerror, file=sys.stderr)
        return BAD_INPUT


if __name__ == "__main__":
    sys.exit(main())
