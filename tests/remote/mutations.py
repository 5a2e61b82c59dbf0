"""A scripted server of which an answer is broken: cut, of wrong types, with wrong ids, huge numbers, fields twice."""

import contextlib
import json
import random
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Iterator
from typing import Any

from remote.kit import script
from remote.scripts import Trouble
from remote.served import ScriptedServer

KINDS = ("vllm", "old vllm", "sglang", "llamacpp", "text")

LITERALS = (
    "null", "true", "false", "0", "-1", "1", "1.5", "-0.0", "1e400", "-1e400", "NaN", "Infinity", "-Infinity",
    "1e308", "-1e308", "279", "280", str(2**31), str(2**63), "-" + str(2**63), "9" * 400, "9" * 5000, '""', '"5"',
    '"token_id:7"', '"token_id:x"', '"token_id:-3"', '"\\ud800"', '"\\u0000"', '"' + "long " * 20_000 + '"',
    '"stop"', '"length"', '"abort"', '"content_filter"', "[]", "{}", "[null]", '["a"]', "[[1]]", "[1, 2, 3]",
    '{"a": 1}', '{"token_id:3": 5}', '{"x": null}', "[" * 20_000 + "]" * 20_000,
)  # fmt: skip
"""What stands in the place of a value."""

BYTES = (
    b"\xff\xfe",
    b"\0",
    b"\n",
    b"\n\n",
    b"\r",
    b"data: ",
    b"\xed\xa0\x80",
    b'"',
    b"{",
    b"}}",
    b"\\u",
    b"\xef\xbb\xbf",
    b"[DONE]",
)


def broken(text: str, draws: random.Random) -> bytes:
    """Return an answer that no server should give."""
    how = draws.randrange(6)
    if how < 4 and (changed := _changed(text, draws)) is not None:
        return changed.encode()
    raw = text.encode()
    at = draws.randrange(len(raw) + 1)
    if how == 4:
        return raw[:at]
    return raw[:at] + draws.choice(BYTES) + raw[at + draws.randrange(8) :]


def _changed(text: str, draws: random.Random) -> str | None:
    """Give a place in a JSON document another value, or no value, or two."""
    try:
        document = json.loads(text)
    except ValueError:
        return None
    holder, key = draws.choice([*_places(document), ({"": document}, "")])
    if key == "":
        return draws.choice(LITERALS)
    literal = draws.choice(LITERALS)
    match draws.randrange(4):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, dict):
            value = json.dumps(holder.pop(key))
            pair = [f"{json.dumps(key)}: {value}", f"{json.dumps(key)}: {literal}"]
            draws.shuffle(pair)
            holder["@@"] = 0
            return json.dumps(document).replace('"@@": 0', ", ".join(pair))
        case _:
            holder[key] = "@@"
    return json.dumps(document).replace('"@@"', literal)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every place in a document, as what holds it and its key there."""
    entries = list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ())
    for key, inner in entries[:6]:
        yield value, key
        yield from _places(inner)


class BrokenServer(ScriptedServer):
    """Breaks its `first`-th answer, or line of a stream, and all after it if it `goes_on` so."""

    def __init__(self, draws: random.Random, first: int, goes_on: bool, kind: str):
        super().__init__(script(), kind)
        self._draws, self._first, self._goes_on = draws, first, goes_on
        self.answers = 0

    def _mutated(self, text: str) -> bytes:
        self.answers += 1
        here = self.answers > self._first if self._goes_on else self.answers == self._first + 1
        return broken(text, self._draws) if here else text.encode()

    async def _connected(self, reader: StreamReader, writer: StreamWriter) -> None:
        with contextlib.suppress(AssertionError):  # a reply that was broken led away from the script
            await super()._connected(reader, writer)
        writer.close()

    def _document(self, writer: StreamWriter, status: int, kind: str, text: str, extra: str = "") -> None:
        body = self._mutated(text)
        writer.write(
            f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n{extra}\r\n".encode()
        )
        writer.write(body)

    async def _parts(
        self, lines: Iterator[tuple[int, dict[str, Any]]], trouble: Trouble | None
    ) -> AsyncIterator[bytes]:
        for tokens, line in lines:
            self.served.written += tokens
            yield b"data: " + self._mutated(json.dumps(line)) + b"\n\n"
        yield b"data: [DONE]\n\n"
