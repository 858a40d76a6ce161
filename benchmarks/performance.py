"""Writes docs/performance.md from what the benchmarks stored; `make bench`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks import performance_audit as audit
from benchmarks import performance_cards as cards
from benchmarks.bench_growth import variation
from benchmarks.record import RESULTS

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
SOLVERS = ("cpo", "dpo", "rlhf", "growth", "memory", "hard_inputs", "atlas", "gpu")
NAMES = (*SOLVERS, *audit.NAMES, *cards.NAMES)
Results = dict[str, Any]
"""The content of each results file, empty where it has not been written yet."""

REMARKS: dict[str, str] = {}
"""Why a target is missed, by the name of its work."""

Verdict = tuple[str, bool]
NOT_YET = ("not measured yet", "")

REUSED = "cvxpy + Clarabel, reused"
CHOIX = ("choix, opt_pairwise", "choix, opt_pairwise, BFGS")
SKLEARN = ("scikit-learn, default", "scikit-learn, Newton, tight")


def load(folder: Path = RESULTS) -> Results:
    """Read the results files."""
    paths = {name: folder / f"{name}.json" for name in NAMES}
    return {
        name: json.loads(path.read_text("utf-8")) if path.exists() else {}
        for name, path in paths.items()
    }


def times(ratio: float) -> str:
    """Return a ratio with a sign."""
    return f"{ratio:,.0f}×" if ratio >= 10 else f"{ratio:.1f}×"


def _cpo(results: Results, case: str, wanted: float) -> Verdict:
    found = results["cpo"]["cases"][case]
    ratio = found["peers"][REUSED]["ratio"]
    worst = max(found["worst_residual"], found["recheck"]["worst_violation"])
    good = ratio >= wanted and worst <= 1e-9 and found["not_optimal"] == 0
    return f"{times(ratio)}; worst residual {worst:.0e}", good


def _dpo(results: Results) -> Verdict:
    found = results["dpo"]["cases"]["counts"]
    choix, sklearn = (
        min(found["peers"][name]["ratio"] for name in names) for names in (CHOIX, SKLEARN)
    )
    gradient = found["largest_gradient"]
    good = choix >= 300 and sklearn >= 100 and gradient <= 1e-10
    return f"{times(choix)} and {times(sklearn)}; gradient {gradient:.0e}", good


def _rlhf(results: Results) -> Verdict:
    found = results["rlhf"]["cases"]["log-softmax"]
    longer = found["peers"]["NumPy log-softmax"]["times_as_long"]
    return f"{longer:.2f}×", longer <= 3


def _growth(results: Results) -> Verdict:
    cases = results["growth"]["cases"]
    found = {
        name.removesuffix(", batch"): variation(cases[name]["points"])
        for name in cases
        if name.endswith(", batch")
    }
    listed = ", ".join(f"{name} {x:.2f}×" for name, x in found.items())
    return listed, max(found.values()) < 1.5


def _memory(results: Results) -> Verdict:
    peak = max(case["bytes_peak"] for case in results["memory"]["cases"].values())
    return f"{peak / 1e9:.2f} GB", peak < 4e9


def _hard(results: Results) -> Verdict:
    solvers = results["hard_inputs"]["solvers"].values()
    failures, unflagged, flagged = (
        sum(s[name] for s in solvers) for name in ("failures", "unflagged", "flagged")
    )
    text = f"{failures} failures, {unflagged} unflagged; {flagged} say that they are not solved"
    enough = results["hard_inputs"]["problems"] >= 1_000_000
    return text, failures == unflagged == 0 and enough


def _atlas(results: Results) -> Verdict:
    found = results["atlas"]["cases"]["all methods"]
    return f"{found['seconds']:.0f} s", found["seconds"] < 60 and found["cells"] >= 1_000_000


def _gpu(results: Results) -> Verdict:
    cases = results["gpu"]["cases"].values()
    worst = max(case["worst_difference"] for case in cases)
    ratios = [case["ratio"] for case in cases]
    return f"{min(ratios):,.1f}× to {max(ratios):,.0f}×; to {worst:.0e}", worst <= 1e-9


TARGETS: list[tuple[str, str, str, Callable[[Results], Verdict]]] = [
    (
        "cpo",
        "CPO, chains and single pairs, B = 100,000, K = 6",
        "≥ 1,000× quicker than cvxpy + Clarabel reused",
        lambda results: _cpo(results, "chains", 1000),
    ),
    (
        "cpo",
        "CPO, random acyclic graphs and margins, B = 100,000, K = 6, P = 6",
        "≥ 50× quicker than cvxpy + Clarabel reused; residual ≤ 1e-9 on all",
        lambda results: _cpo(results, "graphs", 50),
    ),
    (
        "dpo",
        "DPO exact, B = 100,000, K = 6, connected",
        "≥ 300× quicker than choix, ≥ 100× than scikit-learn; gradient ≤ 1e-10",
        _dpo,
    ),
    ("rlhf", "RLHF, B = 1,000,000, K = 8", "≤ 3× the time of one NumPy log-softmax", _rlhf),
    ("growth", "growth, B = 1e4 to 1e6", "time a problem varies by < 1.5×", _growth),
    ("memory", "memory, B = 1e6, K = 8, P = 8", "peak < 4 GB", _memory),
    ("hard_inputs", "hard inputs, 1,000,000", "0 failures, 0 unflagged", _hard),
    ("atlas", "atlas of 1000 × 1000 cells", "< 60 s", _atlas),
    ("gpu", "torch CUDA, float64", "the same answers to 1e-9; times 2 cores", _gpu),
    *audit.TARGETS,
    *cards.TARGETS,
]


def rows(lines: Iterable[tuple[str, ...]], heads: tuple[str, ...], left: int = 1) -> list[str]:
    """Return a Markdown table, all but the first `left` columns to the right."""
    rule = ["---" if i < left else "---:" for i in range(len(heads))]
    table = ["| " + " | ".join(heads) + " |", "|" + "|".join(rule) + "|"]
    return [*table, *("| " + " | ".join(line) + " |" for line in lines)]


def targets(results: Results) -> list[str]:
    """Return the table of targets, and the remarks on those that are missed."""
    lines, notes = [], []
    for name, work, target, judge in TARGETS:
        if results[name]:
            text, good = judge(results)
            lines.append((work, target, text, "yes" if good else "**no**"))
            if not good and work in REMARKS:
                notes.append(f"- {work}: {REMARKS[work]}")
        else:
            lines.append((work, target, *NOT_YET))
    return [*rows(lines, ("work", "target", "measured", "met"), left=4), "", *notes]


def micro(found: Results) -> str:
    """Return a time a problem."""
    return f"{found['microseconds_a_problem']:,.2f} µs"


def against(results: Results) -> list[str]:
    """Return the races, with how far the answers are apart."""
    lines = []
    named = {("cpo", "chains"): "CPO, chains", ("cpo", "graphs"): "CPO, graphs"}
    for (name, case), title in {**named, ("dpo", "counts"): "DPO"}.items():
        if not results[name]:
            continue
        found = results[name]["cases"][case]
        recheck = found["recheck"]["worst_violation"]
        lines.append((f"{title}: prefeq", micro(found), "1×", f"{recheck:.0e} (recheck)", "0"))
        for peer, other in found["peers"].items():
            doubts = other.get("called_inaccurate_by_itself", 0)
            gap = f"{other['worst_difference']:.0e}"
            share = f"{doubts} of {other['problems']}"
            row = (f"{title}: {peer}", micro(other), times(other["ratio"]), gap)
            lines.append((*row, share if doubts else "0"))
    heads = ("solver", "time a problem", "ratio", "worst difference", "doubts itself")
    return rows(lines, heads)


def inside(results: Results) -> str:
    """Return how much of cvxpy's time is Clarabel's own."""
    cases = [
        case["peers"][REUSED]["inside_clarabel_microseconds"]
        for case in results["cpo"]["cases"].values()
    ]
    return f"{min(cases):,.0f} to {max(cases):,.0f} µs"


def limit(results: Results) -> list[str]:
    """Return how far RLHF is from the bandwidth of the memory."""
    found = results["rlhf"]["cases"]["log-softmax"]
    bandwidth = found["bandwidth_bytes_a_second"]
    lines = [(name, f"{x / 1e9:.1f} GB/s") for name, x in bandwidth.items()]
    peers = [
        (name, f"{p['seconds'] * 1e3:.0f} ms", f"{p['times_as_long']:.2f}×")
        for name, p in found["peers"].items()
    ]
    ours = ("prefeq: validation, log π, J, residual", f"{found['seconds'] * 1e3:.0f} ms", "1×")
    return [
        *rows([ours, *peers], ("work", "time", "prefeq's over it")),
        "",
        *rows(lines, ("stream", "bandwidth")),
        "",
        f"RLHF has to read its inputs and write its answers once, {found['bytes_in_and_out']:,} "
        f"bytes for {found['problems']:,} problems: {found['share_of_bandwidth']:.0%} of the best "
        f"bandwidth above (the log-softmax alone: {found['share_of_bandwidth_log_softmax']:.0%}).",
    ]


def growth(results: Results, over: str, heads: tuple[str, str]) -> list[str]:
    """Return one table of growth, a row for each solver."""
    key, title = heads
    cases = {n: c["points"] for n, c in results["growth"]["cases"].items() if n.endswith(over)}
    every = sorted({p[key] for points in cases.values() for p in points})
    lines = []
    for name, points in cases.items():
        taken = {p[key]: micro(p) for p in points}
        lines.append((name.removesuffix(over), *(taken.get(x, "") for x in every)))
    return rows(lines, (title, *(f"{x:,}" for x in every)))


def memory(results: Results) -> list[str]:
    """Return the peaks."""
    lines = [
        (name, *(f"{case[part] / 1e9:.2f} GB" for part in ("bytes_drawn", "bytes_peak")))
        for name, case in results["memory"]["cases"].items()
    ]
    return rows(lines, ("solver", "peak after drawing", "peak after solving"))


def hard(results: Results) -> list[str]:
    """Return what came of the campaign."""
    lines = []
    for name, found in results["hard_inputs"]["solvers"].items():
        statuses = ", ".join(f"{n:,} {status}" for status, n in found["statuses"].items())
        worst, sampled = found["worst"], found["sampled"] - found["sample_undecided"]
        numbers = [f"{found[n]:,}" for n in ("problems", "failures", "unflagged", "flagged")]
        exact = f"{worst['true_error']:.0e} ({sampled:,})" if found["sampled"] else ""
        single = f"{found['by_the_single_solver']:,}"
        lines.append((name, *numbers, single, f"{worst['violation']:.0e}", exact, statuses))
    heads = ("solver", "problems", "failures", "unflagged", "not solved", "by the single solver")
    return rows(lines, (*heads, "worst violation", "worst true error (sampled)", "statuses"))


def gpu(results: Results) -> list[str]:
    """Return the problems a second of either device."""
    lines = []
    for found in results["gpu"]["cases"].items():
        name, case = found
        numbers = [f"{case[n]:,.0f}" for n in ("problems_a_second", "problems_a_second_numpy")]
        share = f"{case['share_of_bandwidth']:.0%} of {case['bandwidth_bytes_a_second'] / 1e9:,.0f}"
        row = (name, case["device"], *numbers, f"{case['ratio']:,.1f}")
        lines.append((*row, f"{share} GB/s" if name.startswith("rlhf") else "", micro(case)))
    heads = ("work, problems", "device", "a second", "a second, 2 cores", "ratio")
    return rows(lines, (*heads, "share of bandwidth", "time a problem"), left=2)


HEAD = """# Performance

