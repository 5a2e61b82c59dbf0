"""The rows on grammars: what holding a reply to a schema adds to a token, and what a new schema costs."""

from statistics import median
from time import perf_counter
from typing import Any

from glimp_core.bench.speed.measuring import GREEDY, Bench, Row
from glimp_core.context import Context
from glimp_core.types import GenerationParams, Phase, Request

TOKENS = 96
SCHEMAS = 9


def schema(name: str) -> dict[str, Any]:
    """Return a schema of the usual kinds, with a property called `name` so that it is a new one."""
    place = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "code": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{4}$"}},
        "required": ["city", "code"],
        "additionalProperties": False,
    }
    properties: dict[str, Any] = {
        name: {"type": "string", "minLength": 20},
        "notes": {"type": "array", "items": {"type": "string", "minLength": 20}, "minItems": 3},
        "kinds": {"type": "array", "items": {"enum": ["red", "green", "blue"]}, "maxItems": 3},
        "place": {"$ref": "#/$defs/place"},
        "number": {"anyOf": [{"type": "integer", "minimum": 0, "maximum": 99}, {"type": "null"}]},
    }
    closed = {"additionalProperties": False, "$defs": {"place": place}}
    return {"type": "object", "properties": properties, "required": [*properties], **closed}


def token_with_grammar(bench: Bench, name: str) -> Row:
    """Time tokens after the first, with a grammar against without, after one prompt and in one decode loop."""
    format_ = {"type": "json_schema", "schema": schema("title")}
    request = Request(({"role": "user", "content": bench.question},), response_format=format_)
    counts: list[int] = []

    def per_token(phase: Phase) -> float:
        with Context(request, bench.config.reasoning) as context:
            chunks = bench.large.generate(context, GenerationParams(phase, TOKENS, stepwise=False, sampling=GREEDY))
            came = [(perf_counter(), len(chunk.token_ids)) for chunk in chunks]
        counts.append(sum(count for _, count in came))
        return (came[-1][0] - came[0][0]) / (counts[-1] - came[0][1])

    value = bench.ratio(lambda: per_token("answer"), lambda: per_token("thinking"))  # a grammar binds answers alone
    return Row(name, value, 1.05, False, f"{counts[-2]} tokens with, {counts[-1]} without")


def new_schema(bench: Bench, name: str) -> Row:
    """Time what is made of a schema before the first token, once the vocabulary has been read."""

    def milliseconds(number: int) -> float:
        format_ = {"type": "json_schema", "schema": schema(f"title_{number}")}
        request = Request(({"role": "user", "content": bench.question},), response_format=format_)
        with Context(request, bench.config.reasoning) as context:
            bench.large.prepare(context)
            started = perf_counter()
            bench.large.shortest_answer(context)
            return 1000 * (perf_counter() - started)

    first, *others = map(milliseconds, range(1 + SCHEMAS))
    return Row(name, median(others), 20, False, f"the first of all {first:.0f}, with the vocabulary")
