"""The documentation: it builds without a warning, links, names and figures are there, it runs."""

from __future__ import annotations

import doctest
import html
import importlib
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from script_loader import load_script

import prefeq as pq
from prefeq import cli

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
MODULES = ("", ".margins", ".losses", ".loss_cards", ".atlas", ".llm", ".figures", ".testing")

needs_mkdocs = pytest.mark.skipif(
    importlib.util.find_spec("mkdocs") is None, reason="needs the docs extra"
)


def build(config: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", config]
    # Material's notice of its own end of life is no warning about these pages.
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(
        [*map(str, command), "--site-dir", str(site)],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    done = build(ROOT / "mkdocs.yml", out)
    assert (done.returncode, done.stdout) == (0, "")
    assert [line for line in done.stderr.splitlines() if not line.startswith("INFO ")] == []
    return out


class Resources(HTMLParser):
    """What a page loads by itself: scripts, styles, fonts, pictures, frames."""

    LOADS = ("script", "img", "iframe", "source", "embed", "object", "video", "audio", "use")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.ids: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if given.get("id"):
            self.ids.append(str(given["id"]))
        names = ("src", "data", "href") if tag in (*self.LOADS, "link") else ("src",)
        self.found += [str(given[name]) for name in names if given.get(name)]
        self.found += re.findall(r"url\(([^)]*)\)", given.get("style") or "")


def pages(site: Path) -> Iterator[tuple[Path, str]]:
    found = sorted(site.rglob("*.html"))
    assert len(found) > 12
    return ((path, path.read_text("utf-8")) for path in found)


def missing_resources(site: Path) -> list[str]:
    """Return what the pages load and the site does not hold: all that comes from elsewhere, too."""
    wanted = []
    for path, page in pages(site):
        # the page for lost visitors is shown at any address, so its links start at the root
        home = site if path.name == "404.html" else path.parent
        wanted += [(home / link.lstrip("/"), link) for link in Resources(page).found]
        assert "@import" not in page
    for path in sorted(site.rglob("*.css")):
        links = re.findall(r"url\(['\"]?([^)'\"]*)", path.read_text("utf-8"))
        wanted += [(path.parent / link, link) for link in links]
    assert len(wanted) > 100
    return [
        link
        for path, link in wanted
        if not link.startswith("data:") and not Path(str(path).split("?")[0]).is_file()
    ]


def undocumented(site: Path) -> list[str]:
    """Return the public names without an entry that says something."""
    texts: dict[str, str] = {}
    for _, page in pages(site):
        for entry in re.split(r'(?=<h[1-6] id=")', page)[1:]:
            name = entry.split('"', 2)[1]
            body = entry.split("</h", 1)[1].split("</table>")[-1]
            texts[name] = " ".join(re.findall(r"<p>(.*?)</p>", body, re.DOTALL))
        for anchor in re.findall(r'<a [^>]*id="([^"]+)"></a>', page):
            texts.setdefault(anchor, texts.get(f"{anchor}.{anchor.rpartition('.')[2]}", ""))
    names = []
    for module in (f"prefeq{part}" for part in MODULES):
        names += [f"{module}.{name}" for name in importlib.import_module(module).__all__]
    return [name for name in names if not texts.get(name)]


@needs_mkdocs
def test_the_pages_load_nothing_from_elsewhere_and_all_figures_are_there(site: Path) -> None:
    assert missing_resources(site) == []
    page = site / "faq.html"
    text = page.read_text("utf-8")
    planted = '<script src="https://example.org/x.js"></script><img src="figures/none.png">'
    page.write_text(text.replace("</body>", f"{planted}</body>"), "utf-8")
    found = missing_resources(site)
    page.write_text(text, "utf-8")
    assert found == ["https://example.org/x.js", "figures/none.png"]


@needs_mkdocs
def test_every_public_name_has_an_entry(site: Path, monkeypatch: Any) -> None:
    assert undocumented(site) == []
    monkeypatch.setattr(pq, "__all__", [*pq.__all__, "forgotten"])
    assert undocumented(site) == ["prefeq.forgotten"]


@needs_mkdocs
def test_every_description_was_understood(site: Path) -> None:
    """A paragraph that is taken for a parameter is an entry without a text."""
    entries = []
    for path, page in pages(site):
        if path.parent.name == "api":
            entries += re.findall(r'<li class="doc-section-item.*?</li>', page, re.DOTALL)
    texts = [" ".join(html.unescape(re.sub("<[^>]*>", "", entry)).split()) for entry in entries]
    assert len(texts) > 200
    assert [text for text in texts if text.endswith("–")] == []


@needs_mkdocs
def test_the_gallery_has_every_figure(site: Path) -> None:
    page = html.unescape((site / "figures.html").read_text("utf-8"))
    for name in pq.figures.names():
        assert f'src="figures/{name}.png"' in page
        assert f'id="{name}"' in page


@needs_mkdocs
def test_stars_and_underscores_of_the_claims_are_no_emphasis(site: Path) -> None:
    shown = re.sub("<[^>]*>", "", (site / "claims.html").read_text("utf-8"))
    written = (DOCS / "claims.md").read_text("utf-8")
    for name in ("delta*", "gamma*", "pi*", "delta_ref", "pi_ref"):
        assert shown.count(name) >= written.count(name) > 0


@needs_mkdocs
def test_ids_are_unique(site: Path) -> None:
    for path, page in pages(site):
        ids = [name for name in Resources(page).ids if not name.startswith("__")]
        assert len(ids) == len(set(ids)), path


@needs_mkdocs
@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("[gone](gone.md)", "gone.md"),
        ("[gone](other.md#gone)", "#gone"),
        ("[gone](/gone.html)", "/gone.html"),
        ("![gone](gone.png)", "gone.png"),
        ("[fine](other.md#fine)", None),
    ],
)
def test_a_broken_link_stops_the_build(tmp_path: Path, text: str, word: str | None) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "index.md").write_text(f"# Index\n\n{text}\n")
    (docs / "other.md").write_text("# Other\n\n## Fine\n")
    config = tmp_path / "mkdocs.yml"
    config.write_text(
        f"INHERIT: {ROOT / 'mkdocs.yml'}\ndocs_dir: docs\nextra_css: []\nhooks: []\n"
        "plugins: [search]\nnav: [index.md, other.md]\n"
    )
    done = build(config, tmp_path / "site")
    if word is None:
        assert done.returncode == 0
        assert "WARNING" not in done.stderr
    else:
        assert done.returncode != 0
        assert word in done.stderr


