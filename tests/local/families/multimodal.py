"""Tiny configs of multimodal checkpoints, of which Glimp serves the language model inside."""

from collections.abc import Sequence
from typing import Any

from local.families.architecture import (
    EXPERTS,
    INDEX,
    LATENT,
    LOCAL,
    OMITTED,
    ROUTED,
    SLIDING,
    Architecture,
    Each,
    Kind,
    latent,
)
from local.families.text import TEXT

EYES = {
    "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28,
    "patch_size": 14,
}  # fmt: skip
"""A vision tower that is as small as it may be: no picture is ever shown to it."""

DEEP_EYES = {
    "depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "image_size": 28, "patch_size": 14,
    "out_hidden_size": 32, "embed_dim": 16, "num_position_embeddings": 16, "deepstack_visual_indexes": [0],
}  # fmt: skip
EARS = {"out_hidden_size": 32, "hidden_sizes": [8, 8, 8, 8]}
THREE_AXES = {"rope_parameters": {"rope_type": "default", "mrope_section": [2, 1, 1], "rope_theta": 10000.0}}


def named(name: str) -> Architecture:
    """Return one of `TEXT`."""
    return next(architecture for architecture in TEXT if architecture.name == name)


def wrapper(
    model_type: str, text: Architecture, vision: dict[str, Any], name: str = "", **options: Any
) -> Architecture:
    """A multimodal checkpoint, which serves text with the language model inside."""
    return Architecture(
        name or model_type, text.kind, {"vision_config": vision, **options}, model_type, text.layers, text
    )


def inside(model_type: str, kind: Kind = "attention", **options: Any) -> Architecture:
    """A language model that exists inside a wrapper only."""
    return Architecture(model_type, kind, options)


WRAPPERS: Sequence[Architecture] = (
    wrapper("gemma3", named("gemma3_text"), EYES, mm_tokens_per_image=4),
    wrapper("gemma4", named("gemma4_text"), EYES, audio_config=None),
    wrapper("llama4", named("llama4_text"), EYES),
    wrapper("qwen3_5", named("qwen3_5_text"), DEEP_EYES),
    wrapper("qwen3_5_moe", named("qwen3_5_moe_text"), DEEP_EYES),
    wrapper("qwen4_exp", named("qwen4_exp_text"), DEEP_EYES),
    wrapper("qwen2_5_vl", inside("qwen2_5_vl_text", **THREE_AXES), DEEP_EYES),
    wrapper("qwen3_vl", inside("qwen3_vl_text", **THREE_AXES), DEEP_EYES),
    wrapper("qwen3_vl_moe", inside("qwen3_vl_moe_text", **THREE_AXES, **EXPERTS), DEEP_EYES),
    wrapper("mistral3", named("mistral"), EYES, name="mistral3+mistral"),
    wrapper("mistral3", named("ministral3"), EYES, name="mistral3+ministral3"),
    wrapper("mistral3", latent("mistral4", **ROUTED, head_dim=16), EYES, name="mistral3+mistral4"),
    wrapper("mistral_large4", inside("mistral_large4_text", "sparse", **LATENT, **ROUTED, **INDEX), EYES),
    wrapper("glm4v", inside("glm4v_text", **THREE_AXES), DEEP_EYES),
    wrapper(
        "glm5_next",
        inside(
            "glm5_next_text",
            "hybrid",
            **{**LATENT, "qk_rope_head_dim": 0},
            **ROUTED,
            **INDEX,
            linear_head_dim=8,
            linear_num_heads=4,
            hc_mult=2,
            index_kpool=4,
            layer_types=Each("linear_attention", "indexed_attention"),
            head_dim=OMITTED,
        ),
        DEEP_EYES,
    ),
    wrapper("internvl", named("qwen3"), EYES),
    wrapper("smolvlm", named("llama"), EYES),
    wrapper("kimi_k25", named("deepseek_v3"), EYES),
    wrapper("step3p7", inside("step3p5", "window", sliding_window=8), EYES),
    wrapper(
        "muse_spark",
        inside("muse_spark_text", "window", **SLIDING, **LOCAL, moe_intermediate_size=16, moe_hidden_size=16),
        EYES,
        audio_config=EARS,
        out_hidden_size=32,
        projector_hidden_size=16,
    ),
    wrapper(
        "muse_glimmer",
        inside("muse_glimmer_text", "window", **SLIDING),
        EYES,
        out_hidden_size=32,
        projector_hidden_size=16,
    ),
    wrapper("lfm2_vl", named("lfm2"), EYES, projector_hidden_size=16),
    wrapper("cohere2_vision", named("cohere2"), EYES, alignment_intermediate_size=32),
    wrapper("minimax_m3_vl", named("minimax_m3_vl_text"), EYES, projector_hidden_size=16),
    wrapper(
        "ernie4_5_vl_moe",
        inside(
            "ernie4_5_vl_moe_text",
            moe_num_experts=4,
            moe_k=2,
            moe_intermediate_size=[16, 16],
            rope_parameters={"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0},
        ),
        DEEP_EYES,
    ),
)

ALL: Sequence[Architecture] = (*TEXT, *WRAPPERS)
"""Every family that is tried."""
