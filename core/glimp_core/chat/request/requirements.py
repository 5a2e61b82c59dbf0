"""The requirements of a request for its reply: calls, JSON, or none; and the check of a complete reply."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from glimp_core.chat.grammar.json_schema import prepare_schema
from glimp_core.chat.request.tools import Tool, read_choice, read_tools, relaxed
from glimp_core.context import Context
from glimp_core.errors import ConfigError, OutputValidationError, UnsupportedSchemaError
from glimp_core.types import InvalidToolCall, Request, ToolCall, ToolCallDelta

CHECKED_AFTERWARDS = "enforced in part, and checked when complete"
MAX_TOOLS_PARTS = 4_000
"""A grammar does not enforce tools whose schemas have more parts than this together."""

_FORMS = "{'type': 'text'}, {'type': 'json_object'} or {'type': 'json_schema', 'json_schema': {'schema': {...}}}"


@dataclass(frozen=True, slots=True)
class OutputRequirements:
    """The tools a reply may call and whether it must, whether to keep to one call, and the schema of its text.

    `schema` is None if the text is free, {} if it must be some JSON object. `shown` are the tools that the
    prompt tells of: all of them, also where one is named, so that prompts stay alike; none where none may be called.
    `unheld` is what of the schema a grammar cannot hold, and the whole answer is checked for, unless the caller does
    that: `checked` is False if the format says `"check": False`.
    """

    tools: tuple[Tool, ...] = ()
    must_call: bool = False
    one_call: bool = False
    schema: Mapping[str, Any] | None = None
    shown: tuple[Tool, ...] = ()
    unheld: tuple[str, ...] = ()
    checked: bool = True

    @classmethod
    def of(cls, request: Request) -> "OutputRequirements":
        """Read a request. Raises `ConfigError` for invalid tools, an invalid choice or an invalid format.

        A demanded call is one call if the request does not mention parallel calls: agents that demand "any" tool expect
        one call, and a weak model may never stop calling.
        """
        tools = shown = read_tools(request.tools)
        choice = read_choice(request.tool_choice, tools)
        if choice.mode == "none":
            tools = shown = ()
        elif choice.names:
            tools = tuple(tool for tool in tools if tool.given in choice.names)
        must_call = choice.mode == "required"
        parallel = _parallel(request)
        one_call = must_call if parallel is None else not parallel
        schema = None if must_call else read_format(request.response_format)
        unheld = tuple(map(str, prepare_schema(schema).unenforced)) if schema else ()
        if unheld and _is_strict(request.response_format):
            raise UnsupportedSchemaError(
                f"response_format is strict, but a grammar cannot hold all of its schema: {'; '.join(unheld)}. "
                "Leave strict out, and the answer is checked afterwards"
            )
        checked = schema is None or (request.response_format or {}).get("check") is not False
        return cls(_within_bounds(tools), must_call, one_call, schema, shown, unheld, checked)

    @classmethod
    def of_context(cls, context: Context) -> "OutputRequirements":
        """Return the requirements of a request, which is read once, however many models ask."""
        if cls not in context.engine_state:
            context.engine_state[cls] = requirements = cls.of(context.request)
            for remark in requirements.remarks:
                context.note(remark)
        read: OutputRequirements = context.engine_state[cls]
        return read

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is said at the start of a request: what is checked afterwards."""
        what = [(f"the calls of tool {tool.given!r}", tool.unheld) for tool in self.tools if tool.unheld]
        what += [("the answer", self.unheld)] if self.unheld else []
        return tuple(f"{of}: {CHECKED_AFTERWARDS}: {'; '.join(unheld)}" for of, unheld in what)

    @property
    def bound(self) -> bool:
        """Whether the visible reply may hold calls or JSON: then one model writes it, in one go."""
        return bool(self.tools) or self.structured

    @property
    def structured(self) -> bool:
        """Whether the reply is constrained from its first token."""
        return self.must_call or self.schema is not None

    def checked_call(self, delta: ToolCallDelta) -> ToolCallDelta:
        """Return a delta, its tool called as it was given, and a whole call that breaks its schema an invalid one.

        Every call is checked: some slip past a grammar, or are read from a server.
        """
        names = {tool.name: tool.given for tool in self.tools}
        delta = replace(delta, name=names.get(delta.name, delta.name))
        if delta.call and delta.call.name in names:
            delta = replace(delta, call=replace(delta.call, name=names[delta.call.name]))
        call = delta.call
        if not isinstance(call, ToolCall):
            return delta
        tool = next((tool for tool in self.tools if tool.given == call.name), None)
        if tool is None or (broken := _violation(call.arguments, _closed(tool.parameters))) is None:
            return delta
        arguments = json.dumps(call.arguments, ensure_ascii=False)
        return replace(delta, call=InvalidToolCall(call.id, call.name, arguments, broken))

    def check_answer(self, text: str) -> None:
        """Raise `OutputValidationError` for an answer that breaks its schema; one that was cut is let pass."""
        if self.unheld and self.checked:
            check_answer(text, self.schema)


