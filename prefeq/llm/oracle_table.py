"""Write the oracle table: `python -m prefeq.llm.oracle_table [FILE]`.

The same bytes from every run; a test computes them anew. Each number is computed at a rising number
of digits until fifty of them stay.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import mpmath
import numpy as np

from prefeq.llm.oracle import DIGITS, DTYPES, INPUTS, PATH
from prefeq.llm.oracle_losses import FORMULAS, OF_BATCHES, Answer, Pair
from prefeq.strict_json import write_text

BETAS = (0.01, 0.1, 1.0)

PARAMETERS: dict[str, list[dict[str, float]]] = {
    "prefeq/smooth": [
        {"alpha": 1.0, "gamma": 0.0, "tau": 1.0},
        {"alpha": 0.5, "gamma": 0.25, "tau": 2.0},
    ],
    "prefeq/eq17": [{"gamma": 0.1}],
    "prefeq/easy": [{"gamma": 0.1}],
    "prefeq/simpo": [{"gamma": 1.0}],
    "prefeq/cdpo": [{"label_smoothing": 0.1}],
    "trl/exo_pair": [{"label_smoothing": 0.001}],
    "trl/robust": [{"label_smoothing": 0.0}, {"label_smoothing": 0.1}],
    "trl/aot": [{"label_smoothing": 0.0}, {"label_smoothing": 0.1}],
    "trl/aot_unpaired": [{"label_smoothing": 0.0}, {"label_smoothing": 0.1}],
    "trl/discopop": [{"discopop_tau": 0.05}],
}
"""Parameters of the losses that have some: the libraries' defaults, or what their papers advise."""

PER_TOKEN = ("prefeq/simpo", "prefeq/ipo", "trl/ipo", "trl/sigmoid_norm", "trl/sft")


def grid() -> list[tuple[float, ...]]:
    """Return the points: four log-probs and two token counts each."""
    points: list[tuple[float, ...]] = []
    # Margins and reference margins of up to ±800 nats; exact in all four dtypes.
    for i, delta in enumerate((-800, -30, -1, 0, 1, 30, 800)):
        for j, ref in enumerate((-800, -1, 0, 1, 800)):
            policy, reference = _logps(-4, delta), _logps(-8, ref)
            points.append((*policy, *reference, 1 + 3 * i, 1 + 5 * j))
    points += [
        # Both responses far from the reference, up and down.
        (-4.0, -4.0, -804.0, -804.0, 16, 16),
        (-804.0, -804.0, -4.0, -4.0, 16, 16),
        (-804.0, -4.0, -4.0, -804.0, 300, 2),
        (-4.0, -804.0, -804.0, -4.0, 2, 300),
        # At the kinks of a hinge for β = 1, and beside them.
        (-4.0, -5.0, -8.0, -8.0, 3, 3),
        (-4.0, -5.0 - 2.0**-40, -8.0, -8.0, 3, 3),
        (-4.0, -5.0 + 2.0**-40, -8.0, -8.0, 3, 3),
        (-4.0, -14.0, -8.0, -8.0, 4, 5),
        # A policy that has hardly moved, and one that cannot be told from its reference by sums.
        (-112.3, -98.7, -112.29999999, -98.70000001, 61, 55),
        (-1e-9, -2e-9, -3e-9, -5e-9, 1, 1),
        (-2345.678, -2345.677, -2345.679, -2345.676, 811, 799),
        # Tokens that are certain.
        (0.0, -0.5, -0.25, -0.125, 2, 2),
    ]
    # As float32 (24 bits), float16 (11) and bfloat16 (8) hold them; differences do not fit there.
    shapes = ((-123.456, -345.678, -124.567, -340.123, 31, 87), (-0.7, -0.1, -0.3, -0.9, 2, 1))
    more = (
        *shapes,
        (-812.3, -33.21, -809.4, -31.57, 203, 9),
        (-55.55, -801.2, -57.9, -795.1, 14, 190),
        (-21.37, -21.42, -21.39, -21.36, 6, 6),
    )
    for bits in (24, 11, 8):
        points += [(*(_rounded(x, bits) for x in row[:4]), *row[4:]) for row in more]
    return points


BATCHES = ((0, 6, 12, 17), (11, 33, 24, 3, 29), (36, 45, 46), (47, 48, 50, 51, 49))
"""Points of the batches of `OF_BATCHES`, without ties: equal numbers have no order."""


