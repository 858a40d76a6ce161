"""The command `prefeq loss`: the card of any preference loss."""

from __future__ import annotations

import argparse
import math
from typing import Any

from prefeq.errors import ProblemError

HELP = """examples:
  prefeq loss dpo                                    one of ours
  prefeq loss trl:exo_pair --kw label_smoothing=0.1  TRL's own code
  prefeq loss mine.py:my_loss --kw beta=0.1          a function of yours
  prefeq loss mine:my_loss --against dpo --json card.json --html card.html
  prefeq loss ipo --ref-limit 4 --gap 0.5 5          the references and rewards that you have

LOSS     a name of prefeq.losses; trl:TYPE, a loss type of TRL's DPOTrainer (or TYPE, if it is none
         of ours); MODULE:FUNCTION or FILE.py:FUNCTION: a function of chosen_logps, rejected_logps,
         ref_chosen_logps, ref_rejected_logps and keywords, on NumPy arrays or torch tensors, that
         returns one loss a pair, their mean, or a tuple that begins with either.
OUT      strict JSON: verdicts are true, false or null (not decided); infinities are "inf", "-inf".

exit code: 0 if the loss could be analysed, whatever the verdict; 2 if not
"""


def add(commands: Any, formatter: Any) -> None:
    """Add the command to a parser's commands."""
    parser = commands.add_parser(
        "loss",
        help="the card of any preference loss: aligned? trapped? sound code?",
        description="Measure a preference loss: what it depends on, where it leads, what is wrong.",
        epilog=HELP,
        formatter_class=formatter,
    )
    option = parser.add_argument
    option("loss", metavar="LOSS", help="a name, MODULE:FUNCTION or FILE.py:FUNCTION")
    option(
        "--kw",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="a parameter of the loss, such as beta=0.1; may be repeated",
    )
    option(
        "--against",
        metavar="LOSS",
        action="append",
        default=[],
        help="a second implementation to compare with; may be repeated",
    )
    option("--library", choices=("auto", "numpy", "torch"), default="auto", help="how to call it")
    option(
        "--ref-limit",
        metavar="NATS",
        type=float,
        help="look at reference margins up to ±NATS; 10/beta by default",
    )
    option(
        "--gap",
        metavar=("LOW", "HIGH"),
        nargs=2,
        type=float,
        default=(0.01, 10.0),
        help="look at reward gaps from LOW to HIGH; 0.01 to 10 by default",
    )
    option("--json", metavar="OUT", help="write the card as strict JSON to OUT")
    option("--html", metavar="OUT", help="write the card as a page with a picture to OUT")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Analyse the loss, write what is asked for, print the card; return the exit code.

    Raises
    ------
    ProblemError
        If the loss cannot be found or called, or a file cannot be written.
    """
    from prefeq.cli_audit import check_outputs
    from prefeq.loss_cards import analyse_loss
    from prefeq.loss_cards.names import source_files
    from prefeq.strict_json import write_json, write_text

    outputs = {"--json": args.json, "--html": args.html}
    sources = [path for text in (args.loss, *args.against) for path in source_files(text)]
    check_outputs({option: path for option, path in outputs.items() if path}, sources)
    if args.ref_limit is not None and not 0 < args.ref_limit < math.inf:
        raise ProblemError(f"--ref-limit {args.ref_limit:g}: must be positive and finite")
    low, high = args.gap
    card = analyse_loss(
        args.loss,
        against=args.against,
        library=args.library,
        ref_limit=args.ref_limit,
        gaps=(low, high),
        **parameters(args.kw),
    )
    if args.json:
        write_json(args.json, card.to_dict())
    if args.html:
        write_text(args.html, card.to_html())
    print(card)
    return 0


_OPTIONS = {
    "loss": "name it first",
    "against": "that is --against LOSS",
    "library": "that is --library",
    "ref_limit": "that is --ref-limit NATS",
    "gaps": "that is --gap LOW HIGH",
}
"""Parameters of `analyse_loss` itself."""


def parameters(texts: list[str]) -> dict[str, Any]:
    """Return the keyword arguments of texts such as ``beta=0.1``; what is no number stays text.

    >>> parameters(["beta=0.1", "steps=3", "reduction=none", "scale=true"])
    {'beta': 0.1, 'steps': 3, 'reduction': 'none', 'scale': True}
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise ProblemError(f"--kw {text}: write NAME=VALUE, such as beta=0.1")
        if name in _OPTIONS:
            raise ProblemError(f"--kw {text}: the loss gets no {name}; {_OPTIONS[name]}")
        if name in found:
            raise ProblemError(f"--kw {text}: {name} was given before, as {found[name]}")
        found[name] = _value(value)
    return found


def _value(text: str) -> Any:
    words = {"true": True, "false": False}
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return words.get(text.lower(), text)
