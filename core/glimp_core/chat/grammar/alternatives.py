"""Alternatives of a schema: whether a value can be valid for two of them."""

import json
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from glimp_core.chat.grammar.schema_drafts import resolved, subschemas_below

MOST = 200
"""Of more alternatives than this none are compared."""


def discriminated(root: Any) -> None:
    """Require the property that tells the alternatives of a union apart, in each of them, where the union names it.

    Whoever reads such a union needs it, even where it has a default.
    """
    for _, node in subschemas_below(root):
        said = node.get("discriminator")
        name = said.get("propertyName") if isinstance(said, Mapping) else None
        for part in [*node.get("oneOf", ()), *node.get("anyOf", ())] if isinstance(name, str) else ():
            target = resolved(part, root)
            if isinstance(target, dict) and name in target.get("properties", {}):
                target["required"] = list(dict.fromkeys([*target.get("required", ()), name]))


def exclude_each_other(parts: Sequence[Any], root: Any) -> bool:
    """Whether no value that a grammar of these schemas allows follows two of them, as far as can be told."""
    schemas = [resolved(part, root) for part in parts]
    return len(schemas) <= MOST and all(_apart(one, other, root) for one, other in combinations(schemas, 2))


def _apart(one: Any, other: Any, root: Any) -> bool:
    if not isinstance(one, Mapping) or not isinstance(other, Mapping):
        return one is False or other is False
    values, others = _values(one), _values(other)
    if values is not None and others is not None:
        return not values & others
    kinds, other_kinds = _kinds(one), _kinds(other)
    if not kinds & other_kinds:
        return True
    if kinds & other_kinds != {"object"}:
        return False
    return _apart_by_property(one, other, root) or _apart_by_names(one, other)


def _apart_by_property(one: Mapping[str, Any], other: Mapping[str, Any], root: Any) -> bool:
    """Whether both require a property whose values tell them apart."""
    mine, theirs = one.get("properties", {}), other.get("properties", {})
    for name in set(one.get("required", ())) & set(other.get("required", ())):
        values, others = _values(resolved(mine.get(name), root)), _values(resolved(theirs.get(name), root))
        if values is not None and others is not None and not values & others:
            return True
    return False


def _apart_by_names(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether each requires a property that the other, which is closed, has not."""
    loose = {"additionalProperties", "patternProperties", "allOf", "anyOf", "oneOf", "$ref", "propertyNames"}
    for part in (one, other):
        open_names = part.get("additionalProperties", False) is not False
        if open_names or (loose - {"additionalProperties"}) & set(part) or "properties" not in part:
            return False
    needs, has = set(one.get("required", ())), set(other["properties"])
    needs_too, has_too = set(other.get("required", ())), set(one["properties"])
    return not needs <= has and not needs_too <= has_too


def _values(schema: Any) -> set[str] | None:
    if not isinstance(schema, Mapping):
        return None
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    return None if values is None else {_spelled(value) for value in values}


def _spelled(value: Any) -> str:
    """Return a value such that equal ones are spelled alike: 1.0 is 1, true is not."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, sort_keys=True)


def _kinds(schema: Mapping[str, Any]) -> set[str]:
    kinds = schema.get("type")
    if kinds is None and (values := _values(schema)) is not None:
        return {_kind(json.loads(value)) for value in values}
    every = ["string", "number", "object", "array", "boolean", "null"]
    names = every if kinds is None else [kinds] if isinstance(kinds, str) else kinds
    return {"number" if name == "integer" else name for name in names}


def _kind(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return "null" if value is None else "boolean"
    if isinstance(value, (int, float)):
        return "number"
    return "string" if isinstance(value, str) else "array" if isinstance(value, list) else "object"
