"""Default bounds for single values, if a schema has none, and the length of the shortest value of a schema."""

import json
import math
from collections.abc import Mapping
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


_LONGEST = 10**9


def shortest_length(schema: Any) -> float:
    """Return about how many characters the shortest value of a prepared schema has; infinity if none is finite.

    Takes time in proportion to the schema, however often its parts refer to each other: the lengths behind references
    are all taken for infinite first, and lowered until nothing changes.
    """
    if not isinstance(schema, Mapping):
        return _length(schema, {})
    known: dict[str, float] = {"#": math.inf}
    parts = {"#": schema, **{f"#/$defs/{name}": part for name, part in schema.get("$defs", {}).items()}}
    changed = True
    while changed:
        changed = False
        for ref in reversed(parts):
            if (length := _length(parts[ref], known)) < known.get(ref, math.inf):
                known[ref], changed = length, True
    return known["#"]


def _length(schema: Any, known: Mapping[str, float]) -> float:
    if not isinstance(schema, Mapping):
        return math.inf if schema is False else 1
    if "const" in schema or "enum" in schema:
        values = [schema["const"]] if "const" in schema else schema["enum"]
        return min((len(json.dumps(value, ensure_ascii=False)) for value in values), default=math.inf)
    lengths = [_own(schema, known)]
    if "$ref" in schema:
        lengths.append(known.get(schema["$ref"], math.inf))
    lengths += [_length(part, known) for part in schema.get("allOf", ())]
    if "anyOf" in schema:
        lengths.append(min((_length(part, known) for part in schema["anyOf"]), default=math.inf))
    return min(max(lengths), _LONGEST) if max(lengths) < math.inf else math.inf


def _own(schema: Mapping[str, Any], known: Mapping[str, float]) -> float:
    kinds = schema.get("type", ())
    return min((_of_type(kind, schema, known) for kind in ([kinds] if isinstance(kinds, str) else kinds)), default=1)


def _of_type(kind: str, schema: Mapping[str, Any], known: Mapping[str, float]) -> float:
    if kind == "object":
        properties, required = schema.get("properties", {}), schema.get("required", ())
        length: float = 2
        for name in required:
            length += len(name) + 4 + _length(properties.get(name, schema.get("additionalProperties", True)), known)
        return length + 5.0 * max(0, int(schema.get("minProperties", 0)) - len(required))
    if kind == "array":
        prefix: list[Any] = schema.get("prefixItems", [])
        shortest = int(schema.get("minItems", 0))
        length = 2.0 + sum(1.0 + _length(part, known) for part in prefix[:shortest])
        more = shortest - len(prefix)
        each = 1.0 + _length(schema.get("items", True), known)
        return length + each * more if more > 0 else length
    if kind == "string":
        return 2.0 + float(schema.get("minLength", 0))
    return 1 if kind in ("integer", "number") else 4
