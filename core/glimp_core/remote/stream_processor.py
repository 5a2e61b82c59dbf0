"""From the chunks of one stream to the output of an engine, and what the stream's end means for it."""

from collections.abc import Iterator

from glimp_core.chat.output.processor import OutputProcessor
from glimp_core.chat.tokens.vocabulary import Vocabulary
from glimp_core.errors import RemoteEngineError
from glimp_core.remote.wire import CompletionChunk
from glimp_core.types import Chunk


class StreamProcessor:
    """Writes the tokens of one stream onto an output; `written` are those that belong to the text.

    A stream may end without an end of the output: at a blank line before any text, or at a limit that the output goes
    past to finish a character. Then more is to be asked for. Where the stream is `part` of a form, its end is not the
    output's.
    """

    def __init__(
        self,
        output: OutputProcessor,
        vocabulary: Vocabulary,
        stop_ids: frozenset[int],
        asked: int = 0,
        part: bool = False,
    ):
        self.written: list[int] = []
        self._asked = asked
        self._part = part
        self._output = output
        self._vocabulary = vocabulary
        self._known = stop_ids
        self._held: tuple[int, ...] = ()

    @property
    def ended(self) -> bool:
        """Whether the output is at its end."""
        return self._output.end is not None

    def take(self, chunk: CompletionChunk) -> Iterator[Chunk]:
        """Take one chunk of the server, the last one with a `finish`; yields what it completes of the reply."""
        ids = self._held + chunk.token_ids
        self._held = ids[-1:] if ids and self._may_end(ids[-1]) else ()
        yield from self._push(ids[: len(ids) - len(self._held)])
        if self._output.end or not chunk.finish:
            return
        if chunk.finish == "stop":
            yield from () if self._part else self._stop(chunk)
        elif chunk.finish == "length":
            yield from self._push(self._held)
            if not self._output.end and (self._part or len(self.written) < self._asked):  # the server's own limit
                yield from self._output.close("length")
        else:
            raise RemoteEngineError(f"the server ended a reply with {chunk.finish!r}, which has no meaning here")

    def _push(self, token_ids: tuple[int, ...]) -> Iterator[Chunk]:
        for token_id in token_ids:
            if self._part and token_id in self._known:
                return
            yield from self.put(token_id)
            if self._output.end:
                return

    def put(self, *token_ids: int) -> Iterator[Chunk]:
        """Write tokens; where the output closes what is bound, the rest of it as well."""
        for token_id in token_ids:
            taken: int | None = None
            while taken != token_id and not self._output.end:
                taken = self._output.advance(token_id)
                self.written.append(taken)
                yield from self._output.push(taken)

    def _stop(self, chunk: CompletionChunk) -> Iterator[Chunk]:
        """The server stopped, and not where the output ends: at a blank line, or at an end that nobody told us of."""
        reason = chunk.stop_reason
        blank = bool(self.written) and not self._vocabulary.decode(self.written).strip()
        if isinstance(reason, str) or (reason is None and not self._held and blank):
            return
        if isinstance(reason, int) and not self._held:
            self._held = (reason,)
        yield from self._push(self._held if self._known.issuperset(self._held) else ())
        if not self._output.end:
            yield from self._output.close("eos", self._held)

    def _may_end(self, token_id: int) -> bool:
        """Whether a control token could be an end that no generation config told of; the next chunk will tell."""
        return token_id not in self._known and self._vocabulary.token_bytes[token_id] is None
