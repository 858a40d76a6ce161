"""The loss zoo: the page says what its JSON says, the JSON what the cards say, and both the truth.

Numbers in sentences are computed here again, from formulas written here.
"""

from __future__ import annotations

import copy
import dataclasses
import importlib.util
import json
import math
import re
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest

from prefeq.errors import ProblemError
from prefeq.loss_cards import analyse_loss, zoo, zoo_page
from prefeq.loss_cards.dependence import KINDS
from prefeq.loss_cards.picture import describe, picture
from prefeq.loss_cards.zoo_surprises import surprises

DOCS = Path(__file__).resolve().parents[2] / "docs"
STORED = json.loads((DOCS / "zoo.json").read_text("utf-8"))
BY_NAME = {record["name"]: record for record in STORED["losses"]}
TRL_TYPES = (
    "sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot",
    "aot_unpaired", "apo_zero", "apo_down", "discopop", "sft", "sigmoid_norm",
)  # fmt: skip
NUMBER = re.compile(r"-?\d+\.?\d*(?:e[+-]\d+)?")
BETA = 0.1

WITHOUT = [n for n in ("trl", "datasets", "transformers") if importlib.util.find_spec(n) is None]
needs_trl = [
    pytest.mark.llm,
    pytest.mark.filterwarnings("default"),
    pytest.mark.skipif(bool(WITHOUT), reason=f"needs {', '.join(WITHOUT)}"),
]


def check_same(fresh: Any, stored: Any, where: str = "") -> None:
    """Raise unless two records agree: numbers to 1e-5, in texts as far as they are printed."""
    if isinstance(stored, dict):
        assert set(fresh) == set(stored), where
        for key, value in stored.items():
            check_same(fresh[key], value, f"{where}.{key}")
    elif isinstance(stored, list):
        assert len(fresh) == len(stored), where
        for i, value in enumerate(stored):
            check_same(fresh[i], value, f"{where}[{i}]")
    elif isinstance(stored, float) and not isinstance(fresh, str):
        assert fresh == pytest.approx(stored, rel=1e-5, abs=1e-9), where
    elif isinstance(stored, str) and isinstance(fresh, str):
        assert NUMBER.sub("#", fresh) == NUMBER.sub("#", stored), where
        numbers = [[float(x) for x in NUMBER.findall(text)] for text in (fresh, stored)]
        assert numbers[0] == pytest.approx(numbers[1], rel=1e-2, abs=2e-3), where
    else:
        assert fresh == stored, where


# --- the page, its JSON and the cards -------------------------------------------------------------


def test_everything_is_in_the_zoo() -> None:
    from prefeq.losses import LOSSES

    names = list(BY_NAME)
    assert len(names) == len(STORED["losses"])
    assert {loss.name for loss in LOSSES.values()} <= set(names)
    assert {"released clip", "released smooth", "released easy"} <= set(names)
    assert {f"trl:{kind}" for kind in TRL_TYPES} <= set(names)
    assert {f"trl:{kind} label_smoothing=0.1" for kind in ("exo_pair", "robust")} <= set(names)


def test_the_page_is_that_of_the_json() -> None:
    page = (DOCS / "zoo.md").read_text("utf-8")
    assert page == zoo_page.page(STORED)
    edited = copy.deepcopy(STORED)
    edited["losses"][0]["exit_times"][1]["ratio"] = 1.01
    assert page != zoo_page.page(edited)


def test_every_loss_has_its_picture_and_its_section() -> None:
    page = (DOCS / "zoo.md").read_text("utf-8")
    pictures = {path.name for path in (DOCS / "images" / "zoo").iterdir()}
    assert pictures == {f"{record['key']}.svg" for record in STORED["losses"]}
    assert sum(p.stat().st_size for p in (DOCS / "images" / "zoo").iterdir()) < 1.5e6
    for record in STORED["losses"]:
        assert page.count(f"{{ #{record['key']} }}") == 1
        assert page.count(f"(images/zoo/{record['key']}.svg)") == 1
        assert page.count(f"](#{record['key']})") == 1


@pytest.fixture(scope="module")
def card() -> Any:
    """A card whose curves a test replaces."""
    return analyse_loss("prefeq:dpo", beta=BETA)


def curves_like(card: Any, value: Any, *, target: bool = True) -> Any:
    """The card of a loss with these values, with DPO's target or with none."""
    kept = {k: v for k, v in card.curves.items() if target or not k.startswith("target")}
    return dataclasses.replace(card, curves={**kept, "value": value})


