"""One reply in which calls or JSON may stand: what it is held to, and what it is read as."""

from collections.abc import Callable, Mapping

from glimp_core.chat.formats.base import ToolCallFormat
from glimp_core.chat.grammar.compiler import GrammarCompiler
from glimp_core.chat.output.constraints import TokenConstraint
from glimp_core.chat.output.reply_parser import Piece, ReplyParser
from glimp_core.chat.request.requirements import OutputRequirements

UNMARKED = "the model wrote a tool call without its marks, and it was read all the same (lenient_tool_calls)"


class AnswerReader:
    """Turns the text of a reply into pieces: plain text, and the deltas of calls. A `constraint` steers its tokens.

    `remark` is told what the user should know.
    """

    def __init__(
        self,
        constraint: TokenConstraint | None,
        compiler: GrammarCompiler,
        dialect: ToolCallFormat,
        requirements: OutputRequirements,
        lenient: bool,
        remark: Callable[[str], None],
    ):
        self._constraint = constraint
        self._parser = ReplyParser(dialect, requirements, lenient)
        self._marks: Mapping[int, str] = compiler.marker_texts(dialect.marks) if requirements.tools else {}
        self._remark = remark

    @property
    def done(self) -> bool:
        """Whether nothing more may come."""
        return self._constraint is not None and self._constraint.done

    def allowed(self) -> bytes | None:
        """Return a bit for every token that may come next, lowest bit first; None where all may."""
        return self._constraint.allowed() if self._constraint else None

    def advance(self, token_id: int, left: int) -> int:
        """Take a drawn token, with `left` more to come at most; return it, or what stands in for it."""
        return self._constraint.advance(token_id, left) if self._constraint else token_id

    def read(self, text: str, token_id: int) -> list[Piece]:
        """Read the text that became whole with a token; marks have their text here, which they have nowhere else."""
        return self._parser.push(text + self._marks.get(token_id, ""))

    def finish(self) -> list[Piece]:
        """Return what was held back; the reply is over."""
        pieces = self._parser.finish()
        if self._parser.unmarked:
            self._remark(UNMARKED)
        return pieces
