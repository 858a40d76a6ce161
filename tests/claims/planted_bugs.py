"""The table of planted bugs: what is broken, how, and which readings lean on it.

Each entry is one mutant of a formula or an algorithm, applied by monkeypatch on its own. `touches`
names the readings that must notice: at least one of them has to change its verdict.
"""

from __future__ import annotations

import dataclasses
import importlib
import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from prefeq import bandit, graphs, losses, margins, preferences
from prefeq.claims import exact_graphs, formulas, gallery
from prefeq.losses import links, loss, targets
from prefeq.solvers import blocks, cpo, descent, dpo, isotonic, likelihood, rlhf

IDENTITY = "assumption/identity"
THRESHOLD = "assumption/threshold"
LABELS = "assumption/label-probability"
ORDERED_IF = "equivalence/ordered-pair (if)"
ORDERED_ONLY = "equivalence/ordered-pair (only-if)"
CONNECTED_IF = "equivalence/bradley-terry-connected (if)"
CONNECTED_ONLY = "equivalence/bradley-terry-connected (only-if)"
ISLANDS_IF = "equivalence/bradley-terry-disconnected (if)"
ALIGNMENT = "equivalence/alignment (if)"
CONSTRAINED_IF = "equivalence/constrained (if)"
CONSTRAINED_ONLY = "equivalence/constrained (only-if)"
SHIFT = "relative-advantage/shift-invariance"
PATH = "relative-advantage/descent-path"
NON_EMPTY = "undesirable-space/non-empty (only-if)"
CORRECTED = "undesirable-space/non-empty-corrected (if)"
LOWER_LOSS = "undesirable-space/lower-loss"
SOFT_LOSS = "undesirable-space/lower-loss-soft-labels"
CERTIFICATE = "undesirable-space/loss-certificate (if)"
TRAPPED = "pathological-convergence/bradley-terry"
GRAPH = "pathological-convergence/bradley-terry-graph"
LEAVES = "pathological-convergence/ordered-acyclic"
TRANSIENT = "pathological-convergence/ordered-acyclic-transient"
IPO = "pathological-convergence/ipo (if)"
IPO_OVERLAPPING = "pathological-convergence/ipo-overlapping"
IPO_TRIPLE = "pathological-convergence/ipo-overlapping-corrected"
HINGE = "pathological-convergence/hinge (if)"
CDPO = "pathological-convergence/cdpo (if)"
UNIQUE = "cpo-constrained/unique-optimum"
MEETS = "cpo-constrained/meets-margins"
RLHF_IFF = "cpo-constrained/rlhf (only-if)"
STRICT = "cpo-constrained/rlhf-strict (only-if)"
ISOTONIC = "cpo-constrained/isotonic"
ALIGNED = "cpo-constrained/strict-alignment (if)"
ZERO_MARGIN = "cpo-constrained/strict-alignment-zero-margin"
BOUND = "margin-ranking/uniform-bound"


class Bug(NamedTuple):
    """One mutant: `mutate` maps the original to its broken form."""

    name: str
    owner: Any
    attribute: str
    mutate: Callable[[Any], Any]
    touches: tuple[str, ...]


def instead(function: Any) -> Callable[[Any], Any]:
    """Replace the original whatever it was."""
    return lambda original: function


def relink(**changes: Any) -> Callable[[losses.Loss], losses.Loss]:
    """Replace parts of a loss's link."""
    return lambda original: dataclasses.replace(
        original, link=dataclasses.replace(original.link, **changes)
    )


def scaled(factor: float) -> Callable[[Any], Any]:
    return lambda original: lambda *args, **kw: factor * original(*args, **kw)


class _StartsAtOne:
    """NumPy with zeros that are not zero: the descent's start moves away from the reference."""

    def __init__(self, module: Any) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)

    def zeros(self, shape: Any, dtype: Any = float) -> Any:
        start = self._module.zeros(shape, dtype=dtype)
        if dtype is float and np.ndim(start) == 1 and start.size:
            start[0] = 0.5
        return start