Written by `python -m benchmarks.performance` from the files in `benchmarks/results`, which
`make bench` (and `make campaign`, for the hard inputs) writes; a test keeps this page current.
"""

HOW = """## How it was measured

- Ours and the peer solve the same problems, drawn from one seed, in one process; ours is the whole
  batch from plain arrays (validation included), the peer a loop over the first few hundred of it.
- Times are the best of several: of three passes for ours, of three for each problem of a peer.
- cvxpy's compilation is left out of *reused*, filling in its parameters (log π* and the rows) is
  not. *Tight* is at tolerances of 1e-12, where Clarabel calls some of its own answers inaccurate;
  these are counted, and left out of the worst difference (in π; for DPO in the strengths s).
- choix wants one tuple a comparison, made beforehand; scikit-learn gets counts as weights, and no
  penalty.
- Every answer of ours, not a sample, is rechecked in extended precision by other arithmetic
  (`benchmarks/recheck`): for Constrained PO a condition on all subsets of the responses in place of
  multipliers, for DPO a bound on the error over all cuts in place of a Newton step.
- Memory is the largest resident size of a fresh process that draws the problems and solves them.
- The audit is all of its figures, from arrays to the dict of a report; the bare loss is
  `np.logaddexp(0, -beta * ((a - b) - (c - d))).mean()` of the same arrays, taken in turn with it.
