"""`[TOOL_CALLS][{...}]` up to Mistral's tokenizer v7, `[TOOL_CALLS]name[ARGS]{...}` from v11 on."""

from collections.abc import Sequence

from glimp_core.chat.formats.base import CALL_ID, CUT, NAME, Family, NewCall
from glimp_core.chat.formats.characters import CharStream, Parser
from glimp_core.chat.formats.json_calls import JsonCalls
from glimp_core.chat.formats.named_calls import NamedCalls
from glimp_core.chat.formats.values import read_arguments, read_objects
from glimp_core.chat.request.tools import Tool

START = "[TOOL_CALLS]"


class MistralList(JsonCalls):
    """Objects in a list."""

    __slots__ = ()

    def parse(self, chars: CharStream, new_call: NewCall, tools: Sequence[Tool], marker: str) -> Parser[bool]:
        """Read either of the two ways."""
        yield from _read(chars, new_call)
        return True


class MistralNamed(NamedCalls):
    """A name and arguments."""

    __slots__ = ()

    def parse(self, chars: CharStream, new_call: NewCall, tools: Sequence[Tool], marker: str) -> Parser[bool]:
        """Read either of the two ways."""
        yield from _read(chars, new_call)
        return True


def _read(chars: CharStream, new_call: NewCall) -> Parser[None]:
    following = yield from chars.skip_blank()
    if following and following in "[{":
        yield from read_objects(chars, new_call, starts=(START,))
        return
    head, end = yield from chars.upto("[ARGS]", "{")
    builder = new_call()
    if not end:
        builder.reject(head, CUT)
        return
    if end == "{":
        chars.back(1)
    builder.set_name(head.partition("[CALL_ID]")[0].strip())
    yield from read_arguments(chars, builder, "", (START,))


MISTRAL_LIST = MistralList("mistral list", START, together=True, listed=True, between=", ", id_key="id")
MISTRAL_NAMED = MistralNamed("mistral named", (START, NAME, "[ARGS]"))
MISTRAL_WITH_ID = MistralNamed("mistral with id", (START, NAME, "[CALL_ID]", CALL_ID, "[ARGS]"))
FAMILY = Family((MISTRAL_NAMED, MISTRAL_WITH_ID, MISTRAL_LIST), signs=(START,))
