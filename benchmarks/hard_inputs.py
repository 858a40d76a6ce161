"""A million hard problems: none may fail, none may be wrong without saying so; `make campaign`.

Writes benchmarks/results/hard_inputs.json; fails if a promise is broken:

- no exception, no warning, no NaN;
- every answer that claims to be one (all statuses but iteration-limit) passes the recheck of
  `benchmarks.recheck`, in extended precision and by other arithmetic, at 1e-9 relative nats;
- of a sample of the answers, one in 50, the true error is found in ball arithmetic, and is within
  1e-9 too, where there is an exact optimum to compare with.

What is done is kept in hard_inputs.partial.jsonl, so that a campaign that was stopped goes on where
it was, as long as neither the package nor the recheck has changed:

    python -m benchmarks.hard_inputs --seconds 500     (a piece of it; again to go on)
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

import numpy as np

import prefeq as pq
from benchmarks import hard_problems, problems, record, resume
from benchmarks.problems import Batch
from benchmarks.recheck import Judgement, judge
from benchmarks.recheck.answers import TOLERANCE, Answers, nats, to_numpy
from benchmarks.recheck.exact import true_error
from prefeq.arrays import BoolArray
from prefeq.solvers.batched.fallback import ALONE

RESULT = record.RESULTS / "hard_inputs.json"
PARTIAL = RESULT.with_name("hard_inputs.partial.jsonl")
PROBLEMS, CHUNK, SAMPLE = 1_000_000, 10_000, 50
SHARES = {"rlhf": 0.2, "dpo": 0.4, "cpo": 0.4}
ROUNDING = 4 * float(np.finfo(np.float64).eps)

Job = tuple[str, int, int]  # solver, seed, problems


def jobs(total: int = PROBLEMS, chunk: int = CHUNK) -> list[Job]:
    """Cut the campaign in chunks, the three solvers in turn."""
    found = []
    for solver, share in SHARES.items():
        left = round(total * share)
        for number in range(-(-left // chunk)):
            found.append((solver, number, min(chunk, left - number * chunk)))
    return sorted(found, key=lambda job: (job[1], job[0]))


def run(job: Job) -> dict[str, Any]:
    """Solve and recheck one chunk."""
    solver, seed, count = job
    batch = hard_problems.draw(solver, count, seed)
    start = time.perf_counter()
    parts, failures = solved(solver, batch, np.arange(count))
    seconds = time.perf_counter() - start
    found = Tally(solver, seed)
    for row, why in failures:
        found.counts["failures"] += 1
        found.show(row, why)
    for rows, solution in parts:
        found.add(batch[rows], rows, solution)
    return {"problems": count, "seconds": seconds, **found.to_dict()}


def solved(solver: str, batch: Batch, rows: Any) -> tuple[list[Any], list[tuple[int, str]]]:
    """Return [(rows, solution)] and [(row, error)]: a batch that raises is halved."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return [(rows, problems.solve(solver, batch[rows]))], []
    except Exception as error:  # whatever it is, it is to be counted
        if len(rows) == 1:
            return [], [(int(rows[0]), f"{type(error).__name__}: {error}")]
    halves = [solved(solver, batch, part) for part in np.array_split(rows, 2)]
    return halves[0][0] + halves[1][0], halves[0][1] + halves[1][1]


