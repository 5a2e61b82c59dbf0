"""The state of JSON while it is written: the open brackets, and whether it is inside a string."""

from typing import NamedTuple

STRUCTURE, STRING, ESCAPE, HEX = range(4)
"""Modes. From HEX on a mode counts the digits of an escape that are still to come: HEX means one more."""

_OPEN, _CLOSE = (0x7B, 0x5B), (0x7D, 0x5D)
_SPACE = (0x20, 0x09, 0x0D, 0x0A)

TAIL = 48
"""How many of the last bytes are remembered, to see how much of a markup has been written."""


class JsonState(NamedTuple):
    """The state of JSON, inside markup or alone, byte by byte.

    `stack` holds for every open container its bracket, how many commas it has had, and the last property's name;
    `key` is the name being written, None if none is; `length` counts the bytes of the string, number or word
    being written, `outside` those of the markup around the JSON, and `tail` is the end of what was written. Inside
    text that is no JSON the state means nothing until the text's end puts it back to the start. It does not validate:
    a grammar does.
    """

    stack: tuple[tuple[int, int, bytes], ...] = ()
    mode: int = STRUCTURE
    key: bytes | None = None
    length: int = 0
    outside: int = 0
    tail: tuple[int, ...] = ()

    def after(self, byte: int, ends: tuple[tuple[int, ...], ...] = ()) -> "JsonState":
        """Return the state one byte (or one marker, 256 and above) later; `ends` are what ends text as it is."""
        if not ends:
            return self._after(byte)
        tail = (*self.tail[1 - TAIL :], byte)
        if any(tail[-len(end) :] == end for end in ends):
            return JsonState(outside=self.outside + 1, tail=tail)
        return self._after(byte)._replace(tail=tail)

    def _after(self, byte: int) -> "JsonState":
        if self.mode == STRUCTURE:
            return self._structure(byte)
        if byte == 0x22 and self.mode == STRING:
            return self._replace(mode=STRUCTURE, length=0)
        key = None if self.key is None or byte > 255 else self.key + bytes([byte])
        return self._replace(mode=self._inside(byte), key=key, length=self.length + 1)

    def _inside(self, byte: int) -> int:
        """The mode after a byte inside a string."""
        if self.mode == STRING:
            return ESCAPE if byte == 0x5C else STRING
        if self.mode == ESCAPE:
            return HEX + 3 if byte == 0x75 else STRING
        return self.mode - 1 if self.mode > HEX else STRING

    def _structure(self, byte: int) -> "JsonState":
        stack = self.stack
        if byte in _OPEN:
            return self._replace(stack=(*stack, (byte, 0, b"")), key=b"" if byte == 0x7B else None, length=0)
        if byte in _CLOSE:
            return self._replace(stack=stack[:-1], key=None, length=0)
        if byte == 0x2C and stack:
            bracket, commas, last = stack[-1]
            key = b"" if bracket == 0x7B else None
            return self._replace(stack=(*stack[:-1], (bracket, commas + 1, last)), key=key, length=0)
        if byte == 0x3A and stack:
            bracket, commas, _ = stack[-1]
            return self._replace(stack=(*stack[:-1], (bracket, commas, self.key or b"")), key=None, length=0)
        if byte == 0x22:
            return self._replace(mode=STRING, length=0)
        solid = byte not in _SPACE
        return self._replace(length=self.length + 1 if solid else 0, outside=self.outside + (solid and not stack))
