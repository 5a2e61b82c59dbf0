"""Requests of any shape: messages, tools and options as callers could send them, most of it right, some of it wrong."""

import threading
from collections.abc import Iterator, Mapping
from typing import Any

from hypothesis import strategies as st

from glimp_core import EntropyThreshold, SamplingParams
from glimp_core.chat.prompt.blocks import CACHE_POINTS, CALLS, DOCUMENTS, RESULTS, TEXTS, THOUGHTS
from glimp_core.chat.prompt.messages import ROLES

Strategy = st.SearchStrategy[Any]

KINDS = (*TEXTS, *THOUGHTS, *CALLS, *RESULTS, *DOCUMENTS, *CACHE_POINTS, "json", "image_url", "non_standard", "server")
PART_KEYS = (
    *KINDS, "source", "title", "data", "base64", "mime_type", "media_type", "file_data", "input", "arguments", "args",
    "name", "id", "call_id", "tool_use_id", "output", "summary", "signature", "is_error", "status", "value", "toolUse",
)  # fmt: skip
SCHEMA_KEYS = (
    "type", "properties", "required", "additionalProperties", "items", "enum", "const", "$ref", "$defs", "anyOf",
    "oneOf", "allOf", "not", "minLength", "maxLength", "pattern", "format", "minimum", "maximum", "multipleOf",
    "minItems", "maxItems", "uniqueItems", "propertyNames", "patternProperties", "discriminator", "nullable", "if",
    "then", "dependentRequired", "prefixItems", "contains", "definitions", "id", "title", "default", "description",
)  # fmt: skip


class Unreadable(Mapping[str, Any]):
    """A mapping that fails."""

    def __getitem__(self, key: str) -> Any:
        raise RuntimeError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(["role", "content", "type"])

    def __len__(self) -> int:
        return 3


class Odd(dict[str, Any]):
    """A dict that fails when it is asked."""

    def get(self, key: str, default: Any = None) -> Any:
        """Fail."""
        raise KeyError(key)


class Deep:
    """Stands for a value that is nested deeper than Python recurses, which hypothesis cannot print."""

    def __init__(self, key: str | None):
        self.key = key

    def grown(self) -> Any:
        """The value."""
        value: Any = "x"
        for _ in range(3_000):
            value = [value] if self.key is None else {self.key: value}
        return value


def grown(value: Any) -> Any:
    """A value with what it stands for."""
    if isinstance(value, Deep):
        return value.grown()
    if type(value) is dict:
        return {key: grown(part) for key, part in value.items()}
    return type(value)(map(grown, value)) if type(value) in (list, tuple) else value


def mostly(right: Strategy, wrong: Strategy) -> Strategy:
    """What is right in nine of ten cases."""
    return st.integers(0, 9).flatmap(lambda n: right if n else wrong)


def junk() -> Strategy:
    """Values of any kind, JSON or not."""
    leaves = st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.binary(max_size=3),
        st.sampled_from(["", "\ud83d", "a\udc00", "{bad", "[" * 5_000, 10**400, "data:text/plain;base64,!"]),
        st.builds(object), st.just({1}), st.builds(Odd, role=st.just("user")), st.builds(Unreadable),
        st.builds(Deep, st.sampled_from([None, "type", "content", "properties"])),
    )  # fmt: skip
    keys = st.sampled_from(PART_KEYS + SCHEMA_KEYS) | st.text(max_size=3) | st.integers(0, 2)
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3) | st.tuples(inner),
        max_leaves=4,
    )


def wild(right: Strategy) -> Strategy:
    """What is right in nine of ten cases, anything in the tenth."""
    return mostly(right, junk())


def parts() -> Strategy:
    """Parts of a content, with the keys that parts have."""

    def nested(inner: Strategy) -> Strategy:
        values = wild(st.text(max_size=3) | st.lists(inner, max_size=2) | inner)
        kinds = wild(st.sampled_from(KINDS))
        fields = st.dictionaries(st.sampled_from(PART_KEYS), values, max_size=4)
        return st.builds(lambda kind, rest: {"type": kind, **rest}, kinds, fields)

    return st.recursive(wild(st.text(max_size=3)), nested, max_leaves=3)


