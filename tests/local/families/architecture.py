"""What an architecture is to the tests: a name, a kind, and the options of a tiny config."""

from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["attention", "window", "chunked", "latent", "sparse", "hybrid", "recurrent", "own cache"]
"""How a family keeps what it has read: keys of all tokens, of a window (some or all layers) or a chunk, compressed to
latents, all of which an index picks few, a state of fixed size in some layers or in all, or not in a cache."""


class Each(tuple[Any, ...]):
    """A value for each layer: the pattern given, again and again."""

    def __new__(cls, *pattern: Any) -> "Each":
        return super().__new__(cls, pattern)

    def over(self, layers: int) -> list[Any]:
        """Return one value a layer."""
        return [self[number % len(self)] for number in range(layers)]


@dataclass(frozen=True, eq=False)
class Architecture:
    """A family: its `model_type`, what its config gets beside `SIZES`, and how many layers the two models have.

    `text` is the architecture that a multimodal wrapper has inside, `options` are the wrapper's own then. `refused` is
    there where Glimp cannot serve the family: what its error says.
    """

    name: str
    kind: Kind
    options: dict[str, Any] = field(default_factory=dict)
    model_type: str = ""
    layers: tuple[int, int] = (2, 3)
    text: "Architecture | None" = None
    refused: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "model_type", self.model_type or self.name)


OMITTED = object()
"""Takes an option of `SIZES` out, where a config computes it."""

SIZES: dict[str, Any] = {
    "vocab_size": 280, "hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2,
    "head_dim": 8, "max_position_embeddings": 2048, "pad_token_id": 0, "bos_token_id": None, "eos_token_id": None,
    "tie_word_embeddings": False,
}  # fmt: skip

SLIDING = {"sliding_window": 8, "layer_types": Each("sliding_attention", "full_attention")}
SCALED = {"query_pre_attn_scalar": 8}
GATED_DELTA = {
    "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
    "layer_types": Each("linear_attention", "full_attention"),
}  # fmt: skip
CONVOLUTION = {"layer_types": Each("conv", "full_attention")}
MAMBA2 = {
    "mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_ssm": 64, "mamba_n_groups": 1, "mamba_d_state": 8,
    "mamba_d_conv": 4, "mamba_expand": 2, "mamba_chunk_size": 16,
}  # fmt: skip
LATENT = {
    "kv_lora_rank": 16, "q_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8,
    "num_key_value_heads": 4,
}  # fmt: skip
# The index picks more than any prompt here has. Where it picks fewer, transformers is not of one mind: its cached and
# its uncached forward pick other tokens, and so do two chunks and one.
INDEX = {"index_topk": 1024, "index_head_dim": 16, "index_n_heads": 2}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "norm_topk_prob": True}
ROUTED = {
    "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "n_shared_experts": 1, "n_group": 1,
    "topk_group": 1, "first_k_dense_replace": 1, "norm_topk_prob": True,
}  # fmt: skip
LOCAL = {"num_local_experts": 4, "num_experts_per_tok": 2}
SHARED_EXPERT = {**EXPERTS, "shared_expert_intermediate_size": 16}
RELATIVE = {
    "sliding_window_size": 8, "swa_num_attention_heads": 4, "swa_num_key_value_heads": 2, "swa_head_dim": 8, "d_rel": 4,
    "rel_extent": 1024,
}  # fmt: skip
STREAMS = {"vocab_size_per_layer_input": 280, "hidden_size_per_layer_input": 8, "num_kv_shared_layers": 2}


def attention(name: str, **options: Any) -> Architecture:
    """A family that keeps the keys and values of every token."""
    return Architecture(name, "attention", options)


def window(name: str, **options: Any) -> Architecture:
    """A family of which some or all layers look back no further than a window."""
    return Architecture(name, "window", {"sliding_window": 8, **options})


def latent(name: str, **options: Any) -> Architecture:
    """A family with latent attention (MLA)."""
    return Architecture(name, "latent", {**LATENT, **options})


def hybrid(name: str, **options: Any) -> Architecture:
    """A family with layers that keep a state and layers, or heads, that attend."""
    return Architecture(name, "hybrid", options)


def recurrent(name: str, **options: Any) -> Architecture:
    """A family without attention."""
    return Architecture(name, "recurrent", options)
