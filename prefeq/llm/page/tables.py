"""The tables of a report as HTML: each in a box of its own that scrolls where it is too wide."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prefeq.llm.page import guide
from prefeq.llm.page.markup import Child, Html, coded, join, tag
from prefeq.llm.page.values import (
    UNKNOWN,
    Figures,
    count,
    exact,
    interval,
    look_up,
    number,
    row_name,
    share,
)
from prefeq.llm.plan import FEW_LABELS, TRAPS
from prefeq.llm.verdict import counted

REF = guide.REF

FILES_SHOWN = 5
"""Files named on the page."""


def table(caption: str, header: Sequence[Child], rows: Iterable[Sequence[Child]]) -> Html:
    """Return a table under its caption; the first cell of a row is its heading."""
    head = tag("tr", *(tag("th", cell, scope="col") for cell in header))
    body = (
        tag("tr", tag("th", first, scope="row"), *(tag("td", cell) for cell in rest))
        for first, *rest in rows
    )
    whole = tag("table", tag("thead", head), tag("tbody", *body), aria_label=caption)
    # Focusable, so that it scrolls by keyboard too.
    box = tag("div", whole, class_="scroll", tabindex="0", role="group", aria_label=caption)
    return tag("figure", tag("figcaption", caption), box, class_="table")


def rates(figures: Figures) -> Html:
    """Return the headline rates with their intervals."""
    rows = [
        [
            [what, " ", tag("span", condition, class_="formula")],
            *both(figures, name),
            UNKNOWN if figures[name] is None else f"{round(figures[name] * figures['pairs']):,}",
        ]
        for name, (what, condition) in guide.RATES.items()
    ]
    level = f"{100 * figures['level']:g}\u00a0%"
    caption = f"Shares of the {counted(figures['pairs'], 'pair')}, each with its {level} interval"
    return table(caption, ["share of pairs", "share", "pairs"], rows)


def both(figures: Figures, *path: str | int) -> list[Child]:
    """Return the one cell of a share and, below it, its interval."""
    if look_up(figures, *path) is None:
        return [UNKNOWN]
    *head, name = path
    return [[share(figures, *path), tag("br"), interval(figures, *head, f"{name}_interval")]]


def quantiles(figures: Figures) -> Html | None:
    """Return means and quantiles of margins, critical gaps and exit times."""
    if not figures["pairs"]:
        return None
    shares = list(figures["ref_margin"]["quantiles"])
    rows = []
    for name, what in (
        ("ref_margin", Html(f"reference margin {REF}, nats")),
        ("margin", "policy margin δ, nats"),
        ("critical_gap", Html(f"critical gap −β {REF}")),
        ("critical_label_prob", "critical label probability"),
        ("exit_time", Html(f"DPO’s exit time from {REF}")),
    ):
        if figures[name] is not None:
            has_mean = "mean" in figures[name]
            mean = number(figures, name, "mean") if has_mean else "–"
            cells: list[Child] = [number(figures, name, "quantiles", s) for s in shares]
            if "bounds" in figures[name]:
                ends = (interval(figures, name, "bounds", s, of=number) for s in shares)
                cells = [[c, tag("br"), e] for c, e in zip(cells, ends, strict=True)]
            rows.append([what, mean, *cells])
    header = ["of the pairs", "mean", *(f"{float(s):.0%}" for s in shares)]
    return table("Means and quantiles; below what follows from margins, its bounds", header, rows)


def relative(figures: Figures) -> Html | None:
    """Return how far the policy has moved, if there is one."""
    if figures["relative_margin"] is None:
        return None
    least, mean, most = (
        number(figures, "relative_margin", name) for name in ("least", "mean", "largest")
    )
    return tag(
        "p", "The policy’s margin has moved by ", mean, " nats on average (from ", least, " to ",
        most, Html(f"): that is x = δ − {REF}."),
    )  # fmt: skip


def losses(figures: Figures) -> Html:
    """Return what each loss of the family asks of these pairs."""
    rows: list[list[Child]] = []
    targets = ("0.05", "0.5", "0.95")
    for name in figures["losses"]:
        path = ("losses", name)
        rows.append(
            [
                tag("span", name, title=look_up(figures, *path, "what").replace("`", "")),
                look_up(figures, *path, "normalize"),
                _mean(figures, *path),
                *(number(figures, *path, "target", "quantiles", s) for s in targets),
                *both(figures, *path, "negative_target_share"),
                *both(figures, *path, "trap_share"),
                _at_most(figures, *path, "certificate", "misaligned_share_at_most"),
            ]
        )
    header = [
        *("loss", "log-probs", "mean loss", "target, 5 %", "target, median", "target, 95 %"),
        *("targets < 0", "trapped", "at most wrong"),
    ]
    return table("The losses on these pairs, with default parameters", header, rows)


def _at_most(figures: Figures, *path: str | int) -> Html:
    bound = look_up(figures, *path)
    if bound is not None and bound >= 1:
        return tag("span", "–", class_="none", title="the mean loss bounds nothing")
    return share(figures, *path)


def _mean(figures: Figures, *path: str | int) -> list[Child]:
    known = look_up(figures, *path, "mean_interval") is not None
    ends = [tag("br"), interval(figures, *path, "mean_interval", of=number)] if known else None
    return [number(figures, *path, "mean"), ends]


def meanings(figures: Figures) -> Html:
    """Return what each loss is."""
    entries = (
        (tag("dt", n), tag("dd", coded(loss["what"]))) for n, loss in figures["losses"].items()
    )
    return tag("dl", *entries, class_="short")


def other_beta(figures: Figures) -> Html:
    """Return what the same pairs look like at other β."""
    entries = figures["at_other_beta"]
    labels = FEW_LABELS if entries[0]["violation_by_label_prob"] else ()  # those of every β
    rows = []
    for i, entry in enumerate(entries):
        here = ("at_other_beta", i)
        at = {e["label_prob"]: j for j, e in enumerate(entry["violation_by_label_prob"] or [])}
        if labels:
            each = (("violation_by_label_prob", at[q], "violation_rate") for q in labels)
            rates = [cell for path in each for cell in both(figures, *here, *path)]
        else:
            rates = both(figures, *here, "violation_rate")
        traps = [cell for name in TRAPS for cell in both(figures, *here, f"{name}_trap_share")]
        gap = number(figures, *here, "critical_gap", "quantiles", "0.5")
        beta = exact(figures, *here, "beta")
        chosen = entry["beta"] == figures["beta"]
        rows.append([tag("strong", beta) if chosen else beta, *rates, gap, *traps])
    what = [f"violated, if labels are {q:g} sure" for q in labels] or ["violated"]
    header = ["β", *what, "median critical gap", *(f"{name} traps" for name in TRAPS)]
    return table("The same pairs at other β; the one asked for in bold", header, rows)


def by_label(figures: Figures) -> Html | None:
    """Return how many pairs were violated, were every label of some probability."""
    found = figures["violation_by_label_prob"]
    if not found:
        return None
    rows = []
    for i in range(len(found)):
        here = ("violation_by_label_prob", i)
        rows.append(
            [
                exact(figures, *here, "label_prob"),
                number(figures, *here, "reward_gap"),
                *both(figures, *here, "violation_rate"),
            ]
        )
    header = ["label probability", "reward gap", "violated"]
    return table("Were every label of one probability", header, rows)


def sum_or_mean(figures: Figures) -> Html | None:
    """Return what the choice between sums and means over tokens does, if counts are known."""
    if figures["by_normalize"] is None:
        return None
    rows = []
    for way in figures["by_normalize"]:
        here = ("by_normalize", way)
        gap = (
            number(figures, *here, "critical_gap_median")
            if "critical_gap_median" in look_up(figures, *here)
            else UNKNOWN
        )
        chosen = tag("strong", way) if way == figures["normalize"] else way
        rows.append(
            [
                chosen,
                *both(figures, *here, "violation_rate"),
                *both(figures, *here, "ref_below_zero"),
                gap,
            ]
        )
    less = Html(f"{REF} &lt; 0")
    header = ["log-probs over tokens", "violated", less, "median critical gap"]
    return table("Summed or averaged over tokens", header, rows)


def examples(figures: Figures) -> Html:
    """Return the worst rows of each kind."""
    parts = []
    for kind, rows in figures["examples"].items():
        title, value = guide.EXAMPLES[kind]
        if rows:
            cells = [
                [row_name(row["row"]), number(figures, "examples", kind, i, "value")]
                for i, row in enumerate(rows)
            ]
            caption = title[0].upper() + title[1:]
            parts.append(table(caption, ["row", value], cells))
    if not parts:
        return tag("p", "No pair stands out: none is violated, misaligned or displaced.")
    return tag("div", *parts, class_="examples")


def provenance(figures: Figures, version: str) -> Html:
    """Return what went in, and how it was looked at."""
    gap = {
        "rewards": "chosen_reward − rejected_reward",
        "label_prob": "logit of label_prob",
        None: "not known",
    }[figures["reward_gap"]]
    summed = figures["normalize"] == "sum"
    facts: list[tuple[Child, Child]] = [
        ("β", exact(figures, "beta")),
        ("log-probs", "summed over tokens (sum)" if summed else "averaged over tokens (mean)"),
        ("reward gap Δr", gap),
        ("pairs", count(figures, "pairs")),
        ("rows left out", count(figures, "excluded")),
        ("prompts", count(figures, "prompts")),
        ("taken before training (step 0)", "yes" if figures["step0"] else "not said"),
        ("confidence level", exact(figures, "level")),
        ("relative error of quantiles", number(figures, "quantile_error", "relative")),
        ("files", _files(figures)),
        ("columns not used that look like ours", _unused(figures)),
        ("computed by", f"prefeq {version}"),
        ("assumption", tag("a", "arXiv:2605.20834", href="https://arxiv.org/abs/2605.20834")),
    ]
    return table("What went in", ["setting", "value"], facts)


def _files(figures: Figures) -> Child:
    if figures["files"] is None:
        return "none: columns in memory"
    names = figures["files"]["names"]
    total, shown = figures["files"]["count"], [row_name(name) for name in names[:FILES_SHOWN]]
    more = f" and {total - len(shown):,} more" if total > len(shown) else None
    return [join(shown, ", "), more]


def _unused(figures: Figures) -> Child:
    unused = figures["unused_columns"]
    if not unused:
        return "none"
    parts = (
        [row_name(theirs), " (as ", tag("code", ours), "?)"] for theirs, ours in unused.items()
    )
    return join(parts, ", ")
