"""Every figure of an audit of a million pairs against a direct computation; the nine faults in it.

    python -m benchmarks.audit_figures        # writes results/audit_{figures,faults}.json

The direct computation holds whole arrays, applies the package's public functions to them, sums
with `math.fsum` and sorts for quantiles (tests/llm/naive.py); faults are those of the tests.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from llm import naive, test_faults  # noqa: E402 - of the tests

import prefeq as pq  # noqa: E402
from benchmarks import record  # noqa: E402
from prefeq.llm.figures import QUANTILES  # noqa: E402
from prefeq.llm.sketch import ABSOLUTE, RELATIVE  # noqa: E402

PAIRS, BETA = 1_000_000, 0.1
CASES: dict[str, tuple[str, tuple[str, ...], str]] = {
    "reference alone": ("plain", (), "sum"),
    "policy and rewards": ("plain", ("policy", "gap"), "sum"),
    "policy, rewards, tokens and prompts": ("plain", ("policy", "gap", "tokens", "prompt"), "sum"),
    "the same, by means": ("plain", ("policy", "gap", "tokens", "prompt"), "mean"),
    "ties": ("ties", ("policy", "gap"), "sum"),
    "to 800 nats": ("extreme", ("policy", "gap"), "sum"),
}
MEANS_AGREE, INTERVALS_AGREE = 1e-11, 1e-6


@dataclass
class Agreement:
    """How far figures are from the direct ones: shares exactly, means, intervals, quantiles."""

    shares: int = 0
    wrong_shares: list[str] = field(default_factory=list)
    means: int = 0
    worst_mean: float = 0.0
    intervals: int = 0
    worst_interval: float = 0.0
    quantiles: int = 0
    worst_quantile: float = 0.0

    def share(self, name: str, found: float | None, true: float | None) -> None:
        """Compare a share, which must be the same float."""
        self.shares += 1
        if found != true:
            self.wrong_shares.append(f"{name}: {found} for {true}")

    def mean(self, found: float, true: float, scale: float) -> None:
        """Compare a mean, relative to the size of what is averaged."""
        self.means += 1
        gap = abs(found - true) if math.isfinite(true) else 0.0 if found == true else math.inf
        self.worst_mean = max(self.worst_mean, gap / max(scale, 1e-300))

    def interval(self, found: Any, true: Any) -> None:
        """Compare both ends of an interval."""
        self.intervals += 1
        ends = (abs(f - t) / max(abs(t), 1e-300) for f, t in zip(found, true, strict=True))
        self.worst_interval = max(self.worst_interval, *ends)

    def spread(self, found: dict[str, float], values: Any) -> None:
        """Compare quantiles: their error as a share of what the sketch promises."""
        for share in QUANTILES:
            self.quantiles += 1
            true = float(np.quantile(values, share, method="inverted_cdf"))
            error = abs(found[f"{share:g}"] - true) if math.isfinite(true) else 0.0
            self.worst_quantile = max(
                self.worst_quantile, error / (RELATIVE * abs(true) + ABSOLUTE)
            )

    @property
    def good(self) -> bool:
        """Whether nothing is further off than promised."""
        return (
            not self.wrong_shares
            and self.worst_mean <= MEANS_AGREE
            and self.worst_interval <= INTERVALS_AGREE
            and self.worst_quantile <= 1.0
        )


def compare(data: dict[str, Any], normalize: str, direct_beta: float = BETA) -> Agreement:
    """Audit, compute directly (at `direct_beta`: another β has to be seen), and compare."""
    report = pq.audit(data, beta=BETA, normalize=normalize)  # type: ignore[arg-type]
    true, found = naive.figures(data, direct_beta, normalize), Agreement()
    for name, (share, interval) in true["rates"].items():
        found.share(name, report[name], share)
        found.interval(report[f"{name}_interval"], interval)
    for name, key in (("ref_margin", "ref"), ("margin", "margin")):
        if key in true:
            found.spread(report[name]["quantiles"], true[key])
            scale = float(np.abs(true[key]).mean())
            found.mean(report[name]["mean"], math.fsum(true[key]) / len(true[key]), scale)
    for name, entry in true["losses"].items():
        mine = report["losses"][name]
        for share_name in ("negative_target_share", "trap_share"):
            found.share(f"{name} {share_name}", mine[share_name], entry[share_name][0])
        found.spread(mine["target"]["quantiles"], entry["target"])
        if "mean" in entry:
            found.mean(mine["mean"], entry["mean"], abs(entry["mean"]))
    if true["gap"] is not None:
        for row in report["at_other_beta"]:
            share = naive.violated(true["ref"], true["gap"], row["beta"])
            found.share(f"violation rate at beta {row['beta']:g}", row["violation_rate"], share)
    return found


def faults(count: int) -> dict[str, Any]:
    """Plant each fault in healthy columns, and say what the audit names."""
    rng = np.random.default_rng(record.SEED)
    named = {}
    for i, (name, plant, options) in enumerate(test_faults.PLANTED):
        data = plant(test_faults.healthy(rng, count), rng)
        report = pq.audit(data, beta=BETA, **options)
        named[f"{i}: {name}, {plant.__name__}"] = list(report.faults)
    return {
        "planted": len(named),
        "kinds": len({name for name, *_ in test_faults.PLANTED}),
        "named_alone": sum(
            found == [name]
            for found, (name, *_) in zip(named.values(), test_faults.PLANTED, strict=True)
        ),
        "named_in_healthy_columns": list(
            pq.audit(test_faults.healthy(rng, count), beta=BETA).faults
        ),
        "names": named,
    }


def measure(count: int = PAIRS) -> dict[str, Any]:
    """Compare all cases."""
    rng = np.random.default_rng(record.SEED)
    cases = {}
    for title, (kind, groups, normalize) in CASES.items():
        data = naive.only(naive.draw(rng, count, kind), *groups)
        found = compare(data, normalize)
        cases[title] = {**vars(found), "good": found.good}
    return {"pairs": count, "beta": BETA, "cases": cases, "faults": faults(count)}


def main() -> int:
    """Measure at full size, and store what was found; 1 if a figure is off."""
    found = measure()
    for title, case in found["cases"].items():
        record.store(record.RESULTS, "audit_figures", title, {"pairs": found["pairs"], **case})
    record.store(
        record.RESULTS, "audit_faults", "planted", {"pairs": found["pairs"], **found["faults"]}
    )
    good = all(case["good"] for case in found["cases"].values())
    good = good and found["faults"]["named_alone"] == found["faults"]["planted"]
    print("all figures agree" if good else "some figure is off: see the results")
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
