"""The failure on a real bandit: the loss falls at once, the margin stays negative."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from prefeq._namespace import namespace
from prefeq.arrays import FloatArray, IntArray
from prefeq.bandit import Bandit
from prefeq.capitals import load_capitals
from prefeq.figures.registry import Artists, Data, Figure
from prefeq.figures.style import SMALL, TEXT, UNDESIRABLE, line, points
from prefeq.losses import CLIP, DPO, Loss
from prefeq.preferences import Preferences
from prefeq.solvers import solve_cpo, solve_rlhf
from prefeq.solvers.batched.descent import descend_lanes
from prefeq.solvers.batched.walk import Problems
from prefeq.solvers.descent import Schedule

CAPTION = (
    "The real bandit “What is the capital of Australia?”: six cities, reward 1 for Canberra and 0 "
    "for the others, the reference being SmolLM2-135M-Instruct, which puts Sydney 7.9 nats above "
    "Canberra; β = 1, five pairs (Canberra over each other city) of mass 1/5 with certain labels. "
    "Plain gradient descent on softmax logits from the reference, 5000 steps of 1/Lip; shown is "
    "the pair Canberra over Sydney. Left: each method's own loss of the pair. DPO's is below ln 2, "
    "that of the reference, from step 1 on; HyPO's gets below ln 2 only when the margin is "
    "positive. Right: the margin. DPO stays in the undesirable space U, better than the reference "
    "and still preferring Sydney, until step 660, HyPO until step 3 (marked). Flat lines: the RLHF "
    "optimum (δ* = −6.9, Assumption 3.1 fails), which is itself in U, and Constrained PO with a "
    "margin of 0.1 nats; both with Bradley–Terry labels. No randomness."
)


def data(beta: float = 1.0, steps: int = 5000) -> Data:
    """Return the runs of DPO and HyPO, and where RLHF and CPO put the pair."""
    batch = load_capitals(beta)
    assert batch.prompts is not None
    assert batch.responses is not None
    row = batch.prompts.index("What is the capital of Australia?")
    bandit, sydney = batch[row], batch.responses[row].index("Sydney")
    ordered, population = Preferences.ordered(bandit), Preferences.bradley_terry(bandit)
    pair = int(np.flatnonzero(ordered.loser == sydney)[0])
    ref_margin = float(ordered.ref_margin(bandit)[pair])
    found: Data = {
        "ref_margin": ref_margin,
        "rlhf": float(solve_rlhf(bandit).margin(population)[pair]),
        "cpo": float(solve_cpo(bandit, population, margin=0.1).margin(population)[pair]),
    }
    for name, loss in (("dpo", DPO), ("hypo", CLIP)):
        found["step"], margin = descent(bandit, ordered, loss, steps)
        found[f"{name}_margin"] = margin[:, pair]
        found[f"{name}_exit"] = int(np.argmax(margin[:, pair] >= 0))  # the record of it
        found[f"{name}_loss"] = loss.value(margin[:, pair], ref_margin, beta)
    return found


def descent(
    bandit: Bandit, pairs: Preferences, loss: Loss, steps: int
) -> tuple[IntArray, FloatArray]:
    """Return the recorded steps (T,) and margins (T, P) of descent on a loss of logistic link."""
    beta = np.array([bandit.beta])
    column = np.ones((pairs.winner.size, 1))
    problem = Problems(
        ref_logp=bandit.ref_logp[:, None],
        beta=beta,
        winner=pairs.winner[:, None],
        loser=pairs.loser[:, None],
        log_odds=np.inf * column,
        mass=pairs.mass[:, None],
        present=column > 0,
        target=loss.target(pairs.ref_margin(bandit), bandit.beta)[:, None],
    )
    schedule = Schedule(steps, None, None)
    run = descend_lanes(namespace(beta), problem, max_steps=steps, records=schedule.records)
    return np.array(run.step), run.margin[:, :, 0]


def draw(ax: Any, data: Data) -> Artists:
    """Draw losses and margins over the step (as step + 1, to fit 0 on a log axis)."""
    left, right = ax
    step = data["step"] + 1
    artists: Artists = {"start": left.axhline(math.log(2), color="0.5", lw=0.8)}
    artists["U"] = right.axhspan(data["ref_margin"], 0, **UNDESIRABLE)
    for name, shift in (("dpo", (3, -8)), ("hypo", (5, 1))):
        artists[f"{name} loss"] = left.plot(step, data[f"{name}_loss"], **line(name))[0]
        artists[f"{name} margin"] = right.plot(step, data[f"{name}_margin"], **line(name))[0]
        at = data[f"{name}_exit"]
        place = (step[at], data[f"{name}_margin"][at])
        artists[f"{name} exit"] = right.plot(*place, **points(name, label="_"))[0]
        right.annotate(
            f"step {step[at] - 1}", place, shift, textcoords="offset points", fontsize=SMALL
        )
    artists["rlhf"] = right.axhline(data["rlhf"], **line("rlhf", linewidth=1))
    artists["cpo"] = right.axhline(data["cpo"], **line("cpo", label="CPO, margin 0.1"))
    left.annotate(
        "ln 2, DPO's loss of\nthe reference",
        (step[-1], math.log(2)),
        (0, 3),
        textcoords="offset points",
        ha="right",
        fontsize=SMALL,
    )
    right.annotate(
        "undesirable space $U$",
        (step[-1], data["ref_margin"] + 2.2),
        (-3, 0),
        textcoords="offset points",
        ha="right",
        fontsize=SMALL,
    )
    left.set(xlabel="step + 1", ylabel="loss of the pair (nats)")
    left.set(xscale="log", yscale="log", xlim=(1, step[-1]))
    right.set(xlabel="step + 1", ylabel=r"margin $\delta$ of the pair (nats)")
    right.set(xscale="log", xlim=(1, step[-1]), ylim=(data["ref_margin"] - 0.8, 11.5))
    right.set_yticks(range(-8, 12, 4))
    left.legend(loc="lower left")
    right.legend(loc="upper left")
    return artists


FIGURE = Figure("sydney", CAPTION, data, draw, width=TEXT, height=2.5, panels=(1, 2))
