"""Where a chain of thought ends: at a token, or at a text that may be spelled in several."""

from collections.abc import Iterator

from glimp_core.chat.formats.thinking import ThinkingMarkup
from glimp_core.chat.tokens.vocabulary import Vocabulary

Written = tuple[str, tuple[int, ...]]
"""A text and the ids that spell it."""


class ThinkingEnd:
    """Watches a chain of thought for the markup that closes it.

    Text that may be the beginning of the end is held back until it is known to be or not.
    """

    def __init__(self, markup: ThinkingMarkup, vocabulary: Vocabulary):
        self._vocabulary = vocabulary
        self._end = markup.end
        self._id = vocabulary.markers.get(markup.end)
        self._held: list[tuple[int, str]] = []

    def closes(self, token_id: int) -> bool:
        """Whether a token by itself ends the thinking."""
        return token_id == self._id

    @property
    def waiting(self) -> bool:
        """Whether text is held back."""
        return bool(self._held)

    def push(self, text: str, token_ids: tuple[int, ...]) -> tuple[list[Written], tuple[int, ...] | None]:
        """Take a text; return what is certain to be thought, and the ids of the end once it is there."""
        if self._id is not None:
            return [(text, token_ids)], None
        shown = text or "".join(map(self._vocabulary.control_text, token_ids))
        self._held += [(token_id, shown if n == 0 else "") for n, token_id in enumerate(token_ids)]
        whole = "".join(part for _, part in self._held)
        at = whole.find(self._end)
        if at >= 0:
            held = tuple(token_id for token_id, _ in self._held)
            self._held = []
            before = whole[:at]
            return ([(before, tuple(self._vocabulary.encode(before)))] if before else []), held
        keep = next(
            n for n in range(min(len(whole), len(self._end)), -1, -1) if n == 0 or self._end.startswith(whole[-n:])
        )
        return list(self._release(keep)), None

    def flush(self) -> list[Written]:
        """Return what was held back; the step is over."""
        return list(self._release(0))

    def _release(self, keep: int) -> Iterator[Written]:
        """Give out the held tokens, but those that spell the last `keep` characters."""
        kept: list[tuple[int, str]] = []
        while keep > 0 and self._held:
            token_id, text = self._held.pop()
            kept.insert(0, (token_id, text))
            keep -= len(text)
        for token_id, text in self._held:
            yield self._plain(token_id, text), (token_id,)
        self._held = kept

    def _plain(self, token_id: int, text: str) -> str:
        return "" if self._vocabulary.token_bytes[token_id] is None else text
