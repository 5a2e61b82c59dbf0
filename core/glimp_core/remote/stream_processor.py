"""From the pieces of one stream to a page, and what the stream's end means for it."""

from collections.abc import Iterator

from glimp_core.chat.output.processor import OutputProcessor
from glimp_core.chat.tokens.vocabulary import Vocabulary
from glimp_core.errors import RemoteEngineError
from glimp_core.remote.wire import CompletionChunk
from glimp_core.types import Chunk


class StreamProcessor:
    """Writes the tokens of one stream onto a page; `written` are those that belong to the text.

    A stream may end without an end of the page: at a blank line before any text, or at a limit that the page goes
    past to finish a character. Then more is to be asked for. Where the stream is `part` of a form, its end is not the
    page's.
    """

    def __init__(
        self,
        page: OutputProcessor,
        vocabulary: Vocabulary,
        stop_ids: frozenset[int],
        asked: int = 0,
        part: bool = False,
    ):
        self.written: list[int] = []
        self._asked = asked
        self._part = part
        self._page = page
        self._vocabulary = vocabulary
        self._known = stop_ids
        self._held: tuple[int, ...] = ()

    @property
    def ended(self) -> bool:
        """Whether the page is at its end."""
        return self._page.end is not None

    def take(self, piece: CompletionChunk) -> Iterator[Chunk]:
        """Take one piece, the last one with a `finish`; yields the chunks it completes."""
        ids = self._held + piece.token_ids
        self._held = ids[-1:] if ids and self._may_end(ids[-1]) else ()
        yield from self._push(ids[: len(ids) - len(self._held)])
        if self._page.end or not piece.finish:
            return
        if piece.finish == "stop":
            yield from () if self._part else self._stop(piece)
        elif piece.finish == "length":
            yield from self._push(self._held)
            if not self._page.end and (self._part or len(self.written) < self._asked):  # the server's own limit
                yield from self._page.close("length")
        else:
            raise RemoteEngineError(f"the server ended a reply with {piece.finish!r}, which has no meaning here")

    def _push(self, token_ids: tuple[int, ...]) -> Iterator[Chunk]:
        for token_id in token_ids:
            if self._part and token_id in self._known:
                return
            yield from self.put(token_id)
            if self._page.end:
                return

    def put(self, *token_ids: int) -> Iterator[Chunk]:
        """Write tokens; where the page closes what is bound, the rest of it as well."""
        for token_id in token_ids:
            taken: int | None = None
            while taken != token_id and not self._page.end:
                taken = self._page.advance(token_id)
                self.written.append(taken)
                yield from self._page.push(taken)

    def _stop(self, piece: CompletionChunk) -> Iterator[Chunk]:
        """The server stopped, and not where the page ends: at a blank line, or at an end that nobody told us of."""
        reason = piece.stop_reason
        blank = bool(self.written) and not self._vocabulary.decode(self.written).strip()
        if isinstance(reason, str) or (reason is None and not self._held and blank):
            return
        if isinstance(reason, int) and not self._held:
            self._held = (reason,)
        yield from self._push(self._held if self._known.issuperset(self._held) else ())
        if not self._page.end:
            yield from self._page.close("eos", self._held)

    def _may_end(self, token_id: int) -> bool:
        """Whether a control token could be an end that no generation config told of; the next piece will tell."""
        return token_id not in self._known and self._vocabulary.token_bytes[token_id] is None
