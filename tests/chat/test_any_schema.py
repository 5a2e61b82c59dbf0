"""Whatever the schema: a reply follows it, or what is checked afterwards is known beforehand."""

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings

from chat.any_schema import schemas
from chat.writing import by_chance, space, text_of, written
from glimp_core.chat.grammar.json_schema import prepare_schema
from glimp_core.chat.grammar.lark import Grammar, Json
from glimp_core.chat.output.constraints import GrammarConstraint
from glimp_core.errors import UnsupportedSchemaError

CALM = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


def follows_or_is_told(schema: dict[str, Any]) -> None:
    try:
        prepared = prepare_schema(schema)
        constraint = GrammarConstraint(space(), Grammar(Json(prepared.text)))
    except UnsupportedSchemaError:  # no value follows it
        return
    reply = text_of(space(), written(constraint, 150 + constraint.shortest, by_chance(1)))
    value = json.loads(reply)
    assert prepared.unenforced or jsonschema.Draft202012Validator(schema).is_valid(value), (reply, prepared.text)


@given(schema=schemas())
@settings(deadline=None, max_examples=40, derandomize=True, suppress_health_check=CALM)
def test_a_reply_follows_its_schema_or_it_is_said_what_is_checked(schema: dict[str, Any]) -> None:
    """Law: what a grammar lets pass follows the schema, by jsonschema, unless a keyword was named beforehand.

    The same schemas in every run; the slow test draws new ones.
    """
    follows_or_is_told(schema)


@pytest.mark.slow
@given(schema=schemas())
@settings(deadline=None, max_examples=400, suppress_health_check=CALM)
def test_a_reply_follows_its_schema_at_length(schema: dict[str, Any]) -> None:
    """Law: the same, for ten times as many."""
    follows_or_is_told(schema)
