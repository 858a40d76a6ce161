"""DPO: the graph decides the status, finite parts are near the minimiser, directions optimal.

For a set S of responses let F = Σ m(q − σ(t)) over the pairs that cross from S, outward ones with a
plus, and B = Σ m σ(t)σ(−t). If |F| ≤ ε B for every S, then no difference s_i − s_j inside a
component of n responses is off by more than −(n − 1) ln(1 − ε). Proof: sort the responses by their
error. Across a gap g of that order every crossing pair is off by some h ≥ g in one direction,
σ(t) − σ(t − h) ≥ σ'(t)(1 − e^{−g}), and at the minimiser F = 0; so ε B ≥ |F| ≥ (1 − e^{−g}) B.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.problems import Batch
from benchmarks.recheck.answers import (
    EPS,
    Answers,
    Findings,
    Long,
    largest,
    log_reference,
    log_sum,
    same_support,
    unless,
    value_error,
)
from benchmarks.recheck.subsets import extreme_means, losers
from prefeq.arrays import BoolArray, FloatArray, IntArray


def check(batch: Batch, answers: Answers) -> Findings:
    """Check status, error, gauge, loss, and direction and culprit where there is no minimiser."""
    graph = Graph.of(batch)
    found = {"status": unless(answers.status == graph.status)}
    diverges = answers.status == "diverges"
    finite = _finite(batch, answers, graph)
    loose = _diverging(batch, answers, graph)
    for name in finite:
        found[name] = np.where(diverges, loose[name], finite[name])
    return {**found, "value": value_error(batch, answers)}


@dataclass(frozen=True)
class Graph:
    """Bit masks of the responses joined with each one, and of those strongly joined, (n, K)."""

    on: BoolArray
    joined: IntArray
    strong: IntArray

    @classmethod
    def of(cls, batch: Batch) -> Graph:
        """Close the graph of wins (label above 0 for the winner) and the graph of pairs."""
        n, k = batch.reward.shape
        beat = np.broadcast_to(1 << np.arange(k), (n, k)).copy()
        either, rows = beat.copy(), np.arange(n)
        for p in range(batch.winner.shape[1]):
            w, lo, there = batch.winner[:, p], batch.loser[:, p], batch.present[:, p]
            up = there & (batch.log_odds[:, p] > -np.inf)
            down = there & (batch.log_odds[:, p] < np.inf)
            for a, b, wins in ((w, lo, up), (lo, w, down)):
                beat[rows, a] |= np.where(wins, 1 << b, 0)
                either[rows, a] |= np.where(there, 1 << b, 0)
        for masks in (beat, either):
            for via in range(k):
                through = (masks >> via) & 1 == 1
                masks |= np.where(through, masks[:, via, None], 0)
        back = np.zeros_like(beat)
        for v in range(k):
            for u in range(k):
                back[:, u] |= np.where((beat[:, v] >> u) & 1 == 1, 1 << v, 0)
        return cls(np.isfinite(batch.ref_logp), either, beat & back)

    @property
    def bad(self) -> BoolArray:
        """Responses whose component is not strongly connected, (n, K)."""
        return np.asarray(self.on & (self.joined != self.strong))

    @property
    def components(self) -> IntArray:
        """Number of components in the support, (n,): the responses that are first in theirs."""
        first = (self.joined & -self.joined) == 1 << np.arange(self.on.shape[1])
        return np.asarray(np.sum(first & self.on, axis=-1))

    @property
    def status(self) -> FloatArray:
        """What the solver has to say."""
        unique = np.where(self.components == 1, "optimal", "not-unique")
        return np.where(self.bad.any(axis=-1), "diverges", unique)


def _finite(batch: Batch, answers: Answers, graph: Graph) -> Findings:
    """Judge a policy: twice the error of any difference, and the gauge, bound that of log π."""
    reference = log_reference(batch)
    move = np.where(graph.on, answers.logp - reference, 0.0)
    size = _nats(graph.on, answers.logp, reference)
    s = move * batch.beta[:, None]
    error = 2 * difference_error(batch, s, graph.strong) / batch.beta
    means = [_mean(move, graph.joined[:, v]) for v in range(move.shape[1])]
    high = np.max(np.where(graph.on.T, means, -np.inf), axis=0)
    low = np.min(np.where(graph.on.T, means, np.inf), axis=0)
    dimension = answers.more["dimension"]
    right = True if dimension is None else dimension == graph.components - 1
    return {
        "error": error / size,
        "gauge": np.maximum(high - low, np.abs(log_sum(answers.logp.astype(np.longdouble)))) / size,
        "support": same_support(batch, answers),
        "loss": loss_error(batch, answers, s, np.ones_like(batch.present)) / size,
        "dimension": unless(right),
    }


def _diverging(batch: Batch, answers: Answers, graph: Graph) -> Findings:
    """Judge the finite limits inside strong components, the direction and the culprit."""
    blank = np.full(len(batch), np.inf)
    if answers.limit is None or answers.more["direction"] is None:
        return dict.fromkeys(("error", "gauge", "support", "loss", "dimension"), blank)
    reference = log_reference(batch)
    limit = np.where(graph.on, answers.limit, 0.0)
    s = np.where(graph.on, limit - reference, 0.0) * batch.beta[:, None]
    size = _nats(graph.on, limit, reference)
    inside = _same(graph.strong, batch.winner, batch.loser)
    culprit = answers.more["component"]
    return {
        "error": difference_error(batch, s, graph.strong) / batch.beta / size,
        "gauge": direction_error(batch, answers.more["direction"], graph, inside),
        "support": unless(np.all(np.isneginf(answers.logp), axis=-1)),
        "loss": loss_error(batch, answers, s, inside) / size,
        "dimension": unless(_is_bad(graph, culprit) if culprit is not None else False),
    }


def _nats(on: BoolArray, logp: Long, reference: Long) -> Long:
    """Return max(1, |log π|, |log π_ref|): rewards have no say in DPO."""
    sizes = (largest(on, np.abs(logp)), largest(on, np.abs(reference)))
    return np.maximum(1.0, np.maximum(*sizes))


def _mean(values: Long, mask: IntArray) -> Long:
    members = (mask[:, None] >> np.arange(values.shape[1])) & 1
    return np.sum(values * members, axis=-1) / np.sum(members, axis=-1)


def _same(masks: IntArray, winner: IntArray, loser: IntArray) -> BoolArray:
    """Tell which pairs join two responses of the same strong component."""
    return np.asarray((np.take_along_axis(masks, winner, -1) >> loser) & 1 == 1)


def _sigma(x: Long) -> Long:
    return 1.0 / (1.0 + np.exp(-x))


def difference_error(batch: Batch, s: Long, strong: IntArray) -> Long:
    """Bound max |(s_i − s_j) − (s*_i − s*_j)| inside strong components (inf: no bound)."""
    k = s.shape[1]
    counts = batch.present & _same(strong, batch.winner, batch.loser)
    mass = np.where(counts, batch.mass, 0.0).astype(np.longdouble)
    t = np.take_along_axis(s, batch.winner, -1) - np.take_along_axis(s, batch.loser, -1)
    label = batch.log_odds.astype(np.longdouble)
    sign, gap = np.sign(label - t), np.where(label == t, 0.0, np.abs(label - t))
    # m(σ(L) − σ(t)) as a product: a difference of two numbers near 1 would say nothing
    force = mass * sign * _sigma(sign * label) * _sigma(-sign * t) * -np.expm1(-gap)
    bend = mass * _sigma(t) * _sigma(-t)
    reach = 16 + 4 * np.max(np.abs(s), axis=-1, keepdims=True)
    noise = EPS * reach * (np.abs(force) + bend)
    worst = np.zeros(len(batch), dtype=np.longdouble)
    for cut in range(1, 1 << (k - 1)):
        inside = ((cut >> np.arange(k)) & 1).astype(np.int8)
        side = inside[batch.winner] - inside[batch.loser]
        crossing = side != 0
        net = np.abs(np.sum(side * force, axis=-1)) + np.sum(crossing * noise, axis=-1)
        stiff = np.sum(crossing * bend, axis=-1)
        ratio = np.where(stiff > 0, net / np.where(stiff > 0, stiff, 1.0), np.inf)
        held = np.any(crossing & counts, axis=-1)
        worst = np.where(held, np.maximum(worst, ratio), worst)
    most = np.max(np.bitwise_count(strong), axis=-1).astype(np.int64)  # it counts in bytes
    return np.where(worst < 1, (1 - most) * np.log1p(-np.minimum(worst, 1.0)), np.inf)


def largest_gradient(batch: Batch, answers: Answers) -> FloatArray:
    """Return max_i |∂L/∂s_i| at each policy, the masses as given."""
    s = np.where(np.isfinite(answers.logp), answers.logp - log_reference(batch), 0.0)
    s *= batch.beta[:, None]
    slope, rows = np.zeros_like(s), np.arange(len(batch))
    for p in range(batch.winner.shape[1]):
        w, lo = batch.winner[:, p], batch.loser[:, p]
        label = batch.log_odds[:, p].astype(np.longdouble)
        push = batch.mass[:, p] * (_sigma(label) - _sigma(s[rows, w] - s[rows, lo]))
        slope[rows, w] -= push
        slope[rows, lo] += push
    return np.max(np.abs(slope), axis=-1).astype(np.float64)


def loss_error(batch: Batch, answers: Answers, s: Long, inside: BoolArray) -> Long:
    """Return the error of the loss (its infimum: pairs across cost nothing), over β times itself.

    Moving s by x changes the loss by at most about x times itself, hence over β.
    """
    if answers.more["loss"] is None:
        return np.full(len(batch), np.inf)
    t = np.take_along_axis(s, batch.winner, -1) - np.take_along_axis(s, batch.loser, -1)
    label = batch.log_odds.astype(np.longdouble)
    mass = np.where(batch.present & inside, batch.mass, 0.0)
    softplus = [np.maximum(x, 0.0) + np.log1p(np.exp(-np.abs(x))) for x in (-t, t)]
    parts = mass * (_sigma(label) * softplus[0] + _sigma(-label) * softplus[1])
    total = np.sum(parts, axis=-1)
    error = np.abs(answers.more["loss"] - total)
    safe = np.where(total > 1e-300, total, 1.0)  # a smaller loss is a denormal of the solver's
    return np.where(total > 1e-300, error / safe, error) / np.maximum(1.0, batch.beta)


def direction_error(
    batch: Batch, direction: FloatArray, graph: Graph, inside: BoolArray
) -> FloatArray:
    """Judge argmin ‖d‖² with d constant on strong components and gaps of 1 or more across.

    Optimal iff the mean of d is ≤ 0 over every set that no tight pair leaves, and ≥ 0 over every
    set that none enters, where pairs inside strong components are tight both ways.
    """
    k = batch.reward.shape[1]
    d = np.where(graph.on, direction, 0.0).astype(np.longdouble)
    up = batch.log_odds > 0
    winner = np.where(up, batch.winner, batch.loser)
    loser = np.where(up, batch.loser, batch.winner)
    gap = np.take_along_axis(d, winner, -1) - np.take_along_axis(d, loser, -1)
    across = batch.present & ~inside
    size = np.maximum(1.0, np.max(np.abs(d), axis=-1))
    tight = across & (gap <= 1 + 1e-10 * size[:, None])
    short = np.max(np.where(across, 1 - gap, 0.0), axis=-1, initial=0.0)
    both = batch.present & inside
    wide = np.max(np.where(both, np.abs(gap), 0.0), axis=-1, initial=0.0)
    need = losers(k, winner, loser, tight | both) | losers(k, loser, winner, both)
    high, low = extreme_means(graph.on.astype(np.longdouble), d, need)
    stray = np.max(np.where(graph.on, 0.0, np.abs(direction)), axis=-1)
    return np.max([short, wide, high, -low, stray], axis=0) / size


def _is_bad(graph: Graph, culprits: FloatArray) -> BoolArray:
    """Tell where the named component is a whole one that is not strongly connected."""
    good = np.zeros(len(culprits), dtype=bool)
    for row, named in enumerate(culprits):
        names = [] if named is None else [int(v) for v in np.ravel(named) if v >= 0]
        mask = sum(1 << v for v in names)
        good[row] = bool(names) and graph.bad[row, names[0]] and graph.joined[row, names[0]] == mask
    return good
