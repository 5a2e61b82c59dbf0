"""Whether values fit a JSON schema, and text read as the type that a schema names."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from glimp_core.chat.grammar.json_schema import resolved

_PYTHON = {"True": True, "False": False, "None": None}
_TYPES: dict[str, Any] = {"string": str, "object": Mapping, "array": list, "boolean": bool, "null": type(None)}


def is_valid(value: Any, schema: Any, root: Mapping[str, Any] | None = None) -> bool:
    """Tell whether a value follows a schema, as far as the keywords known here go; unknown ones allow all."""
    root = root if root is not None else schema if isinstance(schema, Mapping) else {}
    schema = resolved(schema, root)
    if not isinstance(schema, Mapping):
        return schema is not False
    return all(_checks(value, schema, root))


def read_as(text: str, schema: Any, root: Mapping[str, Any]) -> Any:
    """Read the text of a parameter: as it is where the schema says string, else as the JSON it holds if it fits."""
    schema = resolved(schema, root)
    if isinstance(schema, Mapping) and schema.get("type") == "string":
        return text
    if not isinstance(schema, Mapping) or not schema:
        return _json_or(text)
    for value in (_json_or(text), text, _PYTHON.get(text.strip(), text)):
        if is_valid(value, schema, root):
            return value
    return _json_or(text)


def _json_or(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _checks(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any]) -> Iterator[bool]:
    types = schema.get("type")
    if types is not None:
        yield any(_is(value, name) for name in ([types] if isinstance(types, str) else types))
    if "const" in schema:
        yield _equal(value, schema["const"])
    if "enum" in schema:
        yield any(_equal(value, other) for other in schema["enum"])
    yield all(is_valid(value, part, root) for part in schema.get("allOf", ()))
    for keyword in ("anyOf", "oneOf"):
        yield keyword not in schema or any(is_valid(value, part, root) for part in schema[keyword])
    if isinstance(value, Mapping):
        yield from _object(value, schema, root)
    elif isinstance(value, list):
        yield from _array(value, schema, root)
    elif isinstance(value, str):
        yield from _string(value, schema)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield from _number(value, schema)


def _is(value: Any, name: str) -> bool:
    if name in ("integer", "number"):
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        return not isinstance(value, bool) and (whole if name == "integer" else isinstance(value, (int, float)))
    return name in _TYPES and isinstance(value, _TYPES[name])


def _equal(one: Any, other: Any) -> bool:
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _object(value: Mapping[str, Any], schema: Mapping[str, Any], root: Mapping[str, Any]) -> Iterator[bool]:
    yield all(name in value for name in schema.get("required", ()))
    yield schema.get("minProperties", 0) <= len(value) <= schema.get("maxProperties", math.inf)
    properties, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    for name, part in value.items():
        named = [properties[name]] if name in properties else []
        named += [found for pattern, found in patterns.items() if _found(pattern, name)]
        yield all(is_valid(part, found, root) for found in named or [schema.get("additionalProperties", True)])


def _array(value: list[Any], schema: Mapping[str, Any], root: Mapping[str, Any]) -> Iterator[bool]:
    yield schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", math.inf)
    items = schema.get("items", True)
    first = schema.get("prefixItems", items if isinstance(items, list) else [])
    yield all(is_valid(part, found, root) for part, found in zip(value, first, strict=False))
    yield isinstance(items, list) or all(is_valid(part, items, root) for part in value[len(first) :])


def _string(value: str, schema: Mapping[str, Any]) -> Iterator[bool]:
    yield schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", math.inf)
    yield "pattern" not in schema or _found(schema["pattern"], value)


def _found(pattern: str, text: str) -> bool:
    try:
        return re.search(pattern, text) is not None
    except re.error:  # a pattern in another dialect than Python's is left to whoever runs the tool
        return True


def _number(value: float, schema: Mapping[str, Any]) -> Iterator[bool]:
    yield value >= schema.get("minimum", -math.inf) and value <= schema.get("maximum", math.inf)
    yield _beyond(value, schema.get("exclusiveMinimum"), 1) and _beyond(value, schema.get("exclusiveMaximum"), -1)
    step = schema.get("multipleOf")
    yield not step or math.isclose(value / step, round(value / step), abs_tol=1e-9)


def _beyond(value: float, bound: Any, sign: int) -> bool:
    return not isinstance(bound, (int, float)) or isinstance(bound, bool) or sign * (value - bound) > 0