AIM = "Beside it the target margin against delta_ref, with DPO's dashed."


def test_a_picture_shows_what_its_words_say(card: Any) -> None:
    delta = card.curves["margin"]
    assert describe(card).endswith(f"is shaded. {AIM}")
    for value, words, dots in (
        ((delta + 20) ** 2, "A dot marks its local minimum.", 1),
        (np.cos(delta / 10), "Dots mark its local minima.", 2),
        (np.maximum(-20 - delta, 0.0), "Its bottom is flat.", 0),
        (np.zeros_like(delta), "Its bottom is flat.", 0),
    ):
        other = curves_like(card, value)
        assert describe(other).endswith(f"is shaded. {words} {AIM}")
        assert str(picture(other)).count("<circle") == dots


def test_a_panel_without_a_curve_says_so(card: Any) -> None:
    none = curves_like(card, card.curves["value"], target=False)
    broken = curves_like(card, np.full(card.curves["margin"].shape, np.nan), target=False)
    assert describe(none).endswith("is shaded. There is no common target.")
    assert "<title>dpo: the loss of a pair, no common target</title>" in str(picture(none))
    assert describe(broken).startswith("The loss of an ordered pair has no finite value; DPO's")
    assert "<title>dpo: no finite value</title>" in str(picture(broken))
    for drawn, curves, notes in (
        (card, 2, []),
        (none, 1, ["no common target"]),
        (broken, 0, ["no finite value", "no finite value"]),
    ):
        svg = str(picture(drawn))
        assert svg.count('stroke="#0072B2"') == curves
        assert re.findall(r'font-style="italic">([^<]*)<', svg) == notes
        assert f"<desc>{escape(describe(drawn))}</desc>" in svg
        assert (AIM in describe(drawn)) == (curves == 2)
        assert 'width="680"' in svg  # always two panels


def test_no_picture_of_the_page_is_said_to_show_what_it_does_not() -> None:
    for record in STORED["losses"]:
        svg = (DOCS / "images" / "zoo" / f"{record['key']}.svg").read_text("utf-8")
        texts = record["picture"]
        has_target = record["target_margin"] is not None
        assert ("Beside it the target" in texts) == has_target, record["key"]
        assert svg.count('stroke="#0072B2"') == (texts.count("finite value") == 0) + has_target
        assert ("dot" in texts.lower()) == ("<circle" in svg), record["key"]


def check_regenerated(names: list[str]) -> None:
    """Make the cards of some losses again, and compare records and pictures."""
    chosen = [found for found in zoo.specimens() if found.name in names]
    assert [found.name for found in chosen] == names
    drawn = {}

    def draw(specimen: zoo.Specimen, card: Any) -> None:
        drawn[specimen.key] = f"{picture(card)}\n"

    fresh = json.loads(json.dumps(zoo.collect(chosen, draw)["losses"], allow_nan=False))
    for record in fresh:
        check_same(record, BY_NAME[record["name"]], record["name"])
    for key, svg in drawn.items():
        stored = (DOCS / "images" / "zoo" / f"{key}.svg").read_text("utf-8")
        assert NUMBER.sub("#", svg) == NUMBER.sub("#", stored)
        pair = [np.array([float(x) for x in NUMBER.findall(text)]) for text in (svg, stored)]
        np.testing.assert_allclose(*pair, rtol=1e-4, atol=0.03)


def test_the_cards_of_the_family_and_of_the_released_code_are_as_stored() -> None:
    check_regenerated([name for name in BY_NAME if not name.startswith("trl:")])


class TestTrl:
    pytestmark = needs_trl

    def test_the_cards_of_two_types_of_trl_are_as_stored(self) -> None:
        check_regenerated(["trl:hinge", "trl:robust label_smoothing=0.1"])

    @pytest.mark.slow
    def test_all_cards_of_trl_are_as_stored(self) -> None:
        check_regenerated([name for name in BY_NAME if name.startswith("trl:")])

    def test_no_type_of_this_trl_is_missing(self) -> None:
        assert {s.name for s in zoo.specimens()} == set(BY_NAME)


