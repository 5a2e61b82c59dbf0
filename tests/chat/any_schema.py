"""Schemas of every keyword, drawn at random: single values by hypothesis-jsonschema, parts inside parts around them."""

from typing import Any

from hypothesis import strategies as st
from hypothesis_jsonschema import from_schema

NAMES = ("a", "b", "ab")
_COUNT = {"type": "integer", "minimum": 0, "maximum": 4}
_NUMBER = {"type": "number", "minimum": -50, "maximum": 50}
_PATTERN = {"enum": ["^a", "b$", "^[a-z]{1,3}$", "^(?!a)", r"\bx", r"^\d+$", "a|b"]}
_BY_TYPE: dict[str, dict[str, Any]] = {
    "string": {"minLength": _COUNT, "maxLength": {"type": "integer", "minimum": 4, "maximum": 9}, "pattern": _PATTERN,
               "format": {"enum": ["date", "email", "uuid", "phone", "regex"]}},
    "integer": {"minimum": {"type": "integer", "minimum": -9, "maximum": 0},
                "maximum": {"type": "integer", "minimum": 9},
                "multipleOf": {"enum": [1, 2, 7, 100_003]}},
    "number": {"minimum": _NUMBER, "exclusiveMaximum": {"type": "number", "minimum": 60, "maximum": 90}},
    "boolean": {}, "null": {},
}  # fmt: skip


def _scalar(kind: str) -> Any:
    keywords = {name: from_schema(rule) for name, rule in _BY_TYPE[kind].items()}
    return st.fixed_dictionaries({"type": st.just(kind)}, optional={**keywords, "title": st.just("T")})


_VALUES = st.one_of(st.integers(-9, 9), st.booleans(), st.none(), st.text("abxy 1", max_size=3))
_LEAVES = st.one_of(
    *map(_scalar, _BY_TYPE),
    _VALUES.map(lambda value: {"const": value}),
    st.lists(_VALUES, min_size=1, max_size=3).map(lambda values: {"enum": values}),
    st.just({}),
    st.just({"$ref": "#/$defs/shared"}),
)


def _optional(draw: Any, schema: dict[str, Any], **keywords: Any) -> dict[str, Any]:
    return schema | {name: draw(strategy) for name, strategy in keywords.items() if draw(st.integers(0, 3)) == 0}


@st.composite
def _objects(draw: Any, parts: Any) -> dict[str, Any]:
    names = st.lists(st.sampled_from(NAMES), unique=True, max_size=3)
    schema: dict[str, Any] = {"type": "object", "properties": {name: draw(parts) for name in draw(names)}}
    return _optional(
        draw, schema, required=names, additionalProperties=parts | st.booleans(), minProperties=st.integers(0, 2),
        propertyNames=st.just({"enum": list(NAMES)}),
        patternProperties=st.dictionaries(st.just("^a"), parts, max_size=1),
        dependentRequired=st.just({"a": ["b"]}), unevaluatedProperties=st.booleans(),
        allOf=st.lists(parts, min_size=1, max_size=2),
    )  # fmt: skip


@st.composite
def _arrays(draw: Any, parts: Any) -> dict[str, Any]:
    return _optional(
        draw, {"type": "array", "items": draw(parts)}, minItems=st.integers(0, 2), maxItems=st.integers(2, 4),
        uniqueItems=st.booleans(), contains=parts, prefixItems=st.lists(parts, min_size=1, max_size=2),
    )  # fmt: skip


@st.composite
def _choices(draw: Any, parts: Any) -> dict[str, Any]:
    keyword = draw(st.sampled_from(["anyOf", "oneOf", "allOf"]))
    schema = {keyword: draw(st.lists(parts, min_size=1, max_size=3))}
    schema = _optional(draw, schema, **{"not": parts})
    return schema | ({"if": draw(parts), "then": draw(parts)} if draw(st.integers(0, 4)) == 0 else {})


@st.composite
def schemas(draw: Any) -> dict[str, Any]:
    """Any schema, with a part under `$defs` that it may refer to."""
    nested = st.recursive(_LEAVES, lambda p: st.one_of(_objects(p), _arrays(p), _choices(p)), max_leaves=6)
    return {**draw(nested), "$defs": {"shared": {"type": "object", "properties": {"n": {"type": "integer"}}}}}
