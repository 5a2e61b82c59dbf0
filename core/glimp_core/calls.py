"""Tool calls: finished ones, broken ones, and the pieces they come in."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of an offered tool, with its arguments decoded."""

    id: str
    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class InvalidToolCall:
    """What was meant as a tool call and cannot be one: its raw `arguments`, and the `error` in words."""

    id: str
    name: str
    arguments: str
    error: str


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of tool call number `index` of a reply.

    The first piece has the `id` and the `name`, the following ones fragments of the `arguments` as JSON text,
    the last one the finished `call`.
    """

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""
    call: ToolCall | InvalidToolCall | None = None
