"""What a grammar holds the arguments of one tool to, where it cannot hold all that its parameters say."""

from collections.abc import Mapping
from typing import Any

from glimp_core.chat.grammar.json_schema import prepare_schema
from glimp_core.errors import UnsupportedSchemaError

MOST_NAMES = 200
"""Of a tool with more parameters than this, that cannot be held as it is, none is held."""


def held_parameters(parameters: Mapping[str, Any]) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """Return the schema that a grammar is made of, and what of the parameters it does not hold."""
    try:
        return parameters, tuple(map(str, prepare_schema(parameters).unenforced))
    except UnsupportedSchemaError as error:
        return relaxed(parameters), (str(error),)


def relaxed(parameters: Mapping[str, Any], any_value: bool = False) -> Mapping[str, Any]:
    """Return parameters without what cannot be held: the names stay, and the values of those that can be held.

    With `any_value` no value is held. An object of any names is left where the names cannot be held either.
    """
    named = parameters.get("properties")
    if not isinstance(named, Mapping) or len(named) > MOST_NAMES:
        return {"type": "object"}
    shared = {key: parameters[key] for key in ("$defs", "definitions") if key in parameters}
    values = {name: {} if any_value else _or_anything(part, shared) for name, part in named.items()}
    required, rest = parameters.get("required"), parameters.get("additionalProperties")
    listed = [name for name in required if isinstance(name, str)] if isinstance(required, list) else []
    names = [name for name in listed if name in values]
    loose = {"type": "object", "properties": values, "required": names, **({} if any_value else shared)}
    loose |= {"additionalProperties": rest} if isinstance(rest, bool) else {}
    try:
        prepare_schema(loose)
    except UnsupportedSchemaError:
        return {"type": "object"} if any_value else relaxed(parameters, any_value=True)
    return loose


def _or_anything(part: Any, shared: Mapping[str, Any]) -> Any:
    try:
        prepare_schema({**part, **shared} if isinstance(part, Mapping) else part)
    except UnsupportedSchemaError:
        return {}
    return part