def _pair_with_swapped_weights(target: Any, winner: int, loser: int, m: float) -> Any:
    f = np.array(target)
    short = m - (f[winner] - f[loser])
    if short <= 0:
        return blocks.Projection(f, (), 0, True)
    f[winner] += short / (1 + np.exp(-m))
    f[loser] = f[winner] - m
    return blocks.Projection(f, (0,), 1, True)


MARGIN_BUGS = (
    Bug(
        "sign of beta in delta*",
        margins,
        "optimal_margin",
        instead(lambda ref, gap, beta: ref - gap / beta),
        (IDENTITY, THRESHOLD),
    ),
    Bug(
        "beta multiplies the gap in delta*",
        margins,
        "optimal_margin",
        instead(lambda ref, gap, beta: ref + gap * beta),
        (IDENTITY,),
    ),
    Bug(
        "weak assumption for the strict one",
        margins,
        "assumption_holds",
        lambda f: lambda ref, gap, beta, strict=True: f(ref, gap, beta, strict=False),
        (STRICT, THRESHOLD),
    ),
    Bug(
        "reference margin with the wrong sign in the assumption",
        margins,
        "assumption_holds",
        lambda f: lambda ref, gap, beta, strict=True: f(-ref, gap, beta, strict=strict),
        (ORDERED_IF, THRESHOLD),
    ),
    Bug("sign of the critical gap", margins, "critical_gap", scaled(-1), (THRESHOLD,)),
    Bug(
        "beta forgotten in the critical label probability",
        margins,
        "critical_label_prob",
        lambda f: lambda ref, beta: f(ref, 1.0),
        (LABELS,),
    ),
    Bug("policy and reference swapped in x", margins, "relative_margin", scaled(-1), (SHIFT, PATH)),
    Bug(
        "U without its upper end",
        margins,
        "undesirable",
        instead(lambda delta, ref: np.asarray(ref < delta)),
        (CORRECTED, LOWER_LOSS),
    ),
    Bug(
        "U closed at the reference",
        margins,
        "undesirable",
        instead(lambda delta, ref: np.asarray((ref <= delta) & (delta < 0))),
        (CORRECTED,),
    ),
    Bug(
        "the certificate's lower end at -beta delta_ref",
        margins,
        "undesirable_from_loss",
        lambda f: lambda value, ref, beta: f(value, -ref, beta),
        (CERTIFICATE,),
    ),
    Bug(
        "hinge gap not divided by beta",
        margins,
        "hinge_gap",
        lambda f: lambda delta, ref, beta: f(delta, ref, beta) * beta,
        (BOUND,),
    ),
    Bug("exit time counts one end of the pair", margins, "exit_time", scaled(2), (LEAVES,)),
)

