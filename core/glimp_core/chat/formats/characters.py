"""Readers that are written straight down but take their text character by character, as generators."""

from collections.abc import Generator
from typing import TypeAlias, TypeVar

T = TypeVar("T")

Parser: TypeAlias = Generator[None, str, T]
"""Waits for characters, is sent one at a time, and returns what it read."""

END = ""
"""What is sent after the last character."""


class CharStream:
    """The characters of a reply. What has been read since `start` can be looked at and given back."""

    def __init__(self) -> None:
        self._returned: list[str] = []
        self._read: list[str] = []
        self._ended = False

    @property
    def read(self) -> str:
        """All that was read since `start`."""
        return "".join(self._read)

    def start(self) -> None:
        """Begin to remember what is read."""
        self._read = []

    def next(self) -> Parser[str]:
        """Read a character; END once there are no more."""
        if self._returned:
            character = self._returned.pop()
        elif self._ended:
            return END
        else:
            character = yield
        if character == END:
            self._ended = True
        else:
            self._read.append(character)
        return character

    def back(self, count: int) -> None:
        """Give the last `count` characters back, to be read again."""
        for _ in range(count):
            self._returned.append(self._read.pop())

    def peek(self) -> Parser[str]:
        """Look at the next character."""
        character = yield from self.next()
        if character != END:
            self.back(1)
        return character

    def skip_blank(self) -> Parser[str]:
        """Skip blank space and look at what follows."""
        while (character := (yield from self.next())).isspace():
            pass
        if character != END:
            self.back(1)
        return character

    def skip(self, text: str) -> Parser[bool]:
        """Skip a text if it is what comes next."""
        for at, expected in enumerate(text):
            character = yield from self.next()
            if character != expected:
                self.back(at + (character != END))
                return False
        return True

    def upto(self, *ends: str) -> Parser[tuple[str, str]]:
        """Read up to and with the first of some texts; return what was before, and which it was or END."""
        text: list[str] = []
        longest = max(map(len, ends))
        while (character := (yield from self.next())) != END:
            text.append(character)
            tail = "".join(text[-longest:])
            for end in ends:
                if tail.endswith(end):
                    return "".join(text)[: -len(end)], end
        return "".join(text), END
