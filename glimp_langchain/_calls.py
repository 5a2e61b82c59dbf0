"""What one call asks for, as demands on a router: messages, tools and schemas as OpenAI-shaped dicts, and options.

What is not LangChain's own is the core's to settle: the parts of a content, roles that a template does not know,
results without a name, and how much of the earlier reasoning, which goes along as `reasoning_content`, is shown.
"""

import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import dispatch_custom_event
from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, FunctionMessage, ToolMessage
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_json_schema, convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass

from glimp_core import ConfigError, Event, Routed
from glimp_core.deadline import deadline
from glimp_core.errors import shown, unknown_name
from glimp_langchain._errors import langchain_errors

if TYPE_CHECKING:
    from glimp_langchain.chat_models import ChatGlimp

FIELDS = (
    "model",
    "temperature",
    "top_p",
    "top_k",
    "max_tokens",
    "max_completion_tokens",
    "seed",
    "threshold",
    "policy",
    "reasoning",
    "reasoning_effort",
    "max_reasoning_tokens",
    "chat_template_kwargs",
    "logprobs",
    "timeout",
)
"""Fields of the model that a call may change."""

DEMANDS = ("tools", "tool_choice", "parallel_tool_calls", "response_format")
MEANINGLESS = ("stream", "stream_usage", "strict", "max_retries")
"""Arguments that LangChain sends to every model. `strict` belongs to tools and schemas."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call, checked: its keyword arguments win over the model's fields. Raises `ModelInvalidRequestError`."""

    model: "ChatGlimp"
    messages: list[dict[str, Any]]
    options: dict[str, Any]

    @classmethod
    def of(
        cls, model: "ChatGlimp", messages: Sequence[BaseMessage], stop: list[str] | None, given: Mapping[str, Any]
    ) -> "Call":
        """Read what LangChain passes to `_generate` and `_stream`."""
        with langchain_errors():
            for name in given:
                if name not in (*FIELDS, *DEMANDS, *MEANINGLESS):
                    raise unknown_name("option", name, (*FIELDS, *DEMANDS))
            model = model.with_options({name: given[name] for name in FIELDS if name in given})
            demands = {name: given[name] for name in DEMANDS if given.get(name) is not None}
            if "tools" in demands:
                demands["tools"] = tool_specs(demands["tools"], given.get("strict"))
            if "response_format" in demands:
                demands["response_format"] = response_format(demands["response_format"], given.get("strict"))
            return cls(model, core_messages(messages), {**demands, **_routing(model, stop)})

    def events(self, cancelled: threading.Event) -> Generator[Event, None, None]:
        """Run the call; the models stop within a token when this is closed, `cancelled` is set or time is over."""
        with langchain_errors(), deadline(self.model.timeout, cancelled):
            stream = self.model.active_router.stream(self.messages, **self.options, cancelled=cancelled)
            with closing(stream):
                yield from _told(stream) if self.model.step_events else stream


def _routing(model: "ChatGlimp", stop: list[str] | None) -> dict[str, Any]:
    """Return the options of a router's `stream` that are not part of the request."""
    return {
        "sampling": model.sampling(stop or ()),
        "policy": model.routing_policy(),
        "chat_template_kwargs": model.chat_template_kwargs,
        "logprobs": model.logprobs,
    }


def _told(events: Iterable[Event]) -> Iterator[Event]:
    """Report each routed step to the LangChain run when it is decided, and yield all events."""
    for event in events:
        if isinstance(event, Routed):
            step = {"step": event.index, "model": event.decision.engine, "entropy": event.glimpse.entropy}
            with suppress(RuntimeError):  # LangChain's answer where there is no such run
                dispatch_custom_event("glimp_step", step)
        yield event


ROLES = {"system": "system", "developer": "system", "human": "user", "ai": "assistant", "tool": "tool"}


def core_messages(messages: Sequence[BaseMessage]) -> list[dict[str, Any]]:
    """Return the messages as dicts. The given ones are not changed."""
    return [_core_message(message) for message in messages]


def _core_message(message: BaseMessage) -> dict[str, Any]:
    core = {"role": _role(message), "content": message.content}
    core |= {"name": message.name} if message.name else {}
    if isinstance(message, AIMessage):
        core |= dict(_assistants(message))
    elif isinstance(message, ToolMessage):
        core |= {"tool_call_id": message.tool_call_id, "status": message.status}
    elif isinstance(message, FunctionMessage):
        core["role"] = "tool"
    return core


def _role(message: BaseMessage) -> str:
    role = message.role if isinstance(message, ChatMessage) else message.type.removesuffix("MessageChunk").lower()
    return ROLES.get(role, role)


