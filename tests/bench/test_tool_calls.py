"""The script that counts tool calls, on a scripted pair."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench.test_experiments import SCRIPTS, ran
from glimp_core import GlimpRouter, Request
from glimp_core.chat.request.tools import read_tools
from glimp_core.testing import ScriptedEngine
from glimp_core.types import ToolCall
from pairs import commands_make

pytest.importorskip("matplotlib")
PROMPTS = [json.loads(line) for line in (SCRIPTS / "tool_prompts.jsonl").read_text().splitlines()]
TOOLS = json.loads((SCRIPTS / "tools.json").read_text())


def reply(request: Request) -> str | list[ToolCall]:
    """Call for the weather rightly, for light with a wrong type, and for nothing else; demanded, for the weather."""
    prompt = str(request.messages[-1]["content"])
    if "light" in prompt:
        return [ToolCall("c1", "set_light", {"room": "kitchen", "on": "no"})]
    if request.tool_choice == "required" or "Oslo" in prompt or "haiku" in prompt:
        return [ToolCall("c1", "get_weather", {"city": "Oslo", "days": 3})]
    return "I cannot."


def test_calls_are_counted_by_what_was_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call is valid if its arguments fit, right if the tool was the needed one, and wrong where none was needed."""

    def pretend(small: object, large: object, **options: Any) -> GlimpRouter:
        return GlimpRouter(ScriptedEngine([], reply), ScriptedEngine([], reply))

    commands_make(monkeypatch, pretend)
    document = ran("tool_calls.py", tmp_path / "calls", "--small", "s", "--large", "l", monkeypatch=monkeypatch)
    assert document["counts"] == {
        "required": {"of": 10, "called": 10, "valid": 9, "right_tool": 3},
        "auto, tool needed": {"of": 10, "called": 2, "valid": 1, "right_tool": 2},
        "auto, no tool needed": {"of": 10, "called": 1, "valid": 1, "right_tool": 0},
    }
    assert len(document["rows"]) == 30


def test_the_prompts_name_tools_that_there_are() -> None:
    """Ten prompts need one of the tools, ten need none, and every tool can be offered and is needed."""
    needed = [prompt["tool"] for prompt in PROMPTS if prompt["tool"]]
    assert (len(needed), len(PROMPTS)) == (10, 20)
    assert set(needed) == {tool.name for tool in read_tools(TOOLS)}
