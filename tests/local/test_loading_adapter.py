"""A LoRA adapter's folder is a model: its base with its weights added."""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
from glimp_core import AlwaysLarge, GlimpRouter, ModelLoadError, RouterConfig, SamplingParams
from glimp_core.local import LocalEngine

peft = pytest.importorskip("peft")
LIMITS = RouterConfig(reasoning="off", speculate=False, max_answer_tokens=12)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A folder with `base` and `adapter`, and the adapted model as PEFT has it."""
    folder = tmp_path_factory.mktemp("models")
    base = tiny.model(seed=2, vocab_size=280)  # a config of its own, which is changed
    base.save_pretrained(folder / "base")
    tiny.tokenizer().save_pretrained(folder / "base")
    config = peft.LoraConfig(
        target_modules=["q_proj", "down_proj"], r=4, task_type="CAUSAL_LM", init_lora_weights=False
    )
    torch.manual_seed(1)
    wrapped = peft.get_peft_model(base, config).eval()
    wrapped.peft_config["default"].base_model_name_or_path = "../base"
    wrapped.save_pretrained(folder / "adapter")
    return folder, wrapped


def edited(made: tuple[Path, Any], path: Path, **changes: Any) -> Path:
    """A copy of the adapter whose config differs."""
    shutil.copytree(made[0] / "adapter", path)
    file = path / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    return path


def refused(folder: Path, says: str) -> None:
    with pytest.raises(ModelLoadError, match=says):
        GlimpRouter.from_pretrained(folder, folder).generate("Hello?")


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        return torch.Tensor(model(torch.tensor([[65, 66, 67, 68]])).logits)


def test_an_adapter_answers_as_peft_does(made: tuple[Path, Any]) -> None:
    """The base lies beside it, by a relative path; the tokenizer is the base's; generate() agrees."""
    folder, wrapped = made
    router = GlimpRouter.from_pretrained(
        folder / "adapter", folder / "adapter", AlwaysLarge(), LIMITS, SamplingParams(temperature=0)
    )
    done = router.generate("Hello?")
    engine: Any = router.large
    torch.testing.assert_close(logits(engine.loaded[0]), logits(wrapped))
    plain = LocalEngine.from_pretrained(str(folder / "base"))
    plain.load()
    assert (logits(plain.loaded[0]) - logits(wrapped)).abs().max() > 0.1
    ids = engine.encode("Hi there")
    with torch.inference_mode():
        written = wrapped.generate(input_ids=torch.tensor([ids]), max_new_tokens=8, do_sample=False)
        ours = engine.loaded[0].generate(input_ids=torch.tensor([ids]), max_new_tokens=8, do_sample=False)
    assert ours.tolist() == written.tolist()
    assert done.usage.completion_tokens > 0


def test_an_adapter_beside_a_base_of_the_working_folder(
    made: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As PEFT has it, a relative base is looked for from where one works, too."""
    folder = edited(made, tmp_path / "far" / "adapter", base_model_name_or_path="base")
    monkeypatch.chdir(made[0])
    router = GlimpRouter.from_pretrained(folder, folder)
    assert router.count_tokens("Hello?") > 0
    assert router.window == 2048


def test_an_adapter_with_a_tokenizer_of_its_own(made: tuple[Path, Any], tmp_path: Path) -> None:
    """Its own chat template counts."""
    folder = edited(made, tmp_path / "adapter", base_model_name_or_path=str(made[0] / "base"))
    tiny.tokenizer("{{ messages[0].content }}").save_pretrained(folder)
    assert GlimpRouter.from_pretrained(folder, folder).count_tokens("Hello") == 5


def test_rows_for_added_tokens(made: tuple[Path, Any], tmp_path: Path) -> None:
    """An adapter that was trained with more tokens saves the embeddings, which are longer than the base's."""
    base = tiny.model(seed=2, vocab_size=280)  # a config of its own, which is changed
    base.resize_token_embeddings(288)
    config = peft.LoraConfig(
        target_modules=["q_proj"], modules_to_save=["embed_tokens", "lm_head"], r=4, task_type="CAUSAL_LM"
    )
    wrapped = peft.get_peft_model(base, config)
    wrapped.peft_config["default"].base_model_name_or_path = str(made[0] / "base")
    wrapped.save_pretrained(tmp_path)
    engine = LocalEngine.from_pretrained(str(tmp_path))
    engine.load()
    torch.testing.assert_close(logits(engine.loaded[0]), logits(wrapped))


def test_without_peft_the_install_line_is_said(
    made: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one sentence."""
    folder = edited(made, tmp_path / "adapter", base_model_name_or_path=str(made[0] / "base"))
    monkeypatch.setitem(sys.modules, "peft", None)  # as where it is not installed
    refused(folder, r"pip install 'glimp\[peft\]'")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"base_model_name_or_path": "./gone"}, "its base model is missing"),
        ({"base_model_name_or_path": None}, "names no base_model_name_or_path"),
        ({"peft_type": "PROMPT_TUNING"}, "'PROMPT_TUNING', and only LORA"),
        ({"megatron_config": {"x": 1}, "megatron_core": "os"}, "Megatron"),
        ({"target_modules": ["nothing"]}, "nothing"),
    ],
    ids=str,
)
def test_an_adapter_that_cannot_be(made: tuple[Path, Any], tmp_path: Path, changes: Any, says: str) -> None:
    """What is missing or not supported is named."""
    changes = {"base_model_name_or_path": str(made[0] / "base"), **changes}
    refused(edited(made, tmp_path / "adapter", **changes), says)


def test_an_adapter_of_an_adapter(made: tuple[Path, Any], tmp_path: Path) -> None:
    """Is one too many."""
    refused(edited(made, tmp_path / "adapter", base_model_name_or_path=str(made[0] / "adapter")), "an adapter too")


def test_pickled_and_partial_weights(made: tuple[Path, Any], tmp_path: Path) -> None:
    """Pickles are not read, and weights that lack a part are not used."""
    folder = edited(
        made, tmp_path / "adapter", base_model_name_or_path=str(made[0] / "base"), target_modules=["v_proj"]
    )
    refused(folder, "missing adapter keys")
    os.rename(folder / "adapter_model.safetensors", folder / "adapter_model.bin")
    refused(folder, "pickled weights are never read")
