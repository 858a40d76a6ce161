"""Components of the comparison graphs of a batch: in lanes, or prompt by prompt if too large."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import array_api_compat
import numpy as np

from prefeq import graphs
from prefeq.arrays import is_tensor
from prefeq.bandit import Bandit
from prefeq.chunks import map_lanes
from prefeq.component_lanes import LARGEST_IN_LANES, label_lanes

if TYPE_CHECKING:
    from prefeq.preferences import Preferences


def label(preferences: Preferences, bandit: Bandit, *, directed: bool) -> Any:
    """Label the components, (..., K), -1 off-support; if directed, the strong ones."""
    preferences.check(bandit)
    lead, k = bandit.batch_shape, bandit.K
    tensors = is_tensor(preferences.mass)
    if k <= LARGEST_IN_LANES and preferences.P and (lead or tensors):
        kernel = partial(label_lanes, directed=directed)
        found = map_lanes(kernel, _rows(preferences, bandit), 2 * k * k)
        return preferences.xp.reshape(found["label"], (*lead, k))
    if tensors:
        labels = label(preferences.to_numpy(), bandit.to_numpy(), directed=directed)
        return preferences.xp.asarray(labels, device=array_api_compat.device(preferences.mass))
    labels = np.full((*lead, k), -1, dtype=np.int64)
    for index in np.ndindex(lead):
        row = preferences.at(index, lead) if lead else preferences
        on = np.flatnonzero(bandit.support[index])
        labels[(*index, on)] = _label_one(row, on, k, directed)
    return labels


def _label_one(preferences: Preferences, on: Any, k: int, directed: bool) -> Any:
    """Label the components among the responses `on` of one prompt."""
    rank = np.zeros(k, dtype=np.int64)
    rank[on] = np.arange(on.size)
    if directed:
        tail, head = preferences.beats()
        return graphs.strong_components(on.size, rank[tail], rank[head])
    here = preferences.present
    winner, loser = preferences.winner[here], preferences.loser[here]
    return graphs.components(on.size, rank[winner], rank[loser])


def _rows(preferences: Preferences, bandit: Bandit) -> dict[str, Any]:
    """Return the support (B, K) and the pairs (B, P) of a batch."""
    xp, shape = preferences.xp, (*bandit.batch_shape, preferences.P)
    rows = {"on": xp.reshape(bandit.support, (-1, bandit.K))}
    for name in ("winner", "loser", "log_odds", "mass"):
        wide = xp.broadcast_to(getattr(preferences, name), shape)
        rows[name] = xp.reshape(wide, (-1, preferences.P))
    return rows