LOSS_BUGS = (
    Bug(
        "winner and loser swapped in the DPO loss",
        losses,
        "DPO",
        relink(value=lambda xp, z: links.LOGISTIC.value(xp, -z)),
        (LOWER_LOSS, BOUND),
    ),
    Bug(
        "no reference in the DPO loss",
        losses,
        "DPO",
        lambda f: dataclasses.replace(f, target_rule=targets.constant(0.0)),
        (SHIFT, BOUND),
    ),
    Bug(
        "gradient of the wrong sign",
        losses,
        "DPO",
        relink(slope=lambda xp, z: -links.LOGISTIC.slope(xp, z)),
        (ORDERED_IF,),
    ),
    Bug(
        "gradient at pi for the one at pi_ref",
        losses,
        "DPO",
        relink(slope=lambda xp, z: links.LOGISTIC.slope(xp, 0 * z)),
        (ORDERED_IF, LOWER_LOSS),
    ),
    Bug(
        "q and 1 - q swapped in the population loss",
        loss,
        "_weigh",
        lambda f: lambda xp, odds, value: f(xp, -odds, value),
        (CONNECTED_IF, SOFT_LOSS),
    ),
    Bug(
        "minimiser at q for logit q",
        losses,
        "DPO",
        relink(minimisers=lambda xp, odds: (xp.tanh(odds), xp.tanh(odds))),
        (ALIGNMENT,),
    ),
    Bug(
        "IPO's target 1/beta for 1/(2 beta)",
        losses,
        "IPO",
        relink(value=lambda xp, z: (z - 1) ** 2, slope=lambda xp, z: 2 * (z - 1)),
        (IPO,),
    ),
    Bug(
        "the hinge without its margin of 1",
        losses,
        "HINGE",
        relink(value=lambda xp, z: xp.maximum(-z, 0 * z)),
        (HINGE,),
    ),
    Bug(
        "the gradient without the power of beta of its loss",
        losses.Loss,
        "gradient",
        lambda f: (
            lambda self, margin, ref, beta: f(self, margin, ref, beta) / beta**self.link.beta_power
        ),
        (IPO, IPO_OVERLAPPING, IPO_TRIPLE),
    ),
    Bug(
        "a trap at the threshold itself, too",
        losses.Loss,
        "traps",
        lambda f: lambda self, ref, beta: f(self, ref, beta) | (self.minimiser(ref, beta) == 0),
        (IPO, HINGE),
    ),
    Bug(
        "label smoothing with eps and 1 - eps swapped",
        links,
        "smoothed_logistic",
        lambda f: lambda eps: f(1 - eps),
        (CDPO,),
    ),
)

RLHF_BUGS = (
    Bug(
        "beta multiplies the reward in pi*",
        rlhf,
        "rlhf_logp",
        lambda f: lambda b: f(bandit.Bandit(b.reward * b.beta**2, b.ref_logp, b.beta)),
        (IDENTITY, ALIGNMENT),
    ),
    Bug(
        "pi* without the reference",
        rlhf,
        "rlhf_logp",
        lambda f: lambda b: f(bandit.Bandit(b.reward, 0 * b.ref_logp, b.beta)),
        (IDENTITY,),
    ),
    Bug(
        "mean for sum in the normaliser",
        rlhf,
        "log_normalise",
        lambda f: lambda logits: f(logits) + np.log(logits.shape[-1]),
        (IDENTITY,),
    ),
    Bug(
        "winner and loser swapped in a solution's margins",
        preferences.Preferences,
        "margin_of",
        scaled(-1),
        (IDENTITY,),
    ),
    Bug(
        "reward gap of the wrong sign",
        preferences.Preferences,
        "reward_gap",
        scaled(-1),
        (IDENTITY, ORDERED_IF),
    ),
)

