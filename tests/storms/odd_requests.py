"""Requests that no client should make: of one that is right, some places are given other values, or none."""

import copy
import math
import random
from typing import Any

from glimp_core import SamplingParams

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "n": {"type": "integer", "minimum": 0, "maximum": 99},
        "why": {"type": "string", "maxLength": 9, "pattern": "^[a-z]+$"},
        "parts": {"type": "array", "items": {"$ref": "#/$defs/part"}, "minItems": 1, "maxItems": 3},
        "kind": {"enum": ["a", 1, None]},
    },
    "required": ["n"],
    "additionalProperties": False,
    "$defs": {"part": {"anyOf": [{"type": "boolean"}, {"const": "x"}]}},
}
TOOL = {"type": "function", "function": {"name": "report", "description": "report a number", "parameters": SCHEMA}}
CALL = {"id": "c1", "type": "function", "function": {"name": "report", "arguments": '{"n": 1}'}}
MESSAGES: list[Any] = [
    {"role": "system", "content": "Be short."},
    {"role": "user", "content": [{"type": "text", "text": "How much"}, {"type": "text", "text": "is one and one?"}]},
    {"role": "assistant", "content": "", "reasoning_content": "Call it.", "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c1", "name": "report", "content": "2"},
    {"role": "user", "content": "And two?"},
]
SAMPLING: dict[str, Any] = {
    "temperature": 0.7, "top_p": 0.9, "top_k": 5, "max_tokens": 12, "stop": ["e", "\n\n"], "seed": 3,
}  # fmt: skip
OPTIONS: dict[str, Any] = {
    "tools": [TOOL],
    "tool_choice": {"type": "function", "function": {"name": "report"}},
    "response_format": {"type": "json_schema", "json_schema": {"name": "a", "strict": True, "schema": SCHEMA}},
    "chat_template_kwargs": {"enable_thinking": True},
    "reasoning": "auto",
    "reasoning_effort": "low",
    "logprobs": True,
    "alone": "large",
    "sampling": SAMPLING,
}
WORDS = (
    "type", "object", "string", "integer", "array", "auto", "required", "none", "any", "off", "inline", "small", "user",
    "tool", "developer", "function", "json_object", "text", "image_url", "const", "enum", "not", "$ref", "if", "format",
    "pattern", "content", "role", "<|im_end|>", "<think>", "</think>", "{{ 1 }}", "#", "#/$defs/part", "https://x/y",
)  # fmt: skip


class Odd:
    """An object that nobody expects in a message."""


def deep(depth: int, kind: str) -> Any:
    """A value inside values."""
    value: Any = "x"
    for _ in range(depth):
        value = [value] if kind == "list" else {"a": value}
    return value


def value(draws: random.Random) -> Any:
    """A value of any kind."""
    return draws.choice([
        lambda: draws.choice([None, True, False, 0, -1, 1, 2**31, 2**63, 10**400, -(10**400), 3.7]),
        lambda: draws.choice([math.nan, math.inf, -math.inf, 1e308, -0.0, 1e-320]),
        lambda: draws.choice(WORDS),
        lambda: draws.choice(["", " ", "\0", "\ud800", "\u202eabc", "é" * 40, "a" * 100_000, "word " * 3000]),
        lambda: draws.choice([b"x", b"\xff", bytearray(b"x"), {1}, frozenset({"a"}), (1, "a"), Odd(), Odd, print, 1j]),
        lambda: draws.choice([[], {}, [[]], [{}], [None], {"": None}, {1: 2}, {None: "x"}, {"a": {"b": [1]}}]),
        lambda: deep(draws.choice([3, 200, 5000]), draws.choice(["list", "object"])),
        lambda: {draws.choice(WORDS): draws.choice(WORDS) for _ in range(3)},
        lambda: copy.deepcopy(draws.choice([SCHEMA, TOOL, CALL, MESSAGES[1], MESSAGES])),
    ])()  # fmt: skip


def places(document: Any) -> list[tuple[Any, Any]]:
    """Every place in a document, as what holds it and its key there."""
    found, left = [], [document]
    while left:
        holder = left.pop()
        for key, inner in list(holder.items() if isinstance(holder, dict) else enumerate(holder)):
            found.append((holder, key))
            if isinstance(inner, dict | list) and len(found) < 300:
                left.append(inner)
    return found


def odd_request(draws: random.Random) -> tuple[Any, dict[str, Any]]:
    """Return messages and the options of `GlimpRouter.generate`. Raises `GlimpError` if the sampling cannot be."""
    names = draws.sample(sorted(OPTIONS), draws.randrange(5))
    document: dict[str, Any] = copy.deepcopy({"messages": MESSAGES, "options": {name: OPTIONS[name] for name in names}})
    for _ in range(draws.choice([1, 1, 1, 2, 4])):
        part = document["options"] or document["messages"] if draws.random() < 0.7 else document["messages"]
        if found := places(part):
            _change(*draws.choice(found), draws)
    if draws.random() < 0.08:
        document["messages"] = value(draws)
    options = {name: given for name, given in document["options"].items() if name in OPTIONS}
    if isinstance(given := options.get("sampling"), dict):
        kept = {name: one for name, one in given.items() if name in SAMPLING}
        options["sampling"] = SamplingParams(**kept)
    return document["messages"], options


def _change(holder: Any, key: Any, draws: random.Random) -> None:
    match draws.randrange(8):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder[draws.choice(WORDS)] = value(draws)
        case 2 if isinstance(holder, list):
            holder.insert(key, holder[key])
        case 3:
            other, there = draws.choice(places({"": copy.deepcopy(MESSAGES), "o": copy.deepcopy(OPTIONS)}))
            holder[key] = other[there]
        case _:
            holder[key] = value(draws)
