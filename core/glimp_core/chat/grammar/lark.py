"""Small grammars as values, which are converted to llguidance's dialect of Lark."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, TypeAlias

from glimp_core.chat.grammar.schema_drafts import resolved

SPACES = r"[ ]{1,2}|[ ]?\r?\n[ \t]{0,40}"
"""The blank space that may stand between two parts of a JSON text: none, a few spaces, or a line's indentation."""


@dataclass(frozen=True, slots=True)
class Markup:
    """A text of a model's markup: its control tokens where the vocabulary has them, the rest as it stands."""

    text: str


@dataclass(frozen=True, slots=True)
class Json:
    """A JSON value that follows a schema, given as JSON text."""

    schema: str


@dataclass(frozen=True, slots=True)
class RawText:
    """Text that follows a regular expression, up to and with the markup `end`, which it does not hold before.

    It follows `also` as well, if that is not "".
    """

    pattern: str
    end: str
    also: str = ""


@dataclass(frozen=True, slots=True)
class Pattern:
    """Text that follows a regular expression."""

    pattern: str


@dataclass(frozen=True, slots=True)
class Sequence:
    """One part after another."""

    parts: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the parts."""

    parts: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Optional:
    """A part, or nothing."""

    part: "Node"


@dataclass(frozen=True, slots=True)
class Many:
    """A part, once or more, with `between` in between."""

    part: "Node"
    between: "Node"


Node: TypeAlias = str | Markup | Json | RawText | Pattern | Sequence | Choice | Optional | Many


@dataclass(frozen=True, slots=True)
class Grammar:
    """What a reply must be. `alone` are parts of what it allows, one tool each, that hold a short reply.

    A search in a grammar of many tools follows all of them side by side, in states that are large.
    """

    node: Node
    alone: tuple[Node, ...] = ()

    def ends(self) -> tuple[str, ...]:
        """Return the markup that ends texts which are written as they are."""
        return tuple(dict.fromkeys(node.end for node in _below(self.node) if isinstance(node, RawText)))

    def required(self) -> frozenset[bytes]:
        """Return the names, as JSON writes them, that any object of the grammar requires."""
        names = (name for schema in self._schemas() for name in _required(schema))
        return frozenset(json.dumps(name, ensure_ascii=False)[1:-1].encode() for name in names)

    def texts(self) -> tuple["Json", ...]:
        """Return the kinds of string that meet in some union, each on its own."""
        return tuple(dict.fromkeys(text for schema in self._schemas() for text in _texts(schema)))

    def _schemas(self) -> Iterator[Any]:
        return (json.loads(node.schema) for node in _below(self.node) if isinstance(node, Json))


GAP = Optional(Pattern(r"[ ]|[ ]?\n{1,2}"))
"""The blank space that models put around the parts of their markup."""

INDENT = Optional(Pattern(r"[ ]|[ ]?\n[ ]{0,8}"))
"""The blank space between the objects of a list: none, a space, or a line's indentation."""

Writer: TypeAlias = Callable[[str], str]
"""Writes a markup in Lark: its control tokens as `<[id]>`, its text in quotes."""


def write_lark(node: Node, markup: Writer) -> str:
    """Return a grammar in Lark."""
    rules: list[str] = []
    start = _write(node, markup, rules)
    return f"start: {start}\n" + "\n".join(rules)


def _write(node: Node, markup: Writer, rules: list[str]) -> str:
    """Write one node; what needs a name of its own goes to `rules`."""
    match node:
        case str():
            return json.dumps(node, ensure_ascii=False) if node else ""
        case Markup(text):
            return markup(text) if text else ""
        case Json(schema):
            return _named(rules, f"%json {_with_spaces(schema)}")
        case RawText():
            return _raw_text(node, markup, rules)
        case Pattern(pattern):
            return f"/{_regex(pattern)}/"
        case Sequence(parts):
            return " ".join(filter(None, (_write(part, markup, rules) for part in parts)))
        case Choice(parts):
            return _named(rules, " | ".join(_write(part, markup, rules) for part in parts))
        case Optional(part):
            return f"({_write(part, markup, rules)})?"
        case Many(part, between):
            name = _named(rules, _write(part, markup, rules))
            return f"{name} ({_write(between, markup, rules)} {name})*"


