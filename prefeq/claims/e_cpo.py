"""`e-cpo`: a surrogate that reads the penalty off the reference keeps the guarantee of alignment.

Each loss has readings of its own, in `eq17_surrogate` and `easy_surrogate`; `target_criteria` has
what holds for every target margin, here and in `e_cpoc`.
"""

from __future__ import annotations

from prefeq.claims import easy_surrogate, eq17_surrogate, target_criteria
from prefeq.claims.registry import Claim, register

register(
    Claim(
        id="e-cpo",
        title="the E-CPO surrogate aligns whatever the reference (read as Eq. 17 and as the "
        "released `easy` branch: which loss the name means is our inference)",
        source="arXiv:2605.20834, Eq. 17, and its released training code",
        provenance="reconstructed",
        readings=(
            *target_criteria.READINGS,
            *eq17_surrogate.READINGS,
            *easy_surrogate.READINGS,
        ),
    )
)
