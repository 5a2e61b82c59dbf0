"""The constraints of a reply: a grammar from its first token, a grammar that starts at a call, or none."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from glimp_core.chat.formats.json_calls import JsonCalls
from glimp_core.chat.formats.reader import ReplyFormat
from glimp_core.chat.grammar.compiler import BYTES, GrammarCompiler
from glimp_core.chat.grammar.json_schema import prepare_schema
from glimp_core.chat.grammar.json_state import JsonState
from glimp_core.chat.grammar.lark import Choice, Grammar, Json, Markup, Node, Optional, Pattern
from glimp_core.chat.grammar.lark import Sequence as Seq
from glimp_core.chat.grammar.shortest_completion import Path, advanced, shortest_completion
from glimp_core.chat.request.requirements import CHECKED_AFTERWARDS, OutputRequirements
from glimp_core.chat.request.tools import Tool, any_parameters, relaxed
from glimp_core.context import Context
from glimp_core.errors import UnsupportedSchemaError

_SPACE = frozenset(b" \t\r\n")


class GrammarConstraint:
    """Constrains a reply to a grammar.

    It always has a sequence of bytes that closes the reply. If a drawn token would leave too few tokens to close the
    reply, this sequence is written instead. So the reply is complete for every limit of `shortest` or more tokens.
    """

    def __init__(self, compiler: GrammarCompiler, grammar: Grammar):
        compiled = compiler.compile(grammar)
        self.compiler = compiler
        self._hints = compiled.hints
        self._tokens, self._bytes = compiled.by_token.deep_copy(), compiled.by_byte.deep_copy()
        self._json_state = JsonState()
        self._completion: Path = compiled.completion
        self._rest: list[int] | None = None
        self._ended = False

    @property
    def shortest(self) -> int:
        """The number of tokens that close the reply from here."""
        return len(self.compiler.spell(self._completion))

    @property
    def whole(self) -> bool:
        """Whether the reply may end here."""
        return bool(self._tokens.is_accepting())

    @property
    def done(self) -> bool:
        """Whether the reply has ended: the grammar allows nothing more, or the shortest completion is written."""
        return self._ended or self._rest == [] or (self.whole and bool(self._tokens.is_stopped()))

    @property
    def completing(self) -> bool:
        """Whether the shortest completion is written from here on, independent of the drawn tokens."""
        return self._rest is not None

    def copy(self) -> "GrammarConstraint":
        """Return an independent copy, to try tokens on."""
        twin = object.__new__(GrammarConstraint)
        twin.__dict__.update(self.__dict__)
        twin._tokens, twin._bytes = self._tokens.deep_copy(), self._bytes.deep_copy()
        twin._rest = None if self._rest is None else list(self._rest)
        return twin

    def allowed(self) -> bytes:
        """Return a bit for every token that may come next, lowest bit first."""
        if not self._rest:
            return bytes(self._tokens.compute_bitmask())
        size = (self.compiler.size + 31) // 32 * 4
        return (1 << self._rest[0]).to_bytes(size, "little")

    def advance(self, token_id: int, left: int) -> int:
        """Add a drawn token, with at most `left` to follow. Return it, or the next token of the shortest completion."""
        if self._rest is None:
            if token_id in self.compiler.stop_ids and self.whole:
                self._ended = True
                return token_id
            if self._accept(token_id, left):
                self._ended = left <= 0
                return token_id
            # the token is not allowed, or leaves too few tokens: from here on the shortest completion is written
            self._rest = self.compiler.spell(self._completion)
        if not self._rest:
            self._ended = True
            return self.compiler.stop_ids[0]
        token_id = self._rest.pop(0)
        self._tokens.consume_token(token_id)
        return token_id

    def feed(self, path: Path, left: int) -> bool:
        """Add text that is already written. Return whether it is allowed and the reply can be closed in time."""
        return all(self._accept(token_id, left) for token_id in self.compiler.spell(path))

    def _accept(self, token_id: int, left: int) -> bool:
        """Add a token if the reply can still be closed after it. Return whether it was added."""
        piece = self.compiler.as_bytes(token_id)
        if not self._tokens.try_consume_tokens([token_id]):
            return False
        self._bytes.consume_tokens(piece)
        json_state = advanced(self._json_state, piece, self._hints)
        completion = self._completion_after(piece, json_state)
        if completion is not None and (len(completion) <= left or len(self.compiler.spell(completion)) <= left):
            self._json_state, self._completion = json_state, completion
            return True
        self._tokens.rollback(1)
        self._bytes.rollback(len(piece))
        return False

    def _completion_after(self, piece: list[int], json_state: JsonState) -> Path | None:
        """Return the shortest completion after a piece: the rest of the known sequence, or a new one."""
        known = self._completion
        solid = tuple(byte for byte in piece if byte not in _SPACE)
        # most tokens follow the known sequence, replace its first byte, or extend free text before it:
        # these three checks are cheap, and a search is needed only if none of them succeeds
        for way in (known[len(solid) :] if known[: len(solid)] == solid else None, known[1:], known):
            if way is not None and self._closes(way):
                return way
        return shortest_completion(self._bytes, json_state, self._hints)

    def _closes(self, way: Path) -> bool:
        if not way:
            return bool(self._bytes.is_accepting())
        end = [BYTES]  # the grammar allows the end of the reply only if the reply is complete
        return int(self._bytes.validate_tokens([*way, *end])) == len(way) + 1


LONGEST_HEADER = 400
"""A reply that is a bare call names its tool within this many bytes."""

TRIED = 3
"""Of so many tools the shortest call is looked for alone, before it is looked for among all."""


class TokenConstraint(Protocol):
    """Constrains the tokens of one reply."""

    @property
    def done(self) -> bool:
        """Whether the reply must end here."""
        ...

    def allowed(self) -> bytes | None:
        """Return a bit for every token that may come next, lowest bit first; None if all may."""
        ...

    def advance(self, token_id: int, left: int) -> int:
        """Add a drawn token, with at most `left` to follow. Return it, or the token that replaces it."""
        ...


def constraint_for(
    compiler: GrammarCompiler, format: ReplyFormat, requirements: OutputRequirements, lenient: bool = True
) -> TokenConstraint | None:
    """Return a GrammarConstraint if a form is demanded, a TriggeredConstraint if calls are offered, else None.

    Raises `UnsupportedSchemaError` for a schema that cannot be enforced.
    """
    if requirements.structured:
        return GrammarConstraint(compiler, required_grammar(format, requirements))
    return TriggeredConstraint(compiler, format, requirements, lenient) if requirements.tools else None


def compiled_requirements(
    compiler: GrammarCompiler, format: ReplyFormat, requirements: OutputRequirements, context: Context
) -> OutputRequirements:
    """Make the grammars of a reply, for the constraint to find, and return what they hold.

    To be called in the thread that asks. A tool of which no grammar can be made is offered all the same, and its calls
    are checked when they are whole. Raises `UnsupportedSchemaError` if nothing can be held that has to be.
    """
    lenient = context.request.lenient_tool_calls
    try:
        _compile(compiler, format, requirements, lenient, context)
        return requirements
    except UnsupportedSchemaError:
        if not requirements.tools:
            raise
    tools = tuple(_holdable(compiler, format, tool, context) for tool in requirements.tools)
    failed: list[UnsupportedSchemaError] = []
    for looser in (tools, _loosened(tools, True), _loosened(tools, False)):
        candidate = replace(requirements, tools=looser)
        try:
            _compile(compiler, format, candidate, lenient, context)
        except UnsupportedSchemaError as error:
            failed.append(error)
            continue
        if failed:
            context.note(f"the calls of all {len(tools)} tools: {CHECKED_AFTERWARDS}: {failed[0]}")
        return candidate
    raise failed[0]


def _loosened(tools: Sequence[Tool], names: bool) -> tuple[Tool, ...]:
    """Return tools of whose parameters no more is held than their names, or nothing, for each may do but not all."""
    held = (relaxed(tool.held.schema(), any_value=True) if names else any_parameters() for tool in tools)
    return tuple(replace(tool, held=schema) for tool, schema in zip(tools, held, strict=True))


def _compile(
    compiler: GrammarCompiler, format: ReplyFormat, requirements: OutputRequirements, lenient: bool, context: Context
) -> None:
    grammars = [required_grammar(format, requirements)] if requirements.structured else []
    if requirements.tools and not requirements.structured:
        grammars = [_call_grammar(format, requirements)]
        grammars += [_bare_grammar(requirements.tools)] if lenient or format.calls.unmarked else []
    for grammar in grammars:
        compiler.compile(grammar, context.cancelled.is_set)


def _holdable(compiler: GrammarCompiler, format: ReplyFormat, tool: Tool, context: Context) -> Tool:
    """Return a tool, held to as much of its parameters as a grammar can be made for."""
    why = ""
    schema = tool.held.schema()
    for held in (tool.held, relaxed(schema), relaxed(schema, any_value=True), any_parameters()):
        candidate = replace(tool, held=held)
        try:
            compiler.compile(Grammar(format.calls.grammar((candidate,), False)), context.cancelled.is_set)
        except UnsupportedSchemaError as error:
            why = why or str(error)
            continue
        if why:
            context.note(f"the calls of tool {tool.given!r}: {CHECKED_AFTERWARDS}: {why}")
        return candidate
    raise UnsupportedSchemaError(f"no call of tool {tool.name!r} can be held to a grammar: {why}")


def _call_grammar(format: ReplyFormat, requirements: OutputRequirements) -> Grammar:
    """Return the grammar of the calls that one start marker opens."""
    many = format.calls.sections and not requirements.one_call
    return Grammar(format.calls.grammar(requirements.tools, many), _alone(format, requirements.tools))


def _bare_grammar(tools: Sequence[Tool]) -> Grammar:
    """Return the grammar of a call that is an object without markers."""
    unmarked = [JsonCalls("unmarked", arguments_key=key) for key in ("arguments", "parameters")]
    alone = tuple(unmarked[0].call_object((tool,)) for tool in _shortest(tools))
    return Grammar(Choice(tuple(calls.call_object(tools) for calls in unmarked)), alone)


def _alone(format: ReplyFormat, tools: Sequence[Tool]) -> tuple[Node, ...]:
    return tuple(format.calls.grammar((tool,), False) for tool in _shortest(tools))


def _shortest(tools: Sequence[Tool]) -> Sequence[Tool]:
    """Return the tools of several that have the shortest calls, a few of them, for one may have none."""
    lengths = {tool.name: len(tool.name) + tool.held.shortest for tool in tools}
    return sorted(tools, key=lambda tool: lengths[tool.name])[:TRIED] if len(tools) > 1 else ()


def required_grammar(format: ReplyFormat, requirements: OutputRequirements) -> Grammar:
    """Return the grammar of a reply that must be calls, JSON, or either of them."""
    forms: list[Node] = []
    if requirements.tools:
        forms.append(format.calls.grammar(requirements.tools, many=not requirements.one_call))
    if requirements.schema is not None:
        json_text = Json(prepare_schema(requirements.schema).text)
        forms.append(Seq((_maybe(format.content_start), json_text)))
    start = Optional(Pattern(r"\n{1,2}"))  # what models put after their thinking
    alone = _alone(format, requirements.tools) if requirements.schema is None else ()
    return Grammar(Seq((start, _maybe(format.lead), Choice(tuple(forms)))), alone)


def _maybe(markup: str) -> Node:
    """A markup that a model may write or leave out; blank space is nothing."""
    return Optional(Markup(markup.strip())) if markup.strip() else ""


class TriggeredConstraint:
    """Does not constrain text. After a call begins, it is constrained to the grammar of the tools.

    A call is not constrained if its beginning is invalid, or if it begins too late to be closed before the limit.
    """

    def __init__(
        self, compiler: GrammarCompiler, format: ReplyFormat, requirements: OutputRequirements, lenient: bool = True
    ):
        self._compiler = compiler
        self._format = format
        self._requirements = requirements
        self._one_call = requirements.one_call
        self._openings = [compiler.markup_bytes(text) for text in format.calls.openings(requirements.tools)]
        self._header = _bare_header(requirements.tools) if lenient or format.calls.unmarked else None
        self._text: list[int] = []
        self._call: GrammarConstraint | None = None
        self._closed = False

    @property
    def done(self) -> bool:
        """Whether the one call that was wanted has been written."""
        return self._one_call and self._closed

    def allowed(self) -> bytes | None:
        """Return the mask of the call being written, None outside of one."""
        return self._call.allowed() if self._call else None

    def advance(self, token_id: int, left: int) -> int:
        """Take a drawn token; inside a call it may be replaced."""
        if self._call:
            token_id = self._call.advance(token_id, left)
            if self._call.done:
                self._call, self._closed = None, True
        else:
            self._watch(self._compiler.as_bytes(token_id), left)
        return token_id

    def _watch(self, piece: list[int], left: int) -> None:
        self._text += piece
        for opening in self._openings:
            at = _found(self._text, opening, len(self._text) - len(piece) - len(opening) + 1)
            if at is not None:
                return self._open(_call_grammar(self._format, self._requirements), self._text[at:], left)
        if self._header:
            self._watch_bare(self._header, left)

    def _watch_bare(self, header: "re.Pattern[bytes]", left: int) -> None:
        if len(self._text) > LONGEST_HEADER or max(self._text, default=0) > 255:
            self._header = None
        elif match := header.match(bytes(self._text)):
            self._header = None
            self._open(_bare_grammar(self._requirements.tools), self._text[match.start("call") :], left)

    def _open(self, grammar: Grammar, written: list[int], left: int) -> None:
        call = GrammarConstraint(self._compiler, grammar)
        if call.feed(tuple(written), left):
            self._call = call


def _bare_header(tools: Sequence[Tool]) -> "re.Pattern[bytes]":
    names = "|".join(re.escape(json.dumps(tool.name, ensure_ascii=False)) for tool in tools)
    call = rf'(?P<call>\{{\s*"name"\s*:\s*(?:{names})\s*,\s*"(?:arguments|parameters)"\s*:)'
    return re.compile(rf"\s*(?:```(?:json)?\s*)?{call}".encode())


def _found(text: list[int], part: list[int], start: int) -> int | None:
    positions = range(max(0, start), len(text) - len(part) + 1)
    return next((at for at in positions if text[at : at + len(part)] == part), None)