- The bandwidth is that of copying, and of a + s·b (STREAM's triad), on arrays of 128 MB.
"""


def page(results: Results) -> str:
    """Return the page."""
    parts: list[str] = [HEAD]
    machines = {r["machine"] for r in results.values() if r.get("machine")}
    if machines:
        versions = next(r["versions"] for r in results.values() if r)
        listed = ", ".join(f"{name} {x}" for name, x in versions.items())
        parts.append(f"Machine: {'; '.join(sorted(machines))}. Versions: {listed}.\n")
    parts += ["## Targets\n", *targets(results)]
    if results["cpo"] or results["dpo"]:
        parts += ["## Against the alternatives\n", *against(results), ""]
    if results["cpo"]:
        parts.append(f"Of cvxpy's time reused, {inside(results)} a problem is Clarabel's own.\n")
    if results["rlhf"]:
        parts += ["## The limit\n", *limit(results), ""]
    if results["growth"]:
        parts.append("## Growth\n\nTime a problem, by problems in the batch (K = 6, P = 6):\n")
        parts += [*growth(results, ", batch", ("problems", "solver")), ""]
        parts.append("By responses K (10,000 problems, as many pairs):\n")
        parts += [*growth(results, ", responses", ("k", "solver")), ""]
        parts.append("By pairs P (10,000 problems, K = 6):\n")
        parts += [*growth(results, ", pairs", ("pairs", "solver")), ""]
    for name, title, table in (
        ("memory", "Memory", memory),
        ("hard_inputs", "Hard inputs", hard),
        ("gpu", "GPU", gpu),
    ):
        if results[name]:
            parts += [f"## {title}\n", *table(results), ""]
    for name, title, lines in (
        ("audit", "The audit in memory: best of three", audit.table),
        ("scale", "The audit of Parquet shards, in one process", audit.scale_table),
        ("logps", "Log-probs from logits", audit.logps_table),
        ("zoo_time", "Loss cards, one after the other and from the shell", cards.table),
    ):
        if results[name]:
            head, *rest = lines(results)
            parts += [f"## {title}\n", *rows(rest, head), ""]
    return "\n".join([*parts, HOW])


def main() -> int:
    PAGE.write_text(page(load()), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
