"""The true optimum of one problem in ball arithmetic, and how far an answer is from it.

Constrained PO: the tight pairs are read off the answer; the policy that has exactly those tight
is computed to some 100 digits and proved optimal (Gale's condition, to 1e-40), or the case is left
undecided: margins that clash by less than the package's toll for rounding have no exact optimum.
DPO: Newton from the answer, with digits enough for curvatures of e^{-800} and less; where it ends
is proved to be the minimiser, to 1e-20, by the bound over all cuts.
"""

from __future__ import annotations

import numpy as np
from flint import arb, arb_mat, ctx

from benchmarks.problems import Batch
from benchmarks.recheck.answers import Answers
from benchmarks.recheck.dpo import Graph

TINY = arb("1e-40")
Edge = tuple[int, int, arb]


def true_error(solver: str, batch: Batch, answers: Answers, row: int) -> float | None:
    """Return max |log π − log π°| / max(1, |log π|, |r/β|) of a problem that has a policy.

    For a diverging DPO, of the finite limits inside strong components. None: not decided.
    """
    precision = ctx.prec
    try:
        if solver == "cpo":
            ctx.prec = 400
            return _cpo(batch, answers, row)
        return _dpo(batch, answers, row)
    finally:
        ctx.prec = precision


def _target(batch: Batch, row: int, on: list[int]) -> tuple[list[arb], list[arb]]:
    """Return log π_ref and log π_ref + r/β, the first normalised."""
    reference = _normalised([arb(float(batch.ref_logp[row, y])) for y in on])
    beta = arb(float(batch.beta[row]))
    return reference, [
        p + arb(float(batch.reward[row, y])) / beta for p, y in zip(reference, on, strict=True)
    ]


def _normalised(logits: list[arb]) -> list[arb]:
    top = max(logits, key=float)
    total = sum(((x - top).exp() for x in logits), arb(0)).log() + top
    return [x - total for x in logits]


def _error(found: list[float], truth: list[arb], sizes: list[arb]) -> float:
    gap = max(float(abs(arb(f) - x)) for f, x in zip(found, truth, strict=True))
    return gap / max([1.0, *(abs(float(x)) for x in sizes)])


def _cpo(batch: Batch, answers: Answers, row: int) -> float | None:
    on = [int(y) for y in np.flatnonzero(np.isfinite(batch.ref_logp[row]))]
    name = {y: i for i, y in enumerate(on)}
    target = _target(batch, row, on)[1]
    found = [float(answers.logp[row, y]) for y in on]
    edges: list[Edge] = [
        (name[int(batch.winner[row, p])], name[int(batch.loser[row, p])], arb(m))
        for p, m in enumerate(batch.margin[row].tolist())
        if batch.mass[row, p] > 0
    ]
    best = max(target, key=float)
    sizes = [*(arb(f) for f in found), *(x - best for x in target)]
    reach = 1e-9 * max([1.0, *(abs(float(x)) for x in sizes)])
    slack = [abs(float(arb(found[w]) - arb(found[lo]) - m)) for w, lo, m in edges]
    tight = [edges[e] for e in np.argsort(slack).tolist() if slack[e] <= reach]
    for _ in range(30):  # some of them may be off by a hair and push the wrong way
        truth, forest = _with_tight(target, tight)
        wrong = _pushing_wrong(truth, target, forest, edges)
        violated = [e for e in edges if truth[e[0]] - truth[e[1]] - e[2] < -TINY]
        if wrong is not None:
            tight = forest[:wrong] + forest[wrong + 1 :]
        elif violated and len(_with_tight(target, [*forest, *violated])[1]) > len(forest):
            tight = [*forest, *violated]
        else:
            break
    if not _is_optimal(truth, target, edges):
        return None
    return _error(found, _normalised(truth), sizes)


def _pushing_wrong(
    f: list[arb], target: list[arb], forest: list[Edge], edges: list[Edge]
) -> int | None:
    """Return the forest's pair whose multiplier is most negative, unless tight pairs answer it."""
    worst, found = -TINY, None
    exact = [(w, lo) for w, lo, m in edges if abs(f[w] - f[lo] - m) < TINY]
    for e, (winner, _loser, _) in enumerate(forest):
        side = {winner}
        for _ in forest:
            for other, (w, lo, _m) in enumerate(forest):
                if other != e and (w in side) != (lo in side):
                    side |= {w, lo}
        if any(lo in side and w not in side for w, lo in exact):
            continue  # a cycle of tight pairs carries a push either way
        members = sorted(side)
        weight = [x.exp() for x in _normalised([f[y] for y in members])]
        push = sum((w * (f[y] - target[y]) for w, y in zip(weight, members, strict=True)), arb(0))
        if push < worst:
            worst, found = push, e
    return found


def _with_tight(target: list[arb], tight: list[Edge]) -> tuple[list[arb], list[Edge]]:
    """Return log π, up to a constant, with a forest of the given pairs tight, and the forest."""
    n = len(target)
    block, offset, forest = list(range(n)), [arb(0)] * n, []
    for w, lo, m in tight:
        if block[w] != block[lo]:
            forest.append((w, lo, m))
            moved, shift = block[lo], offset[w] - m - offset[lo]
            for y in range(n):
                if block[y] == moved:
                    block[y], offset[y] = block[w], offset[y] + shift
    f = [arb(0)] * n
    for b in set(block):
        members = [y for y in range(n) if block[y] == b]
        weight = [x.exp() for x in _normalised([offset[y] for y in members])]
        mean = sum(
            (w * (target[y] - offset[y]) for w, y in zip(weight, members, strict=True)), arb(0)
        )
        for y in members:
            f[y] = offset[y] + mean
    return f, forest


