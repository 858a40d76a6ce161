"""How long the cards of the loss zoo take: each, and all of them.

    python -m benchmarks.zoo_cards

writes `results/zoo_time.json`. A card is to take less than 10 s on two cores, the zoo 3 minutes.
`cold_s` is `prefeq loss NAME` in a process of its own, loading of the libraries included; of
`card_s`, the cards of the zoo one after the other, it is not.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

from benchmarks.record import RESULTS, machine, versions, write
from prefeq.loss_cards import zoo

LIMITS = {"card_s": 10.0, "zoo_s": 180.0}

COLD = ("dpo", "hinge", "trl:sigmoid", "trl:ipo", "trl:discopop", "trl:sppo_hard", "trl:apo_down")


def cold(name: str) -> float:
    """Return the seconds of one card from the shell."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "prefeq", "loss", name, "--kw", f"beta={zoo.BETA}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return round(time.perf_counter() - start, 2)


def main() -> int:
    start = time.perf_counter()
    chosen = zoo.specimens()  # loads TRL
    loading = time.perf_counter() - start
    seconds: dict[str, float] = {}
    last = time.perf_counter()

    def seen(specimen: zoo.Specimen, card: object) -> None:
        nonlocal last
        now = time.perf_counter()
        seconds[specimen.name] = round(now - last, 2)
        last = now

    zoo.collect(chosen, seen)
    whole, slowest = time.perf_counter() - start, max(seconds, key=lambda name: seconds[name])
    alone = {name: cold(name) for name in COLD}
    write(
        RESULTS / "zoo_time.json",
        {
            "machine": machine(),
            "load_before": round(os.getloadavg()[0], 1),
            "versions": versions(("numpy", "torch", "trl", "transformers")),
            "limits": LIMITS,
            "cards": len(seconds),
            "loading_trl_s": round(loading, 2),
            "zoo_s": round(whole, 2),
            "slowest": slowest,
            "card_s": seconds,
            "cold_s": alone,
        },
    )
    longest = max(alone, key=lambda name: alone[name])
    print(
        f"{len(seconds)} cards in {whole:.1f} s; the slowest, {slowest}: {seconds[slowest]:.1f} s; "
        f"from the shell, {longest}: {alone[longest]:.1f} s"
    )
    worst = max(seconds[slowest], alone[longest])
    return int(whole > LIMITS["zoo_s"] or worst > LIMITS["card_s"])


if __name__ == "__main__":
    raise SystemExit(main())
