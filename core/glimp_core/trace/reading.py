"""From lines back to events."""

import json
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


@dataclass(slots=True)
class Run:
    """One request of a trace: its `head`, its `events`, and where it did not come to its end, how it `broke`."""

    head: Head
    events: list[Event] = field(default_factory=list[Event])
    broken: Broken | None = None

    @property
    def finished(self) -> bool:
        """Whether the request came to its end."""
        return isinstance(self.events[-1], Finish)

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


def load(path: str | PathLike[str]) -> list[Run]:
    """Return the requests of a trace, in the order of their beginnings.

    A last line that was cut short, as by a crash, is passed over. Raises `ConfigError` for a file that cannot be
    read, is no trace, or is of a later schema.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the trace {str(path)!r} cannot be read: {error}") from error
    written = text.split("\n")
    cut = written.pop()  # what comes after the last newline: nothing, or a line that was never finished
    runs = _runs(path, [*enumerate(written, 1)])
    if not runs:
        raise ConfigError(f"{str(path)!r} is no trace of Glimp: {'it is cut short' if cut else 'it is empty'}")
    return runs


def _runs(path: str | PathLike[str], written: Iterable[tuple[int, str]]) -> list[Run]:
    runs: dict[str, Run] = {}
    for number, text in written:
        if not text.strip():
            continue
        line = _line(text, f"{str(path)!r}, line {number}")
        if isinstance(line, Head):
            runs[line.run] = Run(line)
        if line.run not in runs:
            raise ConfigError(f"{str(path)!r}, line {number}: the start of request {line.run} is not in this file")
        runs[line.run].add(line)
    return list(runs.values())


def _line(text: str, where: str) -> TraceLine:
    try:
        return line_adapter.validate_json(text)
    except ValidationError as error:
        if (schema := _schema(text)) not in (None, SCHEMA):
            raise ConfigError(f"{where} is of schema {schema!r}, this Glimp reads {SCHEMA}: update it") from error
        problem = error.errors(include_url=False)[0]
        at = ".".join(map(str, problem["loc"])) or "line"
        raise ConfigError(f"{where} is no line of a trace: {at}: {problem['msg']}") from error


def _schema(text: str) -> object:
    try:
        line = json.loads(text)
    except ValueError:
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
