"""Bandits: a reward, an explicit reference policy and a KL strength, for one prompt or many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import array_api_compat
import numpy as np

from prefeq import rich
from prefeq._namespace import namespace, quiet
from prefeq.arrays import (
    MAX_NATS,
    BoolArray,
    FloatArray,
    as_float,
    batch_index,
    common,
    freeze,
    is_tensor,
    refuse,
    spread_out,
    to_numpy,
)
from prefeq.chunks import from_lanes, spans, to_lanes
from prefeq.errors import ProblemError
from prefeq.problem_tables import bandit_table


@dataclass(frozen=True, eq=False, repr=False)
class Bandit:
    """A K-response bandit, or a batch of them: the leading axes are prompts.

    The objective is J(π) = E_π[r] − β KL(π‖π_ref) (arXiv:2605.20834, section 2).

    Arrays may be of NumPy or of any library that follows the array API standard (torch, on any
    device): what they are, the solvers compute with and return.

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

    reward: Any
    ref_logp: Any
    beta: Any
    prompts: tuple[str, ...] | None = None
    responses: tuple[tuple[str, ...], ...] | None = None

    def __post_init__(self) -> None:
        xp, device = common(reward=self.reward, ref_logp=self.ref_logp, beta=self.beta)
        reward, ref_logp, beta = (
            as_float(name, getattr(self, name), xp, device) for name in _NUMBERS
        )
        lead = _batch_shape(reward, ref_logp, beta)
        shape = (*lead, reward.shape[-1])
        reward, ref_logp = spread_out(xp, reward, shape), spread_out(xp, ref_logp, shape)
        beta = spread_out(xp, beta, lead)
        if not _prepare(xp, reward, ref_logp, beta):
            reward, ref_logp, beta = (as_float(name, getattr(self, name)) for name in _NUMBERS)
            _explain(to_numpy(reward), to_numpy(ref_logp), to_numpy(beta), lead)
        object.__setattr__(self, "reward", freeze(reward))
        object.__setattr__(self, "ref_logp", freeze(ref_logp))
        object.__setattr__(self, "beta", freeze(beta) if lead else float(beta))

    @classmethod
    def from_probs(cls, *, reward: Any, ref: Any, beta: Any) -> Bandit:
        """Build a bandit from reference *probabilities* (≥ 0; normalised; 0 means off-support)."""
        probs = as_float("ref", ref)
        xp = namespace(probs)
        refuse("ref", probs, ~(xp.isfinite(probs) & (probs >= 0)), "must be a probability >= 0")
        with np.errstate(divide="ignore"):
            return cls(reward, xp.log(probs), beta)

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
        return tuple(self.reward.shape[:-1])

    @property
    def xp(self) -> Any:
        """The array namespace of its arrays: NumPy's, or that of the tensors it was built from."""
        return namespace(self.reward)

    @property
    def support(self) -> Any:
        """Where π_ref > 0, shape ``(..., K)``."""
        return self.xp.isfinite(self.ref_logp)

    @property
    def tilt(self) -> Any:
        """(r − max r)/β, shape ``(..., K)``, the maximum over the support; -inf off-support."""
        xp = self.xp
        masked = xp.where(self.support, self.reward, xp.full_like(self.reward, -np.inf))
        top = xp.max(masked, axis=-1, keepdims=True)
        return (masked - top) / (self.beta[..., None] if self.batch_shape else self.beta)

    def to_numpy(self) -> Bandit:
        """Return the same bandit in NumPy arrays, e.g. of one that was built from tensors."""
        if not is_tensor(self.reward):
            return self
        beta = to_numpy(self.beta) if self.batch_shape else self.beta
        return self.unchecked(to_numpy(self.reward), to_numpy(self.ref_logp), beta)

    def __getitem__(self, index: Any) -> Bandit:
        """Return the prompt (or sub-batch) at `index` of the leading axes."""
        if not self.batch_shape:
            raise ProblemError("this bandit is a single prompt: it cannot be indexed")
        index = batch_index(index, self.batch_shape)
        beta = self.beta[index]
        names = tuple(_pick_names(labels, index) for labels in (self.prompts, self.responses))
        single = not getattr(beta, "shape", ())
        values = (self.reward[index], self.ref_logp[index], float(beta) if single else beta)
        return self.unchecked(*values, *names)

    def unchecked(self, reward: Any, ref_logp: Any, beta: Any, *names: Any) -> Bandit:
        """Return a bandit of checked values, without checking them again."""
        part = object.__new__(Bandit)
        names = names or (self.prompts, self.responses)
        values = (reward, ref_logp, beta, *names)
        for name, value in zip(self.__dataclass_fields__, values, strict=True):
            object.__setattr__(part, name, value)
        return part

    def __len__(self) -> int:
        if not self.batch_shape:
            raise TypeError("a single-prompt bandit has no length")
        return self.batch_shape[0]

    def __repr__(self) -> str:
        shape = f"batch_shape={self.batch_shape}, " if self.batch_shape else ""
        beta = self.beta
        if self.batch_shape:
            flat = to_numpy(beta).reshape(-1)
            beta = float(flat[0]) if flat.size and np.all(flat == flat[0]) else _shown(flat)
        return f"Bandit({shape}K={self.K}, beta={beta})"

    def _repr_html_(self) -> str:
        return rich.html(bandit_table(self))

    def _repr_latex_(self) -> str:
        return rich.latex(bandit_table(self))


