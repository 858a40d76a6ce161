"""The audit's part of docs/performance.md: targets, and the tables behind them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

Results = dict[str, Any]
Verdict = tuple[str, bool]
NAMES = ("audit", "audit_figures", "audit_faults", "scale", "logps", "gpu_audit")
UNBOUNDED = "and rewards and prompts"
"""The case whose state grows with the number of prompts: no target is set for it."""

TIMES_BARE, EXTRA_BYTES, RESIDENT = 4.0, 300e6, 1e9


def _memory(results: Results) -> Verdict:
    cases = [case for name, case in results["audit"]["cases"].items() if name != UNBOUNDED]
    ratio, extra = (max(case[name] for case in cases) for name in ("ratio", "extra_peak_bytes"))
    enough = min(case["pairs"] for case in cases) >= 10_000_000
    good = ratio <= TIMES_BARE and extra <= EXTRA_BYTES and enough
    return f"at most {ratio:.2f}×, input + {extra / 1e6:.0f} MB", good


def rows_of(results: Results) -> list[Results]:
    """Return the runs over Parquet shards, by number of rows."""
    cases = results["scale"]["cases"].items()
    found = [case for name, case in cases if re.fullmatch(r"[\d,]+ rows", name)]
    return sorted(found, key=lambda case: int(case["pairs"]))


def _rows(results: Results) -> Verdict:
    cases = rows_of(results)
    each = [case["nanoseconds_a_pair"] for case in cases]
    peak = max(case["bytes_peak"] for case in cases)
    good = peak < RESIDENT and cases[-1]["pairs"] >= 100_000_000 and max(each) <= 1.25 * min(each)
    text = f"{cases[-1]['seconds']:.0f} s, {peak / 1e6:.0f} MB, time a row varies by "
    return f"{text}{max(each) / min(each):.2f}×", good


def _workers(results: Results) -> Verdict:
    found = results["scale"]["cases"]["two workers"]
    return f"identical; {found['ratio']:.2f}× as quick", bool(found["identical"])


def _figures(results: Results) -> Verdict:
    cases = results["audit_figures"]["cases"].values()
    faults = results["audit_faults"]["cases"]["planted"]
    wrong = sum(len(case["wrong_shares"]) for case in cases)
    shares = sum(case["shares"] for case in cases)
    mean, quantile = (
        max(case[name] for case in cases) for name in ("worst_mean", "worst_quantile")
    )
    text = (
        f"{shares - wrong} of {shares} shares the same float, means to {mean:.0e}, quantiles "
        f"within {quantile:.2f} of the bound; {faults['named_alone']} of {faults['planted']} "
        f"plantings of {faults['kinds']} faults named, alone"
    )
    enough = min(case["pairs"] for case in cases) >= 1_000_000
    named = faults["named_alone"] == faults["planted"] and faults["kinds"] == 9
    return text, all(case["good"] for case in cases) and named and enough


def _gpu(results: Results) -> Verdict:
    found = results["gpu_audit"]["cases"]["core"]
    share, bandwidth = found["share_of_bandwidth"], found["bandwidth_bytes_a_second"]
    text = (
        f"{share:.0%} of {bandwidth / 1e9:,.0f} GB/s on {found['device']}; all figures in "
        f"{found['seconds_of_all_figures']:.2f} s"
    )
    return text, share >= 0.7 and found["pairs"] >= 100_000_000 and found["shares_are_the_audits"]


TARGETS: list[tuple[str, str, str, Callable[[Results], Verdict]]] = [
    (
        "audit",
        "audit, 10,000,000 pairs in memory",
        "≤ 4× one bare mean DPO loss; input + 300 MB",
        _memory,
    ),
    (
        "scale",
        "audit, 100,000,000 rows of Parquet",
        "one pass, < 1 GB resident, linear in the rows",
        _rows,
    ),
    ("scale", "audit, two workers beside one process", "identical", _workers),
    (
        "audit_figures",
        "audit, every figure of 1,000,000 pairs",
        "a direct float64 computation; nine faults named",
        _figures,
    ),
    (
        "gpu_audit",
        "audit on a GPU, core pass over 100,000,000 pairs, fp32",
        "≥ 70 % of the bandwidth of a copy",
        _gpu,
    ),
]


def table(results: Results) -> list[tuple[str, ...]]:
    """Return the audits in memory, a line each; the first is the heading."""
    lines = [("columns", "audit", "bare loss", "ratio", "a pair", "peak above the input")]
    for name, case in results["audit"]["cases"].items():
        lines.append(
            (
                f"{name} ({case['columns']})",
                f"{case['seconds']:.2f} s",
                f"{case['bare_seconds']:.2f} s",
                f"{case['ratio']:.2f}×",
                f"{case['nanoseconds_a_pair']:.0f} ns",
                f"{case['extra_peak_bytes'] / 1e6:.0f} MB",
            )
        )
    return lines


def scale_table(results: Results) -> list[tuple[str, ...]]:
    """Return the audits of shards, a line each; the first is the heading."""
    lines = [("rows", "shards", "files", "time", "a row", "peak")]
    for case in rows_of(results):
        lines.append(
            (
                f"{case['pairs']:,}",
                f"{case['shards']}",
                f"{case['file_bytes'] / 1e9:.1f} GB",
                f"{case['seconds']:.1f} s",
                f"{case['nanoseconds_a_pair']:.0f} ns",
                f"{case['bytes_peak'] / 1e6:.0f} MB",
            )
        )
    return lines


def logps_table(results: Results) -> list[tuple[str, ...]]:
    """Return `sequence_logps` beside TRL's function, a line each; the first is the heading."""
    whose = {"prefeq": "prefeq", "trl": "TRL", "trl_in_float32": "TRL, cast to float32"}
    lines = [("logits", "whose", "peak over the logits", "time a logit", "worst error")]
    for name, case in results["logps"]["cases"].items():
        for key, title in whose.items():
            if key in case:
                found = case[key]
                lines.append(
                    (
                        name,
                        title,
                        f"{found['peak_over_logits']:.2f}×",
                        f"{found['nanoseconds_a_logit']:.2f} ns",
                        f"{found['worst_error_nats']:.0e} nats",
                    )
                )
    return lines
