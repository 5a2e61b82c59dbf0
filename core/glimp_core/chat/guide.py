"""What steers the tokens of a reply: a grammar from the first one on, one that waits for a call, or nothing."""

import json
import re
from collections.abc import Sequence
from typing import Protocol

from glimp_core.chat.constraint import Constraint
from glimp_core.chat.demands import Demands
from glimp_core.chat.dialects import Dialect, call_object
from glimp_core.chat.lark import Choice, Grammar, Json, Node, Optional, Pattern
from glimp_core.chat.lark import Sequence as Seq
from glimp_core.chat.schema import prepared
from glimp_core.chat.space import TokenSpace
from glimp_core.chat.tools import Tool

LONGEST_HEADER = 400
"""A reply that is a bare call names its tool within this many bytes."""


class Guide(Protocol):
    """Steers the tokens of one reply."""

    @property
    def bound(self) -> bool:
        """Whether a grammar says what the next token may be."""
        ...

    @property
    def finished(self) -> bool:
        """Whether nothing more may come."""
        ...

    def mask(self) -> bytes | None:
        """Return a bit for every token that may come next, lowest bit first; None where all may."""
        ...

    def take(self, token_id: int, left: int) -> int:
        """Take a drawn token, with `left` more to come at most; return it, or what stands in for it."""
        ...


def guide_for(space: TokenSpace, dialect: Dialect, demands: Demands, lenient: bool = True) -> Guide | None:
    """Return what steers a reply: a Constraint where one is demanded, a Watch where calls are offered.

    Raises `UnsupportedSchemaError` for a schema that cannot be enforced.
    """
    if demands.structured:
        return Constraint(space, demanded(dialect, demands))
    return Watch(space, dialect, demands, lenient) if demands.tools else None


def demanded(dialect: Dialect, demands: Demands) -> Grammar:
    """Return the grammar of a reply that must be calls, JSON, or either of them."""
    forms: list[Node] = []
    if demands.tools:
        forms.append(dialect.calls(demands.tools, many=not demands.one_call))
    if demands.schema is not None:
        forms.append(Json(json.dumps(prepared(demands.schema), ensure_ascii=False)))
    start = Optional(Pattern(r"\n{1,2}"))  # what models put after their thinking
    return dialect.grammar(Seq((start, Choice(tuple(forms)))), demands.tools)


class Watch:
    """Lets text pass freely, and holds a call to the grammar of the tools once one is opened.

    A call that begins wrong, or too late to be closed in time, is left to the model.
    """

    def __init__(self, space: TokenSpace, dialect: Dialect, demands: Demands, lenient: bool = True):
        self._space = space
        self._dialect = dialect
        self._tools = demands.tools
        self._one_call = demands.one_call
        self._openings = [space.mark_bytes(mark) for mark in dialect.openings]
        self._header = _bare_header(demands.tools) if lenient or dialect.bare else None
        self._text: list[int] = []
        self._call: Constraint | None = None
        self._closed = False

    @property
    def bound(self) -> bool:
        """Whether a call is being written."""
        return self._call is not None

    @property
    def finished(self) -> bool:
        """Whether the one call that was wanted has been written."""
        return self._one_call and self._closed

    def mask(self) -> bytes | None:
        """Return the mask of the call being written, None outside of one."""
        return self._call.mask() if self._call else None

    def take(self, token_id: int, left: int) -> int:
        """Take a drawn token; inside a call it may be replaced."""
        if self._call:
            token_id = self._call.take(token_id, left)
            if self._call.finished:
                self._call, self._closed = None, True
        else:
            self._watch(self._space.as_bytes(token_id), left)
        return token_id

    def _watch(self, piece: list[int], left: int) -> None:
        self._text += piece
        for opening in self._openings:
            at = _found(self._text, opening, len(self._text) - len(piece) - len(opening) + 1)
            if at is not None:
                call = self._dialect.calls(self._tools, many=False)
                return self._open(self._dialect.grammar(call, self._tools), self._text[at:], left)
        if self._header:
            self._watch_bare(self._header, left)

    def _watch_bare(self, header: "re.Pattern[bytes]", left: int) -> None:
        if len(self._text) > LONGEST_HEADER or max(self._text, default=0) > 255:
            self._header = None
        elif match := header.match(bytes(self._text)):
            self._header = None
            grammar = Grammar(call_object(self._tools, match["key"].decode()))
            self._open(grammar, self._text[match.start("call") :], left)

    def _open(self, grammar: Grammar, written: list[int], left: int) -> None:
        call = Constraint(self._space, grammar)
        if call.feed(tuple(written), left):
            self._call = call


def _bare_header(tools: Sequence[Tool]) -> "re.Pattern[bytes]":
    names = "|".join(re.escape(json.dumps(tool.name, ensure_ascii=False)) for tool in tools)
    call = rf'(?P<call>\{{\s*"name"\s*:\s*(?:{names})\s*,\s*"(?P<key>arguments|parameters)"\s*:)'
    return re.compile(rf"\s*(?:```(?:json)?\s*)?{call}".encode())


def _found(text: list[int], part: list[int], start: int) -> int | None:
    positions = range(max(0, start), len(text) - len(part) + 1)
    return next((at for at in positions if text[at : at + len(part)] == part), None)
