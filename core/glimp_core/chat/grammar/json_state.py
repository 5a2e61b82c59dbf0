"""Where a reply stands while it is written: which brackets are open, and whether it is inside a string."""

from typing import NamedTuple

STRUCTURE, STRING, RAW, ESCAPE, HEX = range(5)
"""Modes. From HEX on a mode counts the digits of an escape that are still to come: HEX means one more."""

_OPEN, _CLOSE = (0x7B, 0x5B), (0x7D, 0x5D)
_SPACE = (0x20, 0x09, 0x0D, 0x0A)

RAW_END = b"\n</parameter>\n"
"""What ends a parameter that is written as it is."""


class JsonState(NamedTuple):
    """The outline of JSON, inside markup or alone, byte by byte.

    `stack` holds for every open container its bracket, how many commas it has had, and the last property's name;
    `key` is the name being written, None where none is; `length` counts the bytes of the string, number or word
    being written, `outside` those of the markup around the JSON. In XML markup `raw` names the parameters that are
    written as they are, as b"function parameter", `place` is the parameter reached, and `line` the tag being
    written, or what of the end of such a parameter is; `raw` is None in any other markup.
    """

    stack: tuple[tuple[int, int, bytes], ...] = ()
    mode: int = STRUCTURE
    key: bytes | None = None
    length: int = 0
    outside: int = 0
    raw: frozenset[bytes] | None = None
    place: bytes = b""
    line: bytes = b""

    def after(self, byte: int) -> "JsonState":
        """Return the outline one byte (or one mark, 256 and above) later."""
        if self.mode == STRUCTURE:
            return self._structure(byte)
        if self.mode == RAW:
            return self._raw(byte)
        if byte == 0x22 and self.mode == STRING:
            return self._replace(mode=STRUCTURE, length=0)
        key = None if self.key is None else self.key + bytes([byte])
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
        if self.raw is not None and not stack:
            return self._markup(byte)
        solid = byte not in _SPACE
        return self._replace(length=self.length + 1 if solid else 0, outside=self.outside + (solid and not stack))

    def _markup(self, byte: int) -> "JsonState":
        if byte != 0x0A:
            starts = bool(self.line) or byte == 0x3C
            line = self.line + bytes([byte]) if starts and byte < 256 else b""
            return self._replace(line=line, length=self.length + 1)
        head, _, name = self.line.strip(b"<>").partition(b"=")
        place = self.place.partition(b" ")[0] + b" " + name if head == b"parameter" else self.place
        place = name if head == b"function" else place
        raw = head == b"parameter" and place in (self.raw or ())
        return self._replace(mode=RAW if raw else STRUCTURE, place=place, line=b"", length=0)

    def _raw(self, byte: int) -> "JsonState":
        line = self.line + bytes([byte]) if byte < 256 else b""
        if line == RAW_END:
            return self._replace(mode=STRUCTURE, line=b"", length=0)
        begun = next(n for n in range(len(line) + 1) if RAW_END.startswith(line[n:]))
        return self._replace(line=line[begun:], length=self.length + 1)