class Tally:
    """Counts what came of a chunk, and keeps the first few problems that went wrong."""

    def __init__(self, solver: str, seed: int) -> None:
        self.solver, self.seed = solver, seed
        self.counts: Counter[str] = Counter()
        self.statuses: Counter[str] = Counter()
        self.routes: Counter[str] = Counter()
        self.worst = {"violation": 0.0, "residual": 0.0, "true_error": 0.0}
        self.examples: list[Any] = []

    def show(self, row: int, why: str) -> None:
        """Keep a problem: drawing the chunk again and taking that row brings it back."""
        if len(self.examples) < 10:
            self.examples.append([self.solver, self.seed, row, why])

    def add(self, batch: Batch, rows: Any, solution: pq.Solution) -> None:
        """Judge the answers to a batch, which are the given rows of the chunk."""
        answers, judgement = Answers.of(solution), judge(self.solver, batch, solution)
        self.statuses.update(answers.status.tolist())
        self.routes.update(str(r) for r in np.ravel(solution.route))
        holes = not_numbers(solution)
        for i in np.flatnonzero(holes):
            self.counts["failures"] += 1
            self.show(int(rows[i]), "NaN")
        for i in np.flatnonzero(judgement.doubtful & ~holes):
            self._settle(batch, answers, judgement, int(i), int(rows[i]))
        for i in np.flatnonzero(answers.status == "iteration-limit"):
            self.counts["flagged"] += 1
            self.show(int(rows[i]), f"iteration-limit, {solution.residual[i]:.1e}")
        sure = judgement.claimed & ~judgement.doubtful
        residual = to_numpy(solution.residual)
        self._raise("violation", np.max(judgement.violation[sure], initial=0.0))
        policy = sure & (answers.status != "infeasible")
        self._raise("residual", np.max(residual[policy], initial=0.0))
        for i in np.flatnonzero(policy & (rows % SAMPLE == 0)):
            self._sample(batch, answers, float(residual[i]), int(i), int(rows[i]))

    def _settle(
        self, batch: Batch, answers: Answers, judgement: Judgement, i: int, row: int
    ) -> None:
        """Decide a doubt: the bound of an error may be too careful, all else is what it is."""
        error = None
        if judgement.besides[i] <= TOLERANCE:
            self.counts["settled_exactly"] += 1
            error = true_error(self.solver, batch, answers, i)
        if error is None or error > TOLERANCE:
            self.counts["unflagged"] += 1
            self.show(row, f"{judgement.reason[i]}: {judgement.violation[i]:.1e}, exactly {error}")
        else:
            self._raise("true_error", error)

    def _sample(self, batch: Batch, answers: Answers, residual: float, i: int, row: int) -> None:
        error = 0.0 if self.solver == "rlhf" else true_error(self.solver, batch, answers, i)
        self.counts["sampled"] += self.solver != "rlhf"
        if error is None:
            self.counts["sample_undecided"] += 1
            return
        self._raise("true_error", error)
        if error > TOLERANCE:
            self.counts["unflagged"] += 1
            self.show(row, f"true error {error:.1e}, residual {residual:.1e}")
        elif error > residual + ROUNDING + toll(self.solver, batch[i : i + 1], answers.logp[i]):
            self.counts["residual_too_small"] += 1
            self.show(row, f"true error {error:.1e} above the residual {residual:.1e}")

    def _raise(self, name: str, value: float) -> None:
        self.worst[name] = max(self.worst[name], float(value))

    def to_dict(self) -> dict[str, Any]:
        """Return the tally as JSON."""
        return {
            "counts": dict(self.counts),
            "statuses": dict(self.statuses),
            "routes": dict(self.routes),
            "worst": self.worst,
            "examples": self.examples,
        }


def toll(solver: str, batch: Batch, logp: Any) -> float:
    """Return what the package may take for rounding in one problem's margins, in relative nats.

    A cycle that sums to less counts as zero, so its pairs as equalities; the true optimum does not.
    """
    if solver != "cpo":
        return 0.0
    edges = np.maximum(1.0, np.abs(batch.margin[batch.present]))
    return float(1e-12 * np.sum(edges) / nats(batch, logp[None])[0])


def not_numbers(solution: pq.Solution) -> BoolArray:
    """Tell which problems have a NaN in any field."""
    found = np.isnan(to_numpy(solution.logp)).any(axis=-1)
    for name in ("value", "residual", "multipliers", "loss", "direction"):
        field = to_numpy(getattr(solution, name))
        if field is not None:
            bad = np.isnan(np.asarray(field, dtype=np.float64))
            found |= bad.any(axis=-1) if bad.ndim > 1 else bad
    return np.asarray(found)


COUNTS = (
    "failures",
    "unflagged",
    "flagged",
    "settled_exactly",
    "sampled",
    "sample_undecided",
    "residual_too_small",
)


