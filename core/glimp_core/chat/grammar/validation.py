"""Validation of values with the jsonschema library, and conversion of text to the type of a schema."""

import ipaddress
import json
import math
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal
from functools import cache, lru_cache, partial
from typing import Any

import regex  # type: ignore[import-untyped]
from jsonschema import Draft202012Validator, FormatChecker  # type: ignore[import-untyped]
from jsonschema.exceptions import ValidationError  # type: ignore[import-untyped]
from jsonschema.validators import extend  # type: ignore[import-untyped]
from referencing import Registry
from referencing.exceptions import Unresolvable

from glimp_core.chat.grammar.schema_drafts import CHECKED, read_schema, resolved
from glimp_core.chat.grammar.string_formats import PATTERNS
from glimp_core.errors import UnsupportedSchemaError

PATTERN_SECONDS = 1.0
"""A pattern that searches longer than this counts as not found: some take for ever."""

_PYTHON = {"True": True, "False": False, "None": None}


def violation(value: Any, schema: Any) -> str | None:
    """Return what of a schema a value breaks: the keyword, where, and why. None if it follows the schema.

    Nothing is fetched: what a reference to another document says is not checked.
    """
    return _violation(value, _validator(json.dumps(_modern(schema), ensure_ascii=False)))


def is_valid(value: Any, schema: Any, root: Mapping[str, Any] | None = None) -> bool:
    """Tell whether a value follows a schema, which may refer to parts of a `root`; what is no schema allows all."""
    if root is None:
        return violation(value, schema) is None
    validator = _validator(json.dumps(_modern(root), ensure_ascii=False))
    return _violation(value, validator.evolve(schema=_modern(schema))) is None


def read_as(text: str, schema: Any, root: Mapping[str, Any]) -> Any:
    """Read the text of a parameter: as it is if the schema says string, else as the JSON it holds if it fits."""
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


def _modern(schema: Any) -> Any:
    try:
        return read_schema(schema)
    except UnsupportedSchemaError:
        return True


@lru_cache(maxsize=512)
def _validator(text: str) -> Any:
    return _Validator(json.loads(text), registry=Registry(), format_checker=_formats())


def _violation(value: Any, validator: Any) -> str | None:
    try:
        error = next(validator.iter_errors(value), None)
    except RecursionError:
        return "it is nested too deep"
    except regex.error:  # of a pattern in another dialect, which the library looks at itself
        return None
    if error is None:
        return None
    path = [str(part) for part in error.absolute_schema_path]
    keyword = next(
        (part for part in path if part in CHECKED or part in ("oneOf", "contentMediaType")), str(error.validator)
    )
    where = "".join(f"[{part!r}]" for part in error.absolute_path) or "the value"
    said = error.message if len(error.message) <= 200 else error.message[:200] + "..."
    return f"{keyword!r} is not kept at {where}: {said}"


def _found(pattern: str, text: str) -> bool:
    try:
        return regex.search(pattern, text, timeout=PATTERN_SECONDS) is not None
    except TimeoutError:
        return False
    except regex.error:  # a pattern in another dialect is left to whoever runs the tool
        return True


def _pattern(validator: Any, pattern: str, value: Any, schema: Any) -> Iterator[ValidationError]:
    if isinstance(value, str) and not _found(pattern, value):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


def _pattern_properties(validator: Any, patterns: Any, value: Any, schema: Any) -> Iterator[ValidationError]:
    for pattern, part in patterns.items() if isinstance(value, dict) else ():
        for name in value:
            if _found(pattern, name):
                yield from validator.descend(value[name], part, path=name, schema_path=pattern)


def _multiple_of(validator: Any, step: Any, value: Any, schema: Any) -> Iterator[ValidationError]:
    """Divide as the numbers are written: 0.3 is a multiple of 0.1."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and Decimal(str(value)) % Decimal(str(step)):
        yield ValidationError(f"{value!r} is not a multiple of {step}")


def _json_in_text(validator: Any, kind: str, value: Any, schema: Any) -> Iterator[ValidationError]:
    if kind != "application/json" or not isinstance(value, str) or "contentEncoding" in schema:
        return
    try:
        inner = json.loads(value)
    except (ValueError, RecursionError):
        yield ValidationError(f"{value!r} is not JSON")
        return
    yield from validator.descend(inner, schema.get("contentSchema", True), schema_path="contentSchema")


def _ref(validator: Any, ref: str, value: Any, schema: Any) -> Iterator[ValidationError]:
    check: Callable[..., Any] = Draft202012Validator.VALIDATORS["$ref"]
    try:
        yield from check(validator, ref, value, schema) or ()
    except Unresolvable:
        return


_FORMS = ("duration", "hostname", "json-pointer", "base64", "base64url", *(f"uuid{n}" for n in range(1, 9)))


def _form(name: str) -> Callable[[Any], bool]:
    return lambda text: not isinstance(text, str) or regex.fullmatch(PATTERNS[name], text) is not None


def _instant(text: str) -> None:
    """Raise for what is no moment of the calendar, with its offset."""
    if datetime.fromisoformat(text.upper()).tzinfo is None or len(text) < len("2000-01-01T00:00:00Z"):
        raise ValueError(text)


_READERS: dict[str, Callable[[str], object]] = {
    "date": lambda text: date.fromisoformat(text if len(text) == len("2000-01-01") else ""),
    "date-time": _instant,
    "time": lambda text: _instant(f"2000-01-01T{text}"),
    "ipvanyaddress": ipaddress.ip_address,
    "ipv4network": ipaddress.IPv4Network, "ipv6network": ipaddress.IPv6Network,
    "ipvanynetwork": ipaddress.ip_network, "ipv4interface": ipaddress.IPv4Interface,
    "ipv6interface": ipaddress.IPv6Interface, "ipvanyinterface": ipaddress.ip_interface,
}  # fmt: skip


@cache
def _formats() -> FormatChecker:
    """Return the library's checks that need no further package, and those of pydantic's formats."""
    checker = FormatChecker(("email", "idn-email", "ipv4", "ipv6", "uuid", "regex"))
    for name in _FORMS:
        checker.checks(name)(_form(name))
    for name, read in _READERS.items():
        checker.checks(name, raises=ValueError)(partial(_read_by, read))
    return checker


def _read_by(read: Callable[[str], object], value: Any) -> bool:
    if isinstance(value, str):
        read(value)
    return True


def _is_number(checker: Any, value: Any) -> bool:
    """Numbers too large for a float are read as infinite, which JSON does not know."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


_Validator: Any = extend(
    Draft202012Validator,
    {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "multipleOf": _multiple_of,
        "$ref": _ref,
        "contentMediaType": _json_in_text,
    },
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine("number", _is_number),
)
