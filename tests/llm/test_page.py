"""The page of an audit: every figure is the report's, all text is text, and nothing is fetched."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
import unicodedata
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from llm.pages import HOSTILE, every_audit
from llm.test_faults import healthy

import prefeq as pq
from prefeq.llm.faults import NAMES
from prefeq.llm.page import guide, page, values
from prefeq.llm.page.markup import VOID, tag
from prefeq.llm.report import AuditReport


@pytest.fixture(scope="module")
def audits() -> dict[str, AuditReport]:
    return every_audit()


@pytest.fixture(scope="module")
def pages(audits: dict[str, AuditReport]) -> dict[str, str]:
    return {name: report.to_html() for name, report in audits.items()}


class Reader(HTMLParser):
    """What a page holds, read as HTML; unlike a browser it does not mend what is wrong."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.figures: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.texts.append(data)
        if self.open and self.open[-1] == "data":
            said = self.tags[-1][1]
            self.figures.append((said["data-figure"] or "", said["value"] or "", data))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def root_of(text: str) -> ET.Element:
    """Parse a page as XML, which forgives nothing."""
    doctype, _, rest = text.partition("\n")
    assert doctype == "<!DOCTYPE html>"
    return ET.fromstring(rest)


def look_up(form: Any, path: str) -> Any:
    """Follow a path through the JSON form; keys of figures hold no slash."""
    for key in path.split("/"):
        form = form[int(key)] if isinstance(form, list) else form[key]
    return form


def agrees(shown: str, value: Any) -> bool:
    """Tell whether a text is a number, rounded at its last digit."""
    if isinstance(value, str):
        return shown == value
    digits, _, exponent = shown.removesuffix(" %").replace(",", "").partition("e")
    unit = 10.0 ** (int(exponent or 0) - len(digits.partition(".")[2]))
    number = float(f"{digits}e{exponent or 0}")
    if "%" in shown:
        number, unit = number / 100, unit / 100
        if number in (0, 1) or shown == "99.999 %":  # neither none nor all, however close
            return value == number or 0.99999 <= value < 1 != number
    return abs(number - value) <= 0.5001 * unit


def test_each_figure_on_the_page_is_the_report_s(
    audits: dict[str, AuditReport], pages: dict[str, str]
) -> None:
    for name, report in audits.items():
        form = json.loads(json.dumps(report.to_dict(), allow_nan=False))
        found = Reader(pages[name]).figures
        assert len(found) > (5 if report["pairs"] == 0 else 60), name
        for path, exact, shown in found:
            value = look_up(form, path)
            assert value is not None, path
            assert exact == str(value), path
            if not path.endswith("beta"):  # as it was typed: six digits
                assert agrees(shown, value), (name, path, shown, value)


@pytest.mark.parametrize(
    ("right", "wrong", "value"),
    [
        ("50.1 %", "50.2 %", 0.5012),
        ("0 %", "0.0001 %", 0.0),
        ("99.999 %", "100 %", 1 - 1e-9),
        ("-2.5e-04", "-2.6e-04", -2.53e-4),
        ("1,234", "1,235", 1234),
        ("-inf", "inf", "-inf"),
    ],
)
def test_the_comparison_of_figures_can_fail(right: str, wrong: str, value: Any) -> None:
    assert agrees(right, value)
    assert not agrees(wrong, value)


HEADINGS = {
    "negative_target_share": "targets < 0",
    "trap_share": "trapped",
    "certificate/misaligned_share_at_most": "at most wrong",
    "target/quantiles/0.5": "target, median",
    "target/quantiles/0.05": "target, 5 %",
    "mean": "mean loss",
}


