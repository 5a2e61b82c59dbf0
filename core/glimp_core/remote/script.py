"""From the pieces of one stream to a page, and what the stream's end means for it."""

from collections.abc import Iterator

from glimp_core.chat.page import Page
from glimp_core.chat.vocabulary import Vocabulary
from glimp_core.errors import RemoteEngineError
from glimp_core.remote.wire import Piece
from glimp_core.types import Chunk, StepEnd


class Script:
    """Writes the tokens of one stream onto a page; `written` are those that belong to the text.

    A stream may end without an end of the page: at a blank line before any text, or at a limit that the page goes
    past to finish a character. Then more is to be asked for.
    """

    def __init__(self, page: Page, vocabulary: Vocabulary, stop_ids: frozenset[int], asked: int):
        self.written: list[int] = []
        self._asked = asked
        self._page = page
        self._vocabulary = vocabulary
        self._known = stop_ids | ({vocabulary.think.close_id} if vocabulary.think else set())
        self._held: tuple[int, ...] = ()

    def take(self, piece: Piece) -> Iterator[Chunk]:
        """Take one piece, the last one with a `finish`; yields the chunks it completes."""
        ids = self._held + piece.token_ids
        self._held = ids[-1:] if ids and self._may_end(ids[-1]) else ()
        yield from self._push(ids[: len(ids) - len(self._held)])
        if self._page.end or not piece.finish:
            return
        if piece.finish == "stop":
            yield from self._stop(piece)
        elif piece.finish == "length":
            yield from self._push(self._held)
            if not self._page.end and len(self.written) < self._asked:  # the server's own limit
                yield from self._close("length")
        else:
            raise RemoteEngineError(f"the server ended a reply with {piece.finish!r}, which has no meaning here")

    def _push(self, token_ids: tuple[int, ...]) -> Iterator[Chunk]:
        for token_id in token_ids:
            self.written.append(token_id)
            yield from self._page.push(token_id)
            if self._page.end:
                return

    def _stop(self, piece: Piece) -> Iterator[Chunk]:
        """The server stopped, and not where the page ends: at a blank line, or at an end that nobody told us of."""
        reason = piece.stop_reason
        blank = bool(self.written) and not self._vocabulary.decode(self.written).strip()
        if isinstance(reason, str) or (reason is None and not self._held and blank):
            return
        if isinstance(reason, int) and not self._held:
            self._held = (reason,)
        yield from self._push(self._held if self._known.issuperset(self._held) else ())
        if not self._page.end:
            yield from self._close("eos", self._held)

    def _close(self, end: StepEnd, token_ids: tuple[int, ...] = ()) -> Iterator[Chunk]:
        self._page.end = end
        yield Chunk("", token_ids, end=end)

    def _may_end(self, token_id: int) -> bool:
        """Whether a control token could be an end that no generation config told of; the next piece will tell."""
        return token_id not in self._known and self._vocabulary.pieces[token_id] is None
