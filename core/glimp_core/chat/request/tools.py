"""The tools of a request, its tool choice, and the part of their schemas that a grammar enforces."""

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from glimp_core.chat.grammar.json_schema import PreparedSchema, prepare_schema
from glimp_core.chat.grammar.schema_drafts import copied
from glimp_core.errors import ConfigError, UnsupportedSchemaError, shown, unknown_name
from glimp_core.json_values import mended

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
    """A function the model may call; `parameters` is the JSON schema of its arguments, always of an object.

    `given` is the name its caller knows it by, where a model cannot say that one. `held` is what a grammar holds its
    calls to, and `unheld` says what of the parameters that is not: what a whole call is checked for afterwards.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    given: str
    held: PreparedSchema
    unheld: tuple[str, ...] = ()

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
    if isinstance(tools, (str, bytes, Mapping)) or not isinstance(tools, Sequence):
        raise ConfigError(f"tools must be a list of tools, got {shown(tools)}")
    found: dict[str, Tool] = {}
    for tool in map(_read, tools):
        found.setdefault(tool.given, tool)
    names = shown_names(found)
    return tuple(replace(tool, name=names[given]) for given, tool in found.items())


def shown_names(given: Iterable[str], taken: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the names of tools as every markup can carry them, each another one, beside those that are `taken`.

    What no markup can carry is written as an underscore; a name that every markup can carry stays as it is.
    """
    names = dict(taken or {})
    used = set(names.values())
    for name in sorted(set(given) - set(names), key=lambda name: (not CALLABLE.fullmatch(name), name)):
        base = name if CALLABLE.fullmatch(name) else re.sub(r"[^\w.:/$-]+", "_", mended(name))[:128]
        tries = (base if n == 1 else f"{base[:120]}_{n}" for n in itertools.count(1))
        names[name] = next(text for text in tries if text not in used)
        used.add(names[name])
    return names


def read_choice(choice: object, tools: Sequence[Tool]) -> ToolChoice:
    """Read every form of `tool_choice`: a word, a name, a bool, None, or OpenAI's and Anthropic's dicts.

    Raises `ConfigError` for an unknown name, the nearest one suggested, and for a demand without tools.
    """
    chosen = _choice(choice, {tool.given for tool in tools})
    if chosen.mode == "required" and not tools:
        raise ConfigError(f"tool_choice={shown(choice)} demands a call but tools is empty: pass some to choose from")
    return chosen


def _read(tool: object) -> Tool:
    function = tool.get("function", tool) if isinstance(tool, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(name, str):
        raise ConfigError(
            f"a tool must be {{'type': 'function', 'function': {{'name': ..., 'parameters': ...}}}}, got {shown(tool)}"
        )
    if not name.strip():
        raise ConfigError(f"a tool cannot be called {name!r:.100}: give it a name of letters and digits")
    parameters = _parameters(name, function)
    held, unheld = held_parameters(parameters)
    if function.get("strict") is True and unheld:
        raise UnsupportedSchemaError(
            f"tool {name!r} is strict, but a grammar cannot hold all of its parameters: {'; '.join(unheld)}. "
            "Leave strict out, and its calls are checked afterwards"
        )
    return Tool(name, mended(str(function.get("description") or "")), parameters, name, held, unheld)


def _parameters(name: str, function: Mapping[str, Any]) -> dict[str, Any]:
    schema: Any = next(
        (function[key] for key in ("parameters", "input_schema", "inputSchema") if function.get(key)), {}
    )
    kinds = schema.get("type") or "object" if isinstance(schema, Mapping) else ()
    if "object" not in (kinds if isinstance(kinds, (list, tuple)) else [kinds]):
        raise ConfigError(f"the parameters of tool {name!r} must be the JSON schema of an object, got {shown(schema)}")
    try:
        copy = copied(schema)
    except UnsupportedSchemaError as error:
        raise UnsupportedSchemaError(f"the parameters of tool {name!r} are no JSON schema: {error}") from error
    return {**({} if schema else {"properties": {}}), **copy, "type": "object"}


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
        raise ConfigError(
            f"tool_choice={shown(choice)} cannot be read: pass 'auto', 'none', 'required' or a tool's name"
        )
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
            f"each with its name, got {shown(choice)}"
        )
    return ToolChoice(_WORDS[mode], tuple(_known(name, names) for name in listed))


def _name(tool: object) -> Any:
    function = tool.get("function", tool) if isinstance(tool, Mapping) else None
    return function.get("name") if isinstance(function, Mapping) else None


def _known(name: Any, names: set[str]) -> str:
    if not isinstance(name, str) or name not in names:
        raise unknown_name("tool in tool_choice", name, names or _WORDS)
    return name


MOST_NAMES = 200
"""Of a tool with more parameters than this, that cannot be held as it is, none is held."""


def any_parameters() -> PreparedSchema:
    """Return what holds a call to an object, of whatever names."""
    return prepare_schema({"type": "object"})


def held_parameters(parameters: Mapping[str, Any]) -> tuple[PreparedSchema, tuple[str, ...]]:
    """Return what a grammar holds of the parameters of a tool, and what it does not."""
    try:
        held = prepare_schema(parameters)
    except UnsupportedSchemaError as error:
        return relaxed(parameters), (str(error),)
    return held, tuple(map(str, held.unenforced))


def relaxed(parameters: Mapping[str, Any], any_value: bool = False) -> PreparedSchema:
    """Return what a grammar can hold of parameters: the names, and the values of those that can be held.

    With `any_value` no value is held. An object of any names is left where the names cannot be held either.
    """
    named = parameters.get("properties")
    if not isinstance(named, Mapping) or len(named) > MOST_NAMES:
        return any_parameters()
    shared = {key: parameters[key] for key in ("$defs", "definitions") if key in parameters}
    values = {name: {} if any_value else _or_anything(part, shared) for name, part in named.items()}
    required, rest = parameters.get("required"), parameters.get("additionalProperties")
    listed = [name for name in required if isinstance(name, str)] if isinstance(required, list) else []
    names = [name for name in listed if name in values]
    loose = {"type": "object", "properties": values, "required": names, **({} if any_value else shared)}
    loose |= {"additionalProperties": rest} if isinstance(rest, bool) else {}
    try:
        return prepare_schema(loose)
    except UnsupportedSchemaError:
        return any_parameters() if any_value else relaxed(parameters, any_value=True)


def _or_anything(part: Any, shared: Mapping[str, Any]) -> Any:
    try:
        prepare_schema({**part, **shared} if isinstance(part, Mapping) else part)
    except UnsupportedSchemaError:
        return {}
    return part