_NUMBERS = ("reward", "ref_logp", "beta")

_EMPTY = "no response is in its support (this is the largest log-prob); drop the prompt"


def _pick_names(labels: tuple[Any, ...] | None, index: Any) -> tuple[Any, ...] | None:
    if labels is None or not isinstance(index, int | np.integer | slice):
        return None
    return labels[index] if isinstance(index, slice) else (labels[index],)


def _shown(beta: FloatArray) -> str | None:
    return f"{beta.min():g} to {beta.max():g}" if beta.size else None


def _batch_shape(reward: Any, ref: Any, beta: Any) -> tuple[int, ...]:
    shapes = [tuple(array.shape) for array in (reward, ref, beta)]
    if not shapes[0] or not shapes[1] or shapes[0][-1] != shapes[1][-1]:
        raise ProblemError(
            f"shape mismatch: reward is {shapes[0]} and ref_logp is {shapes[1]}; "
            "both need the same last axis K"
        )
    if shapes[0][-1] == 0:
        raise ProblemError("shape mismatch: K = 0; a bandit needs at least one response")
    try:
        return np.broadcast_shapes(shapes[0][:-1], shapes[1][:-1], shapes[2])
    except ValueError as error:
        raise ProblemError(
            f"shape mismatch: leading axes of reward {shapes[0]}, ref_logp {shapes[1]} and "
            f"beta {shapes[2]} do not broadcast"
        ) from error


def _prepare(xp: Any, reward: Any, ref_logp: Any, beta: Any) -> bool:
    """Normalise the reference and zero absent rewards, in place; False if anything is amiss."""
    k = reward.shape[-1]
    rewards, refs = xp.reshape(reward, (-1, k)), xp.reshape(ref_logp, (-1, k))
    betas = xp.reshape(beta, (-1,))
    for span in spans(betas.shape[0], 6 * k, array_api_compat.device(reward)):
        prompt = (to_lanes(rewards, span), to_lanes(refs, span), betas[span])
        good, cleared, normalised = _checked(xp, *prompt)
        if not good:
            return False
        from_lanes(refs, span, normalised)
        if cleared is not None:
            from_lanes(rewards, span, cleared)
    return True


@quiet
def _checked(xp: Any, reward: Any, ref_logp: Any, beta: Any) -> tuple[bool, Any, Any]:
    """Return whether lanes are good, rewards with absent ones 0 (None if none), log π_ref."""
    top, low = xp.max(ref_logp, axis=0), xp.min(ref_logp, axis=0)
    high, least = xp.max(reward, axis=0), xp.min(reward, axis=0)
    finite = (high < np.inf) & (least > -np.inf) & (top < np.inf) & (top > -np.inf)
    cleared = None
    if not bool(xp.all(low > -np.inf)):
        on = ref_logp > -np.inf
        low = xp.min(xp.where(on, ref_logp, xp.full_like(ref_logp, np.inf)), axis=0)
        high = xp.max(xp.where(on, reward, xp.full_like(reward, -np.inf)), axis=0)
        least = xp.min(xp.where(on, reward, xp.full_like(reward, np.inf)), axis=0)
        cleared = xp.where(on, reward, xp.zeros_like(reward))
    near = (top - low <= MAX_NATS) & ((high - least) / beta <= MAX_NATS)  # a NaN is never <=
    good = finite & near & (beta >= 1 / MAX_NATS) & (beta <= MAX_NATS)
    centred = ref_logp - top
    return bool(xp.all(good)), cleared, centred - xp.log(xp.sum(xp.exp(centred), axis=0))


def _explain(
    reward: FloatArray, ref_logp: FloatArray, beta: FloatArray, lead: tuple[int, ...]
) -> None:
    """Raise the error that names what `_prepare` found amiss."""
    refuse("reward", reward, ~np.isfinite(reward), "rewards must be finite (absent ones: 0)")
    refuse("beta", beta, ~(np.isfinite(beta) & (beta > 0)), "beta must be positive and finite")
    extreme = (beta < 1 / MAX_NATS) | (beta > MAX_NATS)
    refuse("beta", beta, extreme, "is outside 1e-100 to 1e+100; rescale r and beta")
    bad = np.isnan(ref_logp) | (ref_logp == np.inf)
    refuse("ref_logp", ref_logp, bad, "must be a log-prob, or -inf for 'not a response'")
    shape = (*lead, reward.shape[-1])
    reward, ref_logp = np.broadcast_to(reward, shape), np.broadcast_to(ref_logp, shape)
    support = np.isfinite(ref_logp)
    empty = ~np.any(support, axis=-1)
    refuse("ref_logp row", np.max(ref_logp, axis=-1), empty, _EMPTY)
    _refuse_spread("ref_logp", ref_logp, support, np.ones(lead))
    _refuse_spread("reward / beta", reward, support, np.broadcast_to(beta, lead))
    raise AssertionError("a bandit was refused for no reason")  # pragma: no cover


def _refuse_spread(name: str, values: FloatArray, support: BoolArray, beta: FloatArray) -> None:
    with np.errstate(over="ignore"):
        top = np.max(np.where(support, values, -np.inf), axis=-1)
        low = np.min(np.where(support, values, np.inf), axis=-1)
        spread = np.asarray((top - low) / beta)
    bad = ~(spread <= MAX_NATS)
    refuse(f"spread of {name}", spread, bad, f"is beyond {MAX_NATS:g} nats; rescale the problem")