def _raw_text(node: RawText, markup: Writer, rules: list[str]) -> str:
    """Write text up to its end: a control token ends it by itself, a text ends it where it first stands."""
    end = markup(node.end)
    before, token, rest = end.partition("<[")
    if token:  # text in front of the token is part of the same lexeme, which the token closes
        text = _literal(json.loads(before)) if before.strip() else ""
        if not node.also:
            return f"/{_regex(node.pattern)}{text}/ {token}{rest}"
        rules.append(f"T{len(rules)}: /{_regex(node.pattern)}{text}/ & /{_regex(node.also)}{text}/")
        return f"T{len(rules) - 1} {token}{rest}"
    # The end may differ in the blank space around it only, so what may not stand inside is the rest of it.
    inner = _literal(node.end.strip())
    early = f"/(?s:.*){inner}(?s:.*){inner}(?s:.*)/"
    also = f" & /{_regex(node.also)}{_literal(node.end)}/" if node.also else ""
    rules.append(f"T{len(rules)}: /{_regex(node.pattern)}{_literal(node.end)}/{also} & ~{early}")
    return _named(rules, f"T{len(rules) - 1}", "[lazy]")


def _named(rules: list[str], body: str, options: str = "") -> str:
    rules.append(f"r{len(rules)}{options}: {body}")
    return f"r{len(rules) - 1}"


def _below(node: Any) -> Iterator[Any]:
    """Yield a node and all in it."""
    yield node
    inner = [getattr(node, field.name) for field in fields(node)] if is_dataclass(node) else node
    for part in inner if isinstance(inner, (list, tuple)) else ():
        yield from _below(part)


def _values(value: Any) -> Iterator[Any]:
    """Yield a JSON value and all in it."""
    yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _values(part)


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """Yield the objects in a JSON value; of a schema these are its parts."""
    yield from (part for part in _values(value) if isinstance(part, dict))


def _required(schema: Any) -> Iterator[str]:
    """Yield the names that objects of a schema require; one that is given as it is requires them all."""
    for part in _objects(schema):
        yield from (name for name in part.get("required", ()) if isinstance(name, str))
        for given in _objects([part.get("const"), part.get("enum")]):
            yield from given


def _texts(schema: Any) -> Iterator[Json]:
    for part in _objects(schema):
        for choices in (part.get(keyword, ()) for keyword in ("anyOf", "oneOf")):
            texts = [text for choice in choices if (text := _as_text(resolved(choice, schema)))]
            yield from texts if len(texts) > 1 else ()


def _as_text(schema: Any) -> Json | None:
    """A schema with all but strings left out; None if it has none."""
    if not isinstance(schema, dict) or {"anyOf", "oneOf", "allOf"} & set(schema):
        return None
    if values := [schema["const"]] if "const" in schema else schema.get("enum"):
        values = [value for value in values if isinstance(value, str)]
        return Json(json.dumps({"enum": values}, ensure_ascii=False)) if values else None
    fine = "string" in schema.get("type", ())
    return Json(json.dumps({**schema, "type": "string"}, ensure_ascii=False)) if fine else None


def _with_spaces(schema: str) -> str:
    options = {"whitespace_pattern": SPACES, "json_allow_general_unicode_escapes": True}
    return json.dumps({"x-guidance": options, **json.loads(schema)}, ensure_ascii=False)


def _regex(pattern: str) -> str:
    return pattern.replace("/", "\\/").replace("\n", "\\n")


def _literal(text: str) -> str:
    return _regex("".join(f"\\{c}" if c in ".^$*+?()[]{}|\\" else c for c in text))
