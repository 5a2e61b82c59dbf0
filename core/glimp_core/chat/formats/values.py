"""Parsers of the JSON inside calls, character by character: objects, or only arguments."""

import json
import re
from collections.abc import Sequence
from typing import Literal

from glimp_core.chat.formats.base import CUT, NewCall
from glimp_core.chat.formats.builder import ARGUMENTS, NAMES, ToolCallBuilder
from glimp_core.chat.formats.characters import END, CharStream, Parser

_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")
_NUMBER_SO_FAR = re.compile(r"-?(?:(?:0|[1-9]\d*)(?:(?:\.\d*)?|(?:\.\d+)?[eE][+-]?\d*))?")
_SPACE = " \t\r\n"
_WORDS = ("true", "false", "null")

_Expect = Literal["value", "item or ]", "key", "key or }", "colon", "comma", "nothing"]


class JsonScan:
    """Reads one JSON value. Line breaks and tabs inside strings are let pass, for models write them.

    `done` once the value is complete (a number at the top never is); `in_string` inside a string; `depth` is the
    number of open containers; `key` the last or current key of the outermost object, still with its opening quote
    while it is being written; `member` the key whose value the last character is a part of, None outside of one.

    `JsonState` is no substitute: it assumes JSON, which a grammar ensures, and does not know what may come next. With
    that in it, a search that compares its states would tell apart many that end alike.
    """

    def __init__(self) -> None:
        self.done = False
        self.in_string = False
        self.key = ""
        self.member: str | None = None
        self._stack: list[str] = []
        self._expect: _Expect = "value"
        self._escape = 0
        self._word = ""

    @property
    def depth(self) -> int:
        """How many containers are open."""
        return len(self._stack)

    @property
    def escaped(self) -> bool:
        """Whether the last character began an escape that is not over."""
        return self._escape > 0

    def push(self, c: str) -> bool:
        """Read one character; False if the text is no JSON any more."""
        if self.in_string:
            return self._string(c)
        if self._word:
            if (fine := self._continue_word(c)) is not None:
                return fine
        elif c in _SPACE:
            return True
        return self._structure(c)

    def _string(self, c: str) -> bool:
        if self._expect == "key" and self.depth == 1:
            self.key += c
        if self._escape:
            fine = c in "0123456789abcdefABCDEF" if self._escape > 1 else c in '"\\/bfnrtu'
            self._escape = 5 if self._escape == 1 and c == "u" else max(0, self._escape - 1)
            self._escape = 0 if self._escape == 1 else self._escape
            return fine
        if c == "\\":
            self._escape = 1
        elif c == '"':
            self.in_string = False
            if self._expect == "key":
                self._expect = "colon"
                self.key = json.loads(self.key, strict=False) if self.depth == 1 else self.key
            else:
                self._value_done()
        return True

    def _continue_word(self, c: str) -> bool | None:
        """Go on with a number or a literal; None if `c` comes after a number."""
        word = self._word + c
        if self._word[0] in "tfn":
            self._word = word
            if word in _WORDS:
                self._word = ""
                self._value_done()
            return any(whole.startswith(word) for whole in _WORDS)
        if c in "0123456789+-.eE":
            self._word = word
            return _NUMBER_SO_FAR.fullmatch(word) is not None
        if _NUMBER.fullmatch(self._word) is None:
            return False
        self._word = ""
        self._value_done()
        return True if c in _SPACE else None

    def _structure(self, c: str) -> bool:
        if self._expect in ("value", "item or ]"):
            return self._value(c)
        if self._expect in ("key", "key or }") and c == '"':
            self._expect, self.in_string = "key", True
            self.key = '"' if self.depth == 1 else self.key
            return True
        if self._expect == "colon" and c == ":":
            self._expect = "value"
            self.member = self.key if self.depth == 1 else self.member
            return True
        if self._expect == "comma" and c == ",":
            self._expect = "key" if self._stack[-1] == "{" else "value"
            self.member = None if self.depth == 1 else self.member
            return True
        return self._close(c)

    def _value(self, c: str) -> bool:
        if c == '"':
            self.in_string = True
        elif c in "{[":
            self._stack.append(c)
            self._expect = "key or }" if c == "{" else "item or ]"
        elif c in "-0123456789tfn":
            self._word = c
        else:
            return self._close(c)
        return True

    def _close(self, c: str) -> bool:
        fits = {"key or }": "{}", "item or ]": "[]"}.get(self._expect)
        if self._expect == "comma":
            fits = "{}" if self._stack[-1] == "{" else "[]"
        if fits is None or c != fits[1]:
            return False
        self._stack.pop()
        self.member = None if not self._stack else self.member
        self._value_done()
        return True

    def _value_done(self) -> None:
        self.done = not self._stack
        self._expect = "comma" if self._stack else "nothing"


def read_objects(
    chars: CharStream,
    new_call: NewCall,
    close: str = "",
    separators: str = ";,",
    starts: Sequence[str] = (),
    names: Sequence[str] = (),
) -> Parser[None]:
    """Read calls that are JSON objects, one after another or in a list, up to `close`.

    Where one is not valid, reading ends behind the next `close`, or in front of one of `starts`, so that the calls
    behind a broken one are kept. Objects whose only key is one of `names` are calls of that tool.
    """
    fenced = (yield from chars.skip_blank()) == "`" and (yield from _open_fence(chars))
    listed = (yield from chars.skip_blank()) == "[" and (yield from chars.skip("["))
    while (yield from chars.skip_blank()) == "{":
        chars.start()
        if not (yield from _object(chars, new_call(), close, starts, names)):
            return
        following = yield from chars.skip_blank()
        if following and following in separators:
            yield from chars.next()
        elif following != "{":
            break
    if listed:
        yield from chars.skip_markup("]")
    if fenced:
        yield from chars.skip_markup("```")


