"""What type checkers make of a user's script: the right ones pass, and a misspelt option fails."""

import subprocess
import sys
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from glimp_core import GlimpRouter
from glimp_core.options import LOAD_OPTIONS, LoadOptions
from glimp_core.pair_model import NamedPairOptions, PairModel
from glimp_core.router import StreamOptions

RIGHT = """
from contextlib import closing
from glimp_core import GlimpRouter
from glimp_core.testing import ScriptedEngine

router = GlimpRouter(ScriptedEngine(), ScriptedEngine())
with closing(router.stream("hi")) as events:
    next(events)
router.stream("hi").close()
router.generate("hi", policy=None, tool_choice="auto")
GlimpRouter.from_pretrained("a", "b", dtype="bfloat16", max_batch=2)
"""
WRONG = {
    'router.generate("hi", polcy=None)': "polcy",
    'router.stream("hi", polcy=None)': "polcy",
    'GlimpRouter.from_pretrained("a", "b", dtpye="bfloat16")': "dtpye",
}
ADAPTERS = """
from glimp_langchain import ChatGlimp
from glimp_llamaindex import GlimpLLM

ChatGlimp(small="a", large="b", temperature=0.5, hf_token="x")
ChatGlimp(model="a+b", api_key="x", tags=["t"])
GlimpLLM("a", "b", temperature=0.5, system_prompt="s")
"""
WRONG_ADAPTERS = {
    'ChatGlimp(small="a", large="b", temprature=0.5)': "temprature",
    'GlimpLLM("a", "b", temprature=0.5)': "temprature",
    'GlimpLLM("a", "b", temperature="warm")': "incompatible type",
}


def errors(root: Path, folder: Path, right: str, wrong: dict[str, str]) -> list[str]:
    """Return what mypy says of a script, the wrong lines last; the settings of the project are strict."""
    script = folder / "script.py"
    script.write_text("\n".join([right.strip(), *wrong]) + "\n")
    command = [sys.executable, "-m", "mypy", "--hide-error-context", str(script)]
    said = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert said.returncode == 1, said.stdout + said.stderr
    return [line for line in said.stdout.splitlines() if ": error:" in line]


@pytest.mark.parametrize(
    ("right", "wrong"),
    [(RIGHT, WRONG), pytest.param(ADAPTERS, WRONG_ADAPTERS, marks=pytest.mark.slow)],
    ids=["core", "adapters"],
)
def test_a_checker_sees_misspelt_options_and_nothing_else(
    root: Path, tmp_path: Path, right: str, wrong: dict[str, str]
) -> None:
    """What the docstrings tell users to write passes mypy --strict, each misspelt line is one error of its own."""
    found = errors(root, tmp_path, right, wrong)
    first = len(right.strip().splitlines()) + 1
    assert [int(line.split(":")[1]) for line in found] == [first + at for at in range(len(wrong))], found
    assert all(word in line for word, line in zip(wrong.values(), found, strict=True)), found


def test_generate_takes_what_stream_takes() -> None:
    """The options of `generate` are the keyword parameters of `stream`, of the same types."""
    of_stream = get_type_hints(GlimpRouter.stream)
    for name in ("messages", "return"):
        del of_stream[name]
    assert of_stream == get_type_hints(StreamOptions)


def test_an_option_is_a_field_of_both_adapters() -> None:
    """Every option has a field of its type and a description; the token and the file are read elsewhere."""
    fields = PairModel.model_fields
    hints = get_type_hints(NamedPairOptions)
    assert set(fields) == set(hints) - {"token", "config_file"}
    for name, field in fields.items():
        assert field.annotation == hints[name] or hints[name] is Any, name
        assert field.description, name
    assert set(LOAD_OPTIONS) == set(get_type_hints(LoadOptions))
