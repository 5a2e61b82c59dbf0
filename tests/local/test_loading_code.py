"""A model's folder may hold code: none of it runs, whatever stands on stdin, and the refusal says so."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tiny
from glimp_core import GlimpRouter, ModelLoadError, bundled

CODE = """
open({witness!r}, "w").write("ran")
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

class Config(LlamaConfig):
    model_type = "strange"

class Model(LlamaForCausalLM):
    pass

class Tokens(PreTrainedTokenizerFast):
    pass

def generate(*args, **kwargs):
    pass
"""
MAPS: dict[str, tuple[str, dict[str, Any]]] = {
    "config": ("config.json", {"model_type": "strange", "auto_map": {"AutoConfig": "code.Config"}}),
    "model": ("config.json", {"auto_map": {"AutoModelForCausalLM": "code.Model"}}),
    "unknown model": (
        "config.json",
        {"model_type": "strange", "auto_map": {"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"}},
    ),
    "tokenizer": (
        "tokenizer_config.json",
        {"tokenizer_class": "Tokens", "auto_map": {"AutoTokenizer": ["code.Tokens", "code.Tokens"]}},
    ),
    "known tokenizer": ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": [None, "code.Tokens"]}}),
    "generation": ("generation_config.json", {"custom_generate": "code", "do_sample": False}),
}
REFUSED = {"config", "unknown model", "tokenizer"}
"""Those for which transformers has no code of its own; the others load as what they are known as."""


def folder_with_code(path: Path, kind: str) -> tuple[Path, Path]:
    """A whole model of which one file points to code, and the file that the code would write."""
    tiny.model().save_pretrained(path)
    tiny.tokenizer().save_pretrained(path)
    name, changes = MAPS[kind]
    file, witness = path / name, path / "witness"
    known = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps({**known, **changes}))
    for module in ("code.py", "custom_generate/generate.py"):
        (path / module).parent.mkdir(exist_ok=True)
        (path / module).write_text(CODE.format(witness=str(witness)))
    return path, witness


@pytest.mark.parametrize("kind", MAPS)
def test_no_code_of_a_folder_runs(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By config, tokenizer, weights and generation config; nobody is asked."""
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked on stdin"))
    folder, witness = folder_with_code(tmp_path, kind)
    router = GlimpRouter.from_pretrained(folder, folder)
    if kind in REFUSED:
        with pytest.raises(ModelLoadError, match="never runs"):
            router.generate("Hello?")
    else:
        assert router.generate("Hello?").usage.completion_tokens > 0
    assert not witness.exists()


def run_glimp(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = f"import sys; from glimp_core.cli import main; main({list(arguments)!r})"
    command = [sys.executable, "-c", program]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, input="yes\n" * 20, capture_output=True, text=True, env=environment, timeout=120)


def test_consent_is_not_read_from_a_pipe(tmp_path: Path) -> None:
    """`yes | glimp run` runs no code either; the exit code is that of bad input."""
    folder, witness = folder_with_code(tmp_path, "unknown model")
    done = run_glimp("run", "--small", str(folder), "--large", bundled.LARGE, "Hi")
    assert not witness.exists()
    assert done.returncode == 2
    assert "never runs" in done.stderr
    assert "[y/N]" not in done.stdout + done.stderr


@pytest.mark.slow
def test_a_line_of_a_chat_is_no_consent(tmp_path: Path) -> None:
    """What is typed into a chat is a message, and never an answer to a library."""
    folder, witness = folder_with_code(tmp_path, "tokenizer")
    done = run_glimp("chat", "--small", str(folder), "--large", bundled.LARGE)
    assert not witness.exists()
    assert "never runs" in done.stderr
