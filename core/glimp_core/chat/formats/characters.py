"""Parsers as generators: they read a text that arrives in pieces, character by character."""

from collections.abc import Generator, Iterable
from typing import TypeAlias, TypeVar

T = TypeVar("T")

Parser: TypeAlias = Generator[None, str, T]
"""Waits for characters, is sent one at a time, and returns what it read."""

END = ""
"""What is sent after the last character."""


class CharStream:
    """The characters of a reply. Characters that were read since `start` can be inspected and given back."""

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

    def unread(self, text: str) -> None:
        """Put a text in front of what is still to be read."""
        self._returned += reversed(text)

    def match(self, texts: Iterable[str]) -> Parser[str | None]:
        """Skip the first of some texts that comes next, with the blank space in front of it; None if none does.

        Of texts that begin alike the longest counts.
        """
        wanted = [text for text in texts if text]
        read, found, blanks = "", None, ""
        while (character := (yield from self.next())) != END:
            if not read and character.isspace():
                blanks += character
                continue
            read += character
            found = read if read in wanted else found
            if not any(text.startswith(read) and text != read for text in wanted):
                break
        over = read[len(found or "") :]
        self._returned += reversed(over if found else blanks + over)
        self.forget(len(over) if found else len(blanks + over))
        return found

    def forget(self, count: int) -> None:
        """Forget the last characters that were read, which somebody has put back."""
        if count:
            del self._read[-count:]

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

    def skip_markup(self, markup: str) -> Parser[bool]:
        """Skip a markup if it is what comes next, whatever blank space stands around it."""
        blanks = 0
        while (character := (yield from self.next())).isspace():
            blanks += 1
        if character != END:
            self.back(1)
        if (yield from self.skip(markup.strip())):
            return True
        self.back(blanks)
        return False

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
