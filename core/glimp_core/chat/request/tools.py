"""The tools of a request, checked, and what it says about calling them."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from glimp_core.errors import ConfigError, unknown_name

CALLABLE = re.compile(r"[\w.:/$-]{1,128}")
"""The names that every markup can carry."""

_WORDS: dict[str, Literal["auto", "none", "required"]] = {
    "auto": "auto",
    "none": "none",
    "required": "required",
    "any": "required",
}


@dataclass(frozen=True, slots=True)
class Tool:
    """A function the model may call; `parameters` is the JSON schema of its arguments, always of an object."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def document(self) -> dict[str, Any]:
        """Return the tool as OpenAI writes it, which is what chat templates read."""
        function = {"name": self.name, "description": self.description, "parameters": dict(self.parameters)}
        return {"type": "function", "function": function}


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """Whether the model may (`auto`), must (`required`) or must not (`none`) call, and whom: `names`, or any for ()."""

    mode: Literal["auto", "none", "required"] = "auto"
    names: tuple[str, ...] = ()


def read_tools(tools: Sequence[Mapping[str, Any]]) -> tuple[Tool, ...]:
    """Read OpenAI's tools, bare function dicts and `input_schema` dicts; of two with one name the first counts.

    Raises `ConfigError` for anything else.
    """
    found: dict[str, Tool] = {}
    for tool in tools:
        read = _read(tool)
        found.setdefault(read.name, read)
    return tuple(found.values())


def read_choice(choice: object, tools: Sequence[Tool]) -> ToolChoice:
    """Read every form of `tool_choice`: a word, a name, a bool, None, or OpenAI's and Anthropic's dicts.

    Raises `ConfigError` for an unknown name, the nearest one suggested, and for a demand without tools.
    """
    chosen = _choice(choice, {tool.name for tool in tools})
    if chosen.mode == "required" and not tools:
        raise ConfigError(f"tool_choice={choice!r} demands a call but tools is empty: pass the tools to choose from")
    return chosen


def _read(tool: object) -> Tool:
    function = tool.get("function", tool) if isinstance(tool, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(name, str):
        raise ConfigError(
            f"a tool must be {{'type': 'function', 'function': {{'name': ..., 'parameters': ...}}}}, got {tool!r}"
        )
    if not CALLABLE.fullmatch(name):
        raise ConfigError(f"a tool cannot be called {name!r}: use up to 128 letters, digits and . _ : / $ -")
    return Tool(name, str(function.get("description") or ""), _parameters(name, function))


def _parameters(name: str, function: Mapping[str, Any]) -> dict[str, Any]:
    schema: Any = next((function[key] for key in ("parameters", "input_schema") if function.get(key)), {})
    if not isinstance(schema, Mapping) or schema.get("type", "object") != "object":
        raise ConfigError(f"the parameters of tool {name!r} must be the JSON schema of an object, got {schema!r}")
    return {"type": "object", "properties": {}, **json.loads(json.dumps(schema))}


def _choice(choice: object, names: set[str]) -> ToolChoice:
    if choice is None or isinstance(choice, bool):
        return ToolChoice("auto" if choice is None else "required" if choice else "none")
    if isinstance(choice, Mapping):
        if name := _name(choice):
            return ToolChoice("required", (_known(name, names),))
        if choice.get("type") == "allowed_tools":
            return _allowed(choice.get("allowed_tools", choice), names)
        choice = choice.get("type")
    if not isinstance(choice, str):
        raise ConfigError(f"tool_choice={choice!r} cannot be read: pass 'auto', 'none', 'required' or a tool's name")
    if choice in _WORDS and choice not in names:
        return ToolChoice(_WORDS[choice])
    return ToolChoice("required", (_known(choice, names),))


def _allowed(choice: Any, names: set[str]) -> ToolChoice:
    """Read OpenAI's choice among some of the tools."""
    tools = choice.get("tools") if isinstance(choice, Mapping) else None
    listed = [_name(tool) for tool in tools] if isinstance(tools, list) else []
    mode = choice.get("mode", "auto") if listed else None
    if mode not in _WORDS:
        raise ConfigError(
            "tool_choice of type 'allowed_tools' must have a mode, 'auto' or 'required', and the tools, "
            f"each with its name, got {choice!r}"
        )
    return ToolChoice(_WORDS[mode], tuple(_known(name, names) for name in listed))


def _name(tool: object) -> Any:
    function = tool.get("function", tool) if isinstance(tool, Mapping) else None
    return function.get("name") if isinstance(function, Mapping) else None


def _known(name: Any, names: set[str]) -> str:
    if name not in names:
        raise unknown_name("tool in tool_choice", str(name), names or _WORDS)
    return str(name)
