"""RLHF, DPO and CPO side by side on a bandit: `compare`, and the rows of `prefeq solve`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from prefeq import margins, rich, text
from prefeq.bandit import Bandit
from prefeq.errors import ProblemError
from prefeq.preferences import Preferences
from prefeq.report import METHODS, TableReport
from prefeq.solution import Solution, Status
from prefeq.solvers import solve_cpo, solve_dpo, solve_rlhf
from prefeq.solvers.batch import check_types
from prefeq.solvers.rlhf import objective


def compare(
    bandit: Bandit, preferences: Preferences, margin: float = 0.0
) -> Comparison | TableReport:
    """Solve RLHF, DPO and CPO on a bandit and lay their answers side by side.

    Returns an object that shows itself as a table, in a terminal and in Jupyter: for one prompt
    every response and every pair, for a batch each prompt's worst pair.

    Parameters
    ----------
    margin
        The margin in nats that CPO guarantees on every pair.

    Raises
    ------
    ProblemError
        Pairs that do not fit the bandit, a margin that is not a finite number, or a batch of more
        than one β. Infeasible margins are a status here.

    Examples
    --------
    >>> import prefeq as pq
    >>> bandit = pq.Bandit.from_probs(reward=[1, 0], ref=[0.05, 0.95], beta=1.0)
    >>> pq.compare(bandit, pq.Preferences.bradley_terry(bandit))
    response     reward    ref     rlhf      dpo      cpo
    0             1.000  0.050    0.125    0.125    0.500
    1             0.000  0.950    0.875    0.875    0.500
    objective J          0.050    0.082    0.082   -0.330
    status                      optimal  optimal  optimal
    <BLANKLINE>
    pair   reward gap  ref margin  rlhf margin  dpo margin  cpo margin  assumption
    0 > 1       1.000      -2.944       -1.944      -1.944       0.000    violated
    """
    if np.ndim(margin):
        raise ProblemError(f"margin has shape {np.shape(margin)}: compare takes one number")
    check_types(bandit, preferences)
    preferences.check(bandit)
    betas = np.unique(bandit.beta)
    if betas.size > 1:
        raise ProblemError(f"beta takes {betas.size} values: compare one beta at a time")
    prompts = []
    for row, index in enumerate(np.ndindex(bandit.batch_shape)):
        one = bandit[index] if index else bandit
        names = list(bandit.responses[row]) if bandit.responses else list(map(str, range(bandit.K)))
        names += ["(absent)"] * (bandit.K - len(names))
        prompt = bandit.prompts[row] if bandit.prompts else ", ".join(map(str, index))
        pairs = preferences.at(index, bandit.batch_shape) if index else preferences
        prompts.append(solve_prompt(prompt, names, one, pairs, margin))
    if not bandit.batch_shape:
        return Comparison(bandit, float(margin), prompts[0])
    beta = float(betas[0]) if betas.size else 0.0  # an empty batch has none
    return TableReport(beta, "as given", float(margin), tuple(prompts))


@dataclass(frozen=True, repr=False)
class Comparison:
    """The three methods' answers on one prompt; shows itself as a table.

    ``prompt`` holds them in the JSON shape of `prefeq solve`.
    """

    bandit: Bandit
    margin: float
    prompt: dict[str, Any]

    def __repr__(self) -> str:
        parts = [text.align(table.header, table.rows) for table in self._tables()]
        title = [self.prompt["prompt"]] if self.prompt["prompt"] else []
        return "\n".join([*title, "\n\n".join("\n".join(part) for part in parts)])

    def _repr_html_(self) -> str:
        return rich.html(*self._tables(self.prompt["prompt"]))

    def _repr_latex_(self) -> str:
        return rich.latex(*self._tables(self.prompt["prompt"]))

    def _tables(self, caption: str = "") -> list[rich.Table]:
        header = ["response", "reward", "ref", *METHODS]
        tables = [rich.Table(header, self._responses(), caption=caption)]
        if self.prompt["pairs"]:
            header = ["pair", "reward gap", "ref margin", *(f"{m} margin" for m in METHODS)]
            tables.append(rich.Table([*header, "assumption"], self._pairs()))
        return tables

    def _responses(self) -> list[list[str]]:
        logp = self.prompt["logp"]
        rows = []
        for y, name in enumerate(self.prompt["responses"]):
            shares = [
                "-" if logp[m] is None else text.number(float(np.exp(logp[m][y])))
                for m in ("ref", *METHODS)
            ]
            rows.append([text.fit(name, 30), text.number(float(self.bandit.reward[y])), *shares])
        values = [text.number(self.prompt["objective"][m]) for m in ("ref", *METHODS)]
        status = [self.prompt["status"][m] for m in METHODS]
        return [*rows, ["objective J", "", *values], ["status", "", "", *status]]

    def _pairs(self) -> list[list[str]]:
        columns = ("reward_gap", "ref_margin", *(f"{m}_margin" for m in METHODS))
        return [
            [
                f"{text.fit(pair['winner'], 14)} > {text.fit(pair['loser'], 14)}",
                *(text.number(pair[c]) for c in columns),
                "violated" if pair["violated"] else "holds",
            ]
            for pair in self.prompt["pairs"]
        ]


def solve_prompt(
    name: str, responses: Sequence[str], bandit: Bandit, prefs: Preferences, margin: float
) -> dict[str, Any]:
    """Return what the three methods answer on one prompt, in the JSON shape of `prefeq solve`."""
    solutions = {
        "rlhf": solve_rlhf(bandit),
        "dpo": solve_dpo(bandit, prefs, throw=False),
        "cpo": solve_cpo(bandit, prefs, margin=margin, throw=False),
    }
    present = prefs.present
    ref_margin, gap = prefs.ref_margin(bandit), prefs.reward_gap(bandit)
    holds = margins.assumption_holds(ref_margin, gap, bandit.beta)
    critical = margins.critical_gap(ref_margin, bandit.beta)
    found = {method: _margins(solution, prefs) for method, solution in solutions.items()}
    return {
        "prompt": name,
        "responses": list(responses),
        "assumption_holds": bool(np.all(holds | ~present)),
        "logp": {"ref": bandit.ref_logp, **{m: s.logp for m, s in solutions.items()}},
        "objective": {
            "ref": float(objective(bandit, bandit.ref_logp)) + 0.0,
            **{m: s.value for m, s in solutions.items()},
        },
        "status": {m: s.status.value for m, s in solutions.items()},
        "residual": {m: _residual(s) for m, s in solutions.items()},
        "pairs": [
            {
                "winner": responses[prefs.winner[k]],
                "loser": responses[prefs.loser[k]],
                "reward_gap": float(gap[k]),
                "ref_margin": float(ref_margin[k]),
                **{f"{method}_margin": found[method][k] for method in METHODS},
                "critical_gap": float(critical[k]) + 0.0,  # no "-0.0"
                "violated": not bool(holds[k]),
            }
            for k in np.flatnonzero(present)
        ],
    }


def _residual(solution: Solution) -> float | None:
    return None if solution.status is Status.INFEASIBLE else float(solution.residual)


def _margins(solution: Solution, prefs: Preferences) -> list[float | None]:
    """Return δ of every pair, the limits for a DPO that diverges; None without a policy."""
    if solution.status is Status.INFEASIBLE:
        return [None] * prefs.P
    return [float(margin) for margin in solution.margin(prefs)]
