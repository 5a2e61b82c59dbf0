"""JSON schemas made ready for a grammar: checked keyword by keyword, and bounded where they are not."""

import difflib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from glimp_core.errors import UnsupportedSchemaError

_ENFORCED = """
    type enum const anyOf oneOf allOf $ref $defs definitions properties required additionalProperties
    patternProperties minProperties maxProperties items prefixItems minItems maxItems minLength maxLength pattern
    format minimum maximum exclusiveMinimum exclusiveMaximum multipleOf"""
_ANNOTATIONS = """
    title description default examples example deprecated readOnly writeOnly $comment $id $schema $anchor
    discriminator contentMediaType contentEncoding nullable strict"""

ENFORCED = frozenset(_ENFORCED.split())
ANNOTATIONS = frozenset(_ANNOTATIONS.split())
FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"})
"""The formats that are enforced. Any other one is what the JSON schema standard says it is: a remark."""

MAX_STRING = 32_768
"""Strings that say no length get this one, so that a model that goes in circles comes to an end."""
MAX_INTEGER = 9 * 10**18
"""Integers that say no bounds stay within 64 bits: Python refuses to read very long ones."""

ANY_DEPTH = 24


def normalize_schema(schema: Mapping[str, Any] | bool, at: str = "#") -> Any:
    """Return a schema ready for the grammar, its references moved to where it will stand: `at`.

    Bounds strings and integers, makes required free strings non-empty, and keeps objects to the properties that
    they name. Raises `UnsupportedSchemaError` that names the first keyword that cannot be enforced.
    """
    if not schema and schema is not False:
        return any_object()
    ready = _prepared(json.loads(json.dumps(schema)), "#", at)
    if not _combines(ready):
        _close(ready)
    if not _ends(schema, schema, frozenset()):
        raise UnsupportedSchemaError(f"no finite value follows the schema, for it requires itself: {str(schema)[:200]}")
    return ready


def any_object() -> dict[str, Any]:
    """Return the schema of any JSON object, nested at most `ANY_DEPTH` deep."""
    scalars: list[dict[str, Any]] = [
        {"type": ["number", "boolean", "null"]},
        {"type": "string", "maxLength": MAX_STRING},
    ]
    depths: dict[str, Any] = {"v0": {"anyOf": scalars}}
    for depth in range(1, ANY_DEPTH):
        below = {"$ref": f"#/$defs/v{depth - 1}"}
        containers = [{"type": "object", "additionalProperties": below}, {"type": "array", "items": below}]
        depths[f"v{depth}"] = {"anyOf": [*scalars, *containers]}
    top = {"$ref": f"#/$defs/v{ANY_DEPTH - 1}"}
    return {"type": "object", "additionalProperties": top, "$defs": depths}


def resolved(schema: Any, root: Mapping[str, Any]) -> Any:
    """Follow the references at the top of a schema within `root`; one that leads nowhere gives {}."""
    for _ in range(32):
        if not isinstance(schema, Mapping) or not isinstance(schema.get("$ref"), str):
            return schema
        target: Any = root
        for part in schema["$ref"].removeprefix("#").strip("/").split("/") if schema["$ref"] != "#" else ():
            part = part.replace("~1", "/").replace("~0", "~")
            target = target.get(part, {}) if isinstance(target, Mapping) else {}
        schema = target
    return {}


def _prepared(schema: Any, path: str, at: str) -> Any:
    if isinstance(schema, bool):
        return schema
    if not isinstance(schema, dict):
        raise UnsupportedSchemaError(f"{path} of the schema must be an object or a bool, got {schema!r}")
    for keyword in schema:
        _check(keyword, path)
    ready = {key: value for key, value in schema.items() if key in ENFORCED}
    for keyword, name, part in _subschemas(ready):
        where = f"{path}/{keyword}" if name is None else f"{path}/{keyword}/{name}"
        _set(ready, keyword, name, _prepared(part, where, at))
    if isinstance(ready.get("$ref"), str) and ready["$ref"].startswith("#"):
        ready["$ref"] = at + ready["$ref"][1:]
    if "format" in ready and ready["format"] not in FORMATS:
        del ready["format"]
    if "properties" in ready and not {"type", "anyOf", "oneOf", "allOf", "$ref", "enum", "const"} & set(ready):
        ready["type"] = "object"  # what is meant, though the standard lets anything else than an object pass as well
    _bound(ready)
    _fill_required(ready)
    return ready


