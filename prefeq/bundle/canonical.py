"""The one way to write a bundle down, and the digest of what is written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from prefeq.strict_json import to_plain

FORMAT = "prefeq-evidence-1"
TEXTS = "data/evidence_texts.json"


def canonical(value: Any) -> str:
    """Return strict JSON text of which there is only one for a value.

    Keys in the order they have, one value a line with an indent of one space, floats in the fewest
    digits that give them back, characters as they are, a newline at the end.

    Examples
    --------
    >>> print(canonical({"β": 0.1, "pairs": [[0, 1]]}), end="")
    {
     "β": 0.1,
     "pairs": [
      [
       0,
       1
      ]
     ]
    }
    """
    return json.dumps(to_plain(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def digest(document: Mapping[str, Any]) -> str:
    """Return ``"sha256:..."`` of the canonical text of a document without its field ``digest``.

    Examples
    --------
    >>> digest({"a": 1}) == digest({"a": 1, "digest": "anything"})
    True
    """
    text = canonical({key: item for key, item in document.items() if key != "digest"})
    return f"sha256:{hashlib.sha256(text.encode('utf-8')).hexdigest()}"


def document_of(
    report: Mapping[str, Any], selection: Sequence[str] | None = None
) -> dict[str, Any]:
    """Return the document of a report's ``to_dict()``: format, version, claims and digest.

    `selection` lists the claims if they are not all there are.
    """
    head = {"format": FORMAT, "version": report["version"], "selection": selection}
    plain = to_plain({**head, **report})
    return {**plain, "digest": digest(plain)}


def load_texts() -> dict[str, Any]:
    """Return what in the evidence of this version is chosen and not computed (see `snapshot`)."""
    text = resources.files("prefeq").joinpath(TEXTS).read_text("utf-8")
    found: dict[str, Any] = json.loads(text)
    return found
