"""A demanded answer in parts: fixed text is written here, and the server writes what the grammar leaves open."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from glimp_core.chat.formats.reader import ReplyFormat
from glimp_core.chat.grammar.compiler import GrammarCompiler
from glimp_core.chat.grammar.lark import GAP, Choice, Json, Many, Markup, Node, Optional, Sequence, write_lark
from glimp_core.chat.output.constraints import GrammarConstraint, required_grammar
from glimp_core.chat.request.requirements import OutputRequirements
from glimp_core.chat.tokens.vocabulary import Vocabulary
from glimp_core.errors import ConfigError
from glimp_core.remote import wire


@dataclass(frozen=True, slots=True)
class ConstrainedPart:
    """A part that the server writes, constrained by these fields of a request."""

    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LiteralPart:
    """A part with fixed text, or a marker of the model's markup."""

    text: str
    mark: bool = False


Part: TypeAlias = LiteralPart | ConstrainedPart
Binding: TypeAlias = Literal["lark", "schema"]


def parts_of(
    format: ReplyFormat,
    requirements: OutputRequirements,
    server: wire.ServerProfile,
    binding: Binding,
    vocabulary: Vocabulary,
) -> list[Part]:
    """Return the parts of a demanded answer, for a server that supports Lark grammars, or only JSON schemas.

    Raises `ConfigError` for an answer that JSON schemas cannot describe.
    """
    node = required_grammar(format, requirements).node
    if binding == "lark":
        return [ConstrainedPart(wire.lark_grammar(write_lark(node, vocabulary.lark)))]
    if requirements.tools and requirements.schema is not None:
        raise ConfigError(
            "this server can enforce JSON, but not a choice between a call and JSON, as vLLM can: leave out "
            "response_format or the tools, or demand a call with tool_choice='required'"
        )
    assert isinstance(node, Sequence), "a start and the forms"
    gap = "\n" if getattr(format.calls, "start", "").endswith("\n") else ""
    parts = _flat(node.parts[-1], gap, server)
    if parts is None:
        raise ConfigError(
            f"this server can enforce only JSON, and not calls in the format {format.calls.name!r}, as vLLM can: name "
            "one tool in tool_choice, or leave the choice to the model"
        )
    return parts


def _flat(node: Node, gap: str, server: wire.ServerProfile) -> list[Part] | None:
    """Return the parts of a node that is fixed text except for JSON, None for any other node.

    `gap` is the blank text that the model writes between parts.
    """
    match node:
        case str():
            return [LiteralPart(node)]
        case Markup(text):
            return [LiteralPart(text, mark=True)]
        case Json(schema):
            return [ConstrainedPart(server.schema(json.loads(schema)))]
        case Choice((part,)) | Many(part):
            return _flat(part, gap, server)
        case Sequence(nodes):
            flat = [_flat(part, gap, server) for part in nodes]
            return None if None in flat else [part for parts in flat for part in parts or ()]
        case Optional():
            return [LiteralPart(gap)] if node == GAP and gap else []
    return None


BLANKS = 120
"""The most consecutive bytes of blank space that the grammar here does not allow: enough for a deep indentation."""


class ServerCheck:
    """Checks what a server writes against a grammar. It closes the answer on a violation, or before the token limit.

    Servers differ in the blank space that they allow between two parts. It is ignored here, up to `BLANKS` consecutive
    bytes. Some models then write nothing but blank space, so the answer is closed.
    """

    def __init__(self, constraint: GrammarConstraint, vocabulary: Vocabulary):
        self._constraint = constraint
        self._vocabulary = vocabulary
        self._blanks = 0

    @property
    def done(self) -> bool:
        """Whether the answer is complete and nothing more may follow."""
        return self._constraint.done

    def allowed(self) -> bytes | None:
        """Return None, which means no mask: the server applies its own."""
        return None

    def advance(self, token_id: int, left: int) -> int:
        """Add a token of the server, with at most `left` to follow. Return it, or a token that closes the answer."""
        piece = self._vocabulary.token_bytes[token_id] or b""
        solid = piece.strip()
        self._blanks = 0 if solid else self._blanks
        if solid == piece or self._constraint.completing or self._allowed(token_id):
            return self._constraint.advance(token_id, left)
        self._blanks += len(piece) - len(solid)
        in_time = self._blanks <= BLANKS and self._constraint.shortest <= left
        if in_time and (not solid or self._passes(solid, left)):
            return token_id
        return self._constraint.advance(token_id, left)  # the token violates the grammar, so this closes the answer

    def _passes(self, solid: bytes, left: int) -> bool:
        """Add a token without its blank space, if the grammar allows it and the answer can still be closed in time."""
        trial = self._constraint.copy()  # a failed feed leaves its constraint in the middle of the token
        fits = trial.feed(tuple(solid), left)
        if fits:
            self._constraint = trial
        return fits

    def _allowed(self, token_id: int) -> bool:
        mask = self._constraint.allowed()
        return bool(mask[token_id // 8] >> token_id % 8 & 1)


def shortest(compiler: GrammarCompiler, format: ReplyFormat, requirements: OutputRequirements) -> int:
    """Return the number of tokens of the shortest answer that meets the requirements, 0 without requirements."""
    return (
        GrammarConstraint(compiler, required_grammar(format, requirements)).shortest if requirements.structured else 0
    )


def server_check(compiler: GrammarCompiler, format: ReplyFormat, requirements: OutputRequirements) -> ServerCheck:
    """Return the check of a demanded answer. Raises `UnsupportedSchemaError` for a schema that cannot be enforced."""
    return ServerCheck(GrammarConstraint(compiler, required_grammar(format, requirements)), compiler.vocabulary)