def test_without_trl_there_is_a_zoo_but_no_page(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(zoo, "_trl_types", tuple)
    assert {found.group for found in zoo.specimens()} == {"family", "released"}
    with pytest.raises(ProblemError, match="pip install"):
        zoo.main(str(tmp_path / "zoo.md"))
    assert list(tmp_path.iterdir()) == []
    ours = [record for record in STORED["losses"] if record["group"] != "trl"]
    assert [found.key for found in surprises(ours)] == ["clip", "easy", "smooth"]


def test_a_changed_number_is_noticed() -> None:
    record = BY_NAME["ipo"]
    for change in (
        lambda r: r["trap_region"]["ref_margin"][0].__setitem__(1, -5.001),
        lambda r: r.__setitem__("trap", False),
        lambda r: r["lines"].__setitem__(0, r["lines"][0].replace("100", "104")),
        lambda r: r["lines"].__setitem__(0, r["lines"][0].replace("nats", "bits")),
        lambda r: r["minimisers"]["ordered"].pop(),
    ):
        edited = copy.deepcopy(record)
        check_same(edited, record)
        change(edited)
        with pytest.raises(AssertionError):
            check_same(edited, record)


# --- what surprised us ----------------------------------------------------------------------------


@cache
def found(key: str) -> Any:
    return next(surprise for surprise in surprises(STORED["losses"]) if surprise.key == key)


def log_sigma(z: Any) -> Any:
    return -np.logaddexp(0.0, -z)


def sigma(z: Any) -> Any:
    return np.exp(log_sigma(z))


def ratios(delta: Any, ref: float) -> tuple[Any, Any]:
    """Log-ratios of both responses of a two-response bandit."""
    return log_sigma(delta) - log_sigma(ref), log_sigma(-delta) - log_sigma(-ref)


def nca(delta: Any, ref: float) -> Any:
    a, b = (BETA * x for x in ratios(delta, ref))
    return -log_sigma(a) - (log_sigma(-a) + log_sigma(-b)) / 2


def sppo(delta: Any, ref: float) -> Any:
    a, b = ratios(delta, ref)
    return (a - 1 / (2 * BETA)) ** 2 + (b + 1 / (2 * BETA)) ** 2


def apo_down(delta: Any, ref: float) -> Any:
    a, b = (BETA * x for x in ratios(delta, ref))
    return sigma(a) + 1 - sigma(a - b)


def apo_slope(delta: Any, ref: Any) -> Any:
    """The slope of APO-down on two responses, in mpmath's digits."""
    exp = mpmath.exp

    def log_s(z: Any) -> Any:
        return -mpmath.log1p(exp(-mpmath.mpf(z)))

    def bump(z: Any) -> Any:  # the derivative of σ
        return exp(log_s(z) + log_s(-z))

    beta = mpmath.mpf(1) / 10
    a, x = log_s(delta) - log_s(ref), mpmath.mpf(delta) - ref
    return beta * (bump(beta * a) * exp(log_s(-delta)) - bump(beta * x))


def discopop(delta: Any, ref: float, tau: float = 0.05) -> Any:
    z = BETA * (delta - ref)
    share = sigma(z / tau)
    return -log_sigma(z) * (1 - share) + np.exp(-z) * share


def minima(loss: Any, ref: float, low: float, high: float) -> list[float]:
    """Local minima between two margins, on a grid of a ten-thousandth."""
    delta = np.linspace(low, high, 200_001)
    y = loss(delta, ref)
    at = np.flatnonzero((y[1:-1] < y[:-2]) & (y[1:-1] < y[2:])) + 1
    return [float(delta[i]) for i in at]


def check_born(loss: Any, born: float) -> None:
    """Raise unless a minimum inside U appears at a reference margin, to 0.01 nats."""
    assert not minima(loss, born + 0.01, born + 0.02, -0.01)
    assert minima(loss, born - 0.01, born, -0.01)


def test_the_texts_show_the_numbers() -> None:
    every = surprises(STORED["losses"])
    assert len(every) == len({surprise.key for surprise in every}) == 12
    page = (DOCS / "zoo.md").read_text("utf-8")
    for surprise in every:
        assert f"- **{surprise.title}** {surprise.text}\n" in page
        for name in surprise.numbers:
            assert f"{{{name}" in surprise.template
        assert not re.search(r"[{}]", surprise.text)


def test_clip_is_hypo_and_leaves_in_linear_time() -> None:
    numbers = found("clip").numbers
    a = -BETA * numbers["ref"]
    assert numbers["same"] == "hypo"
    assert numbers["ratio"] == pytest.approx((1 + a - math.exp(-a)) / (math.exp(a) + a - 1))
    assert BY_NAME["released clip"]["agrees"] == [True]


def test_easy_is_below_dpo() -> None:
    numbers = found("easy").numbers
    # γ/β = 1, and at δ_ref = 0 both log-probs are −ln 2
    assert numbers["home"] == pytest.approx(2 / math.log(2), rel=1e-6)
    ref = np.linspace(-30, 30, 6001)
    below = -1 / log_sigma(ref) - 1 / log_sigma(-ref)
    assert numbers["least"] == pytest.approx(below.min(), rel=1e-5)
    q, log_ref = sigma(1.0), math.log(1 / 9)
    assert (numbers["p"], numbers["gap"]) == ("1/10", 1.0)
    target = log_ref + 1 / math.log(0.1) + 1 / math.log(0.9)
    # the target fixed, the risk is least at t + Δr/β
    assert numbers["end"] == pytest.approx(target + 1 / BETA, abs=1e-5)
    assert numbers["dpo"] == pytest.approx(log_ref + math.log(q / (1 - q)) / BETA)


def test_smooth_is_unbounded_below_above_one() -> None:
    numbers = found("smooth").numbers
    assert numbers["tail"] == pytest.approx(1 - 1 / 2)
    ref = numbers["ref"]
    assert numbers["low"] == pytest.approx(ref + np.logaddexp(0, -ref) / 2)


def test_ipo_is_the_first_to_trap() -> None:
    numbers = found("traps").numbers
    assert numbers["limit"] == pytest.approx(-0.5)
    assert numbers["nats"] == pytest.approx(-0.5 / BETA)
    trapped = [name for name, record in BY_NAME.items() if record["trap"]]
    assert (numbers["count"], numbers["all"]) == (len(trapped), len(BY_NAME))
    assert sorted(trapped) == [
        "cdpo", "hinge", "ipo", "trl:exo_pair label_smoothing=0.1", "trl:hinge", "trl:ipo",
        "trl:nca_pair", "trl:sppo_hard",
    ]  # fmt: skip


def test_sppo_traps_before_its_slope_turns() -> None:
    numbers = found("sppo").numbers
    assert numbers["slope"] == pytest.approx(-1 / BETA)
    check_born(sppo, numbers["born"])
    assert numbers["born"] > numbers["slope"]
    low, high = minima(sppo, numbers["ref"], numbers["ref"], 50.0)
    assert (numbers["low"], numbers["high"]) == pytest.approx((low, high), abs=1e-3)


def test_nca_has_two_minima() -> None:
    numbers = found("nca").numbers
    check_born(nca, numbers["born"])
    (end,) = minima(nca, numbers["ref"], numbers["ref"], 200.0)
    assert numbers["end"] == pytest.approx(end, abs=2e-3)
    delta = np.linspace(10.0, 40.0, 301)
    assert (np.diff(nca(delta, numbers["ref"])) < 0).all()  # towards +∞


def test_apo_down_is_a_ridge() -> None:
    numbers = found("apo-down").numbers
    assert (numbers["p"], numbers["gap"]) == ("1/3", 1.0)
    ref, q = math.log(1 / 2), sigma(1.0)
    assert numbers["star"] == pytest.approx(ref + 1 / BETA)
    delta = np.linspace(-40.0, 40.0, 8001)
    risk = q * apo_down(delta, ref) + (1 - q) * apo_down(-delta, -ref)
    top = int(risk.argmax())
    assert 0 < top < len(delta) - 1
    assert (np.diff(risk[: top + 1]) > 0).all()
    assert (np.diff(risk[top:]) < 0).all()
    a = -BETA * numbers["ref"]
    dpo = (math.exp(a) + a - 1) / (2 * BETA**2)
    # Near π_ref the two terms of the slope cancel to 1e-14: sixty digits.
    with mpmath.workdps(60):
        time = mpmath.quad(
            lambda d: -1 / (2 * apo_slope(d, numbers["ref"])),
            [numbers["ref"] * k / 30 for k in range(30, -1, -1)],
        )
    assert numbers["ratio"] == pytest.approx(float(time) / dpo, rel=0.02)


def test_discopop_goes_down() -> None:
    numbers = found("discopop").numbers
    for ref in (-50.0, 0.0):
        (low,) = minima(discopop, ref, ref - 30.0, ref + 10.0)
        assert numbers["depth"] == pytest.approx(ref - low, abs=1e-3)
    assert discopop(np.array([1e-4]), 0.0) > discopop(np.array([0.0]), 0.0)


def test_exo_and_cdpo_trap_at_the_logit() -> None:
    assert found("exo").numbers["born"] == pytest.approx(-math.log(9) / BETA, rel=1e-6)
    born = BY_NAME["cdpo"]["trap_region"]["ref_margin"][0][1]
    assert found("exo").numbers["born"] == pytest.approx(born, rel=1e-6)


@pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="needs TRL")
def test_trl_refuses_exo_without_smoothing() -> None:
    """Its trainer checks this first thing, before it has a model or data."""
    import inspect

    from trl import DPOTrainer

    source = inspect.getsource(DPOTrainer)
    assert '"exo_pair" in self.loss_types and self.label_smoothing == 0.0' in source
    assert "Label smoothing must be greater than 0.0" in source


