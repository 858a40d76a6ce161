"""Bandits: a reward, an explicit reference policy and a KL strength, for one prompt or many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from prefeq.arrays import (
    MAX_NATS,
    BoolArray,
    FloatArray,
    as_float,
    freeze,
    log_normalise,
    refuse,
)
from prefeq.errors import ProblemError


@dataclass(frozen=True, eq=False, repr=False)
class Bandit:
    """A K-response bandit, or a batch of them: the leading axes are prompts.

    The objective is J(π) = E_π[r] − β KL(π‖π_ref) (arXiv:2605.20834, section 2).

    Parameters
    ----------
    reward
        r, shape ``(..., K)``, finite.
    ref_logp
        log π_ref in nats, shape ``(..., K)``; normalised per prompt on construction. ``-inf`` marks
        a response that does not exist here: ragged batches and true off-support are one thing.
    beta
        β > 0, a scalar or one per prompt.

    Raises
    ------
    ProblemError
        Naming the entry: NaN or infinite rewards, β ≤ 0 or not finite, a reference log-prob that is
        NaN or +inf, a prompt without support, shapes that do not match, a complex or object dtype,
        β outside 1e-100 to 1e100, or a spread of more than 1e100 nats.

    Examples
    --------
    >>> import prefeq as pq
    >>> bandit = pq.Bandit.from_probs(reward=[1, 0, 0], ref=[0.05, 0.9, 0.05], beta=1.0)
    >>> bandit
    Bandit(K=3, beta=1.0)
    >>> bandit.ref_logp.round(4).tolist()
    [-2.9957, -0.1054, -2.9957]
    """

    reward: FloatArray
    ref_logp: FloatArray
    beta: Any
    prompts: tuple[str, ...] | None = None
    responses: tuple[tuple[str, ...], ...] | None = None

    def __post_init__(self) -> None:
        reward, ref_logp = as_float("reward", self.reward), as_float("ref_logp", self.ref_logp)
        beta = as_float("beta", self.beta)
        lead = _batch_shape(reward, ref_logp, beta)
        refuse("reward", reward, ~np.isfinite(reward), "rewards must be finite (absent ones: 0)")
        refuse("beta", beta, ~(np.isfinite(beta) & (beta > 0)), "beta must be positive and finite")
        extreme = (beta < 1 / MAX_NATS) | (beta > MAX_NATS)
        refuse("beta", beta, extreme, "is outside 1e-100 to 1e+100; rescale r and beta")
        bad = np.isnan(ref_logp) | (ref_logp == np.inf)
        refuse("ref_logp", ref_logp, bad, "must be a log-prob, or -inf for 'not a response'")
        k = reward.shape[-1]
        ref_logp = np.broadcast_to(ref_logp, (*lead, k))
        reward = np.array(np.broadcast_to(reward, (*lead, k)))
        support = np.isfinite(ref_logp)
        empty = ~np.any(support, axis=-1)
        refuse("ref_logp row", np.max(ref_logp, axis=-1), empty, _EMPTY)
        reward[~support] = 0.0
        beta = np.broadcast_to(beta, lead)
        _refuse_spread("ref_logp", ref_logp, support, np.ones(lead))
        _refuse_spread("reward / beta", reward, support, beta)
        object.__setattr__(self, "reward", freeze(reward))
        object.__setattr__(self, "ref_logp", freeze(log_normalise(ref_logp)))
        object.__setattr__(self, "beta", freeze(np.array(beta)) if lead else float(beta))

    @classmethod
    def from_probs(cls, *, reward: Any, ref: Any, beta: Any) -> Bandit:
        """Build a bandit from reference *probabilities* (≥ 0; normalised; 0 means off-support)."""
        probs = as_float("ref", ref)
        refuse("ref", probs, ~(np.isfinite(probs) & (probs >= 0)), "must be a probability >= 0")
        with np.errstate(divide="ignore"):
            return cls(reward, np.log(probs), beta)

    @classmethod
    def from_table(cls, table: Mapping[str, Sequence[Any]] | str | Path, *, beta: Any) -> Bandit:
        """Build a ragged batch from columns ``prompt, response, ref_logp, reward``.

        `table` is a mapping of columns, or a path to CSV, JSON Lines or Parquet. Prompts keep the
        order of their first row; short ones are padded with ``ref_logp = -inf``.

        Examples
        --------
        >>> import prefeq as pq
        >>> columns = {"prompt": ["a", "a", "b"], "response": ["x", "y", "x"],
        ...            "ref_logp": [-1.0, -2.0, -0.5], "reward": [1, 0, 1]}
        >>> batch = pq.Bandit.from_table(columns, beta=0.1)
        >>> batch.prompts, batch.responses, batch.ref_logp.shape
        (('a', 'b'), (('x', 'y'), ('x',)), (2, 2))
        """
        from prefeq import tables

        columns = tables.bandit_columns(table)
        rows: dict[str, list[int]] = {}
        for i, prompt in enumerate(columns["prompt"]):
            rows.setdefault(prompt, []).append(i)
        k = max(len(members) for members in rows.values())
        reward, ref_logp = np.zeros((len(rows), k)), np.full((len(rows), k), -np.inf)
        for row, members in enumerate(rows.values()):
            reward[row, : len(members)] = [columns["reward"][i] for i in members]
            ref_logp[row, : len(members)] = [columns["ref_logp"][i] for i in members]
        responses = tuple(tuple(columns["response"][i] for i in m) for m in rows.values())
        return cls(reward, ref_logp, beta, tuple(rows), responses)

    @property
    def K(self) -> int:
        """Number of responses (padding included)."""
        return int(self.reward.shape[-1])

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Shape of the leading axes: ``()`` for a single prompt."""
        return self.reward.shape[:-1]

    @property
    def support(self) -> BoolArray:
        """Where π_ref > 0, shape ``(..., K)``."""
        return np.isfinite(self.ref_logp)

    @property
    def tilt(self) -> FloatArray:
        """(r − max r)/β, shape ``(..., K)``, the maximum over the support; -inf off-support."""
        masked = np.where(self.support, self.reward, -np.inf)
        top = np.max(masked, axis=-1, keepdims=True)
        return np.asarray((masked - top) / np.asarray(self.beta)[..., None])

    def __getitem__(self, index: Any) -> Bandit:
        """Return the prompt (or sub-batch) at `index` of the leading axes."""
        if not self.batch_shape:
            raise ProblemError("this bandit is a single prompt: it cannot be indexed")
        part = object.__new__(Bandit)
        beta = self.beta[index]
        names = tuple(_pick_names(labels, index) for labels in (self.prompts, self.responses))
        values = (self.reward[index], self.ref_logp[index], beta if np.ndim(beta) else float(beta))
        for name, value in zip(self.__dataclass_fields__, values + names, strict=True):
            object.__setattr__(part, name, value)
        return part

    def __len__(self) -> int:
        if not self.batch_shape:
            raise TypeError("a single-prompt bandit has no length")
        return self.batch_shape[0]

    def __repr__(self) -> str:
        shape = f"batch_shape={self.batch_shape}, " if self.batch_shape else ""
        beta = self.beta
        if self.batch_shape and np.all(beta == beta.flat[0] if beta.size else True):
            beta = float(beta.flat[0]) if beta.size else None
        return f"Bandit({shape}K={self.K}, beta={beta})"


