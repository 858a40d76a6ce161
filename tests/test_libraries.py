"""Bandits, pairs and solvers on arrays of other libraries: the same numbers come out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import prefeq as pq

torch = pytest.importorskip("torch")


def problem(size: int = 40, k: int = 5, pairs: int = 4, seed: int = 0) -> dict[str, Any]:
    """Return a ragged batch: random rewards, references, strengths, pairs, labels and masses."""
    rng = np.random.default_rng(seed)
    ref_logp = rng.normal(size=(size, k)) * 3
    ref_logp[rng.random((size, k)) < 0.2] = -np.inf
    ref_logp[:, :2] = rng.normal(size=(size, 2))
    count = np.sum(np.isfinite(ref_logp), axis=-1, keepdims=True)
    listed = np.argsort(~np.isfinite(ref_logp), axis=-1, kind="stable")
    first = rng.integers(0, 1000, (size, pairs)) % count
    second = (first + 1 + rng.integers(0, 1000, (size, pairs)) % (count - 1)) % count
    return {
        "reward": rng.normal(size=(size, k)),
        "ref_logp": ref_logp,
        "beta": np.exp(rng.normal(size=size)),
        "winner": np.take_along_axis(listed, first, axis=-1),
        "loser": np.take_along_axis(listed, second, axis=-1),
        "log_odds": rng.normal(size=(size, pairs)),
        "mass": rng.random((size, pairs)) * (rng.random((size, pairs)) < 0.8),
    }


def build(numbers: dict[str, Any], library: Any) -> tuple[pq.Bandit, pq.Preferences]:
    """Return the bandit and the pairs of the arrays of a library."""
    arrays = {name: library(value) for name, value in numbers.items()}
    bandit = pq.Bandit(*(arrays[name] for name in ("reward", "ref_logp", "beta")))
    labels = {name: arrays[name] for name in ("log_odds", "mass")}
    return bandit, pq.Preferences(arrays["winner"], arrays["loser"], **labels)


def close(one: Any, other: Any, tolerance: float = 1e-12) -> None:
    """Check that a tensor holds the numbers of an array."""
    assert isinstance(one, torch.Tensor)
    np.testing.assert_allclose(one.numpy(), other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    "wrong", [[1.0, -1.9], [1.0, -2.0 + 1e-11], [1.0, np.nan], [1.0, np.inf], [1.0]]
)
def test_the_comparison_sees_a_wrong_answer(wrong: list[float]) -> None:
    close(torch.tensor([1.0, -2.0], dtype=torch.float64), [1.0, -2.0])
    with pytest.raises(AssertionError):
        close(torch.tensor(wrong, dtype=torch.float64), np.array([1.0, -2.0]))
    with pytest.raises(AssertionError):
        close(np.array([1.0, -2.0]), np.array([1.0, -2.0]))  # no tensor


def test_a_bandit_of_tensors_is_the_same_bandit() -> None:
    (ours, pairs), (theirs, others) = (build(problem(), lib) for lib in (np.array, torch.tensor))
    for name in ("reward", "ref_logp", "beta", "tilt", "support"):
        close(getattr(theirs, name), getattr(ours, name))
    for name in ("winner", "loser", "log_odds", "prob", "mass", "present"):
        close(getattr(others, name), getattr(pairs, name))
    for facts in ("reward_gap", "ref_margin", "components", "strong_components"):
        close(getattr(others, facts)(theirs), getattr(pairs, facts)(ours))
    assert isinstance(theirs.to_numpy().reward, np.ndarray)
    assert isinstance(others.to_numpy().mass, np.ndarray)
    assert repr(theirs) == repr(ours)


@pytest.mark.parametrize("make", [pq.Preferences.bradley_terry, pq.Preferences.ordered])
def test_default_pairs_are_the_same(make: Any) -> None:
    ours, theirs = (build(problem(), lib)[0] for lib in (np.array, torch.tensor))
    for name in ("winner", "loser", "log_odds", "mass"):
        close(getattr(make(theirs), name), getattr(make(ours), name))
    drawn = [pq.Preferences.sample(bandit, 30, seed=1) for bandit in (ours, theirs)]
    close(drawn[1].log_odds, drawn[0].log_odds)


@pytest.mark.parametrize("solver", ["rlhf", "dpo", "cpo"])
@pytest.mark.parametrize("index", [..., 3], ids=["batch", "single"])
def test_solvers_return_what_they_were_given(solver: str, index: Any) -> None:
    found = []
    for library in (np.array, torch.tensor):
        bandit, pairs = build(problem(), library)
        if index is not ...:
            bandit, pairs = bandit[index], pairs[index]
        if solver == "rlhf":
            found.append((pq.solve_rlhf(bandit), pairs))
        elif solver == "dpo":
            found.append((pq.solve_dpo(bandit, pairs), pairs))
        else:
            found.append((pq.solve_cpo(bandit, pairs, -1.0, throw=False), pairs))
    (ours, pairs), (theirs, others) = found
    assert np.array_equal(ours.status, theirs.status)
    for name in ("logp", "value", "loss", "multipliers", "direction"):
        if isinstance(getattr(ours, name), np.ndarray):
            close(getattr(theirs, name), getattr(ours, name), 1e-9)
    close(theirs.margin(others), ours.margin(pairs), 1e-9)
    assert isinstance(theirs.to_numpy().logp, np.ndarray)
    assert repr(theirs).splitlines()[0] == repr(ours).splitlines()[0]


def test_low_precision_and_gradients_are_taken_as_numbers() -> None:
    reward = torch.tensor([1.0, 0.0], dtype=torch.float16, requires_grad=True)
    bandit = pq.Bandit(reward, torch.tensor([0.0, 0.0], dtype=torch.bfloat16), 1.0)
    assert bandit.reward.dtype == torch.float64
    assert not bandit.reward.requires_grad


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: pq.Bandit(torch.zeros(2), np.zeros(2), 1.0), "ref_logp is a NumPy array"),
        (lambda: pq.Bandit(torch.zeros(2), torch.tensor([0, torch.nan]), 1.0), r"ref_logp\[1\]"),
        (lambda: pq.Bandit(torch.zeros(2, dtype=torch.complex64), [0, 0], 1.0), "dtype"),
        (lambda: pq.Preferences(torch.zeros(1), torch.ones(1)), "integer"),
        (
            lambda: pq.solve_dpo(pq.Bandit([0, 0], [0, 0], 1.0), pq.Preferences(*_ends())),
            "bandit is a NumPy array",
        ),
    ],
)
def test_mixed_or_bad_tensors_are_refused(make: Any, message: str) -> None:
    with pytest.raises(pq.ProblemError, match=message):
        make()


def _ends() -> Any:
    return torch.tensor([[0], [1]])