def test_robust_steps_further() -> None:
    eps = 0.1  # ((1 − ε)·softplus(−z) − ε·softplus(z))/(1 − 2ε): a slope of −½/(1 − 2ε)
    assert found("robust").numbers["ratio"] == pytest.approx(1 / (1 - 2 * eps))


def test_those_that_are_dpo_on_one_pair() -> None:
    numbers = found("same").numbers
    assert numbers["count"] == 5
    names = ("sigmoid", "robust", "aot", "aot_unpaired", "sigmoid_norm")
    assert numbers["names"] == ", ".join(f"`trl:{name}`" for name in names)


def test_two_types_are_aligned() -> None:
    numbers = found("aligned").numbers
    assert (numbers["count"], numbers["aligned"]) == (len(TRL_TYPES) + 2, 2)
    assert numbers["names"] == "`trl:apo_zero` and `trl:sft`"
    # APO-zero: 1 − σ(βa) + σ(βb); mixed labels weigh the same curve by 2q − 1
    delta = np.linspace(-60, 60, 2401)
    for ref in (-50.0, -3.0, 0.0, 4.0):
        a, b = (BETA * x for x in ratios(delta, ref))
        own, back = 1 - sigma(a) + sigma(b), 1 - sigma(b) + sigma(a)
        assert (np.diff(0.51 * own + 0.49 * back) < 0).all()