DPO_BUGS = (
    Bug("labels L = gap/beta for L = gap", preferences.Preferences, "bradley_terry",
        lambda f: classmethod(lambda cls, b, pairs=None: f.__func__(
            cls, bandit.Bandit(b.reward / b.beta, b.ref_logp, b.beta), pairs)),
        (CONNECTED_ONLY, ALIGNMENT)),
    Bug("ordered pairs treated as fair coins", preferences.Preferences, "ordered",
        lambda f: classmethod(lambda cls, b, pairs=None: cls(
            *np.asarray(pairs).T, log_odds=0.0)), (ORDERED_IF, LEAVES)),
    Bug("minimiser of the wrong sign", likelihood, "minimise",
        lambda f: lambda *a, **k: (-f(*a, **k)[0], 1), (CONNECTED_IF,)),
    Bug("pi for pi_ref: the fit is not divided by beta", dpo, "log_normalise",
        lambda f: lambda logits: f(1.5 * logits), (CONNECTED_IF, ISLANDS_IF)),
    Bug("component offset pinned to the first response, not the mean", likelihood, "minimise",
        lambda f: lambda *a, **k: ((s := f(*a, **k)[0]) - s[0], 1), (ISLANDS_IF,)),
    Bug("off by one: components ignore the last pair", graphs, "components",
        lambda f: lambda n, tail, head: f(n, tail[:-1], head[:-1]), (CONNECTED_IF, ISLANDS_IF)),
    Bug("strong components ignore direction", graphs, "strong_components",
        instead(lambda n, tail, head: graphs.components(n, tail, head)), (ORDERED_IF,)),
    Bug("a soft label is a directed edge", preferences.Preferences, "beats",
        instead(lambda p: (p.winner[p.present], p.loser[p.present])), (CONNECTED_IF,)),
    Bug("the diverging direction points back", dpo, "project",
        lambda f: lambda *a, **k: dataclasses.replace(p := f(*a, **k), f=-p.f), (ORDERED_ONLY,)),
    Bug("descent climbs", likelihood, "misfit",
        lambda f: lambda *a: (-(m := f(*a))[0], m[1]), (TRAPPED, LEAVES)),
    Bug("descent fits sigma(L/2): a factor 2 in the label", likelihood, "misfit",
        lambda f: lambda pairs, t: f(dataclasses.replace(pairs, log_odds=pairs.log_odds / 2), t),
        (TRAPPED, GRAPH)),
    Bug("descent forgets the mass: sum for mean", likelihood, "misfit",
        lambda f: lambda pairs, t: f(dataclasses.replace(pairs, log_mass=pairs.log_mass * 0 + 1),
                                     t), (TRAPPED, LEAVES)),
    Bug("descent starts at the uniform policy", descent, "np",
        _StartsAtOne, (TRAPPED,)),
)  # fmt: skip

CPO_BUGS = (
    Bug("margins ignored", cpo, "_solve_one",
        lambda f: lambda b, p, m, *rest: f(b, p, 0 * m, *rest), (MEETS, RLHF_IFF)),
    Bug("margins of the wrong sign", cpo, "_solve_one",
        lambda f: lambda b, p, m, *rest: f(b, p, -m, *rest), (MEETS, UNIQUE)),
    Bug("winner and loser swapped in the constraints", cpo, "_solve_one",
        lambda f: lambda b, p, m, *rest: f(
            b, preferences.Preferences(p.loser, p.winner), m, *rest),
        (CONSTRAINED_IF, ZERO_MARGIN)),
    Bug("off by one: the last constraint is dropped", cpo, "_solve_one",
        lambda f: lambda b, p, m, *rest: f(
            b, preferences.Preferences(p.winner[:-1], p.loser[:-1]), m[:-1], *rest),
        (ISOTONIC, CONSTRAINED_ONLY)),
    Bug("sigma(m) for sigma(-m) on the winner of one pair", cpo, "project_pair",
        instead(lambda target, w, lo, m: _pair_with_swapped_weights(target, w, lo, m)), (UNIQUE,)),
    Bug("blocks weighted one half each", blocks.Body, "join",
        instead(lambda a, b: blocks.Body(
            float(np.logaddexp(a.log_weight, b.log_weight)), 0.5 * (a.pull + b.pull))),
        (ISOTONIC, UNIQUE)),
    Bug("pools averaged under pi for equal weights", cpo, "_groups",
        lambda f: lambda rows, target, tilt: ((g := f(rows, target, tilt))[0], g[1] + g[0]),
        (ISOTONIC,)),
    Bug("pooling never looks back", isotonic, "Body",
        instead(lambda weight, pull: blocks.Body(weight, pull - 1e3)), (ISOTONIC,)),
    Bug("projection on nothing: RLHF returned for CPO", cpo, "_project",
        lambda f: lambda rows, target: (blocks.Projection(target, (), 0, True), "none"),
        (CONSTRAINED_ONLY, ALIGNED)),
    Bug("positive cycles not noticed", graphs, "slopes",
        lambda f: lambda *a: dataclasses.replace(f(*a), cycle=()), (UNIQUE,)),
    Bug("KL of the wrong sign in J", cpo, "objective",
        lambda f: lambda b, logp: 2 * np.sum(np.exp(logp) * b.reward) - f(b, logp), (UNIQUE,)),
    Bug("no answer is ever good enough", cpo, "TOLERANCE", instead(-1.0), (MEETS,)),
)  # fmt: skip