def _check(keyword: str, path: str) -> None:
    if keyword in ENFORCED or keyword in ANNOTATIONS or keyword.startswith("x-"):
        return
    close = difflib.get_close_matches(keyword, ENFORCED | ANNOTATIONS, n=1)
    hint = f"did you mean {close[0]!r}?" if close else "remove it, or check it in your own code"
    raise UnsupportedSchemaError(f"the schema keyword {keyword!r} at {path} cannot be enforced: {hint}")


def _subschemas(schema: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Yield the schemas inside a schema: keyword, key or index there (None for the value itself), schema."""
    for keyword in ("properties", "patternProperties", "$defs", "definitions"):
        if isinstance(named := schema.get(keyword), dict):
            yield from ((keyword, name, part) for name, part in list(named.items()))
    for keyword in ("anyOf", "oneOf", "allOf", "prefixItems", "items"):
        if isinstance(listed := schema.get(keyword), list):
            yield from ((keyword, index, part) for index, part in enumerate(listed))
    for keyword in ("items", "additionalProperties"):
        if isinstance(schema.get(keyword), dict):
            yield keyword, None, schema[keyword]


def _set(schema: dict[str, Any], keyword: str, name: Any, part: Any) -> None:
    if name is None:
        schema[keyword] = part
    else:
        schema[keyword][name] = part


def _bound(schema: dict[str, Any]) -> None:
    if schema.get("type") == "string" and not {"maxLength", "pattern", "format", "enum", "const"} & set(schema):
        schema["maxLength"] = max(MAX_STRING, schema.get("minLength", 0))
    if schema.get("type") == "integer" and not {"enum", "const"} & set(schema):
        if not {"minimum", "exclusiveMinimum"} & set(schema):
            schema["minimum"] = min(-MAX_INTEGER, _number(schema, "maximum", "exclusiveMaximum"))
        if not {"maximum", "exclusiveMaximum"} & set(schema):
            schema["maximum"] = max(MAX_INTEGER, _number(schema, "minimum", "exclusiveMinimum"))


def _number(schema: dict[str, Any], *keywords: str) -> Any:
    return next((schema[keyword] for keyword in keywords if isinstance(schema.get(keyword), (int, float))), 0)


def _fill_required(schema: dict[str, Any]) -> None:
    """An empty string is what a model writes that does not know better; where a string is required, it is none."""
    properties, required = schema.get("properties"), schema.get("required")
    if not isinstance(properties, dict) or not isinstance(required, list):
        return
    for name in required:
        part = properties.get(name)
        if isinstance(part, dict) and part.get("type") == "string" and part.get("maxLength") == MAX_STRING:
            part.setdefault("minLength", 1)


def _combines(schema: Any) -> bool:
    """Whether some object's properties are named in several places, which have to know of each other's."""
    if not isinstance(schema, dict):
        return False
    split = "properties" in schema and {"anyOf", "oneOf", "$ref"} & set(schema)
    return "allOf" in schema or bool(split) or any(_combines(part) for *_, part in _subschemas(schema))


def _close(schema: Any) -> None:
    """Allow no property without a name: a weak model makes some up, which no function takes."""
    if not isinstance(schema, dict):
        return
    named = set(schema.get("properties", ()))
    enough = named >= {*schema.get("required", ())} and len(named) >= schema.get("minProperties", 0)
    if named and enough and "patternProperties" not in schema:
        schema.setdefault("additionalProperties", False)
    for *_, part in _subschemas(schema):
        _close(part)


def _ends(schema: Any, root: Any, within: frozenset[str]) -> bool:
    """Whether some finite value follows a schema: false for one that cannot do without another of its kind."""
    if not isinstance(schema, Mapping) or "const" in schema or "enum" in schema:
        return True
    if isinstance(ref := schema.get("$ref"), str) and (
        ref in within or not _ends(resolved({"$ref": ref}, root), root, within | {ref})
    ):
        return False
    if not all(_ends(part, root, within) for part in schema.get("allOf", ())):
        return False
    for keyword in ("anyOf", "oneOf"):
        if keyword in schema and not any(_ends(part, root, within) for part in schema[keyword]):
            return False
    return all(_ends(part, root, within) for part in _needed(schema))


def _needed(schema: Mapping[str, Any]) -> list[Any]:
    """The schemas of what every value of a schema holds."""
    properties, items = schema.get("properties"), schema.get("items")
    if schema.get("type") == "object" and isinstance(properties, Mapping):
        return [properties[name] for name in schema.get("required", ()) if name in properties]
    if schema.get("type") == "array" and schema.get("minItems", 0) > 0 and isinstance(items, Mapping):
        return [items]
    return []