def misplaced(text: str) -> list[str]:
    """Return the figures that stand in another's row or column, or beside another's interval."""
    wrong = []
    for table in root_of(text).iter("table"):
        header = ["".join(th.itertext()) for th in table.findall("thead/tr/th")]
        for row in table.findall("tbody/tr"):
            first = "".join(row[0].itertext())
            for column, cell in zip(header[1:], row[1:], strict=True):
                paths = [str(data.get("data-figure")) for data in cell.iter("data")]
                own = f"{paths[0]}_interval" if paths else ""
                if own.startswith(("exit_time/", "critical_")):
                    own = paths[0].replace("/quantiles/", "/bounds/")
                if len(paths) == 3 and paths[1:] != [f"{own}/{end}" for end in "01"]:
                    wrong += paths
                for path in paths[:1]:
                    kind, _, rest = path.partition("/")
                    name, _, figure = rest.partition("/")
                    if kind in guide.RATES and not first.startswith(guide.RATES[kind][0]):
                        wrong.append(path)
                    if kind == "losses" and (
                        name != first or HEADINGS.get(figure, column) != column
                    ):
                        wrong.append(path)
                    if kind == "by_normalize" and name != first:
                        wrong.append(path)
    return wrong


def test_each_figure_stands_where_it_belongs(
    audits: dict[str, AuditReport], pages: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in pages.items():
        assert misplaced(text) == [], name
    shown = values._shown
    for theirs, ours in (("trap_share_interval", "negative_target_share_interval"), ("ipo", "dpo")):

        def planted(f: Any, path: Any, form: Any, a: str = theirs, b: str = ours) -> Any:
            return shown(f, tuple(b if key == a else key for key in path), form)

        monkeypatch.setattr(values, "_shown", planted)
        assert misplaced(audits["everything"].to_html())


def test_all_that_was_measured_is_on_the_page(
    audits: dict[str, AuditReport], pages: dict[str, str]
) -> None:
    for name, report in audits.items():
        shown = {path for path, *_ in Reader(pages[name]).figures}
        wanted = {"pairs", "excluded", "beta", "level"}
        if report["pairs"]:
            wanted |= {rate for rate in guide.RATES if report[rate] is not None}
            wanted |= {
                f"{rate}_interval/{end}" for rate in wanted & set(guide.RATES) for end in "01"
            }
            for loss, entry in report["losses"].items():
                wanted |= {
                    f"losses/{loss}/{share}" for share in ("trap_share", "target/quantiles/0.5")
                }
                wanted |= {f"losses/{loss}/mean"} if entry["mean"] is not None else set()
            wanted |= {f"at_other_beta/{i}/beta" for i in range(len(report["at_other_beta"]))}
            wanted |= {f"critical_gap/quantiles/{s}" for s in report["critical_gap"]["quantiles"]}
            wanted |= {
                f"examples/{kind}/{i}/value"
                for kind, rows in report["examples"].items()
                for i in range(len(rows))
            }
        assert wanted <= shown, (name, wanted - shown)


def test_what_is_not_known_is_a_dash(pages: dict[str, str]) -> None:
    for name, text in pages.items():
        read = Reader(text)
        words = [word for data in read.texts for word in re.findall(r"\w+", data)]
        assert not {"None", "nan", "NaN", "null"} & set(words) - {"NaN"}, name
        assert "NaN" not in words or "nonfinite" in text
        assert all(exact not in ("None", "nan") for _, exact, _ in read.figures)
    figures = {"a": None, "b": {"c": None}}
    for shown in (values.share(figures, "a"), values.interval(figures, "b", "c", "d")):
        assert shown == values.UNKNOWN
        assert "0" not in shown
        assert "–" in shown


def test_a_page_is_well_formed_and_small(pages: dict[str, str]) -> None:
    for name, text in pages.items():
        root = root_of(text)
        assert len(text.encode()) < 250_000, name
        ids = [element.get("id") for element in root.iter() if element.get("id")]
        assert len(ids) == len(set(ids)), name
        targets = {e.get("href", "")[1:] for e in root.iter("a") if e.get("href", "")[:1] == "#"}
        assert targets
        assert targets <= set(ids)
        for reference in re.findall(r'(?:href="#|url\(#)([^")]+)', text):
            assert reference in ids, reference
        for labels in re.findall(r'aria-labelledby="([^"]+)"', text):
            assert set(labels.split()) <= set(ids)


def test_a_page_can_be_read_without_seeing_it(pages: dict[str, str]) -> None:
    for name, text in pages.items():
        read = Reader(text)
        levels = [int(tag[1]) for tag, _ in read.tags if re.fullmatch(r"h\d", tag)]
        assert levels.count(1) == 1, name
        assert levels[0] == 1
        assert all(b - a <= 1 for a, b in itertools.pairwise(levels))
        assert all(th["scope"] in ("row", "col") for th in read.all("th"))
        svg = read.all("svg")
        assert all(s["role"] == "img" and s["aria-labelledby"] for s in svg)
        assert len(read.all("figcaption")) == len(svg) + len(read.all("table"))
        assert read.all("html")[0]["lang"] == "en"
        assert read.all("meta")[2]["content"] == "width=device-width, initial-scale=1"


def test_nothing_is_fetched_and_nothing_runs(pages: dict[str, str]) -> None:
    for text in pages.values():
        read = Reader(text)
        assert not {"script", "iframe", "img", "object", "base", "form"} & {t for t, _ in read.tags}
        assert read.all("meta")[1]["content"].startswith("default-src 'none'")  # type: ignore[union-attr]
        links = [a["href"] for _, a in read.tags if "href" in a]
        assert {link for link in links if not str(link).startswith("#")} == {
            "data:,",
            "https://arxiv.org/abs/2605.20834",
        }
        assert not [
            name for _, a in read.tags for name in a if name.startswith("on") or name == "src"
        ]
        assert not re.search(r"@import|url\((?!#)|@font-face", text)


def test_text_of_users_stays_text(audits: dict[str, AuditReport], pages: dict[str, str]) -> None:
    for name in ("hostile", "all-faults", "no-numbers"):
        read = Reader(pages[name])
        assert any("<script>alert(1)</script>" in data for data in read.texts)
        for character in "\x00\x1b\u202e\ud800":
            assert character not in "".join(read.texts)
        assert "ünïcode 漢字" in "".join(read.texts)
        assert max(map(len, read.texts)) < 1500
    titled = audits["policy"].to_html(f"Audit of {HOSTILE}")
    root = root_of(titled)
    for place in (root.find("head/title"), root.find("body/header/h1")):
        assert place is not None
        assert place.text is not None
        assert "<script>alert(1)</script> & \"double\" 'single'" in place.text
    assert not any(unicodedata.category(c) in ("Cc", "Cs") for c in titled if c not in "\n")
    assert str(tag("p", "a", title='"><b>')) == '<p title="&quot;&gt;&lt;b&gt;">a</p>'


def test_the_verdict_and_the_faults_come_first(
    audits: dict[str, AuditReport], pages: dict[str, str]
) -> None:
    for name, report in audits.items():
        words = " ".join(" ".join(Reader(pages[name]).texts).split())
        for sentence in report.verdict:
            assert sentence in words
            assert words.index(sentence) < words.index("How to read this")
        for fault in report["faults"]:
            assert guide.FAULTS[fault["name"]].capitalize() in words
        sick = 'class="verdict sick"' in pages[name]
        assert sick == ("sick" in report.verdict[0] or report["pairs"] == 0), name
    assert pages["all-faults"].count("<li><h3>") == len(NAMES) == len(guide.FAULTS)


def test_figures_follow_the_data_and_the_page(pages: dict[str, str]) -> None:
    count = {name: len(Reader(text).all("svg")) for name, text in pages.items()}
    assert count["policy"] == count["everything"] == 4
    assert count["reference-only"] == count["rewards"] == 3
    assert count["far-out"] == 1  # margins of 1e300 nats are not drawn
    assert count["no-numbers"] == 0
    for text in pages.values():
        drawn = "".join(re.findall(r"<svg.*?</svg>", text, re.DOTALL))
        assert not re.search(r"#[0-9a-f]{6}\b", drawn)  # each colour is the page's
        assert "DejaVu" not in drawn
        assert not re.search(r"<svg[^>]* (width|height)=", drawn)


def test_the_same_report_gives_the_same_page(audits: dict[str, AuditReport]) -> None:
    report = audits["everything"]
    once = report.to_html()
    with mpl.rc_context({"svg.fonttype": "path", "font.size": 30, "grid.linestyle": ":"}):
        mine = dict(mpl.rcParams)
        assert report.to_html() == once
        assert dict(mpl.rcParams) == mine
    assert not re.search(r"\b20\d\d-\d\d-\d\d", once)
    assert "<metadata>" not in once


def test_words_are_there_for_every_kind(audits: dict[str, AuditReport]) -> None:
    assert set(guide.FAULTS) == set(NAMES)
    for report in audits.values():
        assert set(report["examples"]) <= set(guide.EXAMPLES)
        assert all(rate in report.figures for rate in guide.RATES)


def test_a_page_is_written_whole_or_not(tmp_path: Path, audits: dict[str, AuditReport]) -> None:
    report, path = audits["rewards"], tmp_path / "a.html"
    path.write_text("of old")
    with pytest.raises(pq.ProblemError, match="cannot be written"):
        report.save_html(tmp_path / "no" / "a.html")
    broken = AuditReport({**report.figures, "losses": None}, report.verdict, report.state)
    with pytest.raises((TypeError, AttributeError)):
        broken.save_html(path)
    assert path.read_text() == "of old"
    report.save_html(path, "Mine")
    assert path.read_text("utf-8") == report.to_html("Mine")
    assert list(tmp_path.iterdir()) == [path]


def test_the_fragment_is_compact_and_asks_for_no_drawing(audits: dict[str, AuditReport]) -> None:
    for report in audits.values():
        text = report._repr_html_()
        ET.fromstring(text)
        assert len(text) < 30_000
        assert "<svg" not in text
        words = " ".join(" ".join(Reader(text).texts).split())
        assert words.startswith(report.verdict[0])
        form = report.to_dict()
        for path, exact, _ in Reader(text).figures:
            assert exact == str(look_up(form, path))
    code = (
        "import sys, prefeq as pq\n"
        "r = pq.audit(beta=1.0, ref_chosen_logps=[-1.0], ref_rejected_logps=[-2.0])\n"
        "r._repr_html_(); print('matplotlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


# --- planted bugs: each must be noticed by a check above ------------------------------------------


def test_a_figure_of_another_name_is_noticed(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = pq.audit(healthy(rng), beta=0.1)
    assert report["relative_accuracy"] != report["absolute_accuracy"]
    look = values.look_up

    def swapped(figures: Any, *path: Any) -> Any:
        other = {"relative_accuracy": "absolute_accuracy"}
        return look(figures, *(other.get(key, key) for key in path))

    monkeypatch.setattr(values, "look_up", swapped)
    with pytest.raises(AssertionError, match="relative_accuracy"):
        test_each_figure_on_the_page_is_the_report_s({"bad": report}, {"bad": report.to_html()})


def test_unescaped_text_is_noticed(
    audits: dict[str, AuditReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefeq.llm.page import markup

    monkeypatch.setattr(markup, "safe", markup.Html)
    report = audits["hostile"]
    text = page(report.figures, report.verdict)
    with pytest.raises((ET.ParseError, UnicodeEncodeError)):
        root_of(text)
    with pytest.raises(AssertionError):
        test_nothing_is_fetched_and_nothing_runs({"bad": text})


def test_zero_for_unknown_is_noticed(
    audits: dict[str, AuditReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    look = values.look_up
    monkeypatch.setattr(values, "look_up", lambda f, *p: look(f, *p) or 0.0)
    text = audits["reference-only"].to_html()
    with pytest.raises(AssertionError):
        test_each_figure_on_the_page_is_the_report_s(audits, dict.fromkeys(audits, text))
