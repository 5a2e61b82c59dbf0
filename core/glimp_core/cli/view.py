"""A reply in the terminal: each step in the colour of its writer, after its entropy."""

import json
import sys
from types import TracebackType

from rich.console import Console
from rich.segment import Segment, Segments
from rich.style import Style

from glimp_core.cli.exits import say
from glimp_core.cli.settings import Settings
from glimp_core.completion import Completion
from glimp_core.events import Delta, Event, Routed, Start
from glimp_core.types import Role, Step, ToolCall, ToolCallDelta
from glimp_core.views.columns import without_text
from glimp_core.views.terminal import COLOURS, inert, line, totals

DIM = Style(dim=True)
STYLES = {role: Style(color=colour) for role, colour in COLOURS.items()}


class View:
    """Writes a reply to a console. As a context manager it leaves the cursor at the start of a line."""

    def __init__(self, console: Console):
        self.console = console
        self._step = -1
        self._called = False
        self._at_margin = True
        self._told: set[str] = set()

    @classmethod
    def of(cls, settings: Settings) -> "View":
        """Return the view for stdout. With --json stdout has only the document, and a terminal's stderr the reply."""
        if settings.json:
            return cls(Console(stderr=True, quiet=not sys.stderr.isatty()))
        return cls(Console())

    def pair(self, settings: Settings) -> None:
        """Write the names of the two models, each in its colour."""
        for writer, name in zip(COLOURS, settings.pair, strict=True):
            self.write(f"{writer} {name}", STYLES[writer])
            self.write("  " if writer == "small" else "\n\n")

    def show(self, event: Event) -> None:
        """Show one event."""
        if isinstance(event, Start):
            self._step, self._called = -1, False
            for note in event.notes:
                self._tell(note)
        elif isinstance(event, Routed):
            self._head(event.index, f"H {event.glimpse.entropy:5.2f}", event.decision.engine)
        elif isinstance(event, Delta) and event.text:
            self._head(event.index, event.phase, event.engine)
            self.write(event.text, STYLES[event.engine])
        elif isinstance(event, ToolCallDelta):
            self._call(event)
        elif isinstance(event, Step) and not event.text and not self._called:
            self.write(f"({without_text(event)})", DIM)

    def write(self, text: str, style: Style | None = None) -> None:
        """Write text unchanged, except for control characters: it is not wrapped, and markup is not interpreted."""
        self.console.print(Segments([Segment(inert(text, kept="\n\t"), style)]), end="", soft_wrap=True)
        self._at_margin = text.endswith("\n")

    def close(self, done: Completion) -> None:
        """Show the table after a reply."""
        self.write("\n")
        self.console.print(totals(done))

    def note(self, done: Completion) -> None:
        """Show the summary line after a reply."""
        self.write(line(done) + "\n\n", DIM)

    def __enter__(self) -> "View":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._at_margin:
            self.write("\n")

    def _head(self, index: int, label: str, writer: Role) -> None:
        if index == self._step:
            return
        self._step = index
        if not self._at_margin:
            self.write("\n")
        self.write(f"{label:8} {writer} ▏", DIM)

    def _call(self, delta: ToolCallDelta) -> None:
        """Show a complete call on a separate line: its name, and its arguments as JSON."""
        if delta.call is None:
            return
        self._called = True
        if not self._at_margin:
            self.write("\n")
        arguments = delta.call.arguments
        written = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
        label = "call" if isinstance(delta.call, ToolCall) else "no call"
        self.write(f"{label:8} ", DIM)
        self.write(f"{delta.call.name} {written}\n")

    def _tell(self, note: str) -> None:
        if note not in self._told:
            say(f"note: {note}")
            self._told.add(note)
