"""Folders and options that cannot work are refused in one sentence that says what to do."""

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    LlamaConfig,
    MiniMaxConfig,
    PreTrainedModel,
    RwkvConfig,
    xLSTMConfig,
)

import tiny
from glimp_core import ConfigError, GlimpRouter, ModelLoadError
from glimp_core.local import LocalEngine, engine_from
from glimp_core.source import ModelSource, option_keys

DOWN = "model.layers.1.mlp.down_proj.weight"


def saved(path: Path, model: PreTrainedModel | None = None) -> Path:
    (model or tiny.model()).save_pretrained(path)
    tiny.tokenizer().save_pretrained(path)
    return path


def refused(folder: Any, says: str, kind: type[Exception] = ModelLoadError, **options: Any) -> str:
    """The one line in which a model is refused, at its first request."""
    with pytest.raises(kind, match=says) as caught:
        GlimpRouter.from_pretrained(folder, folder, **options).generate("Hello?")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def edit_weights(folder: Path, edit: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    tensors = load_file(folder / "model.safetensors")
    edit(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def test_a_missing_tensor_is_listed(tmp_path: Path) -> None:
    """Random weights in its place would write nonsense."""
    edit_weights(saved(tmp_path), lambda tensors: tensors.pop(DOWN))
    assert "lack 1 of" in refused(tmp_path, DOWN)


def test_many_missing_tensors_are_counted(tmp_path: Path) -> None:
    """A checkpoint of another model: the first few names, and how many more."""
    edit_weights(saved(tmp_path), lambda tensors: [tensors.pop(name) for name in list(tensors) if "layers" in name])
    refused(tmp_path, r"lack 18 of 21 tensors: .*layers\.0.* and 13 more")


def test_a_tensor_of_another_size_is_listed(tmp_path: Path) -> None:
    """With the size that is stored and the one that its config asks for."""
    edit_weights(saved(tmp_path), lambda tensors: tensors.update({DOWN: torch.zeros(7, 48)}))
    refused(tmp_path, r"down_proj.weight is \[7, 48\] and should be \[32, 48\]")


def test_tied_and_unexpected_tensors_are_no_error(tmp_path: Path) -> None:
    """What transformers fills in or passes over by rule does not make a checkpoint broken."""
    config = LlamaConfig(**{**tiny.SIZES, "tie_word_embeddings": True})
    folder = saved(tmp_path, AutoModelForCausalLM.from_config(config))
    inverse = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4), "vision.weight": torch.ones(2)}
    edit_weights(folder, lambda tensors: tensors.update(inverse))
    assert "lm_head.weight" not in load_file(folder / "model.safetensors")
    assert GlimpRouter.from_pretrained(folder, folder).generate("Hello?").usage.completion_tokens > 0


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma3"])
def test_a_folder_without_a_tokenizer(family: str, tmp_path: Path) -> None:
    """transformers makes an empty one, which encodes every text as nothing."""
    folder = saved(tmp_path, tiny.model(family))
    for file in folder.iterdir():
        if "token" in file.name:
            file.unlink()
    assert "tokenizer.json" in refused(folder, "tokenizer")


def test_what_is_no_tokenizer_is_refused() -> None:
    """In a pair, too."""
    with pytest.raises(ModelLoadError, match="cannot serve 'LlamaForCausalLM' as a tokenizer"):
        LocalEngine(ModelSource.of((tiny.model(), object()))).encode("x")


def test_a_processor_stands_for_its_tokenizer() -> None:
    """Multimodal models are handed over with a processor; its template counts where the tokenizer has none."""

    class Processor:
        tokenizer = tiny.tokenizer(template="")
        chat_template = tiny.THINKING

    engine = LocalEngine(ModelSource.of((tiny.model(), Processor())))
    assert GlimpRouter(engine, engine).generate("Hello?").usage.completion_tokens > 0


def test_a_model_without_a_head() -> None:
    """AutoModel is the usual mistake: it gives no logits, which is known before anything runs."""
    model = AutoModel.from_config(tiny.CONFIGS["qwen3"])
    engine = LocalEngine(ModelSource.of((model, tiny.tokenizer())))
    for use in (engine.load, lambda: GlimpRouter(engine, engine).generate("Hello?")):
        with pytest.raises(ModelLoadError, match=r"no head .* AutoModelForCausalLM"):
            use()


OWN: dict[str, Any] = {
    "xlstm": xLSTMConfig(
        vocab_size=280, hidden_size=32, embedding_dim=32, num_heads=4, num_blocks=2, qk_dim_factor=0.5
    ),
    "minimax": MiniMaxConfig(
        **tiny.SIZES, block_size=16, num_local_experts=2, num_experts_per_tok=1,
        layer_types=["linear_attention", "full_attention"],
    ),
    "rwkv": RwkvConfig(
        vocab_size=280, hidden_size=32, attention_hidden_size=32, num_hidden_layers=2, context_length=64
    ),
}  # fmt: skip


@pytest.mark.parametrize("family", OWN)
def test_a_cache_of_a_models_own(family: str) -> None:
    """Models that insist on another cache than transformers' common one are refused when they load."""
    model = AutoModelForCausalLM.from_config(OWN[family])
    with pytest.raises(ModelLoadError, match="of its own"):
        LocalEngine(ModelSource.of((model, tiny.tokenizer()))).load()