def total(chunks: list[tuple[Job, dict[str, Any]]]) -> dict[str, Any]:
    """Add up chunks, by solver."""
    found: dict[str, Any] = {}
    for solver in SHARES:
        mine = [result for job, result in chunks if job[0] == solver]
        added = {
            name: sum((Counter(r[name]) for r in mine), Counter())
            for name in ("counts", "statuses", "routes")
        }
        count, seconds = (sum(r[name] for r in mine) for name in ("problems", "seconds"))
        routes = added["routes"]
        found[solver] = {
            "problems": count,
            "microseconds_a_problem": seconds / max(count, 1) * 1e6,
            **{name: added["counts"][name] for name in COUNTS},
            "statuses": dict(sorted(added["statuses"].items())),
            "routes": dict(sorted(routes.items())),
            "by_the_single_solver": sum(n for r, n in routes.items() if r.endswith(ALONE)),
            "worst": {
                name: max((r["worst"][name] for r in mine), default=0.0)
                for name in ("violation", "residual", "true_error")
            },
            "examples": [e for r in mine for e in r["examples"]][:20],
        }
    return found


def broken(result: dict[str, Any]) -> Iterator[str]:
    """Name every promise that is broken."""
    for solver, found in result["solvers"].items():
        for name in ("failures", "unflagged"):
            if found[name]:
                yield f"{solver}: {found[name]} {name}, such as {found['examples'][:3]}"
    if result["problems"] < PROBLEMS:
        yield f"only {result['problems']} problems"


def fingerprint() -> str:
    """Return a digest of the package's sources, of the problems and of the recheck."""
    digest, here = hashlib.sha256(), Path(__file__).parent
    paths = [*Path(pq.__file__).parent.rglob("*.py"), *(here / "recheck").glob("*.py")]
    for path in [*sorted(paths), here / "hard_problems.py"]:
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def finished(todo: list[Job], workers: int, stop: float) -> Iterator[tuple[Job, dict[str, Any]]]:
    """Yield chunks as they finish; begin none after `stop`."""
    if workers == 1:
        yield from ((job, run(job)) for job in todo if time.monotonic() < stop)
        return
    waiting: dict[Future[dict[str, Any]], Job] = {}
    queue = list(todo)
    with ProcessPoolExecutor(workers) as pool:
        while queue or waiting:
            while queue and len(waiting) < workers and time.monotonic() < stop:
                job = queue.pop(0)
                waiting[pool.submit(run, job)] = job
            if not waiting:
                return
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                yield waiting.pop(future), future.result()


def campaign(
    work: list[Job], partial: Path, *, workers: int = 2, seconds: float = np.inf
) -> tuple[dict[str, Any], int]:
    """Run the chunks that are not done yet; return the totals, and how many chunks are left."""
    sources = fingerprint()
    before = resume.done_before(partial, sources)
    done = {job: before[job] for job in work if job in before}
    todo = [job for job in work if job not in done]
    with resume.kept(partial, sources) as keep:
        for job, result in finished(todo, workers, time.monotonic() + seconds):
            done[job] = result
            keep(job, result)
            print(*job, *(f"{k} {n}" for k, n in sorted(result["counts"].items())), flush=True)
    result = {
        "machine": record.machine(),
        "versions": record.versions(record.PACKAGES),
        "problems": sum(r["problems"] for r in done.values()),
        "nats": hard_problems.NATS,
        "tolerance": TOLERANCE,
        "solvers": total([(job, done[job]) for job in work if job in done]),
    }
    return result, len(work) - len(done)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=np.inf, help="begin no chunk after that")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    result, left = campaign(jobs(), PARTIAL, workers=args.workers, seconds=args.seconds)
    if left:
        print(f"{result['problems']} problems done, {left} chunks left: run it again to go on")
        return 3
    print(json.dumps(result["solvers"], indent=1))
    faults = list(broken(result))
    for fault in faults:
        print("broken:", fault)
    if not faults:
        record.write(RESULT, result)
        PARTIAL.unlink()
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