def _assistants(message: AIMessage) -> Iterator[tuple[str, Any]]:
    """Yield the fields of an assistant's message other than its content."""
    calls = [_call(call["id"], call["name"], call["args"]) for call in message.tool_calls]
    calls += [_call(call["id"], call["name"], call["args"] or "") for call in message.invalid_tool_calls]
    if calls:
        yield "tool_calls", calls
    extra = message.additional_kwargs
    yield from ((key, extra[key]) for key in ("refusal", "audio", "function_call") if extra.get(key))
    reasoning = extra.get("reasoning_content") or extra.get("reasoning")
    if isinstance(reasoning, Mapping):  # of OpenAI: a part, as it would stand in the content
        parts = [message.content] if isinstance(message.content, str) else message.content
        yield "content", [{**reasoning, "type": "reasoning"}, *parts]
    elif reasoning:
        yield "reasoning_content", reasoning


def _call(call_id: str | None, name: str | None, arguments: Any) -> dict[str, Any]:
    return {"id": call_id or "", "type": "function", "function": {"name": name or "", "arguments": arguments}}


FUNCTIONS = {"name", "function", "parameters", "input_schema", "toolSpec"}
SCHEMAS = {"title", "properties", "items", "anyOf", "oneOf", "allOf", "enum", "const", "$ref"}
TYPES = {"object", "array", "string", "integer", "number", "boolean", "null"}


def tool_specs(
    tools: Sequence[Mapping[str, Any] | type | Callable[..., Any] | BaseTool] | None, strict: bool | None = None
) -> list[dict[str, Any]]:
    """Return tools of any kind as OpenAI's function specs. Raises `ConfigError` for those that run on a server."""
    specs = [_spec(tool, strict) for tool in tools or ()]
    for spec in specs:
        if spec.get("type") != "function":
            raise ConfigError(f"{spec.get('type')!r} is a tool of some server: pass functions, tools or schemas")
    return specs


def response_format(schema: Any, strict: bool | None = None) -> dict[str, Any]:
    """Return a schema of any kind as OpenAI's `response_format`. A `response_format` is returned unchanged."""
    if isinstance(schema, Mapping) and "properties" not in schema:
        said = {} if strict is None else {"strict": strict}
        if schema.get("type") in ("json_schema", "json_object", "text"):
            inner = schema.get("json_schema")
            return {**schema, "json_schema": {**said, **inner}} if isinstance(inner, Mapping) else dict(schema)
        if isinstance(schema.get("schema"), Mapping):
            return {"type": "json_schema", "json_schema": {**said, **schema}}
    body = _json_schema(schema)
    named: dict[str, Any] = {"name": body.get("title") or "output", "schema": body}
    return {"type": "json_schema", "json_schema": named if strict is None else {**named, "strict": strict}}


def is_model(schema: Any) -> bool:
    """Whether a schema is a Pydantic class, of version 2 or 1."""
    return isinstance(schema, type) and is_basemodel_subclass(schema)


def _json_schema(schema: Any) -> dict[str, Any]:
    """Pydantic's own schema keeps references and nested descriptions, which LangChain's conversion flattens."""
    if is_model(schema):
        describe: Callable[[], dict[str, Any]] = getattr(schema, "model_json_schema", None) or schema.schema
        return describe()
    return dict(schema) if _is_json_schema(schema) else _read(convert_to_json_schema, schema)


def _spec(tool: Any, strict: bool | None) -> dict[str, Any]:
    tool = _unwrapped(tool)
    if not _is_json_schema(tool):
        return _read(convert_to_openai_tool, tool, strict=strict)
    parameters = {"description": "", **tool}
    name, description = parameters.pop("title", "output"), parameters.pop("description")
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


def _unwrapped(tool: Any) -> Any:
    """Return the schema inside a `response_format`, by its name."""
    form = tool.get("json_schema", tool) if isinstance(tool, Mapping) else {}
    inner = form.get("schema") if isinstance(form, Mapping) else None
    return {**inner, "title": form.get("name", "output")} if isinstance(inner, Mapping) else tool


def _is_json_schema(schema: Any) -> bool:
    """LangChain's conversions lose keywords outside `properties`, and require a title."""
    if not isinstance(schema, Mapping) or FUNCTIONS & set(schema):
        return False
    kinds = schema.get("type") or ()
    return bool(SCHEMAS & set(schema)) or bool(TYPES & set([kinds] if isinstance(kinds, str) else kinds))


def _read(convert: Callable[..., dict[str, Any]], schema: Any, **options: Any) -> dict[str, Any]:
    try:
        return convert(schema, **options)
    except (TypeError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"{shown(schema)} cannot be read as a tool or schema: pass a Pydantic or TypedDict class, a function, a "
            "tool or a JSON schema; a list of things goes into a field of a class"
        ) from error
