"""Random JSON schemas together with the length of the shortest value that follows them."""

import json
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

NAMES = ("a", "b", "ab", "key", "näme", 'q"u', "long_name", "x y")
PATTERNS = (("^[a-z]{2}-[0-9]{2}$", 5), ("^(ab)+c$", 3), ("^a*b$", 1), ("^(x|yz)w?$", 1), ("^[^a]{3}$", 3))


@dataclass(frozen=True)
class Case:
    """A schema, and the bytes of the shortest JSON text that follows it."""

    schema: dict[str, Any]
    shortest: int

    @property
    def required(self) -> int:
        """The same where a property is required: a free string is then not empty."""
        free = self.schema.get("type") == "string" and not {"pattern", "maxLength"} & set(self.schema)
        return self.shortest + (free and "minLength" not in self.schema)


def _length(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


@st.composite
def _strings(draw: Any) -> Case:
    kind = draw(st.sampled_from(["free", "length", "pattern"]))
    if kind == "free":
        return Case({"type": "string"}, 2)
    if kind == "length":
        shortest, more = draw(st.integers(0, 6)), draw(st.integers(0, 9))
        return Case({"type": "string", "minLength": shortest, "maxLength": shortest + more}, shortest + 2)
    pattern, length = draw(st.sampled_from(PATTERNS))
    return Case({"type": "string", "pattern": pattern}, length + 2)


@st.composite
def _integers(draw: Any) -> Case:
    low = draw(st.one_of(st.none(), st.integers(-120, 120)))
    high = draw(st.one_of(st.none(), st.integers(0, 150))) if low is None else low + draw(st.integers(0, 150))
    bounds = {name: bound for name, bound in (("minimum", low), ("maximum", high)) if bound is not None}
    near = range(-999 if low is None else low, (9999 if high is None else high) + 1)
    return Case({"type": "integer", **bounds}, min(len(str(value)) for value in near))


def _plain() -> Any:
    letters = st.characters(exclude_characters="\x7f", exclude_categories=["Cs"])  # JSON grammars escape DEL
    constants = st.one_of(
        st.text(letters, max_size=4), st.integers(-99, 99), st.none(), st.booleans(), st.just({"a": [1]})
    )
    return st.one_of(
        _strings(),
        _integers(),
        st.just(Case({"type": "number"}, 1)),
        st.just(Case({"type": "boolean"}, 4)),
        st.just(Case({"type": "null"}, 4)),
        st.just(Case({"type": ["integer", "null"]}, 1)),
        constants.map(lambda value: Case({"const": value}, _length(value))),
        st.lists(constants, min_size=1, max_size=4).map(lambda v: Case({"enum": v}, min(map(_length, v)))),
    )


@st.composite
def _objects(draw: Any, children: Any) -> Case:
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=4))
    parts = {name: draw(children) for name in names}
    required = [name for name in names if draw(st.booleans())]
    length = 2 + sum(_length(name) + 1 + parts[name].required for name in required) + max(0, len(required) - 1)
    properties = {name: part.schema for name, part in parts.items()}
    schema = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    return Case(schema, length)


@st.composite
def _arrays(draw: Any, children: Any) -> Case:
    item, shortest = draw(children), draw(st.integers(0, 3))
    bounds = {"minItems": shortest} if draw(st.booleans()) else {"minItems": shortest, "maxItems": shortest + 2}
    length = 2 + shortest * item.shortest + max(0, shortest - 1)
    return Case({"type": "array", "items": item.schema, **bounds}, length)


@st.composite
def _choices(draw: Any, children: Any) -> Case:
    parts = draw(st.lists(children, min_size=1, max_size=3))
    return Case({"anyOf": [part.schema for part in parts]}, min(part.shortest for part in parts))


def cases(max_leaves: int = 8) -> Any:
    """Any schema of the kinds above, nested."""
    return st.recursive(_plain(), lambda c: st.one_of(_objects(c), _arrays(c), _choices(c)), max_leaves=max_leaves)


def object_cases() -> Any:
    """Schemas of objects: parameters of tools."""
    return _objects(cases(5))
