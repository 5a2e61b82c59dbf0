"""The events of one reply as OpenAI's documents: chunks of a stream, or one complete document.

A chunk is written for each token. So a chunk of text is not serialised as a whole: only its text is serialised, and is
put between two strings that are the same for all chunks of a step.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Protocol

from glimp_core.completion import Completion
from glimp_core.events import Delta, Event, Finish, Start
from glimp_core.figures import Usage
from glimp_core.serve.line_tap import LineTap
from glimp_core.types import InvalidToolCall, ToolCall, ToolCallDelta

Document = dict[str, Any]
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
DONE = b"data: [DONE]\n\n"
HOLE = "\x00"
"""Stands for the text in a chunk that is serialised once for many texts. No other field of a chunk has this value."""


@dataclass(frozen=True, slots=True)
class ReplyHead:
    """The fields with which every document of a reply begins."""

    id: str
    created: int
    model: str

    def document(self, kind: str) -> Document:
        """Return the first fields of a document."""
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


@dataclass
class CallPieces:
    """The part of a tool call that has been written."""

    id: str = ""
    name: str = ""
    arguments: str = ""
    call: ToolCall | InvalidToolCall | None = None

    def add(self, delta: ToolCallDelta) -> str:
        """Add a piece and return the arguments that it adds.

        An invalid call is completed with the text that its deltas did not have.
        """
        arguments = delta.arguments
        if isinstance(delta.call, InvalidToolCall) and delta.call.arguments.startswith(self.arguments + arguments):
            arguments = delta.call.arguments.removeprefix(self.arguments)
        self.id, self.name = self.id or delta.id, self.name or delta.name
        if delta.call:
            self.call = delta.call
            self.id, self.name = self.id or delta.call.id, self.name or delta.call.name
        self.arguments += arguments
        return arguments

    def document(self) -> Document:
        """Return the whole call."""
        function = {"name": self.name, "arguments": self.arguments}
        return {"id": self.id, "type": "function", "function": function}


@dataclass
class ReplyFigures:
    """The events of a reply that its end needs: all except the deltas of text."""

    events: list[Event] = field(default_factory=list[Event])
    calls: dict[int, CallPieces] = field(default_factory=dict[int, CallPieces])

    @cached_property
    def completion(self) -> Completion:
        """The reply as one object, after its last event."""
        return Completion.fold(self.events)

    def finished(self, lines: Sequence[Document] | None = None) -> Document:
        """Return the `glimp` object of a complete reply."""
        invalid = [
            {"index": index, "id": pieces.id, "name": pieces.name, "error": pieces.call.error}
            for index, pieces in sorted(self.calls.items())
            if isinstance(pieces.call, InvalidToolCall)
        ]
        return {
            "summary": asdict(self.completion.summary()),
            **({"invalid_tool_calls": invalid} if invalid else {}),
            **({} if lines is None else {"lines": list(lines)}),
        }

    def usage(self) -> Document:
        """Return OpenAI's usage."""
        return usage_document(self.completion.usage)


class ReplyWriter(Protocol):
    """Converts the events of one reply, one after the other, to the bytes for the client."""

    figures: ReplyFigures

    def push(self, event: Event) -> bytes:
        """Add the next event and return the bytes to send now, which may be empty."""
        ...


