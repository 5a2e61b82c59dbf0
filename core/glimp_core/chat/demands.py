"""What a request demands of the reply: calls, JSON, or nothing in particular."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from glimp_core.chat.tools import Tool, read_choice, read_tools
from glimp_core.errors import ConfigError
from glimp_core.types import Request

_FORMS = "{'type': 'text'}, {'type': 'json_object'} or {'type': 'json_schema', 'json_schema': {'schema': {...}}}"


@dataclass(frozen=True, slots=True)
class Demands:
    """The tools a reply may call and whether it must, whether to keep to one call, and the schema of its text.

    `schema` is None where the text is free, {} where it must be some JSON object.
    """

    tools: tuple[Tool, ...] = ()
    must_call: bool = False
    one_call: bool = False
    schema: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, request: Request) -> "Demands":
        """Read a request. Raises `ConfigError` for tools, a choice or a format that cannot be read.

        Where a call is demanded and nothing is said of parallel calls, it is one: agents that ask for "any"
        tool expect one, and a weak model would not know when to stop.
        """
        tools = read_tools(request.tools)
        choice = read_choice(request.tool_choice, tools)
        if choice.mode == "none":
            tools = ()
        elif choice.name:
            tools = tuple(tool for tool in tools if tool.name == choice.name)
        must_call = choice.mode == "required"
        parallel = request.parallel_tool_calls
        one_call = must_call if parallel is None else not parallel
        return cls(tools, must_call, one_call, None if must_call else read_format(request.response_format))

    @property
    def structured(self) -> bool:
        """Whether the reply is bound from its first token."""
        return self.must_call or self.schema is not None


def read_format(response_format: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return the schema that a `response_format` demands: None for text, {} for any JSON object."""
    if response_format is None:
        return None
    kind = response_format.get("type")
    if kind == "text":
        return None
    wrapped = response_format.get("json_schema", response_format)
    schema = wrapped.get("schema") if isinstance(wrapped, Mapping) else None
    if kind == "json_object":
        return schema or {}
    if kind == "json_schema" and isinstance(schema, Mapping):
        return schema
    raise ConfigError(f"response_format={response_format!r} cannot be read: pass {_FORMS}")


def format_instruction(demands: Demands) -> str:
    """Return what to tell a model about the JSON it is to write; "" where it writes text or a call."""
    if demands.schema is None:
        return ""
    unless = "Unless you call a function, answer" if demands.tools else "Answer"
    if not demands.schema:
        return f"{unless} with one JSON object and nothing else."
    schema = json.dumps(demands.schema, ensure_ascii=False)
    return f"{unless} with one JSON value and nothing else. It must follow this JSON schema:\n{schema}"
