"""A prompt that cannot fit is refused before all of it is tokenised, and so holds up nobody else."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from glimp_core.context import Context
from glimp_core.errors import Cancelled, ContextOverflowError

LARGE = 262_144
"""Text of fewer characters is tokenised at once: it takes a fraction of a second."""

PIECE = 65_536
"""So many characters are counted between two looks at whether the request was cancelled."""

CUT = 16
"""A cut through a text makes at most so many tokens more than there are."""


def check_length(
    context: Context, encode: Callable[[str], Sequence[int]], window: int, large: int = LARGE, piece: int = PIECE
) -> None:
    """Count the tokens of a very long request piece by piece, until it is clear that it cannot fit the `window`.

    Text of fewer than `large` characters is let pass, and a piece has `piece` of them. Raises
    `ContextOverflowError`, and `Cancelled` if the request is cancelled meanwhile. A request that is to be
    counted as a whole (`context.counted`) is let pass.
    """
    texts = [*_texts(context.request.messages), *_texts(context.request.tools)]
    if context.counted or sum(map(len, texts)) < large:
        return
    tokens = 0
    for text in texts:
        for start in range(0, len(text), piece):
            if context.cancelled.is_set():
                raise Cancelled("the request was cancelled")
            tokens += max(0, len(encode(text[start : start + piece])) - CUT)
            if tokens > window:
                raise ContextOverflowError(
                    f"the prompt has {sum(map(len, texts)):,} characters, of which the first {tokens:,} tokens or so "
                    f"fill the window of {window:,}: shorten it or choose a model with a longer window"
                )


def _texts(value: Any) -> Iterator[str]:
    """Yield every text in messages and tools, however nested."""
    left = [value]
    while left:
        part = left.pop()
        if isinstance(part, str):
            yield part
        elif isinstance(part, Mapping):
            left += part.values()
        elif isinstance(part, Sequence) and not isinstance(part, bytes | bytearray):
            left += part
