"""Audits of every kind that a page has to show."""

from __future__ import annotations

from typing import Any

import numpy as np
from llm import naive
from llm.test_faults import PLANTED, healthy

import prefeq as pq
from prefeq.llm.faults import NAMES
from prefeq.llm.report import AuditReport

MARKUP = "</code><script>alert(1)</script> & \"double\" 'single' "
HOSTILE = MARKUP + "ünïcode 漢字 \u202eevil\x00\x1b[31m\ud800"


def hostile_names(n: int) -> list[str]:
    return [f"{i} {HOSTILE}" + "x" * (10_000 if i % 3 == 0 else 0) for i in range(n)]


def all_faults(rng: np.random.Generator) -> dict[str, Any]:
    """The figures of a healthy audit with all nine faults: no data can have them all at once."""
    figures = pq.audit(healthy(rng), beta=0.1).figures
    rows = hostile_names(12)[:10]
    faults = [{"name": n, "message": f"{n}: {HOSTILE}", "count": 12, "rows": rows} for n in NAMES]
    return {**figures, "faults": faults}


def every_audit() -> dict[str, AuditReport]:
    """Audits by name; the same at every call."""
    rng = np.random.default_rng(20834)
    data = naive.draw(rng, 300) | {"label_prob": rng.random(300)}
    groups: dict[str, tuple[str, ...]] = {
        "reference-only": (),
        "rewards": ("gap",),
        "policy": ("policy",),
        "everything": ("policy", "gap", "tokens", "prompt"),
        "labels-and-tokens": ("label", "tokens"),
    }
    found = {name: pq.audit(naive.only(data, *group), beta=0.1) for name, group in groups.items()}
    found["trained"] = pq.audit(healthy(rng, 2000), beta=0.1, normalize="mean", betas=[0.1, 0.3])
    planted = ("same_policy", "step0_mismatch", "label_reversed")
    for name, plant, options in (case for case in PLANTED if case[0] in planted):
        found[f"fault-{name}"] = pq.audit(plant(healthy(rng), rng), beta=0.1, **options)
    ugly = naive.draw(rng, 300, "extreme") | {"row_id": hostile_names(300)}
    ugly["chosen_logps"][:40] = np.nan
    found["hostile"] = pq.audit(ugly, beta=0.1)
    figures = all_faults(rng)
    found["all-faults"] = AuditReport(figures, found["hostile"].verdict, found["hostile"].state)
    one = {"ref_chosen_logps": [-900.0], "ref_rejected_logps": [-1.0]}
    found["one-pair"] = pq.audit(one | {"label_prob": [1.0]}, beta=1e6)
    found["no-numbers"] = pq.audit(
        beta=1.0, ref_chosen_logps=[np.nan], ref_rejected_logps=[-1.0], row_id=[HOSTILE]
    )
    far = {"ref_chosen_logps": [-1e300, -3.0], "ref_rejected_logps": [-1.0, -2.0]}
    found["far-out"] = pq.audit(far, beta=1e-290, betas=[1e290, 3.0])
    return found