# --- cells ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "column", "cell"),
    [
        ("dpo", "target", "DPO's"),
        ("hypo", "aligned", "yes"),
        ("simpo", "target", "10 always"),
        ("ipo", "minimisers", "−45"),
        ("ipo", "trap, βδ_ref", "<\N{NO-BREAK SPACE}−0.5"),
        ("hinge", "minimisers", "from −40 on"),
        ("cdpo", "exit", "never"),
        ("released easy", "target", "below, by up to 3.3e+06"),
        ("released easy", "trap, βδ_ref", "–"),
        ("released smooth alpha=2", "target", "above; falls by 0.5 a nat of δ_ref"),
        ("trl:exo_pair", "aligned", "–"),
        ("trl:exo_pair", "faults", "not-finite"),
        ("trl:discopop", "first step", "down"),
        ("trl:discopop", "minimisers", "−51.2, +∞"),
        ("trl:robust label_smoothing=0.1", "minimisers", "unbounded below at +∞"),
        ("trl:ipo", "depends on", "δ − δ_ref +tokens"),
        ("trl:aot", "depends on", "δ − δ_ref +batch"),
        ("trl:apo_down", "faults", "*dead-gradient*"),
        ("trl:sft", "source", "–"),
        ("trl:sigmoid", "source", "[2305.18290](https://arxiv.org/abs/2305.18290)"),
    ],
)
def test_cells_of_the_table(name: str, column: str, cell: str) -> None:
    cells = dict(zip(zoo_page.COLUMNS, zoo_page.cells(BY_NAME[name]), strict=True))
    assert cells[column] == cell


def test_the_table_has_a_word_for_every_kind_of_dependence() -> None:
    assert set(zoo_page.KINDS) == set(KINDS)


def test_a_trap_between_two_references() -> None:
    record = copy.deepcopy(BY_NAME["ipo"])
    record["trap_region"]["ref_margin"] = [[-50.0, -5.0]]
    assert zoo_page.trap(record) == "−5 to −0.5"
