"""From names to models: what can be loaded, what is shared, and how refusals read."""

from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM

import tiny
from glimp_core import ConfigError, GlimpRouter, ModelLoadError
from glimp_core.local import LocalEngine, engine_from, loading
from glimp_core.source import ModelSource


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model saved as anyone saves one."""
    path = tmp_path_factory.mktemp("models") / "tiny"
    tiny.model().save_pretrained(path)
    tiny.tokenizer().save_pretrained(path)
    return path


def test_a_folder_answers(folder: Path) -> None:
    """A local folder is a model."""
    router = GlimpRouter.from_pretrained(str(folder), folder)
    assert router.generate("Hello?").usage.completion_tokens > 0
    assert router.window == 2048


def test_the_same_name_is_the_same_engine(folder: Path) -> None:
    """Whoever names a model the same way shares its weights; other options make another."""
    assert engine_from(str(folder)) is engine_from(folder)
    assert engine_from(str(folder), dtype="float32") is not engine_from(folder)


@pytest.mark.parametrize(
    ("fast", "memory", "options", "dtype"),
    [
        (False, 2**40, {}, torch.float32),
        (True, 2**40, {}, torch.bfloat16),
        (False, 2**10, {}, torch.bfloat16),
        (False, 2**40, {"dtype": "auto"}, torch.bfloat16),
        (False, 2**40, {"dtype": "bfloat16"}, torch.bfloat16),
    ],
)
def test_weights_are_widened_where_16_bits_are_slow(
    fast: bool,
    memory: int,
    options: dict[str, str],
    dtype: torch.dtype,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a CPU without instructions for bfloat16, unless a dtype is asked for or memory is short."""
    tiny.model().to(torch.bfloat16).save_pretrained(tmp_path)
    # what the machine can do is asked of the machine
    monkeypatch.setattr(loading, "fast_in_16_bits", lambda: fast)
    monkeypatch.setattr(loading, "machine_memory", lambda: memory)
    assert loading.load_model(ModelSource.of(tmp_path, device="cpu", **options)).dtype == dtype


def test_loaded_objects_and_engines_pass() -> None:
    """What is loaded already is used as it is."""
    engine = tiny.engine()
    assert engine_from(engine) is engine
    assert isinstance(engine_from((tiny.model(), tiny.tokenizer())), LocalEngine)


def test_the_window_and_the_prompt_need_no_weights(folder: Path) -> None:
    """Size and window are known before anything heavy is loaded."""
    engine = LocalEngine.from_pretrained(str(folder))
    GlimpRouter(engine, engine).count_tokens("Hello?")
    assert "_model" not in engine.__dict__


@pytest.mark.parametrize(
    ("name", "says"),
    [("no/such-model", "cannot load 'no/such-model'"), ("/no/such/folder", "there is no folder ./no/such.")],
)
def test_unknown_models(name: str, says: str) -> None:
    """The error names the model and says what would be one."""
    with pytest.raises(ModelLoadError, match=says):
        GlimpRouter.from_pretrained(name, name).generate("Hello?")


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    """A text file is refused by its ending, a broken GGUF file when it is read."""
    for name, says in (("notes.txt", "not a .gguf one"), ("broken.gguf", "cannot load")):
        path = tmp_path / name
        path.write_text("hello")
        with pytest.raises(ModelLoadError, match=says):
            GlimpRouter.from_pretrained(path, path).generate("Hello?")


def test_an_encoder_is_refused(tmp_path: Path) -> None:
    """A model that cannot continue a text says which class it is."""
    sizes = {
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "intermediate_size": 8,
        "vocab_size": 280,
    }
    BertForMaskedLM(BertConfig(**sizes)).save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ModelLoadError, match="BertForMaskedLM, which does not continue a text"):
        GlimpRouter.from_pretrained(tmp_path, tmp_path).generate("Hello?")


def test_a_model_without_a_template_is_refused() -> None:
    """A base model has no chat template, and the error says what to choose instead."""
    engine = tiny.engine(tokens=tiny.tokenizer(template=""))
    with pytest.raises(ModelLoadError, match="no chat template"):
        GlimpRouter(engine, engine).generate("Hello?")


def test_pickled_weights_are_not_read(tmp_path: Path, folder: Path) -> None:
    """A folder with pickled weights only is refused."""
    for file in folder.iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"never read")
    with pytest.raises(ModelLoadError, match="safetensors"):
        GlimpRouter.from_pretrained(tmp_path, tmp_path).generate("Hello?")


def test_unknown_options_are_named() -> None:
    """A misspelt option is an error with the nearest name; a secret is not shown."""
    with pytest.raises(ConfigError, match="did you mean 'dtype'"):
        ModelSource.of("x", dtyp="float32")
    assert "hf_secret" not in repr(ModelSource.of("x", token="hf_secret"))


@pytest.mark.parametrize("what", [None, 3, ["a", "b"]])
def test_what_is_no_model_at_all(what: object) -> None:
    """Anything else is a configuration error."""
    with pytest.raises(ConfigError, match="is no model"):
        engine_from(what)
