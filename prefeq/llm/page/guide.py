"""What the words of a report mean, each with its formula."""

from __future__ import annotations

from prefeq.llm.page.markup import Html, tag

REF = Html("δ<sub>ref</sub>")
"""The reference margin, as the page writes it."""

RATES: dict[str, tuple[str, Html]] = {
    "violation_rate": ("violate the assumption", Html(f"Δr ≤ −β {REF}")),
    "ref_below_zero": ("the reference prefers the rejected answer", Html(f"{REF} &lt; 0")),
    "relative_accuracy": ("relative accuracy, what trainers log", Html(f"δ &gt; {REF}")),
    "absolute_accuracy": ("absolute accuracy: the chosen answer is preferred", Html("δ &gt; 0")),
    "undesirable_share": (
        "in the undesirable space: better than the reference, still wrong",
        Html(f"{REF} &lt; δ &lt; 0"),
    ),
    "displaced_share": (
        "displaced: both answers less probable than before",
        Html("both log π &lt; log π<sub>ref</sub>"),
    ),
    "reward_below_zero": ("the reward prefers the rejected answer", Html("Δr &lt; 0")),
}
"""The headline rates: what they are shares of, and the condition."""

TERMS: tuple[tuple[str, Html], ...] = (
    (
        "Margins, in nats",
        Html(
            f"{REF} = log π<sub>ref</sub>(chosen) − log π<sub>ref</sub>(rejected), and δ the same "
            f"of the policy. x = δ − {REF} is the relative margin: what DPO's loss sees."
        ),
    ),
    (
        "The assumption",
        Html(
            f"Δr &gt; −β {REF} (arXiv:2605.20834, Assumption 3.1): the reward gap Δr between "
            "chosen and rejected answer is above the <em>critical gap</em> −β "
            f"{REF}. It says exactly that the RLHF optimum, whose margin is {REF} + Δr/β, prefers "
            "the chosen answer. Where it fails, RLHF with this reference and this β prefers the "
            "rejected one."
        ),
    ),
    (
        "Critical label probability",
        Html(
            f"σ(−β {REF}): how sure a label has to be for the assumption to hold, if Δr is the "
            "log-odds of the label."
        ),
    ),
    (
        "Relative and absolute accuracy",
        Html(
            f"Trainers log the share of δ &gt; {REF} (TRL: rewards/accuracies). It is 1 as soon as "
            "every pair is a little better than under the reference. What the policy prefers is "
            "the share of δ &gt; 0."
        ),
    ),
    (
        "Undesirable space",
        Html(
            f"{REF} &lt; δ &lt; 0: the loss of the pair is below ln 2, its value at the reference, "
            "and the policy still prefers the rejected answer. The <em>exit time</em> is how long "
            f"gradient flow on one pair's DPO loss needs to leave it, all the way from {REF}, "
            f"wherever the policy is by now; it grows like e<sup>−β {REF}</sup>."
        ),
    ),
    (
        "Target of a loss",
        Html(
            "The margin t that a loss compares δ with: it sees β(δ − t). DPO has t = "
            f"{REF}; hypo max({REF}, 0); smooth a soft version of it; easy less than {REF}; simpo "
            "a constant. A <em>negative</em> target lets a wrong pair have a small loss."
        ),
    ),
    (
        "Trap",
        Html(
            "A pair on which a loss with a finite optimum (ipo, hinge, cdpo) may stop with δ "
            "&lt; 0 for ever, if labels are taken as certain."
        ),
    ),
    (
        "At most wrong",
        Html(
            "A bound that follows from the mean loss alone: no more than this share of pairs can "
            "have δ ≤ 0. A dash where the mean loss bounds nothing."
        ),
    ),
    (
        "Sum or mean",
        Html(
            "DPO is defined on log-probs summed over tokens. Means (divided by the number of "
            f"tokens) shrink {REF} and with it the rates: compare like with like."
        ),
    ),
    (
        "Intervals and quantiles",
        Html(
            "Intervals of shares are Wilson's, by prompt where prompts are given: the pairs of one "
            "prompt are not independent. Quantiles of margins and gaps are exact to one part in a "
            "thousand. Label probabilities and exit times follow from them, exponentially, so that "
            "their relative error is larger where β times the margin is large; their bounds stand "
            "below them."
        ),
    ),
)
"""Definitions, in the order in which a reader needs them."""

FAULTS = {
    "nonfinite": "rows that cannot be used",
    "positive_logp": "log-probabilities above 0",
    "same_policy": "policy and reference are one model",
    "step0_mismatch": "policy and reference differ before training",
    "duplicate_columns": "two columns are the same",
    "swapped_columns": "chosen and rejected are exchanged in one model",
    "sum_mean": "means over tokens taken for sums",
    "truncated": "answers were cut at one length",
    "label_reversed": "labels and rewards point opposite ways",
}
"""Faults in a few words."""

EXAMPLES: dict[str, tuple[str, Html]] = {
    "violated": ("violate the assumption", Html(f"Δr + β {REF}")),
    "ref_below_zero": ("the reference prefers the rejected answer", Html(f"{REF}, nats")),
    "misaligned": ("the policy prefers the rejected answer", Html("δ, nats")),
    "undesirable": ("deepest in the undesirable space", Html("δ, nats")),
    "worsened": ("worse than under the reference", Html(f"δ − {REF}, nats")),
    "displaced": ("both answers lost probability", Html("the larger rise of log π, nats")),
}
"""The kinds of example: their title, and the value that ranks them."""


def definitions() -> Html:
    """Return the list of definitions."""
    return tag("dl", *((tag("dt", term), tag("dd", what)) for term, what in TERMS))
