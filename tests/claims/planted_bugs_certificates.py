"""Planted bugs of `gradient-weakening`, `different-objectives` and `loss-to-delta`."""

from __future__ import annotations

import dataclasses

import numpy as np
from claims.planted_bugs import Bug, instead, relink, scaled

from prefeq import losses, margins, preferences
from prefeq.claims import exact_graphs, exit_checks, formulas, gallery, target_formulas
from prefeq.claims.several_policies import Policies
from prefeq.losses import links, loss, targets
from prefeq.solvers import likelihood, rlhf

FACTOR = "gradient-weakening/factor-decreases"
VANISHES = "gradient-weakening/vanishes-at-boundary"
LIMIT = "gradient-weakening/boundary-limit"
TURNS = "gradient-weakening/soft-labels"
SOFT_SLOPE = "gradient-weakening/soft-labels-corrected"
NEVER = "gradient-weakening/never-escapes"
EXIT = "gradient-weakening/exit-time"
LAMBERT = "gradient-weakening/lambert-w"
EXPONENTIAL = "gradient-weakening/exponential"
STEPS = "gradient-weakening/exit-steps"
TARGET = "gradient-weakening/exit-time-target"
STEPS_TARGET = "gradient-weakening/exit-steps-target"
CLIP = "gradient-weakening/clip-exit-time"
ARGMINS = "different-objectives/argmins-ordered (if)"
ARGMINS_ONLY = "different-objectives/argmins-ordered (only-if)"
SAME_ARGMIN = "different-objectives/argmins-bradley-terry (if)"
SAME_ARGMIN_PROVED = "different-objectives/argmins-bradley-terry-corrected"
TILTED = "different-objectives/order-ordered (if)"
OVERSHOT = "different-objectives/order-ordered (only-if)"
MIRRORED = "different-objectives/mirrored (if)"
UNDERSHOT = "different-objectives/order-population (only-if)"
UNEVEN = "different-objectives/order-population-corrected"
SAME_SIDE = "different-objectives/same-side"
MISALIGNED = "different-objectives/alignment"
TOGETHER = "different-objectives/alignment-corrected"
OTHER_WAY = "different-objectives/alignment-ordered"
PAIR = "loss-to-delta/per-pair (if)"
LN2 = "loss-to-delta/ln2 (only-if)"
BY_LN2 = "loss-to-delta/aligned-by-ln2"
ITS_OWN = "loss-to-delta/aligned-by-its-own-bound (if)"
SHARE = "loss-to-delta/averages"
SHARP = "loss-to-delta/averages-sharp"
EACH = "loss-to-delta/mean-certifies-each"
MEAN = "loss-to-delta/mean-certifies-mean"
FIXED = "loss-to-delta/soft-fixed-target (if)"
BETWEEN = "loss-to-delta/soft-fixed-target-corrected"
EASY = "loss-to-delta/soft-recomputed-target"
RECOMPUTED = "loss-to-delta/soft-recomputed-target-corrected"
SOFT_SHARE = "loss-to-delta/averages-soft-labels"
FLOOR = "loss-to-delta/averages-soft-labels-corrected"

