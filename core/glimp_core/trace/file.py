"""Writing of traces: events become lines."""

import errno
import json
import os
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path
from typing import Any

from glimp_core.errors import ConfigError
from glimp_core.events import Event, Finish, Routed, Start
from glimp_core.tap import Asked
from glimp_core.trace.schema import Broken, Called, Finished, Glimpsed, Head, Line, Written
from glimp_core.types import InvalidToolCall, Step, ToolCall, ToolCallDelta


@dataclass(frozen=True, slots=True)
class TraceFile:
    """A tap that appends every request to a file: one line for each event, each in one write.

    Several threads and processes may write to one file. With `redact=True` no text of the prompt or of the models is
    written: no question, text, tool name, argument, reason or error message, only figures. Raises `ConfigError` at once
    if the file cannot be written.
    """

    path: str | PathLike[str]
    redact: bool = False

    def __post_init__(self) -> None:
        try:
            with Path(self.path).open("ab"):
                pass
        except OSError as error:
            raise ConfigError(f"the trace cannot be written to {str(self.path)!r}: {error.strerror}") from error

    def __call__(self, asked: Asked, events: Generator[Event, None, None]) -> Generator[Event, None, None]:
        """Write each event and yield it. A request that fails before its first event has no line."""
        begun = finished = False
        try:
            for event in events:
                begun, whole = False, begun  # after a failed line, its request gets no more lines
                for line in lines(asked, event):
                    self._append(redacted(line) if self.redact else line)
                begun, finished = whole or isinstance(event, Start), isinstance(event, Finish)
                yield event
        except GeneratorExit:
            if begun and not finished:
                self._append(Broken(run=asked.id, error="closed"))
            raise
        except BaseException as error:
            if begun:
                broken = Broken(run=asked.id, error=type(error).__name__, message=str(error))
                self._append(redacted(broken) if self.redact else broken)
            raise
        finally:
            if close := getattr(events, "close", None):
                close()

    def _append(self, line: Line) -> None:
        text = json.dumps(line.document(), ensure_ascii=False) + "\n"
        file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            # one write, so that lines of other threads and processes are before it or after it
            written = (b"" if _ends_whole(file) else b"\n") + text.encode(errors="replace")
            if (count := os.write(file, written)) < len(written):
                raise OSError(errno.ENOSPC, f"{count} of {len(written)} bytes were written")
        finally:
            os.close(file)


def _ends_whole(file: int) -> bool:
    """Whether a file is empty, ends with a whole line, or cannot be read back, as a pipe."""
    try:
        size = os.fstat(file).st_size
        return not size or os.pread(file, 1, size - 1) == b"\n"
    except (OSError, AttributeError):  # Windows has no pread: a reader finds the lines apart all the same
        return True


def lines(asked: Asked, event: Event) -> Iterator[Line]:
    """Return the lines of an event of a request: none or one."""
    match event:
        case Start():
            yield _head(asked, event)
        case Routed():
            yield Glimpsed(run=asked.id, routed=event)
        case Step():
            yield Written(run=asked.id, step=event)
        case ToolCallDelta(index=index, call=call) if call is not None:
            yield Called(run=asked.id, index=index, call=call)
        case Finish():
            yield Finished(run=asked.id, finish=event)
        case _:
            pass  # the text of deltas is in their step


def redacted(line: Line) -> Line:
    """Return a line without any text of users and models."""
    match line:
        case Head():
            return line.model_copy(update={"question": None})
        case Glimpsed(routed=routed):
            glimpse, decision = replace(routed.glimpse, text=""), replace(routed.decision, reason="")
            return line.model_copy(update={"routed": replace(routed, glimpse=glimpse, decision=decision)})
        case Written(step=step):
            return line.model_copy(update={"step": replace(step, text="")})
        case Called(call=call):
            return line.model_copy(update={"call": _unnamed(call)})
        case Broken():
            return line.model_copy(update={"message": ""})
        case _:
            return line


def _head(asked: Asked, start: Start) -> Head:
    return Head(
        run=asked.id,
        time=datetime.now(UTC),
        small=asked.small,
        large=asked.large,
        policy=repr(asked.policy),
        entropy=asked.config.entropy,
        on_tie=asked.config.intervene_on_tie,
        question=asked.question,
        start=start,
    )


def _unnamed(call: ToolCall | InvalidToolCall) -> Any:
    if isinstance(call, ToolCall):
        return ToolCall(call.id, "", {})
    return InvalidToolCall(call.id, "", "", "")