def usage_document(usage: Usage) -> Document:
    """Return usage in OpenAI's form, with the cost if there are prices. Thinking is part of the completion."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        **({"cost": usage.cost.total, "cost_details": asdict(usage.cost)} if usage.cost else {}),
    }


def logprob_document(delta: Delta) -> Document | None:
    """Return the log-probability of the token of a delta, None if it was not measured."""
    if delta.measure is None:
        return None
    written = {"token": delta.text, "logprob": -delta.measure.surprisal, "bytes": list(delta.text.encode())}
    return {"content": [{**written, "top_logprobs": []}]}


class WholeWriter:
    """Writes one `chat.completion` at the end of the reply."""

    def __init__(self, head: ReplyHead, tap: LineTap | None):
        self._head, self._tap = head, tap
        self.figures = ReplyFigures()
        self._thoughts: list[str] = []
        self._words: list[str] = []
        self._logprobs: list[Document] = []
        self._lines: list[Document] | None = [] if tap else None

    def push(self, event: Event) -> bytes:
        """Take the next event; the last one returns the completion."""
        if isinstance(event, Delta):
            self._text(event)
            return b""
        self.figures.events.append(event)
        if self._tap and self._lines is not None:
            self._lines += self._tap.lines(event)
        if isinstance(event, ToolCallDelta):
            self.figures.calls.setdefault(event.index, CallPieces()).add(event)
        return _encode(self._document(event)).encode("utf-8", "replace") if isinstance(event, Finish) else b""

    def _text(self, delta: Delta) -> None:
        if delta.phase == "thinking":
            self._thoughts.append(delta.text)
            return
        self._words.append(delta.text)
        if measured := logprob_document(delta):
            self._logprobs += measured["content"]

    def _document(self, finish: Finish) -> Document:
        content, thoughts = "".join(self._words), "".join(self._thoughts)
        calls = [pieces.document() for _, pieces in sorted(self.figures.calls.items())]
        message = {
            "role": "assistant",
            "content": content if content or not calls else None,
            "refusal": None,
            **({"reasoning_content": thoughts, "reasoning": thoughts} if thoughts else {}),
            **({"tool_calls": calls} if calls else {}),
        }
        logprobs = {"content": self._logprobs} if self._logprobs else None
        choice = {"index": 0, "message": message, "logprobs": logprobs, "finish_reason": finish.finish_reason}
        return {
            **self._head.document("chat.completion"),
            "choices": [choice],
            "usage": self.figures.usage(),
            "glimp": self.figures.finished(self._lines),
        }


class ChunkWriter:
    """Writes `chat.completion.chunk` events, as server-sent events, one for each delta."""

    def __init__(self, head: ReplyHead, tap: LineTap | None, include_usage: bool = False):
        self._head, self._tap, self._include_usage = head, tap, include_usage
        self.figures = ReplyFigures()
        self._frame_of: tuple[object, ...] = ()
        self._frame: list[str] = []

    def push(self, event: Event) -> bytes:
        """Add the next event and return its chunks."""
        if isinstance(event, Delta):
            return self._text(event) if event.text else b""
        self.figures.events.append(event)
        chunks = list(self._chunks(event))
        return b"".join(map(sent, chunks)) + (DONE if isinstance(event, Finish) else b"")

    def _text(self, delta: Delta) -> bytes:
        frame_of = (delta.index, delta.phase, delta.engine) if self._tap else (delta.phase,)
        if delta.measure and delta.phase != "thinking":
            return sent(self._chunk({"content": delta.text}, self._told(delta), logprobs=logprob_document(delta)))
        if frame_of != self._frame_of:
            names = ("reasoning_content", "reasoning") if delta.phase == "thinking" else ("content",)
            skeleton = sent(self._chunk(dict.fromkeys(names, HOLE), self._told(delta))).decode()
            self._frame_of, self._frame = frame_of, skeleton.split(_encode(HOLE))
        return _encode(delta.text).join(self._frame).encode("utf-8", "replace")

    def _told(self, delta: Delta) -> Document | None:
        """Return the step and the writer of a piece of text, for a stream with a trace."""
        return {"index": delta.index, "phase": delta.phase, "engine": delta.engine} if self._tap else None

    def _chunks(self, event: Event) -> Iterator[Document]:
        if isinstance(event, Start):
            yield self._chunk({"role": "assistant", "content": ""})
        for line in self._tap.lines(event) if self._tap else ():
            yield self._bare({"glimp": {"line": line}})
        if isinstance(event, ToolCallDelta) and (piece := self._call(event)):
            yield self._chunk({"tool_calls": [piece]})
        if isinstance(event, Finish):
            yield self._chunk({}, self.figures.finished(), event.finish_reason)
            if self._include_usage:
                yield self._bare({"usage": self.figures.usage()})

    def _call(self, delta: ToolCallDelta) -> Document | None:
        first = delta.index not in self.figures.calls
        pieces = self.figures.calls.setdefault(delta.index, CallPieces())
        arguments = pieces.add(delta)
        if first:
            function = {"name": pieces.name, "arguments": arguments}
            return {"index": delta.index, "id": pieces.id, "type": "function", "function": function}
        return {"index": delta.index, "function": {"arguments": arguments}} if arguments else None

    def _chunk(
        self,
        delta: Document,
        told: Document | None = None,
        finish_reason: str | None = None,
        logprobs: Document | None = None,
    ) -> Document:
        choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}
        return self._bare({"choices": [choice], **({"glimp": told} if told else {})})

    def _bare(self, fields: Document) -> Document:
        usage = {"usage": None} if self._include_usage else {}
        return {**self._head.document("chat.completion.chunk"), "choices": [], **usage, **fields}


def sent(document: Document) -> bytes:
    """Return a document as a server-sent event."""
    return f"data: {_encode(document)}\n\n".encode("utf-8", "replace")