EXIT_BUGS = (
    Bug("the exit time without its linear term", margins, "exit_time",
        lambda f: lambda ref, beta, target=None, mass=1.0: f(ref, beta, target, mass)
        + ref / (2 * beta * mass), (EXIT, LAMBERT)),
    Bug("the exit time times the mass", margins, "exit_time",
        lambda f: lambda ref, beta, target=None, mass=1.0: f(ref, beta, target) * mass,
        (EXIT, TARGET)),
    Bug("beta for its square in the exit time", margins, "exit_time",
        lambda f: lambda ref, beta, *a, **k: f(ref, beta, *a, **k) * beta, (EXIT, LAMBERT)),
    Bug("the exit time to a target from that target", margins, "exit_time",
        lambda f: lambda ref, beta, target=None, mass=1.0: f(
            ref if target is None else np.minimum(target, -1e-3), beta, target, mass),
        (TARGET, CLIP)),
    Bug("the logarithm of the exit time with one beta too many", margins, "log_exit_time",
        lambda f: lambda ref, beta, *a, **k: f(ref, beta, *a, **k) + np.log(beta),
        (EXPONENTIAL,)),
    Bug("the logarithm of the exit time ignores the target", margins, "log_exit_time",
        lambda f: lambda ref, beta, target=None, mass=1.0: f(ref, beta, None, mass),
        (EXPONENTIAL,)),
    Bug("floor for ceiling in the number of steps", margins, "exit_steps_bounds",
        lambda f: lambda *a: (f(*a)[0], f(*a)[1] - 1), (STEPS,)),
    Bug("the lower bound on steps without its factor", margins, "exit_steps_bounds",
        lambda f: lambda ref, beta, eta, mass=1.0, target=None: (
            margins.exit_time(ref, beta, target, mass) / eta,
            f(ref, beta, eta, mass, target)[1]), (STEPS, STEPS_TARGET)),
    Bug("the lower bound on steps with half of its exponent", margins, "exit_steps_bounds",
        lambda f: lambda ref, beta, eta, mass=1.0, target=None: (
            f(ref, beta, eta, mass, target)[0] ** 0.5
            * (margins.exit_time(ref, beta, target, mass) / eta) ** 0.5,
            f(ref, beta, eta, mass, target)[1]), (STEPS, STEPS_TARGET)),
    Bug("the DPO gradient without its reference", losses, "DPO",
        lambda f: dataclasses.replace(f, target_rule=targets.constant(0.0)), (EXIT, LIMIT)),
    Bug("the DPO gradient saturates at both ends", losses, "DPO",
        relink(slope=lambda xp, z: -xp.exp(-xp.abs(z)) / 2), (FACTOR, VANISHES, NEVER)),
    Bug("clip at the reference", losses, "CLIP",
        lambda f: dataclasses.replace(f, target_rule=targets.REFERENCE), (CLIP,)),
    Bug("the soft slope at 1 - q", loss, "_weigh",
        lambda f: lambda xp, odds, value: f(xp, -odds, value), (TURNS, SOFT_SLOPE)),
    Bug("the claims' level z + e^z without z", formulas, "flow_level",
        instead(lambda m, z: m.exp(z)), (EXIT, STEPS)),
    Bug("the claims' exit time to a target with its ends swapped", formulas, "exit_time_to",
        scaled(-1), (TARGET, STEPS_TARGET)),
    Bug("the claims' clip time exponential", formulas, "clip_exit_time",
        instead(lambda m, ref, beta, mass: formulas.exit_time(m, ref, beta, mass)), (CLIP,)),
    Bug("the claims' path one level behind", exit_checks, "path",
        lambda f: lambda level: f(level / 2), (LAMBERT, EXIT)),
)  # fmt: skip

ORDER_BUGS = (
    Bug("J with the KL of the wrong sign", rlhf, "objective",
        lambda f: lambda b, logp: 2 * np.sum(np.exp(logp) * b.reward, axis=-1) - f(b, logp),
        (OVERSHOT, TILTED)),
    Bug("J with the KL of pi_ref from pi", rlhf, "objective",
        instead(lambda b, logp: np.sum(
            np.exp(logp) * b.reward - np.asarray(b.beta)[..., None]
            * np.exp(b.ref_logp) * (b.ref_logp - logp), axis=-1)), (UNEVEN, MIRRORED)),
    Bug("J without beta", rlhf, "objective",
        lambda f: lambda b, logp: np.sum(np.exp(logp) * b.reward, axis=-1)
        - (np.sum(np.exp(logp) * b.reward, axis=-1) - f(b, logp)) / np.asarray(b.beta),
        (SAME_SIDE, UNDERSHOT)),
    Bug("the ordered gradient vanishes at delta*", losses, "DPO",
        relink(slope=lambda xp, z: -(z - 1) ** 2), (ARGMINS,)),
    Bug("ordered pairs have soft labels", preferences.Preferences, "ordered",
        lambda f: classmethod(lambda cls, b, pairs=None: cls.bradley_terry(b, pairs)),
        (ARGMINS_ONLY, OTHER_WAY)),
    Bug("soft labels of half the gap", preferences.Preferences, "bradley_terry",
        lambda f: classmethod(lambda cls, b, pairs=None: cls(
            *np.asarray(pairs).T, log_odds=(b.reward[np.asarray(pairs)[:, 0]]
                                            - b.reward[np.asarray(pairs)[:, 1]]) / 2)),
        (SAME_ARGMIN, MISALIGNED)),
    Bug("the fit in units of beta", likelihood, "minimise",
        lambda f: lambda *a, **k: (f(*a, **k)[0] * 1.01, 1), (SAME_ARGMIN_PROVED, TOGETHER)),
    Bug("RLHF without the reference", rlhf, "rlhf_logp",
        lambda f: lambda b: f(dataclasses.replace(b, ref_logp=0 * b.ref_logp)),
        (TOGETHER, MISALIGNED)),
    Bug("the claims' J with the reference's margin doubled", formulas, "two_response_value",
        lambda f: lambda m, delta, ref, gap, beta: f(m, delta, 2 * ref, gap, beta),
        (MIRRORED, UNEVEN, SAME_SIDE)),
    Bug("the claims' value of a policy without its leash", Policies, "value",
        instead(lambda self, i: gallery.ball(self.cases[i].policy[0])), (OVERSHOT, UNDERSHOT)),
    Bug("the claims' heights upside down", exact_graphs, "heights",
        lambda f: lambda size, edges: None if (h := f(size, edges)) is None else [-x for x in h],
        (TILTED, ARGMINS)),
)  # fmt: skip