_EMPTY = "no response is in its support (this is the largest log-prob); drop the prompt"


def _pick_names(labels: tuple[Any, ...] | None, index: Any) -> tuple[Any, ...] | None:
    if labels is None or not isinstance(index, int | np.integer | slice):
        return None
    return labels[index] if isinstance(index, slice) else (labels[index],)


def _batch_shape(reward: FloatArray, ref: FloatArray, beta: FloatArray) -> tuple[int, ...]:
    if reward.ndim == 0 or ref.ndim == 0 or reward.shape[-1] != ref.shape[-1]:
        raise ProblemError(
            f"shape mismatch: reward is {reward.shape} and ref_logp is {ref.shape}; "
            "both need the same last axis K"
        )
    if reward.shape[-1] == 0:
        raise ProblemError("shape mismatch: K = 0; a bandit needs at least one response")
    try:
        lead = np.broadcast_shapes(reward.shape[:-1], ref.shape[:-1])
        return np.broadcast_shapes(lead, beta.shape)
    except ValueError as error:
        raise ProblemError(
            f"shape mismatch: leading axes of reward {reward.shape}, ref_logp {ref.shape} and "
            f"beta {beta.shape} do not broadcast"
        ) from error


def _refuse_spread(name: str, values: FloatArray, support: BoolArray, beta: FloatArray) -> None:
    with np.errstate(over="ignore"):
        top = np.max(np.where(support, values, -np.inf), axis=-1)
        low = np.min(np.where(support, values, np.inf), axis=-1)
        spread = np.asarray((top - low) / beta)
    bad = ~(spread <= MAX_NATS)
    refuse(f"spread of {name}", spread, bad, f"is beyond {MAX_NATS:g} nats; rescale the problem")
