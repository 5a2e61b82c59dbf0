"""Default bounds for single values, if a schema has none, and their sizes."""

from decimal import Decimal
from typing import Any

MAX_STRING = 32_768
"""Strings that say no length get this one, so that a model that goes in circles comes to an end."""
MAX_INTEGER = 9 * 10**18
"""Integers that say no bounds stay within 64 bits: Python refuses to read very long ones."""


def keep_typed(ready: dict[str, Any]) -> None:
    """Leave out the values of an `enum` that are of another type than the schema says."""
    if "enum" in ready and "type" in ready:
        kinds = [ready["type"]] if isinstance(ready["type"], str) else ready["type"]
        ready["enum"] = [value for value in ready["enum"] if any(_is_of_type(value, kind) for kind in kinds)]


def _is_of_type(value: Any, kind: str) -> bool:
    if isinstance(value, bool) or value is None:
        return kind == ("null" if value is None else "boolean")
    if isinstance(value, (int, float)):
        return kind == "number" or (kind == "integer" and value == int(value))
    return kind == ("string" if isinstance(value, str) else "array" if isinstance(value, list) else "object")


def units(value: float) -> int:
    """Return a number in units of its last decimal: 0.25 is 25."""
    number = Decimal(str(value)).normalize().as_tuple()
    return int("".join(map(str, number.digits)) + "0" * max(0, int(number.exponent)))


def bound(schema: dict[str, Any]) -> None:
    """Bound strings and integers where the schema says no bounds."""
    if schema.get("type") == "string" and not {"maxLength", "pattern", "format", "enum", "const"} & set(schema):
        schema["maxLength"] = max(MAX_STRING, schema.get("minLength", 0))
    if schema.get("type") == "integer" and not {"enum", "const"} & set(schema):
        if not {"minimum", "exclusiveMinimum"} & set(schema):
            schema["minimum"] = min(-MAX_INTEGER, _number(schema, "maximum", "exclusiveMaximum"))
        if not {"maximum", "exclusiveMaximum"} & set(schema):
            schema["maximum"] = max(MAX_INTEGER, _number(schema, "minimum", "exclusiveMinimum"))


def _number(schema: dict[str, Any], *keywords: str) -> Any:
    return next((schema[keyword] for keyword in keywords if isinstance(schema.get(keyword), (int, float))), 0)


def fill_required(schema: dict[str, Any]) -> None:
    """An empty string is what a model writes that does not know better; where a string is required, it is none."""
    properties, required = schema.get("properties"), schema.get("required")
    if not isinstance(properties, dict) or not isinstance(required, list):
        return
    for name in required:
        part = properties.get(name)
        if isinstance(part, dict) and part.get("type") == "string" and part.get("maxLength") == MAX_STRING:
            part.setdefault("minLength", 1)