def json_values() -> Strategy:
    """JSON."""
    leaves = st.none() | st.booleans() | st.integers() | st.text(max_size=3)
    objects = st.dictionaries(st.text(max_size=3), leaves, max_size=2)
    return leaves | objects | st.lists(leaves | objects, max_size=2)


def calls() -> Strategy:
    """Calls of an assistant."""
    arguments = wild(st.dictionaries(st.text(max_size=3), json_values(), max_size=2) | st.just('{"a": 1}'))
    function = st.fixed_dictionaries({"name": wild(st.text(max_size=3))}, optional={"arguments": arguments})
    return wild(st.fixed_dictionaries({"function": function}, optional={"id": wild(st.text(max_size=3))}) | function)


def messages() -> Strategy:
    """A conversation."""
    text = wild(st.text(max_size=5))
    message = st.fixed_dictionaries(
        {"role": wild(st.sampled_from(list(ROLES))), "content": wild(text | st.lists(parts(), max_size=3))},
        optional={
            "tool_calls": wild(st.lists(calls(), max_size=2)), "function_call": calls(), "audio": junk(),
            "status": junk(), "is_error": junk(),
            **dict.fromkeys(("name", "tool_call_id", "refusal", "reasoning_content", "reasoning"), text),
        },
    )  # fmt: skip
    return mostly(st.lists(wild(message), min_size=1, max_size=3), junk())


def near_schemas() -> Strategy:
    """What nearly is a JSON schema."""

    def nested(inner: Strategy) -> Strategy:
        values = inner | st.dictionaries(st.text(max_size=2), inner, max_size=2) | st.lists(inner, max_size=2)
        return st.dictionaries(st.sampled_from(SCHEMA_KEYS), values, max_size=4)

    leaves = wild(st.sampled_from([{"type": "string"}, {"type": "integer"}, {}, True, "array", 3, ["a"]]))
    return st.recursive(leaves, nested, max_leaves=6)


def options() -> Strategy:
    """Keyword arguments of a request."""
    schema = near_schemas()
    name = wild(st.text(max_size=3))
    function = st.fixed_dictionaries(
        {"name": name}, optional={"description": name, "parameters": schema, "strict": wild(st.booleans())}
    )
    tool = wild(st.fixed_dictionaries({"type": st.just("function"), "function": function}) | function)
    choices = st.fixed_dictionaries(
        {"type": st.sampled_from(["function", "tool", "allowed_tools", "any"])},
        optional={"function": function, "name": name, "tools": wild(st.lists(tool, max_size=2)), "mode": name},
    )
    named = st.fixed_dictionaries({"schema": schema}, optional={"strict": wild(st.booleans()), "name": name})
    forms = st.fixed_dictionaries(
        {"type": wild(st.sampled_from(["text", "json_object", "json_schema"]))},
        optional={"json_schema": wild(named), "schema": schema},
    )
    return st.fixed_dictionaries(
        {},
        optional={
            "tools": wild(st.lists(tool, max_size=3)),
            "tool_choice": wild(st.sampled_from(["auto", "required", "none", "any", None]) | choices),
            "parallel_tool_calls": wild(st.booleans()),
            "response_format": wild(forms),
            "chat_template_kwargs": wild(st.dictionaries(st.text(max_size=3), junk(), max_size=2)),
            "sampling": wild(st.just(SamplingParams(max_tokens=50))),
            "policy": wild(st.just(EntropyThreshold(1.0))),
            "reasoning": wild(st.sampled_from(["auto", "off", "inline"])),
            "reasoning_effort": wild(st.sampled_from(["low", "none", None])),
            "logprobs": wild(st.booleans()),
            "alone": wild(st.sampled_from([None, "small", "large"])),
            "cancelled": wild(st.builds(threading.Event)),
        },
    )
