"""The command `prefeq figures`: its options, and what it writes."""

from __future__ import annotations

import argparse
from typing import Any

EXAMPLES = """
examples:
  prefeq figures                                   all of them, to figures/
  prefeq figures phase abyss --out paper --format pdf
  prefeq figures --captions                        print the captions, draw nothing

OUT     NAME.png (300 dpi), NAME.svg (text as outlines), NAME.pdf (fonts embedded), 3.25 or 6.75
        inches wide; the same versions write the same bytes. All figures: captions.md as well.
"""


def add(commands: Any, formatter: Any) -> None:
    """Add the command to a parser's commands."""
    from prefeq.figures.registry import TITLES

    known = "\n".join(f"  {name:15} {title}" for name, title in TITLES.items())
    parser = commands.add_parser(
        "figures",
        help="the figures of the text, computed and drawn",
        description="Compute and draw the figures, at the widths of a paper.",
        epilog=f"figures:\n{known}\n{EXAMPLES}",
        formatter_class=formatter,
    )
    option = parser.add_argument
    option("names", nargs="*", metavar="NAME", help="which (default: all)")
    option("--out", metavar="DIR", default="figures", help="default: %(default)s")
    option("--format", default="png,svg", help="of png, svg, pdf (default: %(default)s)")
    option("--captions", action="store_true", help="print the captions as Markdown, and stop")
    parser.set_defaults(run=run, json=None)


def run(args: argparse.Namespace) -> int:
    """Write the figures, or print their captions; return the exit code."""
    from prefeq.figures import captions, save
    from prefeq.progress import progress

    names = args.names or None
    if args.captions:
        print(captions(names), end="")
        return 0
    formats = [part.strip() for part in args.format.split(",") if part.strip()]
    paths = save(names, args.out, formats, lambda work: progress(work, "drawing"))
    print(f"written: {', '.join(str(path) for path in paths)}")
    return 0