def _logps(base: float, margin: float) -> tuple[float, float]:
    return (base, base - margin) if margin >= 0 else (base + margin, base)


def _rounded(x: float, bits: int) -> float:
    fraction, exponent = np.frexp(x)
    return float(np.ldexp(np.round(np.ldexp(fraction, bits)), exponent - bits))


class Case(NamedTuple):
    """One loss with its parameters."""

    loss: str
    beta: float
    parameters: dict[str, float]

    @property
    def batches(self) -> tuple[tuple[int, ...], ...]:
        """The points of each batch that the loss is computed of."""
        singles = tuple((i,) for i in range(len(grid())))
        return singles + BATCHES if self.loss in OF_BATCHES else singles


def cases() -> Iterator[Case]:
    """Yield every loss with every β and all its parameters."""
    for loss in FORMULAS:
        for parameters in PARAMETERS.get(loss, [{}]):
            for beta in BETAS:
                yield Case(loss, beta, parameters)


def evaluate(case: Case, batch: Sequence[tuple[float, ...]]) -> tuple[str, list[str], list[str]]:
    """Return the loss of a batch and its derivatives, to `DIGITS` digits."""
    texts: tuple[str, list[str], list[str]] | None = None
    for digits in (DIGITS + 30, 2 * DIGITS + 60, 4 * DIGITS + 120, 8 * DIGITS + 240):
        with mpmath.workdps(digits):
            parameters = {name: mpmath.mpf(value) for name, value in case.parameters.items()}
            pairs = [Pair(*map(mpmath.mpf, row[:4]), *map(int, row[4:])) for row in batch]
            answer = FORMULAS[case.loss](pairs, mpmath.mpf(case.beta), parameters)
            before, texts = texts, _texts(answer)
        if before is not None and texts == before:
            return before
    raise ArithmeticError(f"{case} does not settle on {DIGITS} digits at {batch}")


def _texts(answer: Answer) -> tuple[str, list[str], list[str]]:
    value, *gradients = (
        [mpmath.nstr(number, DIGITS, min_fixed=-5, max_fixed=20) for number in numbers]
        for numbers in ([answer.value], answer.chosen, answer.rejected)
    )
    return value[0], gradients[0], gradients[1]


def table(losses: Sequence[str] | None = None) -> dict[str, Any]:
    """Return the whole table, or that of some losses."""
    points = grid()
    columns = {name: [row[i] for row in points] for i, name in enumerate(INPUTS)}
    found = []
    for case in cases():
        if losses is not None and case.loss not in losses:
            continue
        rows = [evaluate(case, [points[i] for i in batch]) for batch in case.batches]
        found.append(
            {
                "loss": case.loss,
                "beta": case.beta,
                "parameters": case.parameters,
                "normalize": "mean" if case.loss in PER_TOKEN else "sum",
                "batches": case.batches[len(points) :],
                "value": [row[0] for row in rows],
                "chosen_gradient": [text for row in rows for text in row[1]],
                "rejected_gradient": [text for row in rows for text in row[2]],
            }
        )
    return {
        "about": "Exact losses of preference pairs; see prefeq.llm.oracle.load_oracle",
        "digits": DIGITS,
        "points": columns,
        "exact_in": [[name for name, bits in DTYPES.items() if _fits(row, bits)] for row in points],
        "cases": found,
    }


def _fits(row: Sequence[float], bits: int) -> bool:
    return all(_rounded(x, bits) == x for x in row[:4])


def text(whole: dict[str, Any]) -> str:
    """Return the table as JSON, a column a line."""

    def line(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False, separators=(", ", ": "))

    heads = [f' "{name}": {line(whole[name])}' for name in ("about", "digits")]
    points = ",\n".join(f'  "{name}": {line(value)}' for name, value in whole["points"].items())
    bodies = [
        "{\n" + ",\n".join(f'   "{name}": {line(value)}' for name, value in case.items()) + "\n  }"
        for case in whole["cases"]
    ]
    heads.append(f' "points": {{\n{points}\n }}')
    heads.append(f' "exact_in": {line(whole["exact_in"])}')
    heads.append(' "cases": [\n  ' + ",\n  ".join(bodies) + "\n ]")
    return "{\n" + ",\n".join(heads) + "\n}\n"


def main(arguments: Sequence[str]) -> int:
    """Write the table to a file, by default the one that ships."""
    path = Path(arguments[0]) if arguments else PATH
    write_text(path, text(table()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
