"""Tools and schemas as the core takes them: OpenAI-shaped."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_json_schema, convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass

from glimp_core import ConfigError

NAMES = {"title", "name", "function", "toolSpec"}
SHAPES = {"properties", "anyOf", "oneOf", "allOf", "enum", "$ref"}
"""A JSON schema that says nothing else has no name, which LangChain asks for."""


def tool_specs(
    tools: Sequence[Mapping[str, Any] | type | Callable[..., Any] | BaseTool] | None, strict: bool | None = None
) -> list[dict[str, Any]]:
    """Return tools of any kind as OpenAI's function specs. Raises `ConfigError` for those that run on a server."""
    specs = [convert_to_openai_tool(_named(tool), strict=strict) for tool in tools or ()]
    for spec in specs:
        if spec.get("type") != "function":
            raise ConfigError(f"{spec.get('type')!r} is a tool of some server: pass functions, tools or schemas")
    return specs


def response_format(schema: Any, strict: bool | None = None) -> dict[str, Any]:
    """Return a schema of any kind as OpenAI's `response_format`; what is one already stays as it is."""
    if isinstance(schema, Mapping) and "properties" not in schema:
        if schema.get("type") in ("json_schema", "json_object", "text"):
            return dict(schema)
        if isinstance(schema.get("schema"), Mapping):
            return {"type": "json_schema", "json_schema": dict(schema)}
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
    return convert_to_json_schema(_named(schema))


def _named(schema: Any) -> Any:
    if isinstance(schema, Mapping) and not NAMES & set(schema) and SHAPES & set(schema):
        return {"title": "output", **schema}
    return schema
