"""The properties of an object, if several parts of a schema apply to it."""

from collections.abc import Iterator, Mapping
from typing import Any

from glimp_core.chat.grammar.schema_drafts import CHECKED, HELD, pointed_at


def stands_for(schema: Mapping[str, Any]) -> Any:
    """Return the part that a schema stands for, if it says nothing else."""
    says = {key for key in schema if key in HELD | CHECKED} - {"$defs", "definitions"}
    if says == {"$ref"}:
        return {"$ref": schema["$ref"]}
    return schema["allOf"][0] if says == {"allOf"} and len(schema["allOf"]) == 1 else None


def has_parts(schema: Mapping[str, Any]) -> bool:
    """Whether several parts of a schema speak of the same object, and have to know of each other's properties."""
    unions = [key for key in ("anyOf", "oneOf", "$ref") if key in schema]
    own = {"properties", "required", "additionalProperties", "patternProperties", "unevaluatedProperties"} & set(schema)
    several = "allOf" in schema and (len(schema["allOf"]) > 1 or bool(unions) or bool(own))
    return (
        several or len(unions) > 1 or bool(unions and own) or bool({"then", "else", "dependentSchemas"} & set(schema))
    )


def _inner(schema: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the parts that speak of the same value as a schema."""
    for keyword in ("allOf", "anyOf", "oneOf"):
        yield from schema.get(keyword, ())
    yield from (schema[keyword] for keyword in ("then", "else") if keyword in schema)
    yield from schema.get("dependentSchemas", {}).values()


def tells_of_properties(schema: Any, root: Any, seen: frozenset[str]) -> bool:
    """Tell whether a schema, or a part that speaks of the same value, names properties."""
    if not isinstance(schema, dict):
        return False
    ref = schema.get("$ref", "")
    follow = ref and ref not in seen and len(seen) < 32
    if follow and tells_of_properties(pointed_at(ref, root), root, seen | {ref}):
        return True
    return "properties" in schema or any(tells_of_properties(part, root, seen) for part in _inner(schema))


def names_of(schema: Any, root: Any, seen: frozenset[str]) -> set[str] | None:
    """Return the names that a schema and its parts have for properties; None if one of them takes any."""
    if not isinstance(schema, dict):
        return None if schema else set()
    if schema.get("additionalProperties", False) is not False or "patternProperties" in schema:
        return None
    if schema.get("unevaluatedProperties", False) is not False:
        return None
    parts = list(_inner(schema))
    if isinstance(ref := schema.get("$ref"), str):
        if ref in seen or len(seen) > 32:
            return None
        parts, seen = [*parts, pointed_at(ref, root)], seen | {ref}
    if not parts and not {"properties", "required", "additionalProperties"} & set(schema):
        kinds = schema.get("type", "object")
        return None if "object" in ([kinds] if isinstance(kinds, str) else kinds) and "const" not in schema else set()
    names = set(schema.get("properties", ()))
    for part in parts:
        if (more := names_of(part, root, seen)) is None:
            return None
        names |= more
    for wanted in schema.get("dependentRequired", {}).values():
        names |= set(wanted)
    return names
