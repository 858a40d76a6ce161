"""The counterexample search in full: every refutable reading, every proved one; `make campaign`.

Writes benchmarks/results/search.json; fails if a promise is broken:

- a reading that is refuted: from each of three seeds a counterexample is found, shrunk and
  certified within 5 seconds;
- a reading that is proved: 100,000 tries find none, and no float even seems to show one.

Two processes share the work. What is done is kept in search.partial.jsonl, so that a campaign
that was stopped goes on where it was, as long as the package has not changed:

    python -m benchmarks.search_campaign
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import prefeq as pq
from benchmarks import resume
from prefeq.claims import registry
from prefeq.counterexamples import targets
from prefeq.progress import progress

RESULT = Path(__file__).parent / "results" / "search.json"
PARTIAL = RESULT.with_name("search.partial.jsonl")
SEEDS = (0, 1, 2)
TRIES = 100_000
LIMIT_S = 5.0

Job = tuple[str, str, bool, int, int]  # claim, label, refutable, seed, budget


def refutable(reading: registry.Reading) -> bool:
    """Whether a reading can only be refuted: nothing of it is a proof."""
    return not (reading.proof or reading.never)


def jobs(tries: int = TRIES, seeds: Iterable[int] = SEEDS) -> list[Job]:
    """List the searches: the long ones first, so that two processes end together."""
    found = []
    for claim in registry.select():
        for reading in claim.readings:
            for seed in seeds if refutable(reading) else SEEDS[:1]:
                budget = TRIES if refutable(reading) else tries
                found.append((claim.id, reading.label, refutable(reading), seed, budget))
    return sorted(found, key=lambda job: job[2])


def run(job: Job) -> dict[str, Any]:
    """Search one reading once."""
    claim, label, can, seed, budget = job
    targets.select(f"{claim}/{label}")  # imports are not what is timed
    start = time.perf_counter()
    report = pq.search(f"{claim}/{label}", budget=budget, seed=seed)
    seconds = time.perf_counter() - start
    if report.interrupted:
        raise KeyboardInterrupt
    (result,) = report.results
    form = result.to_dict()
    kept = ("found", "tries", "in_scope", "uncertified", "shrinks", "case", "nearest_miss")
    head = {"claim": claim, "reading": label, "refutable": can, "seed": seed, "budget": budget}
    certified = result.evidence is not None and result.evidence.holds
    body = {key: form[key] for key in kept}
    return {**head, **body, "certified": certified, "seconds": round(seconds, 3)}


def broken(results: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Name every promise that is broken."""
    for r in results:
        name = f"{r['claim']}/{r['reading']} from seed {r['seed']}"
        if not r["refutable"]:
            if r["found"] or r["uncertified"] or r["tries"] < r["budget"]:
                yield f"{name}: found {r['found']}, {r['uncertified']} apparent, {r['tries']} tries"
        elif not (r["found"] and r["certified"]):
            yield f"{name}: no certified counterexample"
        elif r["seconds"] > LIMIT_S:
            yield f"{name}: {r['seconds']} s"


def fingerprint() -> str:
    """Return a digest of the package's sources."""
    digest = hashlib.sha256()
    root = Path(pq.__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def finished(todo: list[Job], workers: int) -> Iterator[tuple[Job, dict[str, Any]]]:
    """Yield the searches as they finish."""
    if workers == 1:
        yield from ((job, run(job)) for job in todo)
        return
    with ProcessPoolExecutor(workers) as pool:
        futures = {pool.submit(run, job): job for job in todo}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:  # after an error or Ctrl-C: what has not begun need not
            pool.shutdown(wait=False, cancel_futures=True)


def campaign(
    work: list[Job], partial: Path, *, workers: int = 2, sources: str | None = None
) -> list[dict[str, Any]]:
    """Run the searches that are not done yet; return all of them, in the order of the paper."""
    sources = fingerprint() if sources is None else sources
    done = resume.done_before(partial, sources)
    todo = [job for job in work if job not in done]
    with resume.kept(partial, sources) as keep:
        results = finished(todo, workers)
        for _ in progress(todo, "searching"):
            job, result = next(results)
            done[job] = result
            keep(job, result)
    order = registry.claim_ids()
    labels = {(c.id, r.label): i for c in registry.select() for i, r in enumerate(c.readings)}
    ranked = sorted(work, key=lambda j: (order.index(j[0]), labels[j[0], j[1]], j[3]))
    return [done[job] for job in ranked]


def summary(results: list[dict[str, Any]]) -> str:
    """Return the campaign in two lines."""
    refuted = [r for r in results if r["refutable"]]
    proved = [r for r in results if not r["refutable"]]
    worst = max((r["seconds"] for r in refuted), default=0.0)
    tries = sum(r["tries"] for r in proved)
    return (
        f"{len(refuted)} searches of refutable readings: {sum(r['found'] for r in refuted)} found, "
        f"{worst:.2f} s at most\n"
        f"{len(proved)} searches of proved readings, {tries} tries: "
        f"{sum(r['found'] for r in proved)} found, {sum(r['seconds'] for r in proved):.0f} s"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tries", type=int, default=TRIES, help="for each proved reading")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    results = campaign(jobs(args.tries), PARTIAL, workers=args.workers)
    print(summary(results))
    faults = list(broken(results))
    for fault in faults:
        print("broken:", fault)
    if faults:
        return 1
    head = {
        "version": pq.__version__,
        "python": platform.python_version(),
        "tries": args.tries,
        "summary": summary(results).splitlines(),
    }
    text = json.dumps({**head, "results": results}, indent=1, allow_nan=False)
    RESULT.write_text(text + "\n", encoding="utf-8")
    PARTIAL.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
