"""Tamper with the bundle 200 times at random; `prefeq recheck` has to notice all; `make campaign`.

Writes benchmarks/results/tampering.json; fails if a tampering is missed or not named. The digest
is made to fit each time, so it is the recomputation that notices.

    python benchmarks/tampering.py [EVIDENCE_JSON]     (default: verify everything first)
"""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import prefeq as pq
from prefeq.bundle.canonical import document_of, load_texts
from prefeq.bundle.reading import read_strict
from prefeq.bundle.recheck import check_document
from prefeq.progress import progress

RESULT = Path(__file__).parent / "results" / "tampering.json"
COUNT, SEED = 200, 20834


def tool() -> ModuleType:
    """Return the tool of the tests that tampers."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from bundle import tampering

    return tampering


def measure(
    document: dict[str, Any], texts: dict[str, Any], count: int = COUNT, seed: int = SEED
) -> dict[str, Any]:
    """Tamper `count` times and re-check the claim concerned; kinds take turns."""
    tampering, source = tool(), random.Random(seed)
    done: Counter[str] = Counter()
    missed, unnamed = [], []
    for k in progress(range(count), "tampering"):
        kind = tampering.KINDS[k % len(tampering.KINDS)]
        found = tampering.tamper(document, source, kind)
        done[kind] += 1
        error = tampering.caught(found, document, texts)
        if error is None:
            missed.append([kind, found.pointer, found.before, found.after])
        elif not tampering.names_it(found, error):
            unnamed.append([kind, found.pointer, str(error)])
    return {
        "seed": seed,
        "tamperings": count,
        "caught": count - len(missed),
        "named": count - len(missed) - len(unnamed),
        "kinds": dict(sorted(done.items())),
        "missed": missed,
        "unnamed": unnamed,
    }


def keeps_its_promise(result: dict[str, Any]) -> bool:
    """Tell whether every tampering was caught and named."""
    return bool(result["tamperings"] == result["caught"] == result["named"])


def main(path: str | None = None) -> int:
    document = (
        document_of(pq.verify(progress=progress).to_dict()) if not path else read_strict(path)
    )
    texts = load_texts()
    print(check_document(document, texts, progress=progress))
    result = measure(document, texts)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(
        f"{result['caught']} of {result['tamperings']} tamperings caught, {result['named']} named"
    )
    return 0 if keeps_its_promise(result) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
