"""Schemas made ready for a grammar, and values checked against them."""

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat.schemas import Case, cases
from chat.writing import by_chance, space, text_of, written
from glimp_core.chat.grammar.json_schema import any_object, prepare_schema
from glimp_core.chat.grammar.lark import Grammar, Json
from glimp_core.chat.grammar.string_formats import PATTERNS
from glimp_core.chat.grammar.validation import is_valid, violation
from glimp_core.chat.grammar.value_bounds import MAX_STRING
from glimp_core.chat.output.constraints import GrammarConstraint
from glimp_core.errors import UnsupportedSchemaError


@pytest.mark.parametrize(
    ("part", "left"),
    [
        ({"uniqueItems": True}, "uniqueItems"), ({"contains": {"const": 1}}, "contains"),
        ({"not": {"const": 1}}, "not"),
        ({"if": {"const": 1}, "then": {"minimum": 2}}, "if"), ({"propertyNames": {"minLength": 3}}, "propertyNames"),
        ({"dependentRequired": {"a": ["b"]}}, "dependentRequired"), ({"pattern": "^(?!a)b"}, "pattern"),
        ({"dependentSchemas": {"a": {"required": ["b"]}}}, "dependentSchemas"), ({"pattern": r"\bx"}, "pattern"),
        ({"allOf": [{"minProperties": 1}, {}], "unevaluatedProperties": False}, "unevaluatedProperties"),
        ({"pattern": r"x\Z"}, "pattern"), ({"multipleOf": 999_983}, "multipleOf"), ({"minItems": 100_000}, "minItems"),
        ({"minLength": 100_000}, "minLength"), ({"minProperties": 1000}, "minProperties"),
        ({"format": "regex"}, "format"),
        ({"properties": {"a": {}}, "additionalProperties": {"type": "null"}, "minProperties": 2}, "minProperties"),
        ({"properties": {"a": {}}, "additionalProperties": True, "maxProperties": 2}, "maxProperties"),
        ({"oneOf": [{"type": "number"}, {"type": "integer"}]}, "oneOf"),
        ({"patternProperties": {"(?=a)": {}}}, "patternProperties"),
    ],
)  # fmt: skip
def test_what_a_grammar_cannot_hold_is_named_and_left_to_be_checked(part: Any, left: str) -> None:
    """Law: no keyword is passed over in silence; what is not held is told by name and place."""
    schema = {"type": "object", "properties": {"a": {"type": "array", "items": part}}}
    (unenforced,) = prepare_schema(schema).unenforced
    assert str(unenforced).startswith(f"'{left}' at #/properties/a/items")


@pytest.mark.parametrize(
    "remark",
    [
        {word: "x"}
        for word in ("units", "markdownDescription", "order", "id", "x-any", "enumNames", "ui:widget", "optional")
    ]
    + [
        {"enumDescriptions": ["d"]},
        {"propertyOrdering": ["a"]},
        {"xml": {}},
        {"externalDocs": {}},
        {"errorMessage": {}},
    ]
    + [{"propertyNames": {"type": "string"}}, {"uniqueItems": False}, {"if": {"const": 1}}]
    + [
        {"discriminator": {"propertyName": "a"}},
        {"$comment": "c"},
        {"format": "int64"},
    ],
    ids=lambda remark: str(*remark),
)
def test_remarks_and_keywords_that_say_nothing_are_passed_over(remark: Any) -> None:
    """Law: words of other vocabularies, and keywords that every value follows, change nothing."""
    plain = {"type": "object", "properties": {"a": {"type": "integer"}}}
    assert prepare_schema({**plain, **remark}) == prepare_schema(plain)
    assert prepare_schema({"type": "array", "items": {**plain, **remark}}).unenforced == ()


def test_a_misspelt_keyword_is_answered_with_the_right_one() -> None:
    """Law: the nearest known keyword is suggested."""
    with pytest.raises(UnsupportedSchemaError, match="did you mean 'required'"):
        prepare_schema({"type": "object", "requierd": ["a"]})


def test_remarks_are_dropped() -> None:
    """Law: keywords that only note on a schema, and formats that nobody can check, change nothing."""
    schema = {"type": "string", "title": "T", "description": "d", "examples": ["x"], "x-order": 3, "format": "phone"}
    assert prepare_schema(schema).schema() == {"type": "string", "maxLength": MAX_STRING}


def test_required_strings_are_not_empty_unless_the_schema_lets_them() -> None:
    """Law: a free string that is required has a character; one with bounds of its own keeps them."""
    properties = {"a": {"type": "string"}, "b": {"type": "string"}, "c": {"type": "string", "maxLength": 3}}
    ready = prepare_schema({"type": "object", "properties": properties, "required": ["a", "c"]}).schema()
    assert [part.get("minLength") for part in ready["properties"].values()] == [1, None, None]


A, B = {"a": {"type": "null"}}, {"b": {"type": "null"}}


