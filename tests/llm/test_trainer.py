"""The real TRL with a tiny model: prefeq's metrics in the logs of a training run."""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import prefeq as pq
from prefeq.errors import ProblemError

torch = pytest.importorskip("torch")

from prefeq.llm import trainer as audited  # noqa: E402 - torch is an extra
from prefeq.llm.tally import Tally  # noqa: E402

NEEDED = ("trl", "datasets", "transformers")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]
# Warnings of transformers and TRL are theirs to fix.
llm_test = [
    pytest.mark.llm,
    pytest.mark.filterwarnings("default"),
    pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}"),
]

REWARDS = [(1.0, 0.0), (0.5, 0.25), (0.0, 1.0), (2.0, -8.0)]


@pytest.fixture(scope="module")
def tiny() -> Any:
    pytest.importorskip("transformers")
    import tiny_model

    return tiny_model


@pytest.fixture
def make(tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Make a trainer of four pairs; what is given goes to the trainer, `config` to its config."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from datasets import Dataset, disable_progress_bars
    from trl import DPOConfig

    disable_progress_bars()

    def build(trainer: type | None = None, rows: Any = None, **given: Any) -> Any:
        settings = {
            "output_dir": str(tmp_path),
            "per_device_train_batch_size": 4,
            "learning_rate": 1e-2,
            "lr_scheduler_type": "constant",
            "max_steps": 3,
            "logging_steps": 1,
            "bf16": False,
            "use_cpu": True,
            "gradient_checkpointing": False,
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
            "seed": 1,
        }
        config = DPOConfig(**(settings | given.pop("config", {})))
        # On disk: TRL 1.6 to 1.8 look for the reference's log-probs beside the data set.
        Dataset.from_list(tiny.TALKS if rows is None else rows).save_to_disk(tmp_path / "data")
        data = Dataset.load_from_disk(tmp_path / "data")
        policy = tiny.model(seed=1, scale=0.5)
        if "ref_model" not in given:
            policy.save_pretrained(tmp_path / "policy")  # of which TRL takes its own copy
            policy.config._name_or_path = str(tmp_path / "policy")
        chosen = {
            "model": policy,
            "processing_class": tiny.tokenizer(),
            "train_dataset": data,
            "eval_dataset": data,
        }
        return (trainer or audited.AuditedDPOTrainer)(args=config, **(chosen | given))

    return build


def expected(
    tiny: Any, policy: Any, reference: Any, rows: Any, beta: float = 0.1, **options: Any
) -> dict[str, float]:
    """The metrics from `score_pairs`, which shares no code with a trainer."""
    from prefeq.llm.scoring import score_pairs

    scored = score_pairs(reference, tiny.tokenizer(), rows) | score_pairs(
        policy, tiny.tokenizer(), rows, role="policy"
    )
    tally = Tally(beta, **options)
    tally.add({k: v for k, v in scored.items() if k not in ("prompt", "row_id")})
    return tally.metrics()


def logged(trainer: Any, key: str) -> list[float]:
    return [entry[key] for entry in trainer.state.log_history if key in entry]


def ours(entry: dict[str, float], prefix: str = "prefeq/") -> dict[str, float]:
    return {k.removeprefix(prefix): v for k, v in entry.items() if k.startswith(prefix)}


def with_rewards(tiny: Any, names: tuple[str, str] = ("chosen_reward", "rejected_reward")) -> Any:
    return [
        {**pair, **dict(zip(names, reward, strict=True))}
        for pair, reward in zip(tiny.TALKS, REWARDS, strict=True)
    ]


# --- the metrics ---------------------------------------------------------------------------------


def test_the_tally_is_the_definitions(rng: np.random.Generator) -> None:
    columns = {
        name: rng.normal(-20, 8, 500)
        for name in ("chosen_logps", "rejected_logps", "ref_chosen_logps", "ref_rejected_logps")
    }
    columns |= {"chosen_reward": rng.normal(size=500), "rejected_reward": rng.normal(size=500)}
    columns |= {f"{side}_tokens": rng.integers(1, 9, 500) for side in ("chosen", "rejected")}
    for per_token in (False, True):
        tally = Tally(0.3, per_token)
        for part in range(0, 500, 70):
            tally.add({name: column[part : part + 70] for name, column in columns.items()})
        count = dict.fromkeys(("positive", "undesirable", "displaced", "negative", "violated"), 0)
        total = 0.0
        for row in range(500):
            pair = {name: float(column[row]) for name, column in columns.items()}
            if per_token:
                for side in ("chosen", "rejected"):
                    for prefix in ("", "ref_"):
                        pair[f"{prefix}{side}_logps"] /= pair[f"{side}_tokens"]
            delta = pair["chosen_logps"] - pair["rejected_logps"]
            ref = pair["ref_chosen_logps"] - pair["ref_rejected_logps"]
            total += ref
            count["positive"] += delta > 0
            count["undesirable"] += ref < delta < 0
            count["displaced"] += all(
                pair[f"{side}_logps"] < pair[f"ref_{side}_logps"] for side in ("chosen", "rejected")
            )
            count["negative"] += ref < 0
            count["violated"] += not pair["chosen_reward"] - pair["rejected_reward"] > -0.3 * ref
        found = tally.metrics()
        assert list(found) == [
            "absolute_accuracy",
            "undesirable_share",
            "displaced_share",
            "target_margin",
            "negative_target_share",
            "violation_rate",
        ]
        assert found.pop("target_margin") == pytest.approx(total / 500, rel=1e-12)
        assert list(found.values()) == [value / 500 for value in count.values()]


def test_pairs_that_are_not_finite_are_counted_and_left_out() -> None:
    tally = Tally(1.0)
    columns = {
        "chosen_logps": [-1.0, math.nan, -1.0, -2.0],
        "rejected_logps": [-2.0, -2.0, -math.inf, -1.0],
        "ref_chosen_logps": [-1.0] * 4,
        "ref_rejected_logps": [-2.0] * 4,
        "label_prob": [0.9, 0.9, 0.9, math.nan],
    }
    tally.add(columns)
    assert tally.metrics() == {
        "absolute_accuracy": 0.5,
        "undesirable_share": 0.0,
        "displaced_share": 0.0,
        "target_margin": 1.0,
        "negative_target_share": 0.0,
        "violation_rate": 0.0,
        "excluded": 2.0,
    }
    assert Tally(1.0).metrics() == {}


# --- TRL -----------------------------------------------------------------------------------------


class TestWithTRL:
    pytestmark = llm_test

    def test_the_logs_of_a_run_are_what_score_pairs_finds(
        self, make: Callable[..., Any], tiny: Any
    ) -> None:
        rows = with_rewards(tiny)
        policy, reference = tiny.model(seed=1, scale=0.5), tiny.model(seed=2, scale=0.5)
        first = expected(tiny, policy, reference, rows)
        trainer = make(rows=rows, model=policy, ref_model=reference)
        trainer.train()
        assert len(logged(trainer, "prefeq/absolute_accuracy")) == 3
        start = ours(trainer.state.log_history[0])
        assert start.pop("target_margin") == pytest.approx(first.pop("target_margin"), abs=1e-4)
        assert start == first
        assert 0 < first["violation_rate"] < 1
        metrics = trainer.evaluate()
        found = ours(metrics, "eval_prefeq/")
        last = expected(tiny, trainer.model, reference, rows)
        assert found.pop("target_margin") == pytest.approx(last.pop("target_margin"), abs=1e-4)
        assert found == last
        assert last["absolute_accuracy"] != first["absolute_accuracy"]  # it has learned something
        assert ours(trainer.state.log_history[-1], "eval_prefeq/").keys() == last.keys() | {
            "target_margin"
        }

    def test_training_is_the_same_as_without(self, make: Callable[..., Any], tiny: Any) -> None:
        from trl import DPOTrainer

        trainers = [make(kind, rows=with_rewards(tiny)) for kind in (None, DPOTrainer)]
        for trainer in trainers:
            trainer.train()
        audit, plain = (
            [
                {k: v for k, v in entry.items() if "prefeq/" not in k and "runtime" not in k}
                for entry in trainer.state.log_history
            ]
            for trainer in trainers
        )
        timed = {key for entry in plain for key in entry if "per_second" in key}
        for one, other in zip(audit, plain, strict=True):
            assert {k: v for k, v in one.items() if k not in timed} == {
                k: v for k, v in other.items() if k not in timed
            }
        for one, other in zip(*(t.model.parameters() for t in trainers), strict=True):
            assert torch.equal(one, other)

    @pytest.mark.parametrize("precompute", [False, True])
    def test_the_reference_may_be_a_copy_or_computed_before(
        self, make: Callable[..., Any], tiny: Any, precompute: bool
    ) -> None:
        rows = with_rewards(tiny)
        config = {"precompute_ref_log_probs": precompute, "gradient_checkpointing": True}
        trainer = make(rows=rows, config=config)
        trainer.train()
        reference = tiny.model(seed=1, scale=0.5)
        found = ours(trainer.evaluate(), "eval_prefeq/")
        last = expected(tiny, trainer.model, reference, rows)
        assert found.pop("target_margin") == pytest.approx(last.pop("target_margin"), abs=1e-4)
        assert found == last
        assert found["violation_rate"] > 0

    def test_our_columns_are_not_handed_to_the_models(
        self, make: Callable[..., Any], tiny: Any, tmp_path: Path
    ) -> None:
        from datasets import Dataset
        from trl import DPOTrainer

        rows = with_rewards(tiny)
        models = [tiny.model(seed=seed, scale=0.5) for seed in (1, 2)]
        given: set[str] = set()
        for model in models:
            model.register_forward_pre_hook(
                lambda module, args, kwargs: given.update(kwargs), with_kwargs=True
            )
        for precompute in (False, True):
            config = {"precompute_ref_log_probs": precompute, "max_steps": 1}
            trainer = make(rows=rows, model=models[0], ref_model=models[1], config=config)
            trainer.train()
            # A data set that the trainer has not seen, for which it has no reference yet; TRL
            # takes one as it is from 1.7 on.
            Dataset.from_list(rows[::-1]).save_to_disk(tmp_path / "other")
            other = Dataset.load_from_disk(tmp_path / "other")
            found = trainer.evaluate(other if "evaluate" in vars(DPOTrainer) else None)
            assert "eval_prefeq/violation_rate" in found
            assert "input_ids" in given
            assert not given & set(audited.GAP)

    def test_score_pairs_gives_the_reference_that_trl_computes(
        self, make: Callable[..., Any], tiny: Any
    ) -> None:
        from prefeq.llm.scoring import score_pairs

        for rows in (tiny.TALKS, tiny.TEXTS[:2]):
            trainer = make(rows=rows, config={"precompute_ref_log_probs": True})
            scored = score_pairs(tiny.model(seed=1, scale=0.5), tiny.tokenizer(), rows)
            for side in ("chosen", "rejected"):
                name = f"ref_{side}_logps"
                assert trainer.train_dataset[name][:] == pytest.approx(scored[name], abs=1e-3)
                tokens = [len(ids) for ids in trainer.train_dataset[f"{side}_ids"]]
                assert tokens == scored[f"{side}_tokens"].tolist()

    def test_each_pair_counts_once_whatever_the_batches(
        self, make: Callable[..., Any], tiny: Any
    ) -> None:
        rows = with_rewards(tiny)
        config = {
            "per_device_train_batch_size": 3,  # and one more
            "per_device_eval_batch_size": 3,
            "gradient_accumulation_steps": 2,
            "learning_rate": 0.0,
            "num_train_epochs": 1,
            "max_steps": -1,
        }
        reference = tiny.model(seed=2, scale=0.5)
        trainer = make(rows=rows, ref_model=reference, config=config)
        whole = expected(tiny, trainer.model, reference, rows)
        target = whole.pop("target_margin")
        trainer.train()
        metrics = trainer.evaluate()
        for entry, prefix in ((trainer.state.log_history[0], ""), (metrics, "eval_")):
            found = ours(entry, f"{prefix}prefeq/")
            assert found.pop("target_margin") == pytest.approx(target, abs=1e-4)
            assert found == whole

    def test_other_names_of_columns_and_label_probabilities(
        self, make: Callable[..., Any], tiny: Any
    ) -> None:
        reference = tiny.model(seed=2, scale=0.5)
        rows = with_rewards(tiny, ("score_chosen", "score_rejected"))
        mapping = {"chosen_reward": "score_chosen", "rejected_reward": "score_rejected"}
        config = {"max_steps": 1, "learning_rate": 0.0}
        trainer = make(rows=rows, ref_model=reference, audit_columns=mapping, config=config)
        trainer.train()
        by_reward = logged(trainer, "prefeq/violation_rate")
        policy = tiny.model(seed=1, scale=0.5)
        assert by_reward == [
            expected(tiny, policy, reference, with_rewards(tiny))["violation_rate"]
        ]
        probs = [float(pq.margins.sigmoid(a - b)) for a, b in REWARDS]
        rows = [{**pair, "label_prob": q} for pair, q in zip(tiny.TALKS, probs, strict=True)]
        trainer = make(rows=rows, ref_model=tiny.model(seed=2, scale=0.5), config=config)
        trainer.train()
        assert logged(trainer, "prefeq/violation_rate") == by_reward
        with pytest.raises(ProblemError, match="no column 'score' for label_prob; there are"):
            make(rows=rows, audit_columns={"label_prob": "score"})
        with pytest.raises(ProblemError, match="'reward' is none of chosen_reward"):
            make(rows=rows, audit_columns={"reward": "score"})
        with pytest.raises(ProblemError, match="the data set has chosen_reward: give"):
            make(rows=[{**pair, "chosen_reward": 1.0} for pair in tiny.TALKS])

    @pytest.mark.parametrize(
        ("loss", "normalize", "target"),
        [
            (["sigmoid", "sft"], "sum", True),
            (["ipo"], "mean", True),
            (["sigmoid_norm"], "mean", True),
            (["nca_pair"], "sum", False),
            (["sigmoid", "apo_zero"], "sum", False),
        ],
    )
    def test_the_loss_decides_what_is_averaged_and_has_a_target(
        self, make: Callable[..., Any], tiny: Any, loss: list[str], normalize: str, target: bool
    ) -> None:
        reference = tiny.model(seed=2, scale=0.5)
        config = {"loss_type": loss, "max_steps": 1, "learning_rate": 0.0}
        trainer = make(ref_model=reference, config=config)
        assert trainer.audit_normalize == normalize
        options = {"per_token": normalize == "mean", "has_target": target}
        whole = expected(tiny, trainer.model, reference, tiny.TALKS, **options)
        trainer.train()
        assert ours(trainer.state.log_history[0]) == pytest.approx(whole, abs=1e-4)
        assert ("target_margin" in whole) == target
        assert "violation_rate" not in whole

    def test_a_divergence_has_no_such_target(self, make: Callable[..., Any]) -> None:
        trainer = make(config={"f_divergence_type": "js_divergence", "max_steps": 1})
        trainer.train()
        assert "prefeq/absolute_accuracy" in trainer.state.log_history[0]
        assert "prefeq/target_margin" not in trainer.state.log_history[0]

    def test_what_is_not_the_log_prob_of_a_response_is_refused(
        self, make: Callable[..., Any]
    ) -> None:
        with pytest.raises(ProblemError, match="ld_alpha weighs"):
            make(config={"ld_alpha": 0.5})
        with pytest.raises(ProblemError, match="normalize = 'max'"):
            make(normalize="max")

    def test_a_run_that_is_not_finite_is_told_of_and_not_stopped(
        self, make: Callable[..., Any], tiny: Any
    ) -> None:
        trainer = make(ref_model=tiny.model(seed=2, scale=0.5), config={"max_steps": 1})
        with torch.no_grad():
            trainer.model.lm_head.weight.fill_(math.nan)
        trainer.train()
        assert ours(trainer.state.log_history[0]) == {"excluded": 4}

    @pytest.mark.parametrize("wrong", ["chosen", "margin"])
    def test_a_recording_that_is_not_trls_stops_the_run(
        self, make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, wrong: str
    ) -> None:
        true = audited._columns

        def swapped(seen: Any, inputs: Any) -> Any:
            found = true(seen, inputs)
            if wrong == "chosen":
                found["chosen_logps"] = found["rejected_logps"] * 1.3
            else:
                found["ref_chosen_logps"] = found["ref_chosen_logps"] - 40
            return found

        monkeypatch.setattr(audited, "_columns", swapped)
        with pytest.raises(ProblemError, match="prefeq's metrics would be wrong"):
            make().train()

    def test_it_is_trls_trainer_under_an_honest_name(self) -> None:
        from trl import DPOTrainer

        kind = audited.AuditedDPOTrainer
        assert issubclass(kind, DPOTrainer)
        assert kind is audited.AuditedDPOTrainer
        assert kind.__name__ == "AuditedDPOTrainer"
        assert "audit_columns" in kind.__doc__

    def test_the_installed_version_is_one_that_is_stated(self) -> None:
        assert metadata.version("trl") in audited.TESTED
        assert len(set(map(audited._release, audited.TESTED))) == len(audited.TESTED)


@pytest.mark.parametrize("found", ["0.29.1", "1.15.0", "1.17.0", "2.0.0.dev0", "?"])
def test_other_versions_of_trl_are_refused(found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audited, "version", lambda name: found)
    with pytest.raises(ProblemError, match=r"TRL .* is not one .* pip install 'trl=="):
        audited.AuditedDPOTrainer  # noqa: B018 - asking for it is what fails
    with pytest.raises(ProblemError, match="not one of those"):
        audited.AuditMixin()


def test_trl_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(audited, "version", missing)
    with pytest.raises(ProblemError, match=r"needs TRL: pip install 'prefeq\[trl\]'"):
        audited.AuditedDPOTrainer  # noqa: B018
    with pytest.raises(AttributeError, match="no attribute 'Trainer'"):
        audited.Trainer  # noqa: B018


def test_its_module_is_imported_without_trl() -> None:
    import subprocess
    import sys

    code = "import sys, json, prefeq.llm.trainer; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert not {"trl", "transformers", "datasets"} & set(json.loads(done.stdout))
