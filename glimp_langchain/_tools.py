"""Tools and schemas as the core takes them: OpenAI-shaped."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_json_schema, convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass

from glimp_core import ConfigError
from glimp_core.errors import shown

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
    """Return a schema of any kind as OpenAI's `response_format`; what is one already stays as it is."""
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
    """LangChain's conversions lose what stands outside `properties`, and ask for a title."""
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
