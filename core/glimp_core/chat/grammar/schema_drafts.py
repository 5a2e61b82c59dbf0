"""Schemas of any draft and of OpenAPI: they are copied, checked, and converted to draft 2020-12."""

import difflib
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from glimp_core.errors import UnsupportedSchemaError
from glimp_core.json_values import mended

MAX_DEPTH = 200
"""Levels of JSON: a schema that is nested deeper is refused."""
MAX_VALUES = 200_000
"""Values of JSON: a schema that has more is refused."""

MAPS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
SINGLE = (
    "items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames",
    "unevaluatedProperties", "unevaluatedItems",
)  # fmt: skip
"""Keywords whose values are schemas: by name, in a list, and alone."""

_VALUES = """
    type enum const required minProperties maxProperties minItems maxItems minLength maxLength pattern format
    minimum maximum exclusiveMinimum exclusiveMaximum multipleOf"""
_PARTS = """
    anyOf oneOf allOf $ref $defs definitions properties additionalProperties patternProperties items prefixItems"""
_CHECKED = """
    uniqueItems not contains minContains maxContains propertyNames if then else dependentRequired dependentSchemas
    unevaluatedProperties unevaluatedItems"""

VALUES = frozenset(_VALUES.split())
"""The keywords without schemas in them that a grammar holds, within bounds."""
HELD = VALUES | frozenset(_PARTS.split())
"""The keywords that a grammar holds, within bounds."""
CHECKED = frozenset(_CHECKED.split())
"""The keywords that only a whole value can be checked for. Any other word is a remark."""

TYPES = ("string", "object", "array", "boolean", "null", "integer", "number")


