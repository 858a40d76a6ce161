"""The oracle table: proved by ball arithmetic; prefeq's losses and TRL's real code against it."""

from __future__ import annotations

import importlib.util
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
from flint import arb, arb_series, ctx

from prefeq import losses
from prefeq.errors import ProblemError
from prefeq.llm import oracle_table
from prefeq.llm.oracle import (
    DTYPES,
    INPUTS,
    LOGPS,
    PATH,
    Oracle,
    OracleCase,
    load_oracle,
    relative_error,
)
from prefeq.llm.oracle_losses import FORMULAS, OF_BATCHES

ORACLE = load_oracle()
EPS = {name: 2.0 ** (1 - bits) for name, bits in DTYPES.items()}


def total(case: OracleCase, row: Any, name: str) -> list[float]:
    return [float(x) for x in ORACLE.points[name][list(row.points)]]


# --- the table itself ----------------------------------------------------------------------------


def test_the_shipped_table_is_what_the_script_writes(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    assert oracle_table.main([str(path)]) == 0
    assert path.read_bytes() == PATH.read_bytes()


def test_it_covers_every_loss_and_the_extremes() -> None:
    family = {name for name in losses.LOSSES if name != "clip"}  # another name of hypo
    names = {case.loss for case in ORACLE.cases}
    assert names == set(FORMULAS)
    assert {name.removeprefix("prefeq/") for name in names if name.startswith("prefeq/")} == family
    points = ORACLE.points
    delta = points["chosen_logps"] - points["rejected_logps"]
    ref = points["ref_chosen_logps"] - points["ref_rejected_logps"]
    pairs = set(zip(delta.tolist(), ref.tolist(), strict=True))
    assert {(a, b) for a in (-800.0, 800.0) for b in (-800.0, 800.0)} <= pairs
    for name in DTYPES:
        kept = ORACLE.points_in(name)
        assert len(kept) >= 40
        assert np.abs((delta - ref)[kept]).max() == 1600
    assert len(ORACLE.points_in("float64")) > len(ORACLE.points_in("float32"))
    assert len(ORACLE.points_in("float32")) > len(ORACLE.points_in("bfloat16"))
    for name in LOGPS:
        assert (points[name] <= 0).all()


def test_a_point_is_exact_where_it_is_said_to_be() -> None:
    torch = pytest.importorskip("torch")
    for name in DTYPES:
        kept = set(ORACLE.points_in(name))
        for i in range(len(ORACLE.exact_in)):
            row = torch.tensor([ORACLE.points[column][i] for column in LOGPS], dtype=torch.float64)
            assert torch.equal(row.to(getattr(torch, name)).double(), row) == (i in kept)


def test_the_same_loss_has_the_same_numbers_under_both_names() -> None:
    for ours, theirs in (("dpo", "sigmoid"), ("hinge", "hinge"), ("ipo", "ipo")):
        for beta in oracle_table.BETAS:
            first, second = ORACLE.case(f"prefeq/{ours}", beta), ORACLE.case(f"trl/{theirs}", beta)
            assert [float(x.value) for x in first.rows] == pytest.approx(
                [float(x.value) for x in second.rows], rel=1e-15
            )


def test_cases_are_found_by_name_and_parameters() -> None:
    case = ORACLE.case("trl/robust", 0.1, label_smoothing=0.1)
    assert (case.loss, case.beta, case.parameters) == ("trl/robust", 0.1, {"label_smoothing": 0.1})
    assert len(case.value) == len(case.digits) == len(ORACLE.exact_in)
    assert case.value[0] == float(case.digits[0])
    assert len(ORACLE.case("trl/aot", 1.0).rows) == len(ORACLE.exact_in) + len(oracle_table.BATCHES)
    with pytest.raises(ProblemError, match=r"no case 'trl/dpo' with beta = 0\.1"):
        ORACLE.case("trl/dpo", 0.1)
    with pytest.raises(ProblemError, match="dtype = 'int8'"):
        ORACLE.points_in("int8")


def test_errors_are_taken_exactly() -> None:
    third = "0.33333333333333333333333333333333333333333333333333"
    exact = abs(Fraction(1 / 3) - Fraction(1, 3)) * 3
    assert relative_error(1 / 3, third) == pytest.approx(float(exact), rel=1e-12)
    assert relative_error(0.0, "0.0") == 0
    assert relative_error(1e-300, "0.0") == math.inf
    assert relative_error(math.nan, "1.0") == math.inf


# --- its digits, proved --------------------------------------------------------------------------
# A second derivation: textbook formulas on power series of balls, whose linear terms are the
# derivatives. Where rounding spoils a formula the ball is wide, and precision is doubled.

Pair = tuple[Any, Any, Any, Any, int, int]


def log_sigma(z: Any) -> Any:
    if middle(z) > 1000:  # no precision would do: log(1 + w) and its slope are w(1 ± w)
        return -(-z).exp() * arb(1, arb("1e-400"))
    return -(1 + (-z).exp()).log()


def sigma(z: Any) -> Any:
    return 1 / (1 + (-z).exp())


def gap(pair: Pair) -> Any:
    return (pair[0] - pair[1]) - (pair[2] - pair[3])


def gap_per_token(pair: Pair) -> Any:
    return (pair[0] - pair[2]) / pair[4] - (pair[1] - pair[3]) / pair[5]


def middle(series: Any) -> arb:
    return series[0] if isinstance(series, arb_series) else arb(series)


def larger(a: Any, b: Any) -> Any:
    return a if middle(a) > middle(b) else b  # at a kink, the slope to its right


def textbook(name: str, pair: Pair, beta: arb, p: dict[str, arb]) -> Any:
    """One pair's loss as papers print it."""
    c, r, ref_c, ref_r, n, m = pair
    x, a, b = gap(pair), c - ref_c, r - ref_r
    e, gamma = p.get("label_smoothing"), p.get("gamma")
    target = {
        "prefeq/hypo": lambda: larger(ref_c - ref_r, arb(0)),
        "prefeq/smooth": lambda: (
            (ref_c - ref_r)
            + (1 + (p["tau"] * (gamma - (ref_c - ref_r))).exp()).log() / (p["alpha"] * p["tau"])
        ),
        "prefeq/eq17": lambda: (ref_c - ref_r) + gamma / beta * (1 / ref_c.exp() + 1 / ref_r.exp()),
        "prefeq/easy": lambda: (ref_c - ref_r) + gamma / beta * (1 / ref_c + 1 / ref_r),
    }
    if name in target:
        return -log_sigma(beta * ((c - r) - target[name]()))
    return {
        "prefeq/dpo": lambda: -log_sigma(beta * x),
        "prefeq/simpo": lambda: -log_sigma(beta * (c / n - r / m) - gamma),
        "prefeq/ipo": lambda: (gap_per_token(pair) - 1 / (2 * beta)) ** 2,
        "prefeq/hinge": lambda: larger(1 - beta * x, arb(0)),
        "prefeq/cdpo": lambda: -(1 - e) * log_sigma(beta * x) - e * log_sigma(-beta * x),
        "trl/sigmoid": lambda: -log_sigma(beta * x),
        "trl/hinge": lambda: larger(1 - beta * x, arb(0)),
        "trl/ipo": lambda: (gap_per_token(pair) - 1 / (2 * beta)) ** 2,
        "trl/exo_pair": lambda: (
            sigma(beta * x) * (log_sigma(beta * x) - (1 - e).log())
            + sigma(-beta * x) * (log_sigma(-beta * x) - e.log())
        ),
        "trl/nca_pair": lambda: (
            -log_sigma(beta * a) - log_sigma(-beta * a) / 2 - log_sigma(-beta * b) / 2
        ),
        "trl/robust": lambda: (
            (-(1 - e) * log_sigma(beta * x) + e * log_sigma(-beta * x)) / (1 - 2 * e)
        ),
        "trl/bco_pair": lambda: -log_sigma(beta * a) - log_sigma(-beta * b),
        "trl/sppo_hard": lambda: (a - 1 / (2 * beta)) ** 2 + (b + 1 / (2 * beta)) ** 2,
        "trl/apo_zero": lambda: 1 - sigma(beta * a) + sigma(beta * b),
        "trl/apo_down": lambda: sigma(beta * a) + 1 - sigma(beta * (a - b)),
        "trl/discopop": lambda: (
            -log_sigma(beta * x) * (1 - sigma(beta * x / p["discopop_tau"]))
            + (-beta * x).exp() * sigma(beta * x / p["discopop_tau"])
        ),
        "trl/sigmoid_norm": lambda: -log_sigma(beta * gap_per_token(pair)),
    }[name]()


def of_batch(name: str, pairs: list[Pair], beta: arb, p: dict[str, arb]) -> Any:
    """The mean loss of a batch."""
    if name == "trl/sft":
        return -sum((pair[0] for pair in pairs), arb(0)) / sum(pair[4] for pair in pairs)
    if name in OF_BATCHES:
        left = [pair[0] - pair[1] if name == "trl/aot" else pair[0] - pair[2] for pair in pairs]
        right = [pair[2] - pair[3] if name == "trl/aot" else pair[1] - pair[3] for pair in pairs]
        left.sort(key=lambda u: float(middle(u).mid()))
        right.sort(key=lambda u: float(middle(u).mid()))
        e = p["label_smoothing"]
        zs = [beta * (u - v) for u, v in zip(left, right, strict=True)]
        terms = [-(1 - e) * log_sigma(z) - e * log_sigma(-z) for z in zs]
    else:
        terms = [textbook(name, pair, beta, p) for pair in pairs]
    return sum(terms, arb(0)) / len(terms)


def proved(case: OracleCase, row: Any) -> None:
    """Raise unless every number of a row is right to its last digit."""
    columns = [total(case, row, name) for name in INPUTS]
    p = {name: arb(value) for name, value in case.parameters.items()}
    for at in range(len(row.points)):
        for side, texts in ((0, row.chosen_gradient), (1, row.rejected_gradient)):
            for ctx.prec in (256, 512, 1024, 4096, 16384):
                pairs = []
                for i, values in enumerate(zip(*columns, strict=True)):
                    logps = [
                        arb_series([arb(x), int(i == at and j == side)])
                        for j, x in enumerate(values[:4])
                    ]
                    pairs.append((*logps, *map(int, values[4:])))
                found = of_batch(case.loss, pairs, arb(case.beta), p) + arb_series([0, 0])
                balls = (found[0], found[1])
                if all(ball.rel_accuracy_bits() > 180 or ball == 0 for ball in balls):
                    break
            for ball, text in zip(balls, (row.value, texts[at]), strict=True):
                where = f"{case.loss}, beta {case.beta}, {case.parameters}, points {row.points}"
                assert agrees(ball, text), f"{where}: {text} is not {ball.str(60)}"


def agrees(ball: arb, text: str) -> bool:
    """Tell whether a decimal of fifty digits is the ball's number, rounded."""
    if ball == 0:
        return float(text) == 0
    if float(text) == 0 and "e" not in text:
        return False
    exponent = math.floor(float((abs(ball).log() / arb(10).log()).mid()))
    half = arb(10) ** (exponent - 49) / 2
    return bool(abs(ball - arb(text)) < half * arb("1.000001"))


@pytest.fixture
def series() -> Iterator[None]:
    before = ctx.prec, ctx.cap
    ctx.cap = 2
    yield
    ctx.prec, ctx.cap = before


@pytest.mark.parametrize("loss", FORMULAS)
def test_every_digit_is_right(loss: str, series: None) -> None:
    for case in ORACLE.cases:
        if case.loss == loss:
            for row in case.rows:
                proved(case, row)


def test_the_proof_sees_a_wrong_last_digit(series: None) -> None:
    case = ORACLE.case("trl/sigmoid", 0.1)
    row = case.rows[1]
    for text in (row.value, row.chosen_gradient[0]):
        digits = text.split("e")[0]
        last = str((int(digits[-1]) + 2) % 10)
        wrong = text.replace(digits, digits[:-1] + last)
        where = "value" if text == row.value else "chosen_gradient"
        changed = row._replace(**{where: wrong if where == "value" else (wrong,)})
        with pytest.raises(AssertionError, match="is not"):
            proved(case, changed)
        proved(case, row)


# --- who is held against it ----------------------------------------------------------------------


def room(case: OracleCase, row: Any, eps: float) -> tuple[float, list[float]]:
    """What rounding the inputs and a few steps of arithmetic may change: value, and gradients."""
    logps = np.abs([total(case, row, name) for name in LOGPS])
    tokens = [total(case, row, name) for name in INPUTS[4:]]
    gradients = [float(x) for x in (*row.chosen_gradient, *row.rejected_gradient)]
    steep = sum(
        abs(g) * float(logps[[side, side + 2], i].sum())
        for side, part in enumerate((row.chosen_gradient, row.rejected_gradient))
        for i, g in enumerate(map(float, part))
    )
    value = 16 * eps * (abs(float(row.value)) + steep)
    rate = case.beta / case.parameters.get("discopop_tau", 1.0)
    # A slope in z = βx changes by at most its own size for a unit of z; a square's is 2/n².
    size = float(logps.sum(0).max())
    flat = {"prefeq/ipo", "trl/ipo", "trl/sppo_hard"}
    extra = 2 * (size + 1 / (2 * case.beta)) / min(min(side) for side in tokens)
    slack = extra if case.loss in flat else 0.0
    return value, [16 * eps * (abs(g) * (1 + rate * size) + slack) for g in gradients]


class Ruler(NamedTuple):
    """What to hold a number against the table by: the precision and the range of a dtype."""

    eps: float
    tiny: float
    largest: float

    def differs(self, found: float, text: str, allowed: float, scale: float) -> str:
        """Say how a number differs from the exact one.

        "nan"; "error"; "small" where the error is one of the last digits of `scale`, what the
        number is composed of, but not of the number itself; "" if it does not differ.
        """
        exact = float(text)
        if math.isnan(found):
            return "nan"
        error = 0.0 if found == exact else abs(found - exact)
        overflow = abs(exact) > self.largest and found == math.copysign(math.inf, exact)
        if overflow or error <= allowed + 4 * self.tiny:
            return ""
        return "small" if error <= 16 * self.eps * scale else "error"


FAMILY: dict[str, Callable[..., Any]] = {
    "prefeq/smooth": losses.smooth,
    "prefeq/eq17": losses.eq17,
    "prefeq/easy": losses.easy,
    "prefeq/simpo": losses.simpo,
    "prefeq/cdpo": lambda label_smoothing: losses.cdpo(label_smoothing),
}


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_the_losses_of_the_package_agree_with_the_table(kind: str) -> None:
    info = np.finfo(np.float64)
    ruler = Ruler(EPS["float64"], float(info.tiny), float(info.max))
    library: Any = np if kind == "numpy" else pytest.importorskip("torch")
    count = 0
    for case in ORACLE.cases:
        if not case.loss.startswith("prefeq/"):
            continue
        name = case.loss.removeprefix("prefeq/")
        loss = FAMILY[case.loss](**case.parameters) if case.parameters else losses.LOSSES[name]
        points = {name: library.asarray(column) for name, column in ORACLE.points.items()}
        by = [
            points[f"{s}_tokens"] if case.normalize == "mean" else 1 for s in ("chosen", "rejected")
        ]
        chosen, rejected, ref_chosen, ref_rejected = (points[column] for column in LOGPS)
        margin = chosen / by[0] - rejected / by[1]
        ref: Any = ref_chosen / by[0] - ref_rejected / by[1]
        if name in ("eq17", "easy"):
            ref = losses.Reference(ref_chosen, ref_rejected)
        value = np.asarray(loss.value(margin, ref, case.beta))
        slope = np.asarray(loss.gradient(margin, ref, case.beta))
        for i, row in enumerate(case.singles):
            allowed, steps = room(case, row, ruler.eps)
            sides = [float(slope[i] / np.asarray(by[0] + 0 * chosen)[i])]
            sides.append(float(-slope[i] / np.asarray(by[1] + 0 * chosen)[i]))
            texts = (row.value, row.chosen_gradient[0], row.rejected_gradient[0])
            founds = (float(value[i]), *sides)
            for found, text, most in zip(founds, texts, (allowed, *steps), strict=True):
                count += 1
                wrong = ruler.differs(found, text, most, scale=0.0)
                assert not wrong, f"{case.loss} {case.beta} point {i}: {found}, exactly {text}"
    assert count == 3 * 10 * 3 * len(ORACLE.exact_in)


# --- TRL's real code -----------------------------------------------------------------------------

WITHOUT_TRL = [
    n for n in ("trl", "datasets", "transformers") if importlib.util.find_spec(n) is None
]

# What TRL 1.16 computes otherwise than exactly, beyond what rounding the inputs explains; the test
# fails when a deviation appears, and when one goes away.
DEVIATIONS = {
    # exp(−βx)·σ(βx/τ) is inf · 0 once e^−βx overflows, from βx < −709 on (float32: −88.7), where
    # the loss is −βx: one such pair makes the whole batch, and then the model, NaN.
    ("trl/discopop", "value nan"): set(DTYPES),
    ("trl/discopop", "gradient nan"): set(DTYPES),
    # label_smoothing becomes a float32 tensor: 2e-8 off in a float64 run.
    ("trl/exo_pair", "value error"): {"float64"},
    ("trl/exo_pair", "gradient error"): {"float64"},
}
# Harmless: terms cancel, as in 1 − σ(z) for σ(−z), and what is below their precision is lost. How
# much of it depends on the processor.
SMALL = {
    ("trl/exo_pair", "gradient small"),
    ("trl/discopop", "gradient small"),
    ("trl/apo_zero", "value small"),
    ("trl/apo_zero", "gradient small"),
    ("trl/apo_down", "gradient small"),
}


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A DPOTrainer of TRL, made to take the reference's log-probs from the batch."""
    import tiny_model
    from datasets import Dataset, disable_progress_bars
    from trl import DPOConfig, DPOTrainer

    disable_progress_bars()
    config = DPOConfig(
        output_dir=str(tmp_path_factory.mktemp("trl")),
        bf16=False,
        use_cpu=True,
        report_to="none",
        gradient_checkpointing=False,
    )
    made = DPOTrainer(
        model=tiny_model.model(),
        ref_model=tiny_model.model(seed=1),
        args=config,
        processing_class=tiny_model.tokenizer(),
        train_dataset=Dataset.from_list(tiny_model.TALKS),
    )
    made.precompute_ref_logps = True
    return made


def run_trl(trainer: Any, case: OracleCase, row: Any, dtype: str) -> tuple[float, list[float]]:
    """Run TRL's `_compute_loss` on a stub model that returns the log-probs of a row."""
    import torch

    kind = getattr(torch, dtype)
    logps = {
        name: torch.tensor(total(case, row, name), dtype=torch.float64).to(kind) for name in LOGPS
    }
    policy = [logps[name].requires_grad_() for name in LOGPS[:2]]
    tokens = torch.tensor([n for name in INPUTS[4:] for n in total(case, row, name)])
    length = int(tokens.max())
    completion = (torch.arange(length + 1) <= tokens[:, None]).long()
    completion[:, 0] = 0  # a prompt of one token
    nothing = torch.zeros(len(tokens), length)
    output = SimpleNamespace(
        # The first token has all of the sequence's log-prob: no sum is rounded.
        log_probs=torch.nn.functional.pad(torch.cat(policy)[:, None], (0, length - 1)),
        entropy=nothing,
        mean_logits=nothing,
        is_top1=nothing.bool(),
    )
    trainer.beta = case.beta
    trainer.loss_types, trainer.loss_weights = [case.loss.removeprefix("trl/")], [1.0]
    trainer.label_smoothing = case.parameters.get("label_smoothing", 0.0)
    trainer.args.discopop_tau = case.parameters.get("discopop_tau", 0.05)
    inputs = {
        "input_ids": torch.zeros_like(completion),
        "attention_mask": torch.ones_like(completion),
        "completion_mask": completion,
        "ref_chosen_logps": logps["ref_chosen_logps"],
        "ref_rejected_logps": logps["ref_rejected_logps"],
    }
    loss = trainer._compute_loss(lambda **given: output, inputs, False)
    found = torch.autograd.grad(loss, policy, allow_unused=True)
    sides = [torch.zeros(len(row.points)) if side is None else side for side in found]
    return float(loss.detach()), [float(x) for side in sides for x in side]


def deviations(trainer: Any, dtype: str, cases: Sequence[OracleCase]) -> dict[Any, list[Any]]:
    """Return what TRL computes otherwise than the table says, by loss and kind."""
    import torch

    info = torch.finfo(getattr(torch, dtype))
    ruler = Ruler(EPS[dtype], info.tiny, info.max)
    kept = set(ORACLE.points_in(dtype))
    found: dict[Any, list[Any]] = defaultdict(list)
    for case in cases:
        for row in case.rows:
            if not set(row.points) <= kept:
                continue
            value, gradients = run_trl(trainer, case, row, dtype)
            allowed, steps = room(case, row, ruler.eps)
            kinds = [("value", ruler.differs(value, row.value, allowed, scale=1.0))]
            texts = (*row.chosen_gradient, *row.rejected_gradient)
            for got, text, most in zip(gradients, texts, steps, strict=True):
                kinds.append(("gradient", ruler.differs(got, text, most, scale=case.beta)))
            for where, how in set(kinds):
                if how:
                    found[case.loss, f"{where} {how}"].append((case.beta, row.points))
    trainer._metrics["train"].clear()
    trainer._metrics["eval"].clear()
    return found


@pytest.mark.llm
@pytest.mark.filterwarnings("default")
@pytest.mark.skipif(bool(WITHOUT_TRL), reason=f"needs {', '.join(WITHOUT_TRL)}")
class TestTRL:
    def test_the_table_has_every_loss_type_of_trl(self, trainer: Any) -> None:
        trainer.loss_types, trainer.loss_weights = ["?"], [1.0]
        row = ORACLE.case("trl/sigmoid", 0.1).rows[0]
        unknown = OracleCase("trl/?", 0.1, {}, "sum", (row,))
        with pytest.raises(ValueError, match="Unknown loss type") as caught:
            run_trl(trainer, unknown, row, "float64")
        listed = {part for part in str(caught.value).split("'") if part.isidentifier()}
        names = {case.loss.removeprefix("trl/") for case in ORACLE.cases if "trl/" in case.loss}
        assert listed == names

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_trl_computes_what_is_exact_but_for_what_is_listed(
        self, trainer: Any, dtype: str
    ) -> None:
        cases = [case for case in ORACLE.cases if case.loss.startswith("trl/")]
        found = deviations(trainer, dtype, cases)
        listed = {key for key, dtypes in DEVIATIONS.items() if dtype in dtypes}
        shown = {key: rows[:3] for key, rows in found.items()}
        assert {key for key in found if not key[1].endswith("small")} == listed, shown
        assert set(found) - listed <= SMALL, shown

    def test_a_wrong_loss_would_be_seen(
        self, trainer: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from torch.nn import functional

        true = functional.logsigmoid
        case = ORACLE.case("trl/sigmoid", 0.1)
        assert not deviations(trainer, "float32", [case])
        monkeypatch.setattr(functional, "logsigmoid", lambda z: true(z * (1 + 2e-5)))
        assert {("trl/sigmoid", "value error"), ("trl/sigmoid", "gradient error")} <= set(
            deviations(trainer, "float32", [case])
        )

    def test_discopop_is_nan_where_the_loss_is_a_hundred(self, trainer: Any) -> None:
        case = ORACLE.case("trl/discopop", 0.1)
        row = case.rows[4]  # δ = −800, δ_ref = 800
        assert float(row.value) == 160
        value, gradients = run_trl(trainer, case, row, "float32")
        assert math.isnan(value)
        assert all(map(math.isnan, gradients))


def test_the_loader_reads_another_table(tmp_path: Path) -> None:
    whole = oracle_table.table(["trl/sft"])
    path = tmp_path / "some.json"
    path.write_text(oracle_table.text(whole), "utf-8")
    some = load_oracle(path)
    assert isinstance(some, Oracle)
    assert {case.loss for case in some.cases} == {"trl/sft"}
    assert some.cases[0] == ORACLE.case("trl/sft", some.cases[0].beta)
