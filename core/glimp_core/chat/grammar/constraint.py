"""What holds a reply to a grammar, token by token, and closes it in time."""

from glimp_core.chat.grammar.compiler import BYTES, GrammarCompiler
from glimp_core.chat.grammar.json_state import JsonState
from glimp_core.chat.grammar.lark import Grammar
from glimp_core.chat.grammar.shortest_completion import Path, advanced, shortest_completion

_SPACE = frozenset(b" \t\r\n")


class GrammarConstraint:
    """Holds a reply to a grammar.

    It always knows a way to close the reply, and takes it when a drawn token would leave too few tokens for
    any: whatever the model wants, the reply is whole within every limit of `shortest` tokens or more.
    """

    def __init__(self, compiler: GrammarCompiler, grammar: Grammar):
        compiled = compiler.compile(grammar)
        self.compiler = compiler
        self._hints = compiled.hints
        self._tokens, self._bytes = compiled.by_token.deep_copy(), compiled.by_byte.deep_copy()
        self._outline = compiled.outline
        self._closing: Path = compiled.closing
        self._rest: list[int] | None = None
        self._ended = False

    @property
    def shortest(self) -> int:
        """How many tokens it takes to close the reply from here."""
        return len(self.compiler.spell(self._closing))

    @property
    def whole(self) -> bool:
        """Whether the reply may end here."""
        return bool(self._tokens.is_accepting())

    @property
    def done(self) -> bool:
        """Whether the reply has ended: nothing more may come, or the closing path is at its end."""
        return self._ended or self._rest == [] or (self.whole and bool(self._tokens.is_stopped()))

    @property
    def closing(self) -> bool:
        """Whether the closing path is written from here on, whatever is drawn."""
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
        """Take a drawn token, with `left` more to come at most; return it, or the closing path's next one."""
        if self._rest is None:
            if token_id in self.compiler.stop_ids and self.whole:
                self._ended = True
                return token_id
            if self._accept(token_id, left):
                self._ended = left <= 0
                return token_id
            # the token does not fit, or leaves too few: from here on the known way is written, whatever is drawn
            self._rest = self.compiler.spell(self._closing)
        if not self._rest:
            self._ended = True
            return self.compiler.stop_ids[0]
        token_id = self._rest.pop(0)
        self._tokens.consume_token(token_id)
        return token_id

    def feed(self, path: Path, left: int) -> bool:
        """Take text that stands already; tell whether it fits the grammar and can be closed in time."""
        return all(self._accept(token_id, left) for token_id in self.compiler.spell(path))

    def _accept(self, token_id: int, left: int) -> bool:
        """Take a token if the reply can still be closed after it."""
        piece = self.compiler.as_bytes(token_id)
        if not self._tokens.try_consume_tokens([token_id]):
            return False
        self._bytes.consume_tokens(piece)
        outline = advanced(self._outline, piece, self._hints)
        closing = self._closing_after(piece, outline)
        if closing is not None and (len(closing) <= left or len(self.compiler.spell(closing)) <= left):
            self._outline, self._closing = outline, closing
            return True
        self._tokens.rollback(1)
        self._bytes.rollback(len(piece))
        return False

    def _closing_after(self, piece: list[int], outline: JsonState) -> Path | None:
        """Find how to close after a piece: the known way, less what has been written of it, or a new one."""
        known = self._closing
        solid = tuple(byte for byte in piece if byte not in _SPACE)
        # most tokens go along the known way, take its first byte otherwise, or only add to free text before it:
        # to check these three is cheap, and a search is needed only where the model leaves the way
        for way in (known[len(solid) :] if known[: len(solid)] == solid else None, known[1:], known):
            if way is not None and self._closes(way):
                return way
        return shortest_completion(self._bytes, outline, self._hints)

    def _closes(self, way: Path) -> bool:
        if not way:
            return bool(self._bytes.is_accepting())
        end = [BYTES]  # the end of the reply is allowed only where it is whole
        return int(self._bytes.validate_tokens([*way, *end])) == len(way) + 1
