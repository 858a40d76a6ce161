"""What the site needs beyond its pages: the gallery of `pq.figures`, and names as users write them.

MkDocs calls the functions named on_...; mkdocstrings' reader of sources, griffe, the extension.
"""

from __future__ import annotations

import importlib
import re
from html import escape
from pathlib import Path
from typing import Any

import griffe

import prefeq as pq

FIGURES = Path(__file__).resolve().parent.parent / "figures"
NOTEBOOKS = FIGURES.parent / "notebooks"
GALLERY = "<!-- gallery -->"

CODE_OR_TAG = re.compile(r"(<pre.*?</pre>|<code.*?</code>|<[^>]*>)", re.DOTALL)
SUBSCRIPT = re.compile(r"(?<![A-Za-z0-9_])([δπJEλθγs])_(ref|max|fold|[πwly])(?![A-Za-z])")

LAZY = ("prefeq", "prefeq.figures", "prefeq.llm")
"""Modules that load some of their names on first use."""

FULL = {
    "prefeq.verify": "prefeq.claims.run.verify",
    "prefeq.search": "prefeq.counterexamples.engine.search",
    "prefeq.llm.AuditedDPOTrainer": "prefeq.llm.trainer.AuditMixin",
}
"""Names that stand before what does the work, and says how."""


def on_files(files: Any, *, config: Any) -> Any:
    """Add the pictures and the notebooks of the repository to the site."""
    from mkdocs.structure.files import File

    for path in sorted(FIGURES.iterdir()):
        if path.suffix in (".png", ".svg"):
            uri = f"figures/{path.name}"
            files.append(File.generated(config, uri, abs_src_path=str(path)))
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        uri = f"notebooks/{path.name}"
        files.append(File.generated(config, uri, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the figures where a page asks for them; show sessions as sessions."""
    if GALLERY in markdown:
        markdown = markdown.replace(GALLERY, gallery())
    return markdown.replace("```python\n>>>", "```pycon\n>>>").replace("<BLANKLINE>\n", "\n")


def on_page_content(html: str, **_: Any) -> str:
    """Set δ_ref and the like with a subscript, except in code."""
    parts = CODE_OR_TAG.split(html)  # every second one is code or a tag
    parts[::2] = [SUBSCRIPT.sub(r"\1<sub>\2</sub>", text) for text in parts[::2]]
    return "".join(parts)


def gallery() -> str:
    """Return every figure that is drawn, with its own title and caption."""
    drawn = [name for name in pq.figures.names() if (FIGURES / f"{name}.png").exists()]
    return "\n\n".join(map(entry, drawn))


def entry(name: str) -> str:
    """Return one figure: its picture, which links to the vector form, and its caption."""
    figure = pq.figures.figure(name)
    vector = f"{name}.svg" if (FIGURES / f"{name}.svg").exists() else f"{name}.png"
    size = f'{{ style="max-width: {7 * figure.width:.3g}rem" }}'  # a column stays half a page
    picture = f"[![{figure.title}](figures/{name}.png){size}](figures/{vector})"
    return (
        f"## {figure.title} {{ #{name} }}\n\n"
        f'<figure markdown="span">\n{picture}\n'
        f"<figcaption>{escape(figure.caption, quote=False)}</figcaption>\n</figure>\n\n"
        f"`prefeq figures {name}` draws it; `pq.figures.{name}.data()` has the numbers."
    )


class Names(griffe.Extension):
    """Let names loaded on first use be found, and give examples their heading."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Point each lazy name at what it loads."""
        for path in LAZY:
            module = pkg if path == pkg.path else pkg[path.removeprefix(f"{pkg.path}.")]
            for name in importlib.import_module(path).__all__:
                full = FULL.get(f"{path}.{name}") or found_at(path, name)
                if full is not None and name not in module.members:
                    module.set_member(name, griffe.Alias(name, full, parent=module))

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Head the examples of a docstring that has none of the headings for them."""
        if obj.docstring is not None:
            obj.docstring.value = with_heading(obj.docstring.value)


def found_at(path: str, name: str) -> str | None:
    """Return where a name of a lazy module is defined, by its table if it has one, or None."""
    module = importlib.import_module(path)
    table = getattr(module, "_LAZY", ())
    if name in table and isinstance(table, dict):
        target = table[name]
        whole, attribute = target if isinstance(target, tuple) else (target, name)
        return f"{whole}.{attribute}" if attribute else None
    found = getattr(module, name)
    return f"{found.__module__}.{found.__qualname__}" if hasattr(found, "__qualname__") else None


def with_heading(docstring: str) -> str:
    """Return a docstring whose first ``>>>`` stands below a heading."""
    first = re.search(r"^>>> ", docstring, re.MULTILINE)
    if first is None or re.search(r"^Examples\n-+$", docstring, re.MULTILINE):
        return docstring
    at = first.start()
    return f"{docstring[:at]}Examples\n--------\n{docstring[at:]}"
