"""The length of the shortest valid JSON value of a schema."""

import json
import math
from collections.abc import Mapping
from typing import Any

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