def _is_count(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0 and value == int(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


_RULES: list[tuple[str, Callable[[Any], bool], str]] = [
    ("minItems maxItems minLength maxLength minProperties maxProperties minContains maxContains", _is_count,
     "a whole number, 0 or more"),
    ("minimum maximum exclusiveMinimum exclusiveMaximum", _is_number, "a number"),
    ("multipleOf", lambda value: _is_number(value) and value > 0, "a number over 0"),
    ("pattern format $ref $anchor", lambda value: isinstance(value, str), "a text"),
    ("required", _are_names, "a list of names"),
    ("enum", lambda value: isinstance(value, list), "a list of values"),
    ("uniqueItems", lambda value: isinstance(value, bool), "true or false"),
    (" ".join((*MAPS, "dependentRequired")), lambda value: isinstance(value, Mapping), "an object"),
    (" ".join(LISTS), lambda value: isinstance(value, list) and bool(value), "a list of schemas"),
]  # fmt: skip
_SHAPES = {keyword: (fine, rule) for keywords, fine, rule in _RULES for keyword in keywords.split()}


def read_schema(schema: Any) -> Any:
    """Return a schema as draft 2020-12 has it, in a copy. Unknown keywords stay.

    Raises `UnsupportedSchemaError` for what is no JSON, no schema, or nested too deep.
    """
    copy = _modern(copied(schema), "#")
    places = dict(_places(copy))
    for _, node in subschemas_below(copy):
        if isinstance(ref := node.get("$ref"), str):
            node["$ref"] = places.get(ref) or _moved(ref, places)
    return copy


def subschemas(schema: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Yield the schemas inside a schema: keyword, key or index there (None for the value itself), schema."""
    for keyword in MAPS:
        yield from ((keyword, name, part) for name, part in list(schema.get(keyword, {}).items()))
    for keyword in LISTS:
        yield from ((keyword, index, part) for index, part in enumerate(schema.get(keyword, ())))
    for keyword in SINGLE:
        if keyword in schema:
            yield keyword, None, schema[keyword]


def subschemas_below(schema: Any, path: str = "#") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield a schema and all schemas inside it, save true and false, each with where it stands."""
    if isinstance(schema, dict):
        yield path, schema
        for keyword, name, part in subschemas(schema):
            yield from subschemas_below(part, place(path, keyword, name))


def place(path: str, keyword: str, name: Any = None) -> str:
    """Return the JSON pointer of a schema inside the one at `path`."""
    key = "" if name is None else "/" + str(name).replace("~", "~0").replace("/", "~1")
    return f"{path}/{keyword}{key}"


def resolved(schema: Any, root: Any) -> Any:
    """Follow the references at the top of a schema within `root`; one that leads nowhere gives {}."""
    for _ in range(32):
        if not isinstance(schema, Mapping) or not isinstance(schema.get("$ref"), str):
            return schema
        schema = pointed_at(schema["$ref"], root)
    return {}


def pointed_at(ref: str, root: Any) -> Any:
    """Return what a reference within `root` leads to, {} if that is nothing."""
    target = looked_up(ref, root)
    return {} if target is None else target


def looked_up(ref: str, root: Any) -> Any:
    """Return what a reference within `root` leads to, None if that is nothing."""
    target = root
    for part in ref.removeprefix("#").strip("/").split("/") if ref.strip("#/") else ():
        part = part.replace("~1", "/").replace("~0", "~")
        if isinstance(target, list) and part.isdecimal() and int(part) < len(target):
            target = target[int(part)]
        else:
            target = target.get(part) if isinstance(target, Mapping) else None
    return target


def copied(schema: Any) -> Any:
    """Copy JSON, half characters mended. Raises `UnsupportedSchemaError` for what is none, too deep or too long."""
    top: list[Any] = [None]
    left: list[tuple[Any, Any, Any, str, int]] = [(schema, top, 0, "#", 0)]
    values = 0
    while left:
        value, holder, key, path, depth = left.pop()
        values += 1
        if depth > MAX_DEPTH or values > MAX_VALUES:
            much = f"is nested more than {MAX_DEPTH} levels deep" if depth > MAX_DEPTH else "is too long"
            raise UnsupportedSchemaError(
                f"the schema {much} (at {path[:80]}): make it smaller, or point to parts by $ref"
            )
        if isinstance(value, Mapping):
            new: dict[str, Any] = {}
            holder[key] = new
            for name in value:
                if not isinstance(name, str):
                    raise UnsupportedSchemaError(f"{path} of the schema has a key that is no text: {name!r}")
                new[mended(name)] = None
            left += [(value[name], new, mended(name), f"{path}/{name}", depth + 1) for name in value]
        elif isinstance(value, (list, tuple)):
            holder[key] = items = [None] * len(value)
            left += [(item, items, n, f"{path}/{n}", depth + 1) for n, item in enumerate(value)]
        elif (
            value is None or isinstance(value, (str, bool, int)) or (isinstance(value, float) and math.isfinite(value))
        ):
            holder[key] = mended(value) if isinstance(value, str) else value
        else:
            raise UnsupportedSchemaError(f"{path[:200]} of the schema is no JSON: {value!r:.100}")
    return top[0]


def _modern(schema: Any, path: str) -> Any:
    if isinstance(schema, bool):
        return schema
    if not isinstance(schema, dict):
        raise UnsupportedSchemaError(f"{path} of the schema must be an object or a bool, got {schema!r:.100}")
    _from_older_drafts(schema)
    for keyword, (fine, rule) in _SHAPES.items():
        if keyword in schema and not fine(schema[keyword]):
            raise UnsupportedSchemaError(
                f"{keyword!r} at {path} of the schema must be {rule}, got {schema[keyword]!r:.100}"
            )
    _check_type(schema, path)
    for keyword, name, part in subschemas(schema):
        ready = _modern(part, place(path, keyword, name))
        if name is None:
            schema[keyword] = ready
        else:
            schema[keyword][name] = ready
    return schema


def _from_older_drafts(schema: dict[str, Any]) -> None:
    """Write what drafts 3 to 7 and OpenAPI 3.0 say otherwise in the words of draft 2020-12."""
    for keyword in [keyword for keyword in HELD if schema.get(keyword, ...) is None and keyword != "const"]:
        del schema[keyword]  # how some generators leave a field out
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if isinstance(schema.get(exclusive), bool):
            excludes = schema.pop(exclusive)
            if excludes and bound in schema:
                schema[exclusive] = schema.pop(bound)
    _tuples_and_dependencies(schema)
    _required_by_property(schema)


def _tuples_and_dependencies(schema: dict[str, Any]) -> None:
    if isinstance(schema.get("items"), list):
        schema["prefixItems"] = schema.pop("items")
        if not schema["prefixItems"]:
            del schema["prefixItems"]
        if "additionalItems" in schema:
            schema["items"] = schema["additionalItems"]
    schema.pop("additionalItems", None)
    dependencies = schema.pop("dependencies", None)
    for name, wanted in dependencies.items() if isinstance(dependencies, dict) else ():
        keyword = "dependentRequired" if isinstance(wanted, list) else "dependentSchemas"
        schema[keyword] = {**schema.get(keyword, {}), name: wanted}


def _required_by_property(schema: dict[str, Any]) -> None:
    if isinstance(schema.get("required"), bool):
        del schema["required"]  # draft 3: said of a property, to which the object around it attends
    properties = schema.get("properties")
    required = [
        name
        for name, part in (properties.items() if isinstance(properties, dict) else ())
        if isinstance(part, dict) and part.get("required") is True
    ]
    if required and isinstance(schema.get("required", []), list):
        schema["required"] = list(dict.fromkeys([*schema.get("required", ()), *required]))


def _check_type(schema: dict[str, Any], path: str) -> None:
    kinds = schema.get("type", [])
    for kind in kinds if isinstance(kinds, list | tuple) else [kinds]:
        if not isinstance(kind, str) or kind not in TYPES:
            close = difflib.get_close_matches(str(kind), TYPES, n=1, cutoff=0.5)
            hint = f"did you mean {close[0]!r}?" if close else f"choose from {', '.join(TYPES)}, or leave it out"
            raise UnsupportedSchemaError(f"{kind!r:.100} at {path} of the schema is no type of JSON: {hint}")


def _moved(ref: str, places: Mapping[str, str]) -> str:
    """Return a reference to a part of an identified schema as one within the whole."""
    identity, hash_mark, rest = ref.partition("#")
    return places[identity] + rest if identity in places and hash_mark else ref


def _places(schema: Any) -> Iterator[tuple[str, str]]:
    """Yield the other names of places in a schema, by anchor and by identity, each with its JSON pointer."""
    for path, node in subschemas_below(schema):
        for keyword in ("$id", "id"):
            if isinstance(identity := node.get(keyword), str) and identity:
                yield identity, path
                yield identity.rstrip("#"), path
        if isinstance(anchor := node.get("$anchor"), str):
            yield f"#{anchor}", path
