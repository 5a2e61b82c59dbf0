r"""A scripted engine without weights and without torch: its texts and entropies are arguments.

    small = ScriptedEngine(steps=["Two and two.\n\n", "Four.</think>"], entropies=[0.1, 2.0])

It has the interface of a real engine, so it can test code that uses Glimp.
"""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from glimp_core.chat.prompt.messages import read_messages
from glimp_core.chat.request.requirements import OutputRequirements
from glimp_core.context import Context, Span
from glimp_core.entropy import TokenMeasure
from glimp_core.errors import Cancelled
from glimp_core.types import (
    Chunk,
    Entropy,
    GenerationParams,
    Glimpse,
    ModelUsage,
    Prompt,
    Request,
    StepEnd,
    ThinkingStyle,
    ToolCall,
    ToolCallDelta,
)

Reply = str | Sequence[ToolCall]

CLOSE = "</think>"


class ScriptedEngine:
    """Writes one of `steps` in each call, then `answer`. Glimpses have the `entropies` in order, and repeat the last.

    Each request starts the script again. The n-th step of a chain is `steps[n]`, independent of the writers of the
    earlier steps. A step that ends with "</think>" closes the thinking; a step after the last one closes it at once.
    `answer` is a text, tool calls, or a function of the request that returns one of these. Every character is a token.
    `history` has the calls, as (name, text of the chain). `error` is raised instead of token number `error_at` of a
    call.
    """

    def __init__(
        self,
        steps: Sequence[str] = (),
        answer: Reply | Callable[[Request], Reply] = "Done.",
        entropies: Sequence[float] = (0.0,),
        thinking: ThinkingStyle = "open",
        window: int = 32_768,
        name: str = "scripted",
        error: Exception | None = None,
        error_at: int = 0,
    ):
        self.name = name
        self.vocabulary = "characters"
        self.window = window
        self.history: list[tuple[str, str]] = []
        self._steps, self._answer, self._entropies = tuple(steps), answer, tuple(entropies)
        self._thinking: ThinkingStyle = thinking
        self._error, self._error_at = error, error_at
        self._lock = threading.Lock()

    def load(self) -> None:
        """Do nothing: there are no weights."""

    def prepare(self, context: Context) -> Prompt:
        """Count the characters of the messages and tools. Raises the errors of a real engine for invalid ones."""
        OutputRequirements.of_context(context)
        read_messages(context.request.messages)
        texts = [str(message.get("content") or "") for message in context.request.messages]
        tokens = sum(map(len, texts)) + sum(len(json.dumps(tool, default=str)) for tool in context.request.tools)
        closed = context.reasoning == "off" and self._thinking != "none"
        return Prompt(tokens, self.window, "closed" if closed else self._thinking)

    def glimpse(self, context: Context, definition: Entropy = "full") -> Glimpse:
        """Return the scripted entropy of the next step."""
        index = self._note("glimpse", context)
        entropy = self._entropies[min(index, len(self._entropies) - 1)]
        return Glimpse(entropy, definition, text=self._step(index)[:1], usage=ModelUsage(glimpses=1))

    def generate(self, context: Context, params: GenerationParams) -> Iterator[Chunk]:
        """Write the next step or the answer, one character in each chunk."""
        text, end, calls = self._script(context, params)
        written = min(len(text), params.max_tokens)
        for at, character in enumerate(text[:written]):
            if context.cancelled.is_set():
                raise Cancelled("the request was cancelled")
            if self._error and at == self._error_at:
                raise self._error
            usage = ModelUsage(forwards=at + 1, decode_tokens=at + 1)
            yield Chunk(character, (ord(character),), usage, measure=TokenMeasure() if params.logprobs else None)
        usage = ModelUsage(forwards=written, decode_tokens=written)
        for index, call in enumerate(calls):
            yield from (replace(chunk, usage=usage) for chunk in _tool_call_chunks(index, call))
        if written < len(text):
            yield Chunk("", (), usage, "length")
        else:
            yield Chunk("", (0,) if end in ("close", "eos") else (), usage, end)

    def _script(self, context: Context, params: GenerationParams) -> tuple[str, StepEnd, Sequence[ToolCall]]:
        """Return the output of the next call: its text, its end, and tool calls."""
        index = self._note("generate", context)
        if params.phase == "answer" or not params.stepwise:
            reply = self._answer(context.request) if callable(self._answer) else self._answer
            return (reply, "eos", ()) if isinstance(reply, str) else ("", "eos", reply)
        text, last = self._step(index), index >= len(self._steps)
        if params.phase == "thinking":
            return text.removesuffix(CLOSE), "close" if last or text.endswith(CLOSE) else "break", ()
        return text, "eos" if last else "break", ()

    def _note(self, call: str, context: Context) -> int:
        """Add a call to the history, and return the number of steps in the chain."""
        with self._lock:
            self.history.append((call, context.text))
        return sum(isinstance(link, Span) for link in context.spans)

    def _step(self, index: int) -> str:
        return self._steps[index] if index < len(self._steps) else ""


def _tool_call_chunks(index: int, call: ToolCall) -> Iterator[Chunk]:
    arguments = json.dumps(call.arguments, ensure_ascii=False)
    yield Chunk("", tool_call=ToolCallDelta(index, call.id, call.name))
    for character in arguments:
        yield Chunk("", (ord(character),), tool_call=ToolCallDelta(index, arguments=character))
    yield Chunk("", tool_call=ToolCallDelta(index, call=call))
