"""Planted bugs in the penalty objective: its closed forms, its solver, and the claims' copies."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
from claims.planted_bugs import Bug, instead, scaled

from prefeq import losses, margins, solution, solvers
from prefeq.claims import penalty_formulas, stationary
from prefeq.solvers import penalty, penalty_curve, penalty_objective, penalty_points

NO_OPTIMUM = "cpo-penalty/has-optimum"
BOUNDED_IF = "cpo-penalty/bounded (if)"
BOUNDED_ONLY = "cpo-penalty/bounded (only-if)"
RISING = "cpo-penalty/rising-sequence"
STATIONARY = "cpo-margin/stationarity"
SEVERAL = "cpo-margin/several-pairs"
DEGREES = "cpo-margin/several-pairs-corrected"
CERTIFIED = "cpo-margin/certified-points"
BRANCH = "cpo-margin/local-maximum"
CROSSING = "cpo-margin/gamma-star"
FOLD = "cpo-margin/fold"
WIDTH = "cpo-margin/fold-width"
FOR_EVER = "cpo-margin/aligned-for-all-larger-gamma"
EQ17 = "cpo-margin/eq17-exact"
EQ17_MEETS = "cpo-margin/eq17-exact-corrected (if)"
EQ17_SIGN = "cpo-margin/eq17-sign (if)"
OPTIMISTIC = "cpo-margin/eq17-optimistic"
TWO = "cpo-alignment/two-responses"
DISJOINT = "cpo-alignment/disjoint-pairs"
STRICT = "cpo-alignment/strict"
EXISTENCE = "cpo-alignment/existence"
WINDOW = "cpo-alignment/existence-corrected (if)"
ONE_GAMMA = "cpo-alignment/one-gamma-for-all-prompts"
CHAIN = "cpo-alignment/chain"
OVERLAPPING = "cpo-alignment/overlapping"
CRITERION = "cpo-alignment/overlapping-corrected"
IDLE = "cpo-alignment/some-gamma-corrected"
MORE = "cpo-alignment/more-gamma-is-better"
MEAN = "cpo-alignment/more-gamma-is-better-corrected"


def first_loser(solve):
    """Mutate the solver: the first response of negative net degree sinks, not the most negative."""

    def mutant(problem, gamma):
        found = solve(problem, gamma)
        if found.component is None:
            return found
        y = int(np.flatnonzero(problem.degree < 0)[0])
        return dataclasses.replace(found, component=(y,), direction=-np.eye(problem.bandit.K)[y])

    return mutant


CLOSED_FORMS = (
    Bug("gamma* with 2m for 4m", margins, "penalty_critical_gamma", scaled(2), (CROSSING, CHAIN)),
    Bug("gamma* of the wrong sign", margins, "penalty_critical_gamma", scaled(-1),
        (CROSSING, TWO, OVERLAPPING)),
    Bug("gamma* without the mass", margins, "penalty_critical_gamma",
        lambda f: lambda star, beta, mass=1.0: f(star, beta), (WIDTH, DISJOINT)),
    Bug("the fold at beta/(2m cosh d)", margins, "penalty_fold",
        lambda f: lambda *a: ((d := f(*a))[0], d[1] * np.tanh(d[0])), (FOLD, WIDTH)),
    Bug("the fold at the root of d - coth d", margins, "penalty_fold",
        lambda f: lambda star, beta, mass=1.0: (f(2 * star, beta, mass)[0] / 2, f(star, beta)[1]),
        (FOLD, BRANCH)),
    Bug("the fold's gamma times the mass", margins, "penalty_fold",
        lambda f: lambda star, beta, mass=1.0: (f(star, beta)[0], f(star, beta)[1] * mass),
        (FOLD,)),
    Bug("the local maximum of the other pair", margins, "penalty_margin",
        lambda f: lambda star, *a: -f(-star, *a), (BRANCH, CROSSING)),
    Bug("a finite margin beyond the fold", margins, "penalty_margin",
        lambda f: lambda *a: np.minimum(f(*a), 1e3), (FOR_EVER, EXISTENCE)),
    Bug("no local maximum at the fold itself", margins, "penalty_margin",
        lambda f: lambda star, beta, gamma, mass=1.0: np.where(
            gamma < margins.penalty_fold(star, beta, mass)[1], f(star, beta, gamma, mass), np.inf),
        (BRANCH,)),
    Bug("beta squared in the local maximum", margins, "penalty_margin",
        lambda f: lambda star, beta, gamma, mass=1.0: f(star, beta, gamma / beta, mass),
        (BRANCH, OPTIMISTIC)),
    Bug("Eq. 17 with reciprocals of log-probabilities", losses, "eq17",
        instead(lambda gamma=0.1: losses.easy(gamma)), (EQ17, EQ17_SIGN)),
    Bug("Eq. 17 with half its push", losses, "eq17",
        lambda f: lambda gamma=0.1: f(gamma / 2), (EQ17_MEETS, OPTIMISTIC)),
)  # fmt: skip

SOLVER_BUGS = (
    Bug("winner and loser swapped in the net degrees", penalty, "degrees_of",
        lambda f: lambda k, pairs: [-d for d in f(k, pairs)], (NO_OPTIMUM, CHAIN)),
    Bug("losers forgotten in the net degrees", penalty_objective, "degrees_of",
        lambda f: lambda k, pairs: np.bincount(pairs.winner, pairs.mass, k).tolist(),
        (BOUNDED_IF, DEGREES)),
    Bug("pairs counted, masses forgotten", penalty, "degrees_of",
        lambda f: lambda k, pairs: f(k, dataclasses.replace(pairs, mass=0 * pairs.mass + 1.0)),
        (DEGREES, MORE)),
    Bug("unbounded called optimal", penalty, "_solve_one",
        lambda f: lambda *a: dataclasses.replace(f(*a), status=solution.Status.OPTIMAL),
        (NO_OPTIMUM, BOUNDED_ONLY)),
    Bug("the rising direction points back", penalty, "_solve_one",
        lambda f: lambda *a: dataclasses.replace(
            s := f(*a), direction=None if s.direction is None else -s.direction),
        (NO_OPTIMUM, RISING)),
    Bug("the penalty of the wrong sign", solvers, "penalty_value",
        lambda f: lambda b, p, gamma, logp: 2 * f(b, p, 0.0, logp) - f(b, p, gamma, logp),
        (NO_OPTIMUM, RISING, STATIONARY)),
    Bug("KL of the wrong sign in the penalty's objective", penalty_objective, "objective",
        lambda f: lambda b, logp: 2 * np.sum(np.exp(logp) * b.reward, axis=-1) - f(b, logp),
        (NO_OPTIMUM, BOUNDED_ONLY, STATIONARY)),
    Bug("gamma forgotten in the penalty's objective", solvers, "penalty_value",
        lambda f: lambda b, p, gamma, logp: f(b, p, 1.0, logp), (NO_OPTIMUM, RISING)),
    Bug("the fold where the critical response turns", penalty_curve.Curve, "fold",
        instead(lambda self: 0.0), (BRANCH, WINDOW)),
    Bug("upper and lower roots swapped", penalty_curve, "upper",
        instead(penalty_curve.lower), (MORE, OVERLAPPING)),
    Bug("the solver's root off by a thousandth", penalty_curve, "single",
        lambda f: lambda z: 1.001 * f(z), (STATIONARY, CERTIFIED, SEVERAL)),
    Bug("saddles dropped from the stationary points", solvers, "stationary_points",
        lambda f: lambda *a: [p for p in f(*a) if p.is_local_maximum], (BRANCH,)),
    Bug("saddles called maxima", penalty_points, "_point",
        lambda f: lambda *a: dataclasses.replace(f(*a), is_local_maximum=True), (BRANCH,)),
    Bug("only the first sheet of stationary points", penalty_points, "_sheets",
        lambda f: lambda *a: itertools.islice(f(*a), 1), (DEGREES, CRITERION, DISJOINT)),
    Bug("no stationary point found", solvers, "stationary_points",
        instead(lambda *a: []), (DEGREES, CRITERION, IDLE)),
    Bug("kappa of the wrong sign", penalty_points, "_point",
        lambda f: lambda *a: dataclasses.replace(p := f(*a), kappa=-p.kappa), (DEGREES, CRITERION)),
    Bug("the objective counted twice", penalty, "objective", scaled(2), (CHAIN, SEVERAL)),
    Bug("a residual that is always zero", penalty.Problem, "residual",
        instead(lambda *a: 0.0), (CHAIN, SEVERAL)),
    Bug("the first loser sinks", penalty, "_solve_one", first_loser, (BOUNDED_ONLY, NO_OPTIMUM)),
    Bug("the branch given up 1e-4 nats before its fold", penalty.Problem, "branch",
        lambda f: lambda self, log_gamma: f(self, log_gamma)
        if log_gamma < -self.curve.at(self.curve.fold()).log_total - 1e-4 else (None, 0),
        (BRANCH, FOLD)),
    Bug("the branch stops short of its fold", solvers, "penalty_branch",
        lambda f: lambda *a, **k: dataclasses.replace(
            b := f(*a, **k), fold_gamma=0.9 * b.fold_gamma), (FOLD, ONE_GAMMA)),
    Bug("the branch starts at the fold", solvers, "penalty_branch",
        lambda f: lambda *a, **k: dataclasses.replace(
            b := f(*a, **k), margin=b.margin[::-1], logp=b.logp[::-1]), (MEAN, BRANCH)),
)  # fmt: skip

CLAIM_BUGS = (
    Bug("the claims' gamma* with 2m", penalty_formulas, "critical_gamma", scaled(2),
        (CROSSING, STRICT)),
    Bug("the claims' fold equation with tanh", penalty_formulas, "fold_equation",
        instead(lambda m, d: d - (1 - m.exp(-d)) / (1 + m.exp(-d))), (FOLD, WIDTH)),
    Bug("the claims' fold without the mass", penalty_formulas, "fold_gamma",
        lambda f: lambda m, d, beta, mass: f(m, d, beta, 1), (FOLD, WIDTH)),
    Bug("the claims' 1/pi(w) + 1/pi(l) as 1 + cosh", penalty_formulas, "inverse_pair",
        lambda f: lambda m, delta: f(m, delta) / 2, (BRANCH, EQ17)),
    Bug("the claims' Eqs. 13-16 with a minus", penalty_formulas, "printed_gap",
        instead(lambda gap, gamma, mass, w, lo: gap + gamma * mass * (1 / w - 1 / lo)),
        (STATIONARY, CERTIFIED, DISJOINT)),
    Bug("the claims' push of the loser added", penalty_formulas, "implicit_gap",
        instead(lambda gap, cw, cl, w, lo: gap + cw / w + cl / lo), (DEGREES, CRITERION)),
    Bug("off by one in the claims' net degrees", stationary, "net_degrees",
        lambda f: lambda instance: f(dataclasses.replace(instance, pairs=instance.pairs[:-1])),
        (CHAIN, SEVERAL)),
    Bug("the claims' slope without c/pi", penalty_formulas, "penalty_slope",
        lambda f: lambda m, prob, ref, reward, beta, c: f(m, prob, ref, reward, beta, 0 * c),
        (STATIONARY, IDLE)),
)  # fmt: skip

BUGS: tuple[Bug, ...] = (*CLOSED_FORMS, *SOLVER_BUGS, *CLAIM_BUGS)
