"""How long the cards of the loss zoo take: each, and all of them.

    python -m benchmarks.zoo_cards

writes `results/zoo_time.json`. A card is to take less than 10 s on two cores, the zoo 3 minutes;
loading TRL is counted with the zoo, not with a card.
"""

from __future__ import annotations

import os
import time

from benchmarks.record import RESULTS, machine, versions, write
from prefeq.loss_cards import zoo

LIMITS = {"card_s": 10.0, "zoo_s": 180.0}


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
        },
    )
    print(
        f"{len(seconds)} cards in {whole:.1f} s; the slowest, {slowest}: {seconds[slowest]:.1f} s"
    )
    return int(whole > LIMITS["zoo_s"] or seconds[slowest] > LIMITS["card_s"])


if __name__ == "__main__":
    raise SystemExit(main())
