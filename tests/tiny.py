"""Tiny real models with random weights, and byte-level tokenizers with a chat template that thinks; made in memory."""

import contextlib
import functools
import io
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    Lfm2Config,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3NextConfig,
)

from glimp_core import GlimpRouter
from glimp_core.chat.tokens.vocabulary import Vocabulary
from glimp_core.local import LocalEngine
from glimp_core.source import ModelSource

TURNS = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
OFF = "{% if enable_thinking is defined and not enable_thinking %}"
PLAIN = TURNS + "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
OPENS = PLAIN + "{% if add_generation_prompt %}{{ '<think>\n' }}{% endif %}"
THINKING = OPENS + OFF + "{{ '\n</think>\n\n' }}{% endif %}"
HYBRID = PLAIN + OFF + "{{ '<think>\n\n</think>\n\n' }}{% endif %}"
MERGES = ["\n\n", "th", "in", " t", "é"]


def tokenizer(template: str = THINKING, merges: list[str] = MERGES) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer: 256 bytes and a few merges; other merges make another vocabulary."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    spell = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    pairs = [(word[0], word[1:]) for word in (spell.pre_tokenize_str(merge)[0][0] for merge in merges)]
    vocab = {piece: number for number, piece in enumerate([*alphabet, *(a + b for a, b in pairs)])}
    backend = Tokenizer(models.BPE(vocab=vocab, merges=pairs))
    backend.pre_tokenizer, backend.decoder = spell, decoders.ByteLevel()
    backend.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    backend.add_tokens([AddedToken(tag, normalized=False) for tag in ("<think>", "</think>")])
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>", chat_template=template)


SIZES: dict[str, Any] = {
    "vocab_size": 280, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 2048,
    "pad_token_id": 0, "bos_token_id": None, "eos_token_id": None, "tie_word_embeddings": False,
}  # fmt: skip

CONFIGS: dict[str, PretrainedConfig] = {
    "llama": LlamaConfig(**SIZES),
    "qwen3": Qwen3Config(**SIZES),
    "mistral": MistralConfig(**SIZES, sliding_window=8),
    "gemma3": Gemma3TextConfig(**SIZES, sliding_window=8, layer_types=["sliding_attention", "full_attention"]),
    "lfm2": Lfm2Config(**SIZES, layer_types=["conv", "full_attention"]),
    "qwen3-next": Qwen3NextConfig(
        **SIZES, layer_types=["linear_attention", "full_attention"], linear_num_key_heads=2, linear_num_value_heads=4,
        linear_key_head_dim=8, linear_value_head_dim=8, num_experts=2, num_experts_per_tok=1,
        moe_intermediate_size=16, shared_expert_intermediate_size=16,
    ),
}  # fmt: skip


@functools.cache
def _readable() -> set[int]:
    """The ids of the default tokenizer's tokens that are ASCII, and print or are blank."""
    pieces = enumerate(Vocabulary(tokenizer()).token_bytes)
    ascii_pieces = {token_id: piece for token_id, piece in pieces if piece and piece.isascii()}
    return {token_id for token_id, piece in ascii_pieces.items() if piece.decode().isprintable() or not piece.strip()}


def model(family: str = "llama", seed: int = 0, **changes: Any) -> PreTrainedModel:
    """A random model of a family, in float32, that writes ASCII; its logits are far enough apart for greedy."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    config = CONFIGS[family]
    if changes:
        config = type(config)(**{**config.to_dict(), **changes})
    with contextlib.redirect_stderr(io.StringIO()):
        made = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4)
        for token_id, row in enumerate(made.lm_head.weight):
            row.mul_(12 if token_id in _readable() else 0)
    return made


def engine(family: str = "llama", seed: int = 0, tokens: Any = None, **changes: Any) -> LocalEngine:
    """A LocalEngine on a random model."""
    return LocalEngine(ModelSource.of((model(family, seed, **changes), tokens or tokenizer())))


def router(policy: Any = None, config: Any = None, small: Any = None, large: Any = None, **changes: Any) -> GlimpRouter:
    """A pair of random models of one vocabulary, or of the tokenizers given as `small` and `large`."""
    return GlimpRouter(
        engine(seed=3, tokens=small, **changes),
        engine(seed=2, tokens=large, num_hidden_layers=3, **changes),
        policy,
        config,
    )
