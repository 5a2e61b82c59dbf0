"""Calls between `<｜tool▁calls▁begin｜>` and `<｜tool▁calls▁end｜>`: DeepSeek V3 and R1 with fences, V3.1 without."""
# ruff: noqa: RUF001, RUF002 (DeepSeek's markers are written with full-width bars)

from collections.abc import Sequence

from glimp_core.chat.formats.base import CUT, NAME, Family, Frame, NewCall
from glimp_core.chat.formats.characters import CharStream, Parser
from glimp_core.chat.formats.named_calls import NamedCalls
from glimp_core.chat.formats.values import read_arguments
from glimp_core.chat.request.tools import Tool

BEGIN, SEPARATOR, END_OF_CALL = "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"
FRAME = Frame("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", "\n")


class DeepSeekCalls(NamedCalls):
    """Names and arguments, read in both ways: models mix them."""

    __slots__ = ()

    @property
    def start_markers(self) -> tuple[str, ...]:
        """What opens calls: the frame, or a call where a model leaves the frame out."""
        return FRAME.start, BEGIN

    def parse(self, chars: CharStream, new_call: NewCall, tools: Sequence[Tool], marker: str) -> Parser[bool]:
        """Read calls up to the end of their frame."""
        opened = marker == BEGIN
        while opened or (yield from chars.skip_markup(BEGIN)):
            opened = False
            yield from _call(chars, new_call)
        yield from chars.skip_markup(FRAME.end)
        return True


def _call(chars: CharStream, new_call: NewCall) -> Parser[None]:
    kind, end = yield from chars.upto(SEPARATOR, END_OF_CALL)
    builder = new_call()
    if end != SEPARATOR:
        builder.reject(kind.strip(), "it names no tool" if end else CUT)
        return
    head, end = yield from chars.upto("{", END_OF_CALL)
    builder.set_name(head.strip().partition("\n")[0].strip() or kind.strip())
    if end != "{":
        builder.reject(head, "it has no arguments" if end else CUT)
        return
    chars.back(1)
    yield from read_arguments(chars, builder, END_OF_CALL, (BEGIN,))
    yield from chars.skip_markup("```")
    yield from chars.skip_markup(END_OF_CALL)


DEEPSEEK = DeepSeekCalls("deepseek", (f"{BEGIN}function{SEPARATOR}", NAME, "\n```json\n"), f"\n```{END_OF_CALL}", FRAME)
DEEPSEEK_PLAIN = DeepSeekCalls("deepseek plain", (BEGIN, NAME, SEPARATOR), END_OF_CALL, Frame(FRAME.start, FRAME.end))
FAMILY = Family((DEEPSEEK, DEEPSEEK_PLAIN), signs=(BEGIN,))
