"""Arguments of a request: of the right kinds, and in JSON's own types however their caller made them."""

from collections.abc import Mapping, Sequence
from typing import Any

from glimp_core.errors import ConfigError, shown
from glimp_core.policy import Policy

MAX_DEPTH = 400
"""What templates and JSON writers recurse into must end well before Python's own limit."""
MAX_VALUES = 2_000_000
"""What contains itself would never end."""


def check_options(response_format: Any, policy: Any, cancelled: Any) -> None:
    """Raise `ConfigError` for an option of another kind, which would fail somewhere in the middle."""
    check_kind("response_format", response_format, Mapping, "a dict such as {'type': 'json_object'}")
    check_kind("policy", policy, Policy, "a policy such as EntropyThreshold(1.0)")
    if cancelled is not None and not hasattr(cancelled, "is_set"):
        raise ConfigError(f"cancelled={shown(cancelled)} cannot work: pass a threading.Event()")


def check_kind(name: str, value: object, kind: type, wanted: str) -> None:
    """Raise `ConfigError` for an argument of another kind."""
    missing = value is None and name == "messages"
    if missing or isinstance(value, bytes) or not isinstance(value, (kind, type(None))):
        raise ConfigError(f"{name}={shown(value)} cannot work: pass {wanted}")


def listed_tools(tools: Any) -> tuple[Any, ...]:
    """Return the tools of a request in JSON's own types. Raises `ConfigError` for what is no list."""
    check_kind("tools", tools, Sequence, "a list of tools")
    return tuple(in_json_types("tools", tools or ()))


def in_json_types(name: str, value: Any) -> Any:
    """Return a copy in which every mapping is a dict and every sequence a list; other values are kept as they are.

    Raises `ConfigError` for what is nested too deep, has too many parts or contains itself, and for a mapping that
    cannot be read.
    """
    whole: list[Any] = [value]
    left: list[tuple[Any, Any, int]] = [(whole, 0, 0)]
    values = 0
    while left:
        holder, place, depth = left.pop()
        part, values = holder[place], values + 1
        if depth > MAX_DEPTH or values > MAX_VALUES:
            much = f"nested more than {MAX_DEPTH} levels deep" if depth > MAX_DEPTH else "of too many parts"
            raise ConfigError(f"{name} cannot be {much}, got {shown(value)}: make it smaller, or write it as a text")
        made = _copy(name, part)
        if made is not part:
            holder[place] = made
            left += [(made, key, depth + 1) for key in (made if isinstance(made, dict) else range(len(made)))]
    return whole[0]


def _copy(name: str, part: Any) -> Any:
    if not isinstance(part, (Mapping, list, tuple)):
        return part
    try:
        return dict(part) if isinstance(part, Mapping) else list(part)
    except Exception as error:
        raise ConfigError(f"{name} has a {type(part).__name__} that cannot be read: {error!r:.200}") from error
