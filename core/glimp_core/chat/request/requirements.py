"""What a request demands of the reply: calls, JSON, or nothing in particular."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from glimp_core.chat.request.tools import Tool, read_choice, read_tools
from glimp_core.context import Context
from glimp_core.errors import ConfigError
from glimp_core.types import Request

_FORMS = "{'type': 'text'}, {'type': 'json_object'} or {'type': 'json_schema', 'json_schema': {'schema': {...}}}"


@dataclass(frozen=True, slots=True)
class OutputRequirements:
    """The tools a reply may call and whether it must, whether to keep to one call, and the schema of its text.

    `schema` is None where the text is free, {} where it must be some JSON object. `shown` are the tools that the
    prompt tells of: all of them, also where one is named, so that prompts stay alike; none where none may be called.
    """

    tools: tuple[Tool, ...] = ()
    must_call: bool = False
    one_call: bool = False
    schema: Mapping[str, Any] | None = None
    shown: tuple[Tool, ...] = ()

    @classmethod
    def of(cls, request: Request) -> "OutputRequirements":
        """Read a request. Raises `ConfigError` for tools, a choice or a format that cannot be read.

        Where a call is demanded and nothing is said of parallel calls, it is one: agents that ask for "any"
        tool expect one, and a weak model would not know when to stop.
        """
        tools = shown = read_tools(request.tools)
        choice = read_choice(request.tool_choice, tools)
        if choice.mode == "none":
            tools = shown = ()
        elif choice.names:
            tools = tuple(tool for tool in tools if tool.name in choice.names)
        must_call = choice.mode == "required"
        parallel = _parallel(request)
        one_call = must_call if parallel is None else not parallel
        schema = read_format(request.response_format)
        return cls(tools, must_call, one_call, None if must_call else schema, shown)

    @classmethod
    def of_context(cls, context: Context) -> "OutputRequirements":
        """Return the requirements of a request, which is read once, however many models ask."""
        if cls not in context.engine_state:
            context.engine_state[cls] = cls.of(context.request)
        read: OutputRequirements = context.engine_state[cls]
        return read

    @property
    def structured(self) -> bool:
        """Whether the reply is bound from its first token."""
        return self.must_call or self.schema is not None


def _parallel(request: Request) -> bool | None:
    """Return what the request says of parallel calls, be it in Anthropic's way, inside its choice."""
    choice = request.tool_choice
    if request.parallel_tool_calls is None and isinstance(choice, Mapping) and "disable_parallel_tool_use" in choice:
        return not choice["disable_parallel_tool_use"]
    return request.parallel_tool_calls


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