@pytest.mark.parametrize(
    ("schema", "closed"),
    [
        ({"properties": A}, True), ({"properties": A, "required": ["a"]}, True), ({"type": "object"}, False),
        ({"type": "object", "properties": {}}, True), ({"type": "object", "properties": {}, "minProperties": 1}, False),
        ({"properties": {}, "additionalProperties": {"type": "null"}}, False),
        ({"properties": A, "additionalProperties": True}, False), ({"properties": A, "required": ["b"]}, False),
        ({"properties": A, "minProperties": 2}, False), ({"properties": A, "patternProperties": B}, False),
        ({"properties": A, "anyOf": [{"properties": B}, {"type": "object"}]}, False),
        ({"allOf": [{"properties": A}, {"properties": B}], "properties": {}}, True),
        ({"allOf": [{"properties": A}, {"type": "object"}], "properties": {}}, False),
        ({"properties": A, "anyOf": [{"required": ["a"]}, {"properties": B}]}, True),
    ],
)  # fmt: skip
def test_objects_keep_to_the_properties_they_name(schema: Any, closed: bool) -> None:
    """Law: an object has no property without a name, unless it says so, needs one, or names them in several places."""
    assert (prepare_schema(schema).schema().get("additionalProperties") is False) is closed
    assert (
        prepare_schema({"type": "array", "items": schema}).schema()["items"].get("additionalProperties") is False
    ) is closed


def test_references_move_with_the_schema() -> None:
    """Law: a schema that is put inside another one still refers to its own parts."""
    schema = {"definitions": {"x": {"type": "null"}}, "properties": {"a": {"$ref": "#/definitions/x"}}}
    assert prepare_schema(schema).schema("#/$defs/t0")["properties"]["a"] == {"$ref": "#/$defs/t0/$defs/x"}


def test_the_schema_of_the_caller_stays_as_it_is() -> None:
    """Law: nothing that is passed in is changed."""
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    before = json.dumps(schema)
    prepare_schema(schema)
    assert json.dumps(schema) == before


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"next": {"$ref": "#"}}, "required": ["next"]},
        {"type": "array", "items": {"$ref": "#"}, "minItems": 1},
        {"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}]}}},
    ],
)
def test_a_schema_that_no_finite_value_follows_is_refused(schema: Any) -> None:
    """Law: a schema that requires itself is an error, not an endless reply."""
    with pytest.raises(UnsupportedSchemaError, match="requires itself"):
        prepare_schema(schema)


def test_recursion_that_can_end_is_fine() -> None:
    """Law: a list or a tree is a schema like any other."""
    tail = {"anyOf": [{"$ref": "#"}, {"type": "null"}]}
    assert prepare_schema({"type": "object", "properties": {"next": tail}, "required": ["next"]}).schema()
    assert any_object() == prepare_schema({}).schema()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-200, 200) | st.sampled_from([0.5, "", "a", "abc", "ab-12", "b", "xw"]),
    lambda c: st.lists(c, max_size=4) | st.dictionaries(st.sampled_from(["a", "b", "ab", "key"]), c, max_size=3),
    max_leaves=8,
)


@given(case=cases(), value=json_values)
@settings(deadline=None, max_examples=150)
def test_fitting_agrees_with_the_reference_implementation(case: Case, value: Any) -> None:
    """Law: our check of values gives what the jsonschema package gives."""
    assert is_valid(value, case.schema) == jsonschema.Draft202012Validator(case.schema).is_valid(value)


@pytest.mark.parametrize(
    ("value", "schema", "fine"),
    [
        (3, {"exclusiveMinimum": 3}, False), (3, {"multipleOf": 1.5}, True), (4, {"multipleOf": 3}, False),
        ({"a": 1}, {"additionalProperties": False}, False), ({"ab": 1}, {"patternProperties": {"^a": False}}, False),
        ([1, "a"], {"prefixItems": [{"type": "integer"}], "items": {"type": "string"}}, True),
        ({"n": {"n": None}}, {"properties": {"n": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}}, True),
        (1, {"allOf": [{"type": "integer"}, {"minimum": 2}]}, False), ("x", {"pattern": "["}, True),
        ({"a": 1}, {"$ref": "#/$defs/nowhere"}, True), (True, {"const": 1}, False), (3.0, {"type": "integer"}, True),
    ],
)  # fmt: skip
def test_fitting_knows_the_other_keywords(value: Any, schema: Any, fine: bool) -> None:
    """Law: the same for keywords that the random schemas lack."""
    assert is_valid(value, schema) is fine


@pytest.mark.parametrize("name", sorted(PATTERNS))
def test_a_format_holds_nothing_but_what_is_of_it(name: str) -> None:
    """Law: whatever a grammar lets pass as of a format is of it, by the calendar too."""
    constraint = GrammarConstraint(space(), Grammar(Json(prepare_schema({"type": "string", "format": name}).text)))
    for seed in range(8):
        text = json.loads(text_of(space(), written(constraint.copy(), 80, by_chance(seed))))
        assert violation(text, {"format": name}) is None, text


@pytest.mark.parametrize(
    ("name", "fine", "broken"),
    [
        ("date", "2024-02-29", "2023-02-29"), ("date", "2000-02-29", "1900-02-29"),
        ("date", "2024-12-31", "2024-02-31"), ("date-time", "2024-01-01T00:00:00+01:00", "now"),
        ("date-time", "2024-01-01T00:00:00.5Z", "2024-02-30T00:00:00Z"),
        ("time", "23:59:59Z", "24:00:00Z"), ("email", "a@b.c", "ab"), ("ipv4", "1.2.3.4", "1.2.3.400"),
        ("ipv4network", "10.0.0.0/8", "10.0.0.1/8"), ("duration", "P1DT2H", "1 day"), ("regex", "^a", "("),
    ],
)  # fmt: skip
def test_a_format_is_checked_by_what_it_means(name: str, fine: str, broken: str) -> None:
    """Law: a date is one of the calendar, and a text that a grammar was not asked for is checked all the same."""
    assert violation(fine, {"format": name}) is None
    assert "'format'" in str(violation(broken, {"format": name}))
