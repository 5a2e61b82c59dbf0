"""What servers that Glimp starts are told, and what is refused before anything starts."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from glimp_core import ConfigError, EntropyThreshold, GlimpRouter
from glimp_core.remote import LlamaCpp, Vllm
from remote.managed_kit import LARGE, SMALL, FakeVllm, ask


def test_no_vllm_is_one_error_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is none, the two commands that make an environment for it are named."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(ConfigError, match=r"venv ~/vllm-env.*pip install vllm"):
        GlimpRouter.from_pretrained(SMALL, LARGE, engine="vllm")
    with pytest.raises(ConfigError, match="not found at '/nowhere/bin/vllm'"):
        GlimpRouter.from_pretrained(SMALL, LARGE, engine=Vllm(python="/nowhere/bin/python3"))
    with pytest.raises(ConfigError, match=r"reads .gguf files, and 'glimp-tiny-small' is a folder with 0"):
        GlimpRouter.from_pretrained(SMALL, LARGE, engine=LlamaCpp())


@pytest.mark.parametrize(
    ("engine", "options", "says"),
    [
        ("vlm", {}, "did you mean 'vllm'"),
        (3, {}, "engine=3 cannot work"),
        ({"larg": "vllm"}, {}, "did you mean 'large'"),
        ("FAKE", {"device": "cuda:1"}, "device='cuda:1' is for models in this process"),
        ("FAKE", {"prepacked": True}, "prepacked=True is for models in this process"),
        ("FAKE", {"dtype": "int3"}, "dtype='int3'"),
    ],
)
def test_mistakes(fake: FakeVllm, engine: Any, options: dict[str, Any], says: str) -> None:
    """They are refused before anything starts."""
    with pytest.raises(ConfigError, match=says):
        GlimpRouter.from_pretrained(SMALL, LARGE, engine=fake.vllm() if engine == "FAKE" else engine, **options)
    assert fake.starts == []


@pytest.mark.parametrize(
    "options",
    [
        {"memory": {"small": 0}},
        {"memory": {"smal": 0.1}},
        {"memory": {"small": 1.5}},
        {"memory": {"small": True}},
        {"large": "--flag"},
        {"start_timeout": 0},
    ],
)
def test_options_that_cannot_work(options: dict[str, Any]) -> None:
    """They are refused where they are written."""
    with pytest.raises(ConfigError, match="cannot work"):
        Vllm(**options)


@pytest.mark.parametrize(
    ("memory", "flags", "small", "large"),
    [
        ({}, [], "--kv-cache-memory-bytes 4294967296", "--gpu-memory-utilization 0.72"),
        ({"small": 0.2, "large": 2**30}, [], "--gpu-memory-utilization 0.2", "--kv-cache-memory-bytes 1073741824"),
        ({}, ["--gpu_memory_utilization=0.4"], "", ""),
    ],
)
def test_two_servers_share_a_card(
    fake: FakeVllm, monkeypatch: pytest.MonkeyPatch, memory: Any, flags: Sequence[str], small: str, large: str
) -> None:
    """The small model's cache is exact, and the large model gets what is free when its turn comes."""
    (fake.folder / "nvidia-smi").write_text("#!/bin/sh\necho 60000, 80000\necho 70000, 80000\n")
    (fake.folder / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.folder}:{os.environ['PATH']}")
    engine = fake.vllm({"memory": memory, "flags": flags})
    ask(GlimpRouter.from_pretrained(SMALL, LARGE, EntropyThreshold(1.0, entropy="top20"), engine=engine))
    for start, wanted in zip(fake.starts, (small, large), strict=True):
        found = " ".join(start["arguments"])
        if wanted:
            assert wanted in found
        else:
            assert found.count("gpu") == 1
