"""JSON read character by character: whether it is still valid, and which member of an object is being read."""

import json
import re
from typing import Literal

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
