"""One reply in which calls or JSON may stand: what it is held to, and what it is read as."""

from collections.abc import Callable, Mapping

from glimp_core.chat.demands import Demands
from glimp_core.chat.dialects import Dialect
from glimp_core.chat.guide import Guide
from glimp_core.chat.reply import Piece, ReplyParser
from glimp_core.chat.space import TokenSpace

UNMARKED = "the model wrote a tool call without its marks, and it was read all the same (lenient_tool_calls)"


class Answer:
    """Turns the text of a reply into pieces: plain text, and the deltas of calls. A `guide` steers its tokens.

    `remark` is told what the user should know.
    """

    def __init__(
        self,
        guide: Guide | None,
        space: TokenSpace,
        dialect: Dialect,
        demands: Demands,
        lenient: bool,
        remark: Callable[[str], None],
    ):
        self._guide = guide
        self._parser = ReplyParser(dialect, demands, lenient)
        self._marks: Mapping[int, str] = space.marks_of(dialect.marks) if demands.tools else {}
        self._remark = remark

    @property
    def bound(self) -> bool:
        """Whether a grammar says what the next token may be."""
        return self._guide is not None and self._guide.bound

    @property
    def finished(self) -> bool:
        """Whether nothing more may come."""
        return self._guide is not None and self._guide.finished

    def mask(self) -> bytes | None:
        """Return a bit for every token that may come next, lowest bit first; None where all may."""
        return self._guide.mask() if self._guide else None

    def take(self, token_id: int, left: int) -> int:
        """Take a drawn token, with `left` more to come at most; return it, or what stands in for it."""
        return self._guide.take(token_id, left) if self._guide else token_id

    def read(self, text: str, token_id: int) -> list[Piece]:
        """Read the text that became whole with a token; marks have their text here, which they have nowhere else."""
        return self._parser.push(text + self._marks.get(token_id, ""))

    def finish(self) -> list[Piece]:
        """Return what was held back; the reply is over."""
        pieces = self._parser.finish()
        if self._parser.unmarked:
            self._remark(UNMARKED)
        return pieces
