"""The card of a loss: what was measured, as text, as HTML and as strict JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from prefeq.loss_cards.agreement import Agreement
from prefeq.loss_cards.alignment import Alignment
from prefeq.loss_cards.curve import Ranges
from prefeq.loss_cards.dependence import Dependence
from prefeq.loss_cards.faults import Fault
from prefeq.loss_cards.flow import FirstStep, Trap
from prefeq.loss_cards.precision import Finding
from prefeq.loss_cards.shape import Shape
from prefeq.loss_cards.target import Target
from prefeq.strict_json import to_plain


@dataclass(frozen=True, eq=False)
class LossCard:
    """Everything that `analyse_loss` measured of one loss; print it, or look at the parts.

    Attributes
    ----------
    name, library, scheme, reduction, parameters, beta
        The loss, how it was called and how its gradients were made; β, or None if it has none.
    ranges
        What was looked at. 1/`ranges.beta` is the unit of length, and DPO of that β the rival.
    dependence, shape, first_step, target, fixed, per_label, trap_region, faults, findings
        See `prefeq.loss_cards`.
    ordered
        Local minima of an ordered pair for some δ_ref.
    population
        Local minima under Bradley–Terry labels for some δ_ref and Δr, in both readings.
    exits
        Exit times from U for some δ_ref, with DPO's.
    weak
        The share of U where the gradient is below `weak_size`, for some δ_ref.
    same_as
        Names of our losses that it agrees with, on responses of several tokens.
    same_as_one_token
        The same on responses of one token, where the loss is told how many there are.
    agreements
        Comparisons that were asked for.
    stand_in
        A loss that depends on its batch: which of ours a pair alone equals, and what was measured.
    curves
        Curves for the picture.
    """

    name: str
    library: str
    scheme: str
    reduction: str
    parameters: Mapping[str, Any]
    beta: float | None
    ranges: Ranges
    dependence: Dependence
    shape: Shape
    first_step: FirstStep
    target: Target | None
    fixed: Alignment
    per_label: Alignment
    trap_region: Trap
    ordered: tuple[Mapping[str, Any], ...]
    population: tuple[Mapping[str, Any], ...]
    exits: tuple[Mapping[str, Any], ...]
    weak: tuple[Mapping[str, Any], ...]
    weak_size: float
    same_as: tuple[str, ...]
    same_as_one_token: tuple[str, ...]
    agreements: tuple[Agreement, ...]
    faults: tuple[Fault, ...]
    findings: tuple[Finding, ...]
    stand_in: str | None
    certified: Mapping[str, bool]
    curves: Mapping[str, Any] = field(repr=False)

    @property
    def aligned(self) -> bool | None:
        """Whether every local minimum under Bradley–Terry labels has δ > 0, the target fixed."""
        return self.fixed.verdict

    @property
    def aligned_per_label(self) -> bool | None:
        """The same, the target recomputed for a flipped label."""
        return self.per_label.verdict

    @property
    def trap(self) -> bool | None:
        """Whether a finite local minimum or a flat of an ordered pair lies in U."""
        return self.trap_region.verdict

    @property
    def margin_only(self) -> bool:
        """Whether δ and δ_ref alone determine the loss."""
        return self.dependence.margin_only

    @property
    def exit_time_ratio(self) -> float:
        """The exit time from U over DPO's, at δ_ref = −3/β; inf where the flow does not exit."""
        return float(self.exits[1]["ratio"])

    @property
    def counterexample(self) -> dict[str, Any] | None:
        """The smallest misaligned bandit, of the fixed reading or else of the other."""
        for verdict in (self.fixed, self.per_label):
            if verdict.counterexample is not None:
                return verdict.counterexample.to_dict()
        return None

    def to_dict(self) -> dict[str, Any]:
        """Return the card as strict JSON holds it: infinities are "inf", what is not there null."""
        from prefeq.loss_cards.record import dictionary

        plain: dict[str, Any] = to_plain(dictionary(self))
        return plain

    def __str__(self) -> str:
        from prefeq.loss_cards.sentences import headline, rows

        lines = [f"{self.name}: {headline(self)}", ""]
        for name, text in rows(self):
            first, *more = _wrap(text, 79)
            lines.append(f"{name:<18}{first}")
            lines += [" " * 18 + line for line in more]
        for fault in self.faults:
            first, *more = _wrap(f"{fault.name}: {fault.message}", 79)
            lines.append(f"{fault.severity:<18}{first}")
            lines += [" " * 18 + line for line in more]
        return "\n".join(lines)

    def to_html(self) -> str:
        """Return the card as a page that needs nothing else."""
        from prefeq.loss_cards.page import page

        return page(self)

    def _repr_html_(self) -> str:
        from prefeq.loss_cards.page import fragment

        return fragment(self)


def _wrap(text: str, columns: int) -> list[str]:
    import textwrap

    return textwrap.wrap(text, columns) or [""]
