"""Multimodal wrappers, as the hub stores them, load with their head and serve text as `generate()` writes it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForImageTextToText, GenerationConfig, PreTrainedConfig

import tiny
from glimp_core import AlwaysLarge, GlimpRouter, RouterConfig, SamplingParams

TEXT: dict[str, Any] = {**tiny.SIZES, "eos_token_id": 257}
VISION: dict[str, Any] = {
    "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "num_heads": 2,
    "depth": 1, "image_size": 28, "patch_size": 14, "out_hidden_size": 32, "embed_dim": 16,
    "num_position_embeddings": 16, "deepstack_visual_indexes": [0],
}  # fmt: skip
ROPE = {"rope_type": "default", "mrope_section": [2, 1, 1], "rope_theta": 10000.0}
WRAPPERS: dict[str, tuple[str, dict[str, Any]]] = {
    "mistral small 3": ("mistral3", {"model_type": "mistral"}),
    "ministral 3": ("mistral3", {"model_type": "ministral3"}),
    "qwen3-vl": ("qwen3_vl", {"rope_parameters": ROPE}),
    "qwen2.5-vl": ("qwen2_5_vl", {"rope_parameters": ROPE}),
    "glm-4v": ("glm4v", {"rope_parameters": {**ROPE, "partial_rotary_factor": 1.0}}),
    "internvl": ("internvl", {"model_type": "qwen3"}),
    "smolvlm": ("smolvlm", {"model_type": "llama"}),
    "llava": ("llava", {"model_type": "llama"}),
}
SLOW = {"mistral small 3", "llava", "qwen2.5-vl"}
LIMITS = RouterConfig(reasoning="off", speculate=False, max_answer_tokens=12)


def config_of(name: str) -> PreTrainedConfig:
    kind, text = WRAPPERS[name]
    made = type(AutoConfig.for_model(kind))
    vision = made().vision_config
    sizes = {size: value for size, value in VISION.items() if hasattr(vision, size)}
    return made(text_config={**TEXT, **text}, vision_config={**sizes, "model_type": vision.model_type})


def saved(path: Path, name: str) -> torch.nn.Module:
    """A folder as it is downloaded, of a model that writes ASCII and whose logits are far apart."""
    torch.manual_seed(1)
    torch.set_num_threads(1)
    model = AutoModelForImageTextToText.from_config(config_of(name), dtype=torch.float32).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4)
        # the alphabet of a byte-level tokenizer begins with "!"
        for token_id, row in enumerate(model.get_output_embeddings().weight):
            row.mul_(12 if 0x21 <= token_id + 0x21 < 0x7F else 0)
    tokens = tiny.tokenizer()
    model.generation_config = GenerationConfig(eos_token_id=[tokens.eos_token_id, 258], do_sample=False, pad_token_id=0)
    model.save_pretrained(path)
    tokens.save_pretrained(path)
    return model  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in WRAPPERS])
def test_a_wrapper_serves_text(name: str, tmp_path: Path) -> None:
    """Equal to generate(), token for token; window and stops are those of the text model and the generation config."""
    reference: Any = saved(tmp_path, name)
    router = GlimpRouter.from_pretrained(tmp_path, tmp_path, AlwaysLarge(), LIMITS, SamplingParams(temperature=0))
    assert router.window == 2048
    engine: Any = router.large
    assert {258, engine.loaded[1].eos_token_id} <= engine.stop_ids
    done = router.generate("What is 2 + 2?")
    assert type(engine.loaded[0]) is type(reference)
    text = [{"role": "user", "content": "What is 2 + 2?"}]
    tokens = tiny.tokenizer()
    ids = tokens.apply_chat_template(text, add_generation_prompt=True, enable_thinking=False, return_dict=False)
    written = reference.generate(torch.tensor([ids]), max_new_tokens=12, do_sample=False)[0, len(ids) :].tolist()
    assert done.answer == engine.table.decode(written).decode()


def test_stops_without_a_generation_config(tmp_path: Path) -> None:
    """Then the text model's config tells them, or the wrapper's."""
    saved(tmp_path, "qwen3-vl")
    (tmp_path / "generation_config.json").unlink()
    engine: Any = GlimpRouter.from_pretrained(tmp_path, tmp_path).large
    assert 257 in engine.stop_ids


def test_a_template_of_the_processor_alone(tmp_path: Path) -> None:
    """Older multimodal checkpoints keep it in chat_template.json, which the tokenizer does not read."""
    saved(tmp_path, "smolvlm")
    template = tmp_path / "chat_template.jinja"
    (tmp_path / "chat_template.json").write_text('{"chat_template": "{{ messages[0].content }}"}')
    template.unlink()
    assert GlimpRouter.from_pretrained(tmp_path, tmp_path).count_tokens("Hello") == 5
