"""Real chat templates, read where they are installed: trl brings those of many families. None is kept here."""

import importlib.util
import os
from pathlib import Path

DOZEN = (
    "cohere2", "deepseekv3", "gemma4_v5", "glm4moe", "gptoss", "lfm2_2_5", "llama3_1", "muse_glimmer",
    "nemotron_3_nano", "qwen3", "qwen3_5_nothink", "qwen3_6",
)  # fmt: skip
"""The templates of the default run, one of each kind."""


def templates() -> dict[str, str]:
    """The templates by name, of trl and of the folders in GLIMP_TEMPLATES, parted by colons."""
    spec = importlib.util.find_spec("trl")
    folders = [Path(folder) for folder in os.environ.get("GLIMP_TEMPLATES", "").split(":") if folder]
    if spec and spec.origin:
        folders.append(Path(spec.origin).parent / "chat_templates")
    paths = (path for folder in folders for path in sorted(folder.glob("*.jinja")))
    return {path.stem: path.read_text(encoding="utf8") for path in paths}
