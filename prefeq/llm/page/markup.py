"""HTML that is escaped unless it says that it is HTML already; also well-formed as XML."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import TypeAlias

VOID = frozenset({"br", "link", "meta"})
"""Elements without an end."""

ILLEGAL = re.compile(
    "[^\t\n\r\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|[\u202a-\u202e\u2066-\u2069]"
)
"""What XML or UTF-8 has no room for, controls and halves of a character, and what turns the
direction of the text that follows."""


class Html(str):
    """Markup: what may go into a page as it is."""

    __slots__ = ()


Child: TypeAlias = "str | Iterable[Child] | None"


def safe(text: str) -> Html:
    """Return text as markup that shows it.

    >>> safe('<b> & "c"\\x00')
    '&lt;b&gt; &amp; &quot;c&quot;�'
    """
    return text if isinstance(text, Html) else Html(html.escape(ILLEGAL.sub("\ufffd", text)))


def join(children: Iterable[Child], between: str = "") -> Html:
    """Return children one after the other, each escaped unless it is markup; None is nothing."""
    parts = (
        child if child is None or isinstance(child, str) else join(child) for child in children
    )
    return Html(safe(between).join(safe(part) for part in parts if part is not None))


def coded(text: str) -> Html:
    """Return text in which words between backticks are code.

    >>> coded("the `easy` branch, t < 0")
    'the <code>easy</code> branch, t &lt; 0'
    """
    parts = re.split("`([^`]*)`", text)
    return join(tag("code", part) if i % 2 else part for i, part in enumerate(parts))


def tag(element: str, /, *children: Child, **attributes: str | None) -> Html:
    """Return an element; attributes that are None are left out, and ``data_x_`` is ``data-x``.

    >>> tag("p", "1 < 2 ", tag("b", "yes"), class_="big", title='"', id=None)
    '<p class="big" title="&quot;">1 &lt; 2 <b>yes</b></p>'
    """
    said = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{safe(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if element in VOID:
        return Html(f"<{element}{said}/>")
    return Html(f"<{element}{said}>{join(children)}</{element}>")