LEVEL_BUGS = (
    Bug("the certified margin above the target", margins, "margin_lower_bound",
        lambda f: lambda level, target, beta: 2 * target - f(level, target, beta), (PAIR, MEAN)),
    Bug("the certified margin not divided by beta", margins, "margin_lower_bound",
        lambda f: lambda level, target, beta: target
        + beta * (f(level, target, beta) - target), (PAIR, MEAN)),
    Bug("log(e^l + 1) in the certified margin", margins, "margin_lower_bound",
        instead(lambda level, target, beta: target - np.logaddexp(level, 0) / beta),
        (PAIR, EACH)),
    Bug("the largest target for the least in the share", margins, "misaligned_share_bound",
        lambda f: lambda mean, target, beta: f(mean, np.max(target), beta), (SHARE, SHARP)),
    Bug("the least beta times the least target in the share", margins, "misaligned_share_bound",
        lambda f: lambda mean, target, beta: f(mean, np.min(target), np.min(beta)),
        (SHARE, SHARP)),
    Bug("the share's bound at -t", margins, "misaligned_share_bound",
        lambda f: lambda mean, target, beta: f(mean, -np.asarray(target), beta),
        (SHARE, SOFT_SHARE)),
    Bug("the loss is a tenth too small", losses, "DPO",
        relink(value=lambda xp, z: 0.9 * links.LOGISTIC.value(xp, z)), (PAIR, BY_LN2, SHARP)),
    Bug("winner and loser swapped in the loss", losses, "DPO",
        relink(value=lambda xp, z: links.LOGISTIC.value(xp, -z)), (LN2, BY_LN2, ITS_OWN)),
    Bug("hard labels for soft ones", loss, "_weigh",
        lambda f: lambda xp, odds, value: f(xp, xp.inf * odds, value), (FIXED, BETWEEN, FLOOR)),
    Bug("a flipped label keeps its target", losses.Loss, "_same_readings",
        instead(lambda self, flipped: True), (EASY, RECOMPUTED)),
    Bug("the swapped target for the target", targets.View, "swapped",
        instead(lambda self: self), (EASY, RECOMPUTED)),
    Bug("easy without its minus", targets, "inverse_logp",
        lambda f: lambda gamma: f(-gamma), (EASY, RECOMPUTED)),
    Bug("the claims' certified margin for a loss of e^l", formulas, "certified_margin",
        instead(lambda m, level, target, beta: target - m.log(m.exp(level)) / beta),
        (PAIR, EACH)),
    Bug("the claims' second target of the wrong sign", formulas, "two_target_risk",
        lambda f: lambda m, delta, target, swapped, beta, q: f(
            m, delta, target, -swapped, beta, q), (EASY, RECOMPUTED)),
    Bug("the claims' clip takes the smaller", target_formulas, "clip",
        lambda f: lambda m, d: -f(m, -d), (RECOMPUTED,)),
    Bug("the claims' easy shift of the other sign", target_formulas, "easy_shift",
        scaled(-1), (RECOMPUTED,)),
)  # fmt: skip

BUGS = (*EXIT_BUGS, *ORDER_BUGS, *LEVEL_BUGS)