def _parallel(request: Request) -> bool | None:
    """Return what the request says of parallel calls, be it in Anthropic's way, inside its choice."""
    choice = request.tool_choice
    if request.parallel_tool_calls is None and isinstance(choice, Mapping) and "disable_parallel_tool_use" in choice:
        return not choice["disable_parallel_tool_use"]
    return request.parallel_tool_calls


def _is_strict(response_format: Any) -> bool:
    wrapped = response_format.get("json_schema", response_format) if isinstance(response_format, Mapping) else None
    return isinstance(wrapped, Mapping) and wrapped.get("strict") is True


def _within_bounds(tools: tuple[Tool, ...]) -> tuple[Tool, ...]:
    """Leave the largest schemas to be checked afterwards, where all together are too large for one grammar."""
    sizes = {tool.name: tool.held.parts for tool in tools}
    loosened: dict[str, Tool] = {}
    for tool in sorted(tools, key=lambda tool: -sizes[tool.name]):
        if sum(sizes.values()) <= MAX_TOOLS_PARTS:
            break
        too_large = f"its schema has {sizes[tool.name]} parts, and all tools more than {MAX_TOOLS_PARTS:,}"
        names = relaxed(tool.held.schema(), any_value=True)
        loosened[tool.name] = replace(tool, held=names, unheld=(*tool.unheld, too_large))
        sizes[tool.name] = 1
    return tuple(loosened.get(tool.name, tool) for tool in tools)


def read_format(response_format: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return the schema that a `response_format` demands: None for text, {} for any JSON object."""
    if response_format is None:
        return None
    if not isinstance(response_format, Mapping):
        raise ConfigError(f"response_format={response_format!r:.300} cannot be read: pass {_FORMS}")
    kind = response_format.get("type")
    if kind == "text":
        return None
    wrapped = response_format.get("json_schema", response_format)
    schema = wrapped.get("schema") if isinstance(wrapped, Mapping) else None
    if kind == "json_object":
        return schema or {}
    if kind == "json_schema" and isinstance(schema, Mapping):
        return schema
    raise ConfigError(f"response_format={response_format!r:.300} cannot be read: pass {_FORMS}")


def check_answer(text: str, schema: Any) -> None:
    """Raise `OutputValidationError` for JSON that breaks a schema; text that is no JSON is let pass."""
    try:
        value = json.loads(text) if schema else None
    except (ValueError, RecursionError):
        return
    if schema and (broken := _violation(value, schema)):
        raise OutputValidationError(f"the answer does not follow its schema: {broken}", text)


_OPEN = ("additionalProperties", "patternProperties", "unevaluatedProperties", "allOf", "anyOf", "oneOf", "$ref", "if")


def _closed(parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return parameters that take no others than they name, as the grammar has them too."""
    if "properties" not in parameters or any(keyword in parameters for keyword in _OPEN):
        return parameters
    return {**parameters, "additionalProperties": False}


def _violation(value: Any, schema: Mapping[str, Any]) -> str | None:
    from glimp_core.chat.grammar.validation import violation  # jsonschema is loaded by the first value to check

    return violation(value, schema)
