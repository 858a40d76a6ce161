"""What our columns are called."""

from __future__ import annotations

POLICY = ("chosen_logps", "rejected_logps")
REFERENCE = ("ref_chosen_logps", "ref_rejected_logps")
REWARDS = ("chosen_reward", "rejected_reward")
TOKENS = ("chosen_tokens", "rejected_tokens")
NUMBERS = (*POLICY, *REFERENCE, *REWARDS, "label_prob", *TOKENS)
NAMES = (*NUMBERS, "row_id", "prompt")
