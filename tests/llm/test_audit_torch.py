"""The audit of tensors: the figures of NumPy, whatever the device and the precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from llm import naive
from llm.test_faults import PLANTED, healthy

import prefeq as pq
from prefeq.llm import chunking
from prefeq.llm.flags import pair_flags

torch = pytest.importorskip("torch")

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
GROUPS = [("policy", "gap", "tokens", "prompt"), (), ("policy",), ("policy", "label")]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunking, "CHUNK", 500)


def tensors(data: dict[str, Any], device: str, dtype: Any = None) -> dict[str, Any]:
    found = {}
    for name, values in data.items():
        if name == "prompt":
            found[name] = values
        else:
            exact = not name.endswith("logps") or dtype is None
            found[name] = torch.tensor(values, device=device, dtype=None if exact else dtype)
    return found


def same(one: Any, other: Any, where: str = "") -> None:
    """Raise unless two JSON forms agree: numbers to 1e-12, all else exactly."""
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for name in one:
            same(one[name], other[name], f"{where}.{name}")
    elif isinstance(one, list):
        assert len(one) == len(other), where
        for i, (first, second) in enumerate(zip(one, other, strict=True)):
            same(first, second, f"{where}[{i}]")
    elif isinstance(one, float) and isinstance(other, float):
        assert one == pytest.approx(other, rel=1e-12, abs=1e-14), where
    else:
        assert one == other, where


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("groups", GROUPS, ids="-".join)
@pytest.mark.parametrize("kind", ["plain", "ties", "extreme"])
def test_float64_tensors(
    rng: np.random.Generator, groups: tuple[str, ...], kind: str, device: str
) -> None:
    data = naive.draw(rng, 1700, kind) | {"label_prob": rng.random(1700)}
    data = naive.only(data, *groups)
    for column in naive.LOGPS[2:]:
        data[column][rng.random(1700) < 0.01] = np.nan
    ours, theirs = (pq.audit(d, beta=0.1) for d in (data, tensors(data, device)))
    same(theirs.to_dict(), ours.to_dict())
    assert ours["excluded"] > 0


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_low_precision_is_taken_as_exact_numbers(
    rng: np.random.Generator, dtype: str, device: str
) -> None:
    data = naive.only(naive.draw(rng, 1700), "policy", "gap", "tokens")
    low = tensors(data, device, getattr(torch, dtype))
    exact = {name: values.double().cpu().numpy() for name, values in low.items()}
    ours, theirs = pq.audit(exact, beta=0.1), pq.audit(low, beta=0.1)
    same(theirs.to_dict(), ours.to_dict())
    true = naive.figures(exact, 0.1)
    for name in naive.FAMILY:
        assert theirs["losses"][name]["mean"] == pytest.approx(true["losses"][name]["mean"], 1e-12)


def test_numpy_float16_and_float32(rng: np.random.Generator) -> None:
    data = naive.only(naive.draw(rng, 900), "policy")
    for dtype in (np.float16, np.float32):
        low = {name: values.astype(dtype) for name, values in data.items()}
        exact = {name: values.astype(np.float64) for name, values in low.items()}
        same(pq.audit(low, beta=0.1).to_dict(), pq.audit(exact, beta=0.1).to_dict())


def test_sums_are_not_taken_in_low_precision() -> None:
    count = 5000  # in bfloat16 a sum of ones stops at 256
    columns = {name: torch.full((count,), -1.0, dtype=torch.bfloat16) for name in naive.LOGPS}
    columns["chosen_logps"] -= 1
    report = pq.audit(columns, beta=1.0)
    assert report["margin"]["mean"] == -1.0
    assert report["losses"]["dpo"]["mean"] == pytest.approx(np.logaddexp(0, 1), rel=1e-15)


def test_tensors_with_gradients_and_arrays_beside_them(rng: np.random.Generator) -> None:
    data = naive.only(naive.draw(rng, 300), "policy", "gap")
    mixed = dict(data)
    for name in naive.LOGPS[:2]:
        mixed[name] = torch.tensor(data[name], requires_grad=True)
    same(pq.audit(mixed, beta=0.1).to_dict(), pq.audit(data, beta=0.1).to_dict())
    with pytest.raises(pq.ProblemError, match="complex"):
        pq.audit(mixed | {"chosen_logps": torch.zeros(300, dtype=torch.complex64)}, beta=0.1)


def test_inputs_are_left_alone(rng: np.random.Generator) -> None:
    data = naive.only(naive.draw(rng, 700), "policy", "gap", "tokens")
    for convert in (lambda d: d, lambda d: tensors(d, "cpu")):
        given = convert({name: np.array(values) for name, values in data.items()})
        for values in given.values():
            if isinstance(values, np.ndarray):
                values.flags.writeable = False
        pq.audit(given, beta=0.1)
        for name, values in given.items():
            assert (np.asarray(values) == data[name]).all()


@pytest.mark.parametrize(("name", "plant", "options"), PLANTED)
def test_faults_of_tensors(
    rng: np.random.Generator, name: str, plant: Any, options: dict[str, Any]
) -> None:
    data = plant(healthy(rng, 1200), rng)
    ours = pq.audit(data, beta=0.1, **options)
    theirs = pq.audit(tensors(data, "cpu"), beta=0.1, **options)
    assert theirs["faults"] == ours["faults"]
    assert theirs.faults == (name,)


def test_flags_of_tensors(rng: np.random.Generator) -> None:
    data = naive.only(naive.draw(rng, 900), "policy", "gap", "tokens")
    ours, theirs = pair_flags(data, beta=0.1), pair_flags(tensors(data, "cpu"), beta=0.1)
    assert ours.keys() == theirs.keys()
    for name, column in ours.items():
        assert isinstance(theirs[name], np.ndarray)
        assert (theirs[name] == column).all()


def test_the_comparison_sees_a_difference(rng: np.random.Generator) -> None:
    data = naive.only(naive.draw(rng, 300), "policy")
    other = data | {"chosen_logps": data["chosen_logps"] + 1e-6}
    with pytest.raises(AssertionError):
        same(pq.audit(data, beta=0.1).to_dict(), pq.audit(other, beta=0.1).to_dict())
