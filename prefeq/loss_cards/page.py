"""A card as HTML: one page that holds everything it shows, and a fragment for notebooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefeq.llm.page.markup import Html, tag
from prefeq.loss_cards.picture import picture

if TYPE_CHECKING:
    from prefeq.loss_cards.card import LossCard

STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 56rem; margin: 2rem auto; padding: 0 1rem;
  color: #1a1a1a; background: #ffffff; }
table { border-collapse: collapse; margin: 1rem 0; }
th { text-align: left; vertical-align: top; padding: .25rem 1.2rem .25rem 0; white-space: nowrap;
  font-weight: 600; }
td { padding: .25rem 0; overflow-wrap: anywhere; }
tr + tr { border-top: 1px solid #e2e2e2; }
pre { background: #f4f4f4; padding: .6rem; overflow-x: auto; }
.fault { border-left: 4px solid #D55E00; padding-left: .8rem; }
.note { border-left: 4px solid #767676; padding-left: .8rem; }
"""

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'"


def page(card: LossCard) -> str:
    """Return the whole page: it opens from disk, asks no network and runs no script."""
    from prefeq import __version__

    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("link", rel="icon", href="data:,"),
        tag("title", f"Loss card: {card.name}"),
        tag("style", Html(STYLE)),
    )
    body = tag(
        "body",
        tag("h1", card.name),
        tag("main", fragment(card), _example(card)),
        tag("footer", tag("p", f"Written by prefeq {__version__}; the words are those of "
                          "arXiv:2605.20834. In full: prefeq loss --json.")),
    )  # fmt: skip
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def fragment(card: LossCard) -> str:
    """Return the card for a notebook: verdicts, picture, lines and faults."""
    from prefeq.loss_cards.sentences import headline, rows

    lines = [tag("tr", tag("th", name, scope="row"), tag("td", text)) for name, text in rows(card)]
    faults = [
        tag("p", tag("strong", fault.name), ": ", fault.message, class_=fault.severity)
        for fault in card.faults
    ]
    return tag(
        "div",
        tag("p", tag("strong", f"{card.name}: "), headline(card)),
        tag("figure", picture(card), style="margin:0"),
        *faults,
        tag("table", tag("tbody", *lines)),
        class_="prefeq-loss",
    )


def _example(card: LossCard) -> Html | None:
    """Return the smallest counterexample as a table that can be pasted into a file."""
    for found in (card.fixed, card.per_label):
        if found.counterexample is not None:
            example = found.counterexample
            return tag(
                "section",
                tag("h2", "The smallest counterexample"),
                tag("p", f"Save it and run: prefeq solve FILE.csv --beta {example.beta:g}"),
                tag("pre", example.table()),
            )
    return None
