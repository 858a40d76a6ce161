"""A language model small enough for a test, and a tokenizer for it: made here, not downloaded."""

from __future__ import annotations

import os
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # nothing here has to be fetched, and nothing may be

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
MERGES = [("t", "h"), ("th", "e"), ("i", "n"), ("a", "n"), ("o", "n"), ("Ġ", "P")]


def tokenizer(template: str = CHATML) -> Any:
    """Bytes and a few merges of them; prompt and completion can merge at "t" + "h"."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pieces = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *("".join(pair) for pair in MERGES)]
    special = ["<pad>", "<|im_start|>", "<|im_end|>"]
    vocabulary = {piece: i for i, piece in enumerate([*special, *pieces])}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=MERGES))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", bos_token="<|im_start|>", eos_token="<|im_end|>"
    )
    made.chat_template = template
    return made


def model(seed: int = 0, scale: float = 1.0, **changes: Any) -> Any:
    """A Llama of two layers with random weights; `scale` makes it surer of what it says."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    size = {
        "vocab_size": 272,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = LlamaForCausalLM(LlamaConfig(**(size | changes)))
        with torch.no_grad():
            for weight in made.parameters():
                if weight.ndim > 1:
                    weight.mul_(scale * 10)
    return made.eval()


TALKS: list[dict[str, Any]] = [
    {
        "prompt": [{"role": "user", "content": question}],
        "chosen": [{"role": "assistant", "content": good}],
        "rejected": [{"role": "assistant", "content": bad}],
    }
    for question, good, bad in [
        ("What is the capital of France?", "Paris", "Lyon, on the Rhone"),
        ("And of Australia?", "Canberra", "Sydney"),
        ("Of Turkey?", "It is Ankara.", "Istanbul"),
        ("Of Canada?", "Ottawa", "Toronto, on the lake, and then some"),
    ]
]
TEXTS: list[dict[str, Any]] = [
    {"prompt": "The capital of France is", "chosen": " Paris", "rejected": " Lyon"},
    {"prompt": "2 + 2 =", "chosen": " 4", "rejected": " 5, or thereabouts"},
    {"prompt": "An", "chosen": " ox", "rejected": "d then"},
]
