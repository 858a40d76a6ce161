"""The loss zoo: the card of every loss of the family, of the released code and of TRL.

    python -m prefeq.loss_cards.zoo docs/zoo.md

writes the page, beside it ``zoo.json``, which holds what the page says, and one picture a loss in
``images/zoo/``. The page is a function of the JSON alone, the JSON of the cards alone.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefeq.errors import ProblemError
from prefeq.loss_cards.analyse import analyse_loss
from prefeq.loss_cards.card import LossCard
from prefeq.loss_cards.sentences import headline, rows
from prefeq.losses import LOSSES
from prefeq.strict_json import write_json, write_text

BETA = 0.1
"""β of every card: the default of TRL."""

RELEASED = "released training code of arXiv:2605.20834"

PAPERS: Mapping[str, str] = {
    "sigmoid": "arXiv:2305.18290",
    "hinge": "arXiv:2309.06657",
    "ipo": "arXiv:2310.12036",
    "exo_pair": "arXiv:2402.00856",
    "nca_pair": "arXiv:2402.05369",
    "robust": "arXiv:2403.00409",
    "bco_pair": "arXiv:2404.04656",
    "sppo_hard": "arXiv:2405.00675",
    "aot": "arXiv:2406.05882",
    "aot_unpaired": "arXiv:2406.05882",
    "apo_zero": "arXiv:2408.06266",
    "apo_down": "arXiv:2408.06266",
    "discopop": "arXiv:2406.08414",
    "sigmoid_norm": "arXiv:2411.15124",
}
"""Where TRL's loss types come from; `sft` is the cross-entropy of the chosen response."""


@dataclass(frozen=True)
class Specimen:
    """One loss of the zoo: its name there, what `analyse_loss` is given, and its source."""

    name: str
    loss: str
    group: str
    source: str
    parameters: Mapping[str, float] = field(default_factory=dict)
    against: str | None = None

    @property
    def key(self) -> str:
        """What its anchor and its picture are called."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")

    def card(self) -> LossCard:
        """Analyse it."""
        given: dict[str, Any] = {"beta": BETA, **self.parameters}
        return analyse_loss(self.loss, against=self.against, **given)


def specimens() -> tuple[Specimen, ...]:
    """Return what is in the zoo, in the order of its page; TRL's types if TRL is installed."""
    own = {loss.name: loss for loss in LOSSES.values()}
    found = [Specimen(name, f"prefeq:{name}", "family", loss.source) for name, loss in own.items()]
    branches: tuple[tuple[str, str, dict[str, float]], ...] = (
        ("clip", "hypo", {}),
        ("smooth", "smooth", {}),
        ("smooth", "", {"alpha": 2.0}),
        ("easy", "easy", {}),
    )
    for branch, same, more in branches:
        path = f"prefeq.loss_cards.released:{branch}"
        name = f"released {branch}{_given(more)}"
        found.append(Specimen(name, path, "released", RELEASED, more, same or None))
    smoothed = {"label_smoothing": 0.1}
    for kind in _trl_types():
        source = PAPERS.get(kind, "")
        for more in ({}, smoothed) if kind in ("exo_pair", "robust") else ({},):
            given: Mapping[str, float] = more
            name = f"trl:{kind}{_given(given)}"
            found.append(Specimen(name, f"trl:{kind}", "trl", source, given))
    return tuple(found)


def _given(parameters: Mapping[str, float]) -> str:
    return "".join(f" {name}={value:g}" for name, value in parameters.items())


def _trl_types() -> tuple[str, ...]:
    from prefeq.loss_cards.trl_engine import trl_types

    try:
        return trl_types()
    except ProblemError:
        return ()


_LEFT_OUT = ("alignment", "agreement", "extremes", "certified", "gradients", "weak_gradient")


def record(specimen: Specimen, card: LossCard) -> dict[str, Any]:
    """Return what the page needs of a card, as strict JSON holds it.

    That is the card's own JSON without its long lists, and the lines that it prints.
    """
    from prefeq.loss_cards.picture import describe

    plain = {key: value for key, value in card.to_dict().items() if key not in _LEFT_OUT}
    target = plain["target_margin"]
    if target is not None:
        found = card.target
        assert found is not None
        target["least_below_dpo"] = float((found.ref_margin - found.values).min())
        last = len(target["ref_margin"]) - 1
        at = [round(last * k / 4) for k in range(5)]
        for name in ("ref_margin", "target"):
            target[name] = [target[name][i] for i in at]
    lines = [f"{name}: {text}" for name, text in rows(card)]
    lines += [f"{fault.severity} {fault.name}: {fault.message}" for fault in card.faults]
    return {
        "name": specimen.name,
        "key": specimen.key,
        "group": specimen.group,
        "source": specimen.source,
        **plain,
        "agrees": [found.same for found in card.agreements],
        "headline": headline(card),
        "lines": lines,
        "picture": describe(card),
    }


def collect(
    chosen: Sequence[Specimen] | None = None,
    seen: Callable[[Specimen, LossCard], None] = lambda specimen, card: None,
) -> dict[str, Any]:
    """Return the zoo as strict JSON holds it; `seen` is called with each card.

    Parameters
    ----------
    chosen
        Some of `specimens`; all by default.
    """
    chosen = specimens() if chosen is None else chosen
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of TRL's imports
        for specimen in chosen:
            card = specimen.card()
            seen(specimen, card)
            found.append(record(specimen, card))
    return {"beta": BETA, "trl": _trl_version(), "losses": found}


def _trl_version() -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("trl")
    except PackageNotFoundError:
        return None


def main(path: str) -> None:
    """Write the page, its JSON and its pictures.

    Raises
    ------
    ProblemError
        If TRL is not installed, or a file cannot be written.
    """
    from prefeq.loss_cards.picture import picture
    from prefeq.loss_cards.zoo_page import page

    if not _trl_types():
        raise ProblemError("the zoo shows TRL's loss types, too: pip install 'prefeq[trl]'")
    pictures = Path(path).parent / "images" / "zoo"
    pictures.mkdir(parents=True, exist_ok=True)

    def draw(specimen: Specimen, card: LossCard) -> None:
        write_text(pictures / f"{specimen.key}.svg", f"{picture(card)}\n")

    zoo = collect(seen=draw)
    write_json(Path(path).with_suffix(".json"), zoo)
    write_text(path, page(zoo))


if __name__ == "__main__":
    main(*sys.argv[1:])