def _is_optimal(f: list[arb], target: list[arb], edges: list[Edge]) -> bool:
    """Prove feasibility and Gale's condition up to 1e-40, with d = f − target and c = 0."""
    n = len(f)
    need = [0] * n
    for w, lo, m in edges:
        slack = f[w] - f[lo] - m
        if not slack > -TINY:
            return False
        if not slack > TINY:
            need[w] |= 1 << lo
    weight = [x.exp() for x in _normalised(f)]
    for s in range(1, 1 << n):
        members = [y for y in range(n) if s >> y & 1]
        outwards = any(need[y] & ~s for y in members)
        inwards = any(need[y] & s for y in range(n) if not s >> y & 1)
        if outwards and inwards:
            continue
        mass = sum((weight[y] for y in members), arb(0))
        mean = sum((weight[y] * (f[y] - target[y]) for y in members), arb(0)) / mass
        if not (outwards or mean < TINY) or not (inwards or mean > -TINY):
            return False
    return True


def _dpo(batch: Batch, answers: Answers, row: int) -> float | None:
    graph = Graph.of(batch[row : row + 1])
    finite = answers.status[row] != "diverges"
    if not finite and answers.limit is None:
        return None
    policy = answers.logp[row] if finite else answers.limit[row]
    on = [int(y) for y in np.flatnonzero(graph.on[0])]
    spread = float(np.ptp(policy[on] - batch.ref_logp[row, on])) * float(batch.beta[row])
    ctx.prec = 400 + int(8 * spread)
    reference = _target(batch, row, on)[0]
    beta = arb(float(batch.beta[row]))
    found = [float(policy[y]) for y in on]
    s = [(arb(f) - p) * beta for f, p in zip(found, reference, strict=True)]
    gap, truth = 0.0, list(reference)
    for mask in sorted({int(graph.strong[0, y]) for y in on}):
        part = [i for i, y in enumerate(on) if mask >> y & 1]
        refined = _minimiser(_inside(batch, row, [on[i] for i in part]), [s[i] for i in part])
        if refined is None:
            return None
        for i, x in zip(part, refined, strict=True):
            truth[i] = reference[i] + x / beta
            first = s[i] - s[part[0]] - (x - refined[0])
            gap = max(gap, abs(float(first / beta)))
    sizes = [*(arb(f) for f in found), *reference]
    if not finite:
        return gap / max([1.0, *(abs(float(x)) for x in sizes)])
    return _error(found, _normalised(truth), sizes)


Pair = tuple[int, int, arb, arb]


def _inside(batch: Batch, row: int, names: list[int]) -> tuple[int, list[Pair]]:
    """Return the pairs (winner, loser, win mass, loss mass) among the named responses."""
    rank = {y: i for i, y in enumerate(names)}
    pairs = []
    for p in range(batch.winner.shape[1]):
        w, lo = int(batch.winner[row, p]), int(batch.loser[row, p])
        mass, odds = float(batch.mass[row, p]), float(batch.log_odds[row, p])
        if mass > 0 and w in rank and lo in rank:
            won = arb(mass) * (arb(float(odds > 0)) if np.isinf(odds) else _sigma(arb(odds)))
            pairs.append((rank[w], rank[lo], won, arb(mass) - won))
    return len(names), pairs


def _sigma(x: arb) -> arb:
    return 1 / (1 + (-x).exp())


def _minimiser(problem: tuple[int, list[Pair]], s: list[arb]) -> list[arb] | None:
    """Return the mean-zero minimiser of a strong component, by Newton from s, or None."""
    n, pairs = problem
    if n == 1:
        return [arb(0)]
    s = [x.mid() for x in s]
    for _ in range(200):
        force, matrix = [arb(0)] * n, [[arb(0)] * n for _ in range(n)]
        for w, lo, won, lost in pairs:
            up = _sigma(s[w] - s[lo])
            push, bend = won * (1 - up) - lost * up, (won + lost) * up * (1 - up)
            force[w], force[lo] = force[w] + push, force[lo] - push
            for a, b in ((w, lo), (lo, w)):
                matrix[a][a], matrix[a][b] = matrix[a][a] + bend, matrix[a][b] - bend
        step = _solve(matrix, force)
        if step is None:
            return None
        size = max(abs(float(a - b)) for a in step for b in step)
        damp = arb(1) if size < 1e-3 else arb(float(np.log1p(size) / size))
        s = [(x + damp * dx).mid() for x, dx in zip(s, step, strict=True)]
        if size < 1e-25:
            mean = sum(s, arb(0)) / n
            return [x - mean for x in s] if _proved(n, pairs, s) else None
    return None


def _solve(matrix: list[list[arb]], force: list[arb]) -> list[arb] | None:
    """Solve the Laplacian system with the last response held; None if digits run out."""
    n = len(force) - 1
    left = arb_mat(n, n, [matrix[i][j] for i in range(n) for j in range(n)])
    try:
        step = left.solve(arb_mat(n, 1, force[:n]))
    except ZeroDivisionError:
        return None
    return [*(step[i, 0] for i in range(n)), arb(0)]


def _proved(n: int, pairs: list[Pair], s: list[arb]) -> bool:
    """Whether |F| ≤ 1e-20 B holds over every cut, which bounds the error (see `dpo`)."""
    parts = []
    for w, lo, won, lost in pairs:
        up = _sigma(s[w] - s[lo])
        parts.append((w, lo, won * (1 - up) - lost * up, (won + lost) * up * (1 - up)))
    for cut in range(1, 1 << (n - 1)):
        net, stiff = arb(0), arb(0)
        for w, lo, push, bend in parts:
            side = (cut >> w & 1) - (cut >> lo & 1)
            if side:
                net, stiff = net + side * push, stiff + bend
        if not abs(net) < arb("1e-20") * stiff:
            return False
    return True
