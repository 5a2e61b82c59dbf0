"""Reading of traces: lines become events."""

import json
import logging
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

from pydantic import ValidationError

from glimp_core.completion import Completion
from glimp_core.errors import ConfigError
from glimp_core.events import Delta, Event, Finish
from glimp_core.trace.schema import SCHEMA, Broken, Called, Finished, Glimpsed, Head, TraceLine, Written, line_adapter
from glimp_core.types import Step, ToolCallDelta

log = logging.getLogger("glimp.trace")

BEGINNING = re.compile(r'\{"glimp": ?\d+, ?"run": ?"')
RUN = re.compile(r'"run": ?"([^"\\]+)')


@dataclass(slots=True)
class Run:
    """One request of a trace: its `head`, its `events`, and `broken` if it did not complete."""

    head: Head
    events: list[Event] = field(default_factory=list[Event])
    broken: Broken | None = None

    @property
    def finished(self) -> bool:
        """Whether the request completed."""
        return isinstance(self.events[-1], Finish)

    @property
    def gapless(self) -> bool:
        """Whether no step is missing between those that are there."""
        return all(n == step.index for n, step in enumerate(event for event in self.events if isinstance(event, Step)))

    @property
    def completion(self) -> Completion:
        """The fold of the events; of a request that did not come to its end, what there was until then."""
        if self.finished:
            return Completion.fold(self.events)
        seconds = sum(event.seconds for event in self.events if isinstance(event, Step))
        return Completion.fold([*self.events, Finish("length", None, seconds)])

    def add(self, line: TraceLine) -> None:
        """Take the next line of this request."""
        if isinstance(line, Broken):
            self.broken = line
        else:
            self.events += _events(line)


def load(path: str | PathLike[str], problems: list[str] | None = None) -> list[Run]:
    """Return the requests of a trace, in the order of their start.

    An incomplete last line, for example after a crash, is ignored. If another line cannot be read, only its request is
    left out: `problems` gets a message, or the log if it is None. Raises `ConfigError` for a file that cannot be read,
    that has no complete request, or that has a later schema.
    """
    try:
        written = Path(path).read_bytes().split(b"\n")
    except OSError as error:
        raise ConfigError(f"the trace {str(path)!r} cannot be read: {error.strerror}") from error
    cut = written.pop()  # what comes after the last newline: nothing, or a line that was never finished
    found: list[str] = []
    runs = _runs(path, written, found)
    if not runs and found:
        raise ConfigError(found[0])
    if not runs:
        raise ConfigError(f"{str(path)!r} is no trace of Glimp: {'it is cut short' if cut else 'it is empty'}")
    for problem in found if problems is None else ():
        log.warning(problem)
    if problems is not None:
        problems += found
    return runs


def _runs(path: str | PathLike[str], written: Iterable[bytes], problems: list[str]) -> list[Run]:
    runs: dict[str, Run] = {}
    lost: set[str] = set()
    for number, raw in enumerate(written, 1):
        where = f"{str(path)!r}, line {number}"
        for text in _parted(raw):
            try:
                line = _line(text, where)
            except _Unreadable as unreadable:
                found = RUN.search(text)  # the name may be cut short, too
                named = [name for name in runs if found and name.startswith(found[1])] or ["it belongs to"]
                lost |= set(named)
                problems.append(f"{unreadable}; the request {', '.join(named)} is left out")
                continue
            if isinstance(line, Head):
                runs[line.run] = Run(line)
            elif line.run not in runs and line.run not in lost:
                lost.add(line.run)
                problems.append(f"{where}: the start of request {line.run} is not in this file; it is left out")
            if line.run in runs:
                runs[line.run].add(line)
    return [run for name, run in runs.items() if name not in lost and (not problems or run.gapless)]


def _parted(raw: bytes) -> list[str]:
    """Return the texts of a line: one, or several if one was cut short and others were appended to it."""
    text = raw.decode(errors="surrogateescape")
    if not text.strip():
        return []
    # in JSON a quotation mark inside a string is escaped, so this can only be the beginning of a line
    starts = [found.start() for found in BEGINNING.finditer(text)]
    if len(starts) < 2:
        return [text]
    return [text[start:end] for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]


class _Unreadable(ConfigError):
    """A line that is none of a trace."""


def _line(text: str, where: str) -> TraceLine:
    try:
        return line_adapter.validate_json(text.encode(errors="surrogateescape"))
    except ValidationError as error:
        if (schema := _schema(text)) not in (None, SCHEMA):
            raise ConfigError(f"{where} is of schema {schema!r}, this Glimp reads {SCHEMA}: update it") from error
        problem = error.errors(include_url=False)[0]
        at = ".".join(map(str, problem["loc"])) or "line"
        raise _Unreadable(f"{where} is no line of a trace: {at}: {problem['msg']}") from error


def _schema(text: str) -> object:
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return line.get("glimp") if isinstance(line, dict) else None


def _events(line: TraceLine) -> Iterator[Event]:
    match line:
        case Head(start=start):
            yield start
        case Glimpsed(routed=routed):
            yield routed
        case Written(step=step):
            yield Delta(step.index, step.phase, step.engine, step.text, ())
            yield step
        case Called(index=index, call=call):
            yield ToolCallDelta(index, call=call)
        case Finished(finish=finish):
            yield finish
