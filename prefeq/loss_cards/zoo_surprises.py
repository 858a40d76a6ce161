"""What surprised us in the zoo: sentences whose numbers are read off the cards."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Record = Mapping[str, Any]

_MINUS = re.compile(r"(?<![\w`])-(?=\d)")


@dataclass(frozen=True)
class Surprise:
    """One finding: a headline, a text, and the numbers of the cards that stand in it.

    A text has ``{name}`` or ``{name:.2f}`` where a number goes.
    """

    key: str
    title: str
    template: str
    numbers: Mapping[str, Any]

    @property
    def text(self) -> str:
        """The text with its numbers, minus signs set as such."""
        return _MINUS.sub("−", self.template.format(**self.numbers))


def surprises(losses: Iterable[Record]) -> list[Surprise]:
    """Return the findings, as far as the losses that they speak of are there."""
    by_name = {record["name"]: record for record in losses}
    out = []
    for find in _FINDINGS:
        try:
            out.append(find(by_name))
        except KeyError:
            continue  # TRL is not installed, or has no such loss any more
    return out


def _threshold(record: Record) -> float:
    return float(record["trap_region"]["ref_margin"][0][1])


def _deep(record: Record) -> Record:
    return dict(record["minimisers"]["ordered"][0])


def _aligned_both(zoo: Mapping[str, Record]) -> Surprise:
    types = [r for r in zoo.values() if r["group"] == "trl"]
    zoo["trl:sft"], zoo["trl:apo_zero"]
    names = [r["name"] for r in types if r["aligned"] and r["aligned_per_label"]]
    return Surprise(
        "aligned",
        "Hardly anything is aligned.",
        "Of the {count} cards of TRL's loss types {aligned} are, in both readings: {names}. One "
        "is plain supervised training, the other saturates, so that mixed labels push to the "
        "certain policy whatever their odds.",
        {"count": len(types), "aligned": len(names),
         "names": " and ".join(f"`{name}`" for name in names)},
    )  # fmt: skip


def _clip(zoo: Mapping[str, Record]) -> Surprise:
    found = zoo["released clip"]
    return Surprise(
        "clip",
        "The released `clip` branch is HyPO.",
        "Nobody told the card: it agrees with `{same}` on every pair tried, and leaves U in "
        "{ratio:.3f} of DPO's time at δ_ref = {ref:g}.",
        {"same": found["same_as"][0], "ratio": found["exit_times"][1]["ratio"],
         "ref": found["exit_times"][1]["ref_margin"]},
    )  # fmt: skip


def _easy(zoo: Mapping[str, Record]) -> Surprise:
    found = zoo["released easy"]
    target = found["target_margin"]
    home = target["ref_margin"].index(0.0)
    example = found["counterexample"]
    return Surprise(
        "easy",
        "The released `easy` branch asks for less than DPO.",
        "Reciprocals of log-probabilities are negative, so its target is below DPO's at every "
        "δ_ref, by {least:.2f} nats at least ({home:.2f} at δ_ref = 0). With π_ref(w) = {p} and "
        "Δr = {gap:g} it ends at δ = {end:.2f}, where DPO and RLHF have {dpo:.2f}.",
        {"least": target["least_below_dpo"], "home": -target["target"][home],
         "p": example["ref"][0],
         "gap": example["reward_gap"], "end": example["minimiser"],
         "dpo": example["solvers"]["dpo"]},
    )  # fmt: skip


def _smooth(zoo: Mapping[str, Record]) -> Surprise:
    one, two = zoo["released smooth"], zoo["released smooth alpha=2"]
    assert one["aligned"] is True
    assert two["aligned"] is False
    return Surprise(
        "smooth",
        "The smooth branch is aligned for α = 1 and not for α = 2.",
        "There its target falls by {tail:.3f} nats for every nat of δ_ref, without end: {low:.1f}"
        " at δ_ref = {ref:g}.",
        {"tail": two["target_margin"]["tail"], "low": two["target_margin"]["lowest"],
         "ref": two["target_margin"]["ref_margin"][0]},
    )  # fmt: skip


def _sppo(zoo: Mapping[str, Record]) -> Surprise:
    found = zoo["trl:sppo_hard"]
    deep = _deep(found)
    return Surprise(
        "sppo",
        "SPPO traps earlier than its slope at δ = 0 tells.",
        "That slope changes sign at δ_ref = −1/β = {slope:g}; but a minimum is born inside U at "
        "{born:.2f} already. At δ_ref = {ref:g} there are two: δ = {low:.2f}, where gradient flow"
        " stops, and {high:.2f}, which is right.",
        {
            "slope": -1 / found["beta"],
            "born": _threshold(found),
            "ref": deep["ref_margin"],
            "low": deep["minima"][0][0],
            "high": deep["minima"][1][0],
        },
    )


def _nca(zoo: Mapping[str, Record]) -> Surprise:
    found = zoo["trl:nca_pair"]
    deep = _deep(found)
    assert deep["infinite"] == ["+inf"]
    return Surprise(
        "nca",
        "NCA has two minima, and the reference picks.",
        "From δ_ref = {born:.2f} down an ordered pair has a finite minimum in U besides the one "
        "at +∞; gradient flow from δ_ref = {ref:g} stops at δ = {end:.2f}.",
        {"born": _threshold(found), "ref": deep["ref_margin"], "end": deep["minima"][0][0]},
    )


def _apo(zoo: Mapping[str, Record]) -> Surprise:
    found = zoo["trl:apo_down"]
    example, exits = found["counterexample"], found["exit_times"][1]
    assert found["trap"] is False
    assert example["minimiser"] == "-inf"
    return Surprise(
        "apo-down",
        "`apo_down` can end in certainty of the wrong answer.",
        "Under Bradley–Terry labels its risk is a ridge: with Δr = {gap:g} and π_ref(w) = {p}, "
        "where RLHF has δ* = {star:.2f}, it falls towards δ = −∞ on one side and +∞ on the "
        "other. An ordered pair is not trapped at this β, but takes {ratio:.0e} of DPO's time at "
        "δ_ref = {ref:g}.",
        {"gap": example["reward_gap"], "p": example["ref"][0], "star": example["solvers"]["rlhf"],
         "ratio": exits["ratio"], "ref": exits["ref_margin"]},
    )  # fmt: skip


def _discopop(zoo: Mapping[str, Record]) -> Surprise:
    found = zoo["trl:discopop"]
    deep = _deep(found)
    assert found["first_step"]["direction"] == "down"
    assert found["trap"] is False
    return Surprise(
        "discopop",
        "DiscoPOP goes the wrong way first.",
        "From π_ref the margin falls, to a local minimum {depth:.3f} nats below δ_ref. That is "
        "outside U, so it is no trap by definition, and worse: gradient flow never enters U, let "
        "alone leaves it.",
        {"depth": deep["ref_margin"] - deep["minima"][0][0]},
    )


def _exo(zoo: Mapping[str, Record]) -> Surprise:
    plain, smoothed = zoo["trl:exo_pair"], zoo["trl:exo_pair label_smoothing=0.1"]
    assert [f["name"] for f in plain["faults"]] == ["not-finite"]
    return Surprise(
        "exo",
        "`exo_pair` needs label smoothing, and then it traps.",
        "Its formula takes the logarithm of `label_smoothing`: at TRL's default of 0 it is "
        "infinite, and TRL's trainer refuses to start. With 0.1 it traps below "
        "δ_ref = {born:.2f}, as label-smoothed DPO does.",
        {"born": _threshold(smoothed)},
    )


def _robust(zoo: Mapping[str, Record]) -> Surprise:
    plain, smoothed = zoo["trl:robust"], zoo["trl:robust label_smoothing=0.1"]
    assert plain["same_as"] == ["dpo"]
    assert not smoothed["shape"]["bounded_below"]
    return Surprise(
        "robust",
        "`robust` has no minimum to find.",
        "By default it is DPO; with label_smoothing = 0.1 it is unbounded below, and its first "
        "step is {ratio:.2f} times DPO's.",
        {"ratio": smoothed["first_step"]["slope"] / plain["first_step"]["slope"]},
    )


def _same(zoo: Mapping[str, Record]) -> Surprise:
    zoo["trl:aot"], zoo["trl:sigmoid_norm"]
    names = [
        r["name"]
        for r in zoo.values()
        if r["group"] == "trl"
        and ("dpo" in r["same_as_one_token"] or "loss of dpo" in (r["stand_in"] or ""))
    ]
    return Surprise(
        "same",
        "One pair of one token cannot tell many apart.",
        "On it {count} of TRL's types with their defaults are DPO: {names}. Token counts, "
        "the other pairs of a batch or a label smoothing tell them apart.",
        {"count": len(names), "names": ", ".join(f"`{name}`" for name in names)},
    )


def _traps(zoo: Mapping[str, Record]) -> Surprise:
    zoo["trl:nca_pair"]
    trapped = {n: r for n, r in zoo.items() if r["trap"]}
    limits = {n: _threshold(r) * r["ranges"]["beta"] for n, r in trapped.items()}
    first = max(limits, key=lambda n: (round(limits[n], 6), n.startswith("trl:")))
    return Surprise(
        "traps",
        "IPO traps first.",
        "{count} of {all} cards have a trap, and `{first}` has it first: from βδ_ref = {limit:.2f} "
        "down, which at β = 0.1 is {nats:g} nats, per token.",
        {"count": len(limits), "all": len(zoo), "first": first, "limit": limits[first],
         "nats": _threshold(trapped[first])},
    )  # fmt: skip


_FINDINGS: tuple[Callable[[Mapping[str, Record]], Surprise], ...] = (
    _clip, _easy, _smooth, _traps, _sppo, _nca, _apo, _discopop, _exo, _robust, _same,
    _aligned_both,
)  # fmt: skip