@needs_mkdocs
def test_the_hooks_do_what_they_say() -> None:
    hooks = load_script(DOCS / "hooks.py")
    assert hooks.with_heading("One.\n\n>>> 1\n1") == "One.\n\nExamples\n--------\n>>> 1\n1"
    assert (
        hooks.with_heading("One.\n\nExamples\n--------\n>>> 1")
        == "One.\n\nExamples\n--------\n>>> 1"
    )
    assert hooks.with_heading("One.") == "One."
    shown = hooks.on_page_content("<p>βδ_ref, delta_ref, <code>δ_ref</code></p>")
    assert shown == "<p>βδ<sub>ref</sub>, delta_ref, <code>δ_ref</code></p>"


def console(page: str) -> list[tuple[list[str], str]]:
    """Return the commands of a page's console blocks, with what they are said to print."""
    found = []
    for block in re.findall(r"```console\n(.*?)```", page, re.DOTALL):
        for session in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            line, _, output = session.partition("\n")
            words = line.split()
            assert words[0] == "prefeq", line
            found.append((words[1:], output))
    return found


@pytest.mark.parametrize("name", [path.name for path in sorted(DOCS.glob("*.md"))])
def test_the_commands_of_the_pages_print_what_they_are_said_to(
    name: str, capsys: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    (tmp_path / "prefeq").symlink_to(ROOT / "prefeq")
    monkeypatch.chdir(tmp_path)
    checker = doctest.OutputChecker()
    for words, output in console((DOCS / name).read_text("utf-8")):
        assert cli.main(words) == 0
        printed = capsys.readouterr().out
        said = re.sub(r"^\.\.\.$", "<dots>", output, flags=re.MULTILINE).replace("<dots>", "...")
        assert checker.check_output(said, printed, doctest.ELLIPSIS), printed


def test_there_are_commands_to_check() -> None:
    assert len(console((DOCS / "index.md").read_text("utf-8"))) == 2
    assert console("```console\n$ prefeq verify a\nyes\n```") == [(["verify", "a"], "yes\n")]
