"""Token by token from ids to text, without ever showing half a character."""

import codecs


class Detokenizer:
    """Turns the bytes of tokens into text; a token waits until every character it is part of is whole.

    >>> stream = Detokenizer()
    >>> stream.push(1, "é".encode()[:1]), stream.push(2, "é".encode()[1:])
    (None, ('é', (1, 2)))
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._text = ""
        self._token_ids: list[int] = []

    def push(self, token_id: int, piece: bytes) -> tuple[str, tuple[int, ...]] | None:
        """Take one token; return the text that is now whole with the ids that spell it, None while it is not."""
        self._token_ids.append(token_id)
        self._text += self._decoder.decode(piece)
        unfinished, _ = self._decoder.getstate()
        return None if unfinished else self._release()

    @property
    def waiting(self) -> bool:
        """Whether a token waits for the rest of a character."""
        return bool(self._token_ids)

    def flush(self) -> tuple[str, tuple[int, ...]]:
        """Return what still waits, a broken character shown as U+FFFD; for the end of a text."""
        self._text += self._decoder.decode(b"", final=True)
        return self._release()

    def _release(self) -> tuple[str, tuple[int, ...]]:
        whole = self._text, tuple(self._token_ids)
        self._text, self._token_ids = "", []
        return whole