CLAIM_BUGS = (
    Bug("the claims' delta* with beta misplaced", formulas, "rlhf_margin",
        instead(lambda delta_ref, gap, beta: delta_ref + gap * beta), (IDENTITY, ORDERED_IF)),
    Bug("the claims' loss with winner and loser swapped", formulas, "pair_loss",
        lambda f: lambda m, delta, ref, beta, q=1: f(m, ref, delta, beta, q), (LOWER_LOSS, BOUND)),
    Bug("the claims' gradient without beta", formulas, "pair_gradient",
        lambda f: lambda m, delta, ref, beta, q=1: f(m, delta, ref, beta, q) / beta,
        (ORDERED_IF, CONNECTED_IF)),
    Bug("the claims' sigmoid mirrored", formulas, "sigmoid",
        lambda f: lambda m, z: f(m, -z), (ORDERED_IF, CONNECTED_IF)),
    Bug("the claims' exit time without its linear term", formulas, "exit_time",
        instead(lambda m, ref, beta, mass: (m.exp(-beta * ref) - 1) / (2 * beta**2 * mass)),
        (LEAVES,)),
    Bug("the claims' IPO target doubled", formulas, "ipo_target", scaled(2), (IPO,)),
    Bug("off by one in the exact components", exact_graphs, "components",
        lambda f: lambda size, edges: f(size, edges[:-1]), (CONNECTED_IF,)),
    Bug("off by one in the exact heights", exact_graphs, "heights",
        lambda f: lambda size, edges: f(size, edges[1:]), (ORDERED_ONLY,)),
    Bug("component means half taken out of the descent's limit", gallery, "descent_limit",
        instead(lambda instance: instance.tilted([
            r - mean / 2
            for r, mean in zip(instance.reward, gallery.component_means(instance), strict=True)
        ])), (ISLANDS_IF,)),
)  # fmt: skip

BUGS = (*MARGIN_BUGS, *LOSS_BUGS, *RLHF_BUGS, *DPO_BUGS, *CPO_BUGS, *CLAIM_BUGS)


def all_bugs() -> tuple[Bug, ...]:
    """Return these bugs and those of the modules planted_bugs_* beside this one."""
    tables = sorted(path.stem for path in Path(__file__).parent.glob("planted_bugs_*.py"))
    others = (importlib.import_module(f"claims.{name}").BUGS for name in tables)
    return tuple(itertools.chain(BUGS, *others))


def where(bug: Bug) -> str:
    """Return the name of what the bug replaces, inside the package."""
    owner = getattr(bug.owner, "__name__", type(bug.owner).__name__)
    return f"{owner.removeprefix('prefeq.')}.{bug.attribute}"


PAGE_HEAD = """# Planted bugs

Each row is a mutant of one formula or algorithm, planted on its own by the test suite
(`tests/claims/test_planted_bugs.py`). At least one of the readings named must then change its
verdict, and by a comparison that came out wrong, not by a crash. Written by
`python tests/claims/planted_bugs.py docs/planted-bugs.md`; a test keeps it current.

| planted bug | where | readings that notice |
|---|---|---|
"""


def page() -> str:
    """Return the table as a page of Markdown."""
    rows = []
    for bug in all_bugs():
        rows.append(f"| {bug.name} | `{where(bug)}` | {'; '.join(bug.touches)} |")
    return PAGE_HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    Path(sys.argv[1]).write_text(page(), "utf-8")
