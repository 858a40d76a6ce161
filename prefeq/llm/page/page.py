"""The page of an audit: one file that opens from disk, asks no network and runs no script."""

from __future__ import annotations

from importlib import resources

from prefeq.llm.page import guide, tables
from prefeq.llm.page.markup import Child, Html, join, tag
from prefeq.llm.page.pictures import Picture, pictures
from prefeq.llm.page.svg import named
from prefeq.llm.page.values import Figures, count, exact, row_name
from prefeq.llm.verdict import is_sick, unused_hint

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'"
"""What the page allows itself: its own style, and nothing from anywhere."""

TITLE = "Audit of preference log-probs"

NOTEBOOK = Html(
    ".prefeq-audit figure { margin: .5em 0 } .prefeq-audit td { text-align: right } "
    ".prefeq-audit tbody th { font-weight: normal; text-align: left } "
    ".prefeq-audit h3 { font-size: 1em; margin: .5em 0 } .prefeq-audit p { margin: .3em 0 }"
)
"""How the fragment looks where a notebook lets it; it can be read without."""

EXAMPLE_ROWS = 5
"""Rows named with a fault."""


def page(figures: Figures, verdict: tuple[str, str], title: str | None = None) -> str:
    """Return the whole page: HTML that is well-formed XML too, the same for the same figures."""
    from prefeq import __version__

    title = title or TITLE
    sections: list[tuple[str, str, Child]] = [
        ("faults", "Sick numbers", _faults(figures)),
        ("rates", "How things stand", tables.rates(figures)),
        ("figures", "In pictures", _figures(figures)),
        ("losses", "Losses", [tables.losses(figures), tables.meanings(figures)]),
        ("beta", "Other β", [tables.by_label(figures), tables.other_beta(figures)]),
        ("normalize", "Sum or mean", tables.sum_or_mean(figures)),
        ("quantiles", "Quantiles", [tables.relative(figures), tables.quantiles(figures)]),
        ("examples", "Rows to look at", tables.examples(figures)),
        ("reading", "How to read this", guide.definitions()),
        ("provenance", "Provenance", tables.provenance(figures, __version__)),
    ]
    if not figures["faults"]:  # good news can wait
        sections.insert(5, sections.pop(0))
    if not figures["pairs"]:  # nothing was measured: what is wrong, and what went in
        sections = [s for s in sections if s[0] in ("faults", "reading", "provenance")]
    shown = [section for section in sections if section[2] is not None]
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("link", rel="icon", href="data:,"),
        tag("title", title),
        tag("style", Html(resources.files(__package__).joinpath("style.css").read_text("utf-8"))),
    )
    links = (tag("li", tag("a", name, href=f"#{key}")) for key, name, _ in shown)
    body = tag(
        "body",
        tag("header", tag("h1", title), _facts(figures), _verdict(figures, verdict)),
        tag("nav", tag("ul", *links), aria_label="Sections"),
        tag(
            "main",
            *(tag("section", tag("h2", name), part, id=key) for key, name, part in shown),
        ),
        tag("footer", f"Written by prefeq {__version__}. Numbers in full: prefeq audit --json."),
    )
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def fragment(figures: Figures, verdict: tuple[str, str]) -> str:
    """Return the heart of the page for a notebook: verdict, faults, rates and quantiles."""
    return tag(
        "div",
        tag("style", NOTEBOOK),
        tag("p", tag("strong", verdict[0]), " ", verdict[1]),
        _facts(figures),
        _faults(figures) if figures["faults"] else None,
        tables.rates(figures) if figures["pairs"] else None,
        tables.quantiles(figures),
        class_="prefeq-audit",
        style="max-width: 60rem; overflow-x: auto",
    )


def _facts(figures: Figures) -> Html:
    gap = {"rewards": "rewards", "label_prob": "label probabilities", None: "not known"}
    prompts = (
        []
        if figures["prompts"] is None
        else [" on ", count(figures, "prompts"), " prompt" + "s" * (figures["prompts"] != 1)]
    )
    parts: tuple[Child, ...] = (
        [count(figures, "pairs"), " pair" if figures["pairs"] == 1 else " pairs", prompts],
        [count(figures, "excluded"), f" row{'' if figures['excluded'] == 1 else 's'} left out"],
        ["β\u00a0=\u00a0", exact(figures, "beta")],
        f"normalize\u00a0=\u00a0{figures['normalize']}",
        f"reward gap: {gap[figures['reward_gap']]}",
    )
    facts = tag("p", join(parts, " · "), class_="facts")
    hint = unused_hint(figures)
    return join([facts, tag("p", hint[0].upper(), hint[1:], class_="facts") if hint else None])


def _verdict(figures: Figures, verdict: tuple[str, str]) -> Html:
    kind = "verdict sick" if is_sick(figures) else "verdict"
    return tag(
        "div", *(tag("p", _unbroken(sentence)) for sentence in verdict), class_=kind, role="note"
    )


def _faults(figures: Figures) -> Html:
    if not figures["faults"]:
        return tag(
            "p", "No fault was found. Looked for were: ", ", ".join(guide.FAULTS.values()), "."
        )
    found = (_fault(figures, place) for place in range(len(figures["faults"])))
    return tag("ul", *found, class_="faults")


def _fault(figures: Figures, place: int) -> Html:
    fault = figures["faults"][place]
    rows = fault["rows"][:EXAMPLE_ROWS]
    names = [[", " if i else "Rows: ", row_name(row)] for i, row in enumerate(rows)]
    return tag(
        "li",
        tag("h3", guide.FAULTS[fault["name"]].capitalize(), " ", tag("code", fault["name"])),
        tag("p", fault["message"][0].upper(), fault["message"][1:], "."),
        tag("p", count(figures, "faults", place, "count"), " in all. ", names),
    )


def _figures(figures: Figures) -> Html | None:
    drawn = pictures(figures)
    return tag("div", *map(_figure, drawn, range(1, len(drawn) + 1)), class_="figures")


def _figure(picture: Picture, number: int) -> Html:
    here = f"figure{number}"
    return tag(
        "figure",
        named(picture.svg, number),
        tag(
            "figcaption",
            tag("strong", picture.title, id=f"{here}-title"),
            tag("span", _unbroken(picture.alt), id=f"{here}-alt"),
        ),
    )


def _unbroken(text: str) -> str:
    """Return text in which no line ends between a number and its unit."""
    return text.replace(" %", "\u00a0%").replace(" = ", "\u00a0=\u00a0")