@pytest.mark.parametrize(
    "change",
    [
        {"num_hidden_layers": 0}, {"num_hidden_layers": -1}, {"num_hidden_layers": 10**7},
        {"architectures": [5]}, {"architectures": "x"},
        {"max_position_embeddings": "x"}, {"max_position_embeddings": -5}, {"vocab_size": 0}, {"hidden_size": None},
        {"num_attention_heads": 7}, {"rms_norm_eps": "x"}, {"hidden_act": "no"}, {"rope_parameters": 5},
    ],
    ids=str,
)  # fmt: skip
def test_an_odd_config(change: dict[str, Any], tmp_path: Path) -> None:
    """Whatever is wrong with a config, the error is a ModelLoadError that names the model."""
    file = saved(tmp_path) / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    refused(tmp_path, str(tmp_path))


@pytest.mark.parametrize("body", ["", "[]", "5", "null", '{"model_type": 5}'])
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json"])
def test_a_broken_file(name: str, body: str, tmp_path: Path) -> None:
    """A file that is not what it should be is an error of loading, if it matters."""
    (saved(tmp_path) / name).write_text(body)
    harmless = name == "tokenizer_config.json" and body == '{"model_type": 5}'
    with nullcontext() if harmless else pytest.raises(ModelLoadError, match=str(tmp_path)):
        GlimpRouter.from_pretrained(tmp_path, tmp_path).generate("Hello?")


@pytest.mark.parametrize(
    "settings",
    [
        {"eos_token_id": "x"}, {"eos_token_id": -1}, {"eos_token_id": [None, "x"]}, {"eos_token_id": {"a": 1}},
        {"temperature": -1.0, "do_sample": True}, {"temperature": "x", "do_sample": True},
        {"top_p": 5, "do_sample": True}, {"top_k": 1.5, "do_sample": True},
    ],
    ids=str,
)  # fmt: skip
def test_an_odd_generation_config(settings: dict[str, Any], tmp_path: Path) -> None:
    """So is what a model's own generation config says wrongly."""
    (saved(tmp_path) / "generation_config.json").write_text(json.dumps(settings))
    refused(tmp_path, "generation config|eos_token_id")


@pytest.mark.parametrize("dtype", ["fp17", "float8", "int8", "bfloat", torch.float8_e4m3fn, 16])
def test_an_unknown_dtype(dtype: Any) -> None:
    """The message lists what there is, and says nothing of folders."""
    with pytest.raises(ConfigError, match=r"fp16.*bf16|bf16.*fp16") as caught:
        engine_from("glimp-tiny-small", dtype=dtype)
    assert "folder" not in str(caught.value)


@pytest.mark.parametrize(("alias", "name"), [("fp16", "float16"), ("bf16", "bfloat16"), ("fp32", "float32")])
def test_common_names_of_dtypes(alias: str, name: str) -> None:
    """However a dtype is written, it is the same model."""
    engine = engine_from("glimp-tiny-small", dtype=alias)
    assert engine is engine_from("glimp-tiny-small", dtype=name)
    assert engine is engine_from("glimp-tiny-small", dtype=getattr(torch, name))
    assert engine.source.options["dtype"] == name


@pytest.mark.parametrize(
    ("device", "says"), [("tpu", "unknown"), ("cpuu", "did you mean 'cpu'"), ("xpu:7", "not on this")]
)
def test_a_device_that_is_not_here(device: str, says: str) -> None:
    """Said before any weights load, with what this machine has."""
    assert "cpu" in refused("glimp-tiny-small", says, ConfigError, device=device)


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_a_gpu_that_is_not_here() -> None:
    """The usual one."""
    refused("glimp-tiny-small", "'cuda' is not on this machine", ConfigError, device="cuda")


@pytest.mark.parametrize("name", ["glimp-tiny-smal", "glimp-tiny-lage", "glimp_tiny_small"])
def test_a_misspelt_bundled_model(name: str) -> None:
    """The nearest name is suggested, and nothing is looked for on the network."""
    refused(name, "did you mean 'glimp-tiny-(small|large)', which comes with Glimp")


def test_a_path_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path is never taken for a hub id: what is near it is named."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "qwen-small").mkdir()
    for name in ("./nofolder", str(tmp_path / "nofolder"), "../x/y/z", "~/no-such-folder", Path("nofolder")):
        message = refused(name, "there is no")
        assert "hub" not in message
        assert "Repo id" not in message
    for name in ("./qwen-smal", tmp_path / "qwen-smal", Path("qwen-smal")):
        refused(name, "did you mean 'qwen-small'")


def test_a_secret_is_in_no_key() -> None:
    """Two tokens make two engines, and neither can be read where engines are kept."""
    one, other = (engine_from("glimp-tiny-small", token=f"hf_secret{n}") for n in range(2))
    assert one is not other
    assert one is engine_from("glimp-tiny-small", token="hf_secret0")
    for engine in (one, other):
        assert "hf_secret" not in repr(option_keys(engine.source.options))
