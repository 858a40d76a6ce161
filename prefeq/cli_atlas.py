"""The command `prefeq atlas`: its options, and what it writes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from prefeq.errors import ProblemError

HELP = """examples:
  prefeq atlas                                        reference margin and beta, K = 2
  prefeq atlas --x gap=0.01:10:400:log --y beta=0.05:5:400:log --fix delta_ref=-4
  prefeq atlas --y K=2:8 --fix gamma=0.05 --methods rlhf,cpo,penalty --format svg,pdf

AXIS     NAME=FROM:TO:COUNT, with :log for even spacing in the logarithm. Names: delta_ref (nats),
         gap (reward), beta (reward per nat), margin (nats; of cpo and smooth), gamma (reward per
         nat; of penalty, eq17 and easy), K (a ladder of K responses, each neighbour a pair).
METHODS  rlhf, dpo (Bradley-Terry), dpo-ordered and hypo (ordered pairs, T steps), cpo, penalty
         (Eq. 10), eq17, smooth, easy (Bradley-Terry), exit (of ordered DPO from U).
OUT.npz  verdict/METHOD: 1 aligned, 0 weakly (least margin 0), -1 misaligned, 2 no optimum, 3 not
         computed; least/METHOD in nats; price, exit_steps, exit_time; x, y; about (JSON).
"""


def add(commands: Any, formatter: Any) -> None:
    """Add the command to a parser's commands."""
    parser = commands.add_parser(
        "atlas",
        help="phase diagrams: who is aligned where, and at what price",
        description="Compute and draw who is aligned where, over any two parameters of a bandit.",
        epilog=HELP,
        formatter_class=formatter,
    )
    option = parser.add_argument
    option("--x", metavar="AXIS", default="delta_ref=-6:2:400", help="default: %(default)s")
    option("--y", metavar="AXIS", default="beta=0.05:5:400:log", help="default: %(default)s")
    option(
        "--fix",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="another parameter, or alpha or tau of smooth; may be repeated",
    )
    option("--steps", metavar="T", type=int, default=1000, help="default: %(default)s")
    option(
        "--flipped",
        choices=("fixed", "per-label"),
        default="fixed",
        help="what a flipped label does to the target (default: %(default)s)",
    )
    option("--methods", metavar="METHODS", help="separated by commas (default: all)")
    option("--out", default="atlas", help="files to write, less the suffix (default: %(default)s)")
    option("--format", default="png", help="png, svg, pdf, or none (default: %(default)s)")
    parser.set_defaults(run=run, json=None)


def run(args: argparse.Namespace) -> int:
    """Write OUT.npz and pictures, and print a table of who is aligned; return the exit code.

    Raises
    ------
    ProblemError
        For whatever makes no sense, files that cannot be written too, before any work is done.
    """
    from prefeq.atlas import compute, draw
    from prefeq.progress import progress
    from prefeq.strict_json import check_writable

    archive, *pictures = paths(args.out, args.format)
    for path in (archive, *pictures):
        check_writable(path)
    atlas = compute(
        args.x,
        args.y,
        fixed=_fixed(args.fix),
        steps=args.steps,
        flipped=args.flipped,
        methods=None if args.methods is None else _split(args.methods),
        track=lambda work: progress(work, "mapping"),
    )
    atlas.save(archive)
    if pictures:
        draw(atlas, *pictures)
    print(f"{atlas}\n\nwritten: {', '.join(str(path) for path in (archive, *pictures))}")
    return 0


def paths(out: str, formats: str) -> list[Path]:
    """Return the archive to write, and the pictures.

    >>> [path.name for path in paths("atlas", "png,pdf")], len(paths("atlas.npz", "none"))
    (['atlas.npz', 'atlas.png', 'atlas.pdf'], 1)
    """
    from prefeq.atlas.draw import FORMATS

    kinds = [] if formats == "none" else _split(formats)
    for kind in kinds:
        if kind not in FORMATS:
            raise ProblemError(f"--format {kind}: choose from {', '.join(FORMATS)}, or none")
    stem = Path(out.removesuffix(".npz"))
    if not stem.name:
        raise ProblemError(f"--out {out!r}: names no file")
    return [stem.with_name(f"{stem.name}.{kind}") for kind in ("npz", *dict.fromkeys(kinds))]


def _fixed(texts: list[str]) -> dict[str, float]:
    from prefeq.atlas.axes import parse_fixed

    fixed: dict[str, float] = {}
    for text in texts:
        name, value = parse_fixed(text)
        if name in fixed:
            raise ProblemError(f"--fix {text}: {name} was fixed before, at {fixed[name]:g}")
        fixed[name] = value
    return fixed


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