def read_arguments(chars: CharStream, builder: ToolCallBuilder, close: str, starts: Sequence[str] = ()) -> Parser[None]:
    """Read the arguments of a call that has its name; where they are not valid, up to `close` or one of `starts`."""
    scan = JsonScan()
    following = yield from chars.skip_blank()
    chars.start()
    if following == '"':  # arguments that are JSON inside a JSON text
        text = yield from _json_text(chars)
        builder.add(text)
        builder.finish()
        return
    while not scan.done:
        c = yield from _next(chars, scan)
        if c == END or not _feed(builder, scan, c):
            if c != END:
                yield from recover(chars, close, starts)
            written = chars.read.removesuffix(close).strip()
            if not builder.read_arguments(written):
                builder.reject(written, "its arguments are not valid JSON" if c else CUT)
            return
    builder.finish()


def recover(chars: CharStream, close: str, starts: Sequence[str]) -> Parser[None]:
    """Skip what cannot be read: up to and with `close`, or up to what opens the next call."""
    ends = [text for text in (close, *starts) if text]
    _, end = yield from chars.upto(*(ends or ["\0"]))
    if end and end != close:
        chars.back(len(end))


def _open_fence(chars: CharStream) -> Parser[bool]:
    for fence in ("```json", "```"):
        if (yield from chars.skip(fence)):
            return True
    return False


def _object(
    chars: CharStream, builder: ToolCallBuilder, close: str, starts: Sequence[str], names: Sequence[str]
) -> Parser[bool]:
    """Read `{"name": ..., "arguments": {...}}`; False if it is none, and all up to `close` went with it."""
    scan, doubled = JsonScan(), False
    while not scan.done:
        c = yield from _next(chars, scan)
        if c == END:
            return _give_up(chars, builder, CUT)
        if _feed_member(builder, scan, c):
            continue
        if chars.read.strip() in ("<", "{{", "<{{"):  # some templates show braces doubled, and models copy that
            doubled = chars.read.strip() != "<"
        else:
            yield from recover(chars, close, starts)
            return _give_up(chars, builder, "it is not valid JSON", close)
    if builder.name:
        builder.finish()
    elif not builder.read_whole(chars.read, names):
        builder.reject(chars.read, "it names no tool")
    if doubled and (yield from chars.skip_blank()) == "}":
        yield from chars.next()
    return True


_PYTHON_WORDS = {"True": "true", "False": "false", "None": "null"}


def _next(chars: CharStream, scan: JsonScan) -> Parser[str]:
    """Read what comes next of JSON, with mistakes that models make mended; END at the end.

    Mended are a comma in front of a closing bracket, a backslash that escapes nothing, and Python's words.
    """
    c = yield from chars.next()
    if scan.in_string:
        if c == "\\" and not scan.escaped and (yield from chars.peek()) not in (*'"\\/bfnrtu', END):
            return "\\\\"
        return c
    if c == "," and scan.depth and (yield from chars.skip_blank()) in ("}", "]"):
        return (yield from chars.next())
    for word, meant in _PYTHON_WORDS.items():
        if c == word[0] and (yield from chars.skip(word[1:])):
            return meant
    return c


def _feed(builder: ToolCallBuilder, scan: JsonScan, text: str) -> bool:
    for c in text:
        if not scan.push(c):
            return False
        _add(builder, scan, c)
    return True


def _feed_member(builder: ToolCallBuilder, scan: JsonScan, text: str) -> bool:
    """Read a text of a call object; the builder gets what belongs to its name and its arguments."""
    for c in text:
        member = scan.member
        if not scan.push(c):
            return False
        if member in NAMES and scan.member == member:
            builder.spelled += c
        elif member in NAMES:
            builder.set_name(json_string(builder.spelled))
        elif member in ARGUMENTS and scan.member == member:
            _add(builder, scan, c)
    return True


def _give_up(chars: CharStream, builder: ToolCallBuilder, error: str, close: str = "") -> bool:
    written = chars.read.removesuffix(close).strip() if close else chars.read.strip()
    if builder.whole:  # only what stands around the arguments is broken
        builder.finish()
    elif not builder.read_whole(written):
        builder.reject(written, error)
    return False


def _add(builder: ToolCallBuilder, scan: JsonScan, c: str) -> None:
    """Add a character of the arguments; line breaks inside strings are written as JSON wants them."""
    if scan.in_string and c < " ":
        c = json.dumps(c)[1:-1]
    if scan.in_string or not c.isspace() or builder.arguments:
        builder.add(c)


def _json_text(chars: CharStream) -> Parser[str]:
    written = yield from chars.next()
    escaped = False
    while (c := (yield from chars.next())) != END:
        written += c
        if c == '"' and not escaped:
            break
        escaped = c == "\\" and not escaped
    return json_string(written)


def json_string(written: str) -> str:
    """Return the text that a JSON string holds, line breaks inside it let pass; "" for what is none."""
    try:
        value = json.loads(written, strict=False)
    except ValueError:
        return ""
    return value if isinstance(value, str) else ""
