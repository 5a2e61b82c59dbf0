"""Replies that a grammar binds: always valid, always whole, and as free as the schema leaves them."""

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from chat.schemas import Case, cases
from chat.writing import by_chance, by_habit, space, text_of, written
from glimp_core.chat.grammar.json_schema import prepare_schema
from glimp_core.chat.grammar.lark import Grammar, Json
from glimp_core.chat.output.constraints import GrammarConstraint

SLOW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
HABITS = (b"[{(", b'"\\', b"0123", b'aaa"', b",", b" \n", b"-", b"z}")


def constraint(schema: Any) -> GrammarConstraint:
    return GrammarConstraint(space(), Grammar(Json(prepare_schema(schema).text)))


GIVEN_OBJECT: Any = {"enum": [{"a": [1]}]}
LONGER: Any = {"properties": {"a": {"type": "string"}, "ab": {"type": "string"}}, "required": ["ab"]}


@given(case=cases(), seed=st.integers(0, 2**32), more=st.sampled_from([0, 1, 2, 3, 5, 9, 30, 100]))
@example(case=Case({"anyOf": [GIVEN_OBJECT, LONGER]}, 9), seed=0, more=0)  # its name is required by no schema
@settings(SLOW, max_examples=80)
def test_whatever_the_model_the_json_is_valid_within_any_limit_that_fits(case: Case, seed: int, more: int) -> None:
    """Law: for every schema, writer and limit of the shortest value's length or more, the reply validates."""
    guide = constraint(case.schema)
    assert guide.shortest == case.shortest
    text = text_of(space(), written(guide, case.shortest + more, by_chance(seed)))
    jsonschema.validate(json.loads(text), case.schema)


@given(case=cases(), habit=st.sampled_from(HABITS), more=st.integers(0, 60))
@settings(SLOW, max_examples=50)
def test_a_model_that_goes_in_circles_is_brought_to_an_end(case: Case, habit: bytes, more: int) -> None:
    """Law: the same holds for writers that would never end by themselves."""
    guide = constraint(case.schema)
    text = text_of(space(), written(guide, case.shortest + more, by_habit([*map(_token, habit)])))
    jsonschema.validate(json.loads(text), case.schema)


@pytest.mark.parametrize(
    ("choices", "shortest"),
    [
        ([{"type": "string", "minLength": 2}, {"const": "0"}], '"0"'),
        ([{"type": "string", "minLength": 5}, {"type": "string", "pattern": "^(yes|w{3}|q)$"}], '"q"'),
        ([{"$ref": "#/$defs/long"}, {"enum": ["abc", "\n", 50000]}], '"\\n"'),
        ([{"type": "string", "minLength": 3}, {"const": 12345}], "12345"),
    ],
)
def test_the_shortest_of_several_kinds_of_text_is_found(choices: Any, shortest: str) -> None:
    """Law: where a text may follow one of several rules, it is closed by the one that ends first."""
    schema = {"anyOf": choices, "$defs": {"long": {"type": "string", "minLength": 4}}}
    guide = constraint(schema)
    assert guide.shortest == len(shortest)
    assert text_of(space(), written(guide, len(shortest), by_chance(0))) == shortest


def _token(byte: int) -> int:
    return space().vocabulary.encode(chr(byte))[0]
