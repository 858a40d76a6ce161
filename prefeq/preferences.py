"""Preference pairs with label log-odds and masses, and the facts of their comparison graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from prefeq import graphs, rich
from prefeq._namespace import namespace
from prefeq.arrays import (
    MAX_MASS,
    MAX_NATS,
    IntArray,
    as_float,
    as_index,
    batch_index,
    common,
    freeze,
    is_tensor,
    refuse,
    sigmoid,
    spread_out,
    take,
    to_numpy,
)
from prefeq.bandit import Bandit
from prefeq.comparison_graph import label
from prefeq.errors import ProblemError
from prefeq.pair_lists import draw_counts, list_pairs, pair_shape
from prefeq.problem_tables import pairs_table


@dataclass(frozen=True, eq=False, repr=False)
class Preferences:
    """Pairs (winner, loser) of response indices, shape ``(..., P)``; leading axes are prompts.

    A label is kept as its log-odds L = logit q, +inf for an ordered pair, so that a gap of 40 nats
    is not rounded to certainty. A pair of zero mass is absent: its indices are never looked at.

    Parameters
    ----------
    winner, loser
        Response indices in the nominal order; shape ``(..., P)``.
    prob
        q, the probability that the winner is preferred; used when `log_odds` is not given.
    log_odds
        L in nats, -inf and +inf included.
    mass
        m ≥ 0, the weight of the pair in the loss; 1/P by default, used as given otherwise.

    Raises
    ------
    ProblemError
        Naming the entry: winner = loser, a negative index, prob outside [0, 1], log-odds that are
        NaN or finite beyond 1e100, a mass that is negative or above 1e300, shapes that do not
        broadcast, a wrong dtype. `check` adds what needs a bandit: an index out of range or
        off-support.

    Examples
    --------
    >>> import prefeq as pq
    >>> pq.Preferences([0, 1], [1, 2], prob=[1.0, 0.75])
    Preferences(P=2: 0>1, 1>2 with q=0.75)
    >>> bandit = pq.Bandit.from_probs(reward=[2, 1, 1], ref=[0.2, 0.3, 0.5], beta=1.0)
    >>> pq.Preferences.bradley_terry(bandit)
    Preferences(P=2: 0>1 with q=0.731059, 0>2 with q=0.731059)
    """

    winner: Any
    loser: Any
    prob: Any = 1.0
    log_odds: Any = None
    mass: Any = None

    def __post_init__(self) -> None:
        xp, device = common(
            winner=self.winner,
            loser=self.loser,
            prob=self.prob,
            log_odds=self.log_odds,
            mass=self.mass,
        )
        winner = as_index("winner", self.winner, xp, device)
        loser = as_index("loser", self.loser, xp, device)
        log_odds = self._log_odds(xp, device)
        given = () if self.mass is None else (as_float("mass", self.mass, xp, device),)
        shape = pair_shape(winner, loser, log_odds, *given)
        share = xp.full(shape, 1.0 / max(shape[-1], 1), dtype=xp.float64, device=device)
        winner, loser, log_odds, mass = (
            spread_out(xp, a, shape)
            for a in (winner, loser, log_odds, given[0] if given else share)
        )
        refuse("mass", mass, ~(xp.isfinite(mass) & (mass >= 0)), "must be finite and >= 0")
        refuse("mass", mass, mass > MAX_MASS, f"is above {MAX_MASS:g}; rescale the masses")
        present = mass > 0
        refuse("winner", winner, present & (winner < 0), "a response index must be >= 0")
        refuse("loser", loser, present & (loser < 0), "a response index must be >= 0")
        refuse("winner", winner, present & (winner == loser), "is its own loser; drop the pair")
        if not bool(xp.all(present)):
            winner[~present] = 0
            loser[~present] = 0
        for name, array in (("winner", winner), ("loser", loser), ("mass", mass)):
            object.__setattr__(self, name, freeze(array))
        object.__setattr__(self, "log_odds", freeze(log_odds))
        object.__setattr__(self, "prob", freeze(sigmoid(log_odds)))

    def _log_odds(self, xp: Any, device: Any) -> Any:
        prob = as_float("prob", self.prob, xp, device)
        if self.log_odds is None:
            refuse("prob", prob, ~((prob >= 0) & (prob <= 1)), "a label probability is in [0, 1]")
            with np.errstate(divide="ignore"):
                return xp.log(prob) - xp.log1p(-prob)
        log_odds = as_float("log_odds", self.log_odds, xp, device)
        # the default, or what `dataclasses.replace` passes on
        default = not prob.shape and float(prob) == 1.0
        if not default and not _same(xp, prob, sigmoid(log_odds)):
            raise ProblemError("prob and log_odds are two spellings of one label: pass one of them")
        refuse("log_odds", log_odds, xp.isnan(log_odds), "label log-odds must not be NaN")
        huge = xp.isfinite(log_odds) & (xp.abs(log_odds) > MAX_NATS)
        refuse("log_odds", log_odds, huge, f"is beyond {MAX_NATS:g} nats; inf is a certain label")
        return log_odds

    @classmethod
    def bradley_terry(cls, bandit: Bandit, pairs: Any = None) -> Preferences:
        """Label pairs with the Bradley-Terry population: q = σ(r_w − r_l), so L = r_w − r_l.

        `pairs` has shape ``(..., P, 2)``, (winner, loser) in nominal order; by default every two
        responses of a prompt with different rewards, the higher reward winning, of equal mass.
        """
        winner, loser, mass = _nominal_pairs(bandit, pairs)
        gap = take(bandit.reward, winner) - take(bandit.reward, loser)
        return cls(winner, loser, log_odds=gap, mass=mass)

    @classmethod
    def ordered(cls, bandit: Bandit, pairs: Any = None) -> Preferences:
        """Label pairs as certain, q = 1 (L = +inf): what the paper prints. `pairs` as above."""
        winner, loser, mass = _nominal_pairs(bandit, pairs)
        return cls(winner, loser, mass=mass)

    @classmethod
    def sample(cls, bandit: Bandit, n: int, seed: int, pairs: Any = None) -> Preferences:
        """Draw `n` Bradley-Terry comparisons a prompt; q is the share of wins, mass the share of n.

        Pairs are drawn uniformly from `pairs` (default as in `bradley_terry`).
        """
        if not isinstance(n, int | np.integer) or n < 1:
            raise ProblemError(f"n = {n!r}: draw at least one comparison (a positive integer)")
        population = cls.bradley_terry(bandit, pairs).to_numpy()
        xp, device = common(reward=bandit.reward)
        odds, mass = (
            xp.asarray(array, device=device)
            for array in draw_counts(population.prob, population.mass, n, seed)
        )
        winner, loser = (
            xp.asarray(array, device=device) for array in (population.winner, population.loser)
        )
        return cls(winner, loser, log_odds=odds, mass=mass)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Shape of the leading axes."""
        return tuple(self.winner.shape[:-1])

    @property
    def xp(self) -> Any:
        """The array namespace of its arrays."""
        return namespace(self.mass)

    @property
    def P(self) -> int:
        """Number of pairs a prompt (absent ones included)."""
        return int(self.winner.shape[-1])

    @property
    def present(self) -> Any:
        """Where the mass is positive, shape ``(..., P)``."""
        return self.mass > 0

    def to_numpy(self) -> Preferences:
        """Return the same pairs in NumPy arrays, e.g. of some that were built from tensors."""
        if not is_tensor(self.mass):
            return self
        return self._map(to_numpy)

    def check(self, bandit: Bandit) -> None:
        """Raise a `ProblemError` unless every present pair names two responses of `bandit`."""
        if getattr(self, "_fits", None) is bandit:  # both are frozen: checked once is enough
            return
        try:
            lead = np.broadcast_shapes(self.batch_shape, bandit.batch_shape)
        except ValueError:
            lead = None
        if lead != bandit.batch_shape:
            raise ProblemError(
                f"shape mismatch: pairs have batch shape {self.batch_shape}, the bandit "
                f"{bandit.batch_shape}; they must agree (or the pairs broadcast to the bandit)"
            )
        common(bandit=bandit.reward, pairs=self.mass)
        xp, present = self.xp, self.present
        ragged = not bool(xp.all(bandit.support))
        for name, index in (("winner", self.winner), ("loser", self.loser)):
            bad = present & (index >= bandit.K)
            refuse(name, index, bad, f"is out of range: the bandit has K = {bandit.K} responses")
            if ragged:
                off = xp.broadcast_to(present, (*lead, self.P)) & ~take(bandit.support, index)
                wide = xp.broadcast_to(index, off.shape)
                refuse(name, wide, off, "is off the support of the reference (ref_logp = -inf)")
        object.__setattr__(self, "_fits", bandit)

    def reward_gap(self, bandit: Bandit) -> Any:
        """Return Δr = r(w) − r(l), shape ``(..., P)`` (0 for absent pairs)."""
        self.check(bandit)
        return take(bandit.reward, self.winner) - take(bandit.reward, self.loser)

    def ref_margin(self, bandit: Bandit) -> Any:
        """Return δ_ref = log π_ref(w) − log π_ref(l), shape ``(..., P)`` (0 for absent pairs)."""
        self.check(bandit)
        return self.margin_of(bandit.ref_logp)

    def margin_of(self, logp: Any) -> Any:
        """Return δ = log π(w) − log π(l) of a log-policy ``(..., K)``; 0 for absent pairs."""
        logp = logp if is_tensor(logp) else as_float("logp", logp)
        for name, index in (("winner", self.winner), ("loser", self.loser)):
            k = logp.shape[-1]
            refuse(name, index, index >= k, f"is out of range: the policy has K = {k} responses")
        xp = namespace(logp)
        won, lost = take(logp, self.winner), take(logp, self.loser)
        zero = xp.zeros_like(won)
        same = won == lost  # -inf − -inf, and absent pairs, are no margin at all
        return xp.where(same, zero, won - xp.where(same, zero, lost))

    def components(self, bandit: Bandit) -> Any:
        """Label the connected components of the comparison graph, ``(..., K)``; -1 off-support.

        A response in no pair is a component of its own.
        """
        return label(self, bandit, directed=False)

    def strong_components(self, bandit: Bandit) -> Any:
        """Label the strong components of "i beat j with positive mass"; -1 off-support.

        A pair with 0 < q < 1 gives both edges, an ordered pair one.
        """
        return label(self, bandit, directed=True)

    def is_connected(self, bandit: Bandit) -> Any:
        """Whether all responses in the support form one component, shape ``(...)``."""
        return self.xp.max(self.components(bandit), axis=-1) == 0

    def has_ford_condition(self, bandit: Bandit) -> Any:
        """Whether every connected component is strongly connected (Zermelo 1929, Ford 1957).

        Exactly then the DPO loss has a finite minimiser.
        """
        strong = self.xp.max(self.strong_components(bandit), axis=-1)
        return strong == self.xp.max(self.components(bandit), axis=-1)

    def find_cycle(self, bandit: Bandit) -> tuple[int, ...] | None:
        """Return responses each nominally preferred to the next, the last to the first, or None.

        For a single prompt; labels do not matter, only the nominal order winner > loser.

        Examples
        --------
        >>> import prefeq as pq
        >>> bandit = pq.Bandit([0, 0, 0], [0, 0, 0], beta=1.0)
        >>> pq.Preferences([0, 1, 2], [1, 2, 0]).find_cycle(bandit)
        (0, 1, 2)
        >>> pq.Preferences([0, 1], [1, 2]).find_cycle(bandit) is None
        True
        """
        self.check(bandit)
        if bandit.batch_shape:
            raise ProblemError(f"the bandit is a batch {bandit.batch_shape}: pass one prompt of it")
        winner, loser = self.winner[self.present], self.loser[self.present]
        cycle = graphs.slopes(bandit.K, winner, loser, np.ones(winner.size)).cycle
        first = cycle.index(min(cycle)) if cycle else 0
        return (*cycle[first:], *cycle[:first]) if cycle else None

    def beats(self) -> tuple[IntArray, IntArray]:
        """Return the edges (i, j) of "i beat j with positive mass" of a single prompt."""
        forward = self.present & (self.log_odds > -np.inf)
        backward = self.present & (self.log_odds < np.inf)
        tail = np.concatenate([self.winner[forward], self.loser[backward]])
        return tail, np.concatenate([self.loser[forward], self.winner[backward]])

    def at(self, index: tuple[int, ...], lead: tuple[int, ...]) -> Preferences:
        """Return the pairs of one prompt of a batch of shape `lead`."""
        xp = self.xp
        return self._map(lambda array: xp.broadcast_to(array, (*lead, self.P))[index])

    def __getitem__(self, index: Any) -> Preferences:
        """Return the pairs of one prompt (or sub-batch) of the leading axes."""
        if not self.batch_shape:
            raise ProblemError("these pairs belong to a single prompt: they cannot be indexed")
        where = batch_index(index, self.batch_shape)
        return self._map(lambda array: array[where])

    def _map(self, change: Callable[[Any], Any]) -> Preferences:
        return self.unchecked(*(change(getattr(self, name)) for name in self.__dataclass_fields__))

    def unchecked(self, *arrays: Any) -> Preferences:
        """Return pairs of checked arrays (in the order of the fields), not checked again."""
        part = object.__new__(Preferences)
        for name, array in zip(self.__dataclass_fields__, arrays, strict=True):
            object.__setattr__(part, name, array)
        return part

    def __repr__(self) -> str:
        if self.batch_shape:
            return f"Preferences(batch_shape={self.batch_shape}, P={self.P})"
        shown = [
            f"{w}>{lo}" + ("" if odds == np.inf else f" with q={q:.6g}")
            for w, lo, odds, q, on in zip(
                self.winner, self.loser, self.log_odds, self.prob, self.present, strict=True
            )
            if on
        ]
        listed = ", ".join(shown[:6]) + (", ..." if len(shown) > 6 else "")
        return f"Preferences(P={self.P}{': ' if shown else ''}{listed})"

    def _repr_html_(self) -> str:
        return rich.html(pairs_table(self))

    def _repr_latex_(self) -> str:
        return rich.latex(pairs_table(self))


def _nominal_pairs(bandit: Bandit, pairs: Any) -> tuple[Any, Any, Any]:
    """Split given pairs, or list every two responses with different rewards, higher one first."""
    if pairs is not None:
        index = as_index("pairs", pairs)
        if index.size == 0:
            index = index.reshape(*index.shape[: max(index.ndim - 2, 0)], 0, 2)
        if index.ndim < 2 or index.shape[-1] != 2:
            raise ProblemError(f"pairs has shape {index.shape}: expected (..., P, 2)")
        probe = Preferences(index[..., 0], index[..., 1])
        probe.check(bandit)
        return probe.winner, probe.loser, None
    return list_pairs(bandit)


def _same(xp: Any, one: Any, other: Any) -> bool:
    return tuple(one.shape) == tuple(other.shape) and bool(xp.all(one == other))
