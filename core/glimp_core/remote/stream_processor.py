"""Converts the chunks of one stream to the output of an engine, and interprets the end of the stream."""

from collections.abc import Iterator

from glimp_core.chat.output.processor import OutputProcessor
from glimp_core.chat.tokens.vocabulary import Vocabulary
from glimp_core.errors import RemoteEngineError
from glimp_core.remote.wire import CompletionChunk
from glimp_core.types import Chunk


class StreamProcessor:
    """Adds the tokens of one stream to an output; `written` are those that belong to the text.

    A stream may end before the output ends: at a blank line before any text, or at a token limit in the middle of a
    character. Then another request is needed. If the stream is `part` of a demanded answer, its end is not the end of
    the output.
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
        """Whether the output has ended."""
        return self._output.end is not None

    def take(self, chunk: CompletionChunk) -> Iterator[Chunk]:
        """Add one chunk of the server, the last one with a `finish`, and yield the chunks of the reply."""
        # A control token at the end of a chunk is held: only the next chunk shows whether it was the end of the reply.
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
        """Write tokens. If the output closes a constrained answer, write also the tokens that close it."""
        for token_id in token_ids:
            taken: int | None = None
            while taken != token_id and not self._output.end:
                taken = self._output.advance(token_id)
                self.written.append(taken)
                yield from self._output.push(taken)

    def _stop(self, chunk: CompletionChunk) -> Iterator[Chunk]:
        """Handle a stop that did not end the output: at a blank line, or at an end token that is not known here."""
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
        """Whether a token may be an end token that the generation config does not have. The next chunk shows it."""
        return token_id not in self._known and self._vocabulary.token_bytes[token_id] is None
