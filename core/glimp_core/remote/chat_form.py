"""Servers with chat completions only. They get the chain as an incomplete message of the assistant and continue it."""

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from glimp_core.chat.formats.thinking import ThinkingMarkup
from glimp_core.chat.prompt.renderer import RenderedPrompt
from glimp_core.context import Context
from glimp_core.errors import ConfigError
from glimp_core.remote.client import TransientError
from glimp_core.remote.spelling import Spelling
from glimp_core.remote.wire import ChatPrompt, CompletionRequest

MARKUP_TOKENS = 64
"""The beginning of the assistant's message is searched in this many tokens at the end of a prompt."""


@dataclass(frozen=True, slots=True)
class Continuation:
    """One way to make a server continue the last message: fields of the request, and fields of that message."""

    request: Mapping[str, Any] = field(default_factory=dict[str, Any])
    message: Mapping[str, Any] = field(default_factory=dict[str, Any])


CONTINUATIONS = (
    Continuation(),
    Continuation(request={"continue_final_message": True, "add_generation_prompt": False}),
    Continuation(message={"prefix": True}),
)
"""llama.cpp and many hosts need no field. vLLM and SGLang need the second way, DeepSeek and Mistral the third."""

BROKEN_OFF = (
    ("Count from one to ten in words.", "One, two, three, four, five, six,", " seven"),
    ("Write down the days of the week.", "Monday, Tuesday, Wednesday,", " Thursday"),
)
"""A question, an incomplete answer, and its continuation. A new message would not begin with a space."""


class ChatForm:
    """Converts the requests of one server to chat completions, and their streams to those of completions."""

    def __init__(self, way: Continuation, spelling: Spelling, markup: ThinkingMarkup | None):
        self._way = way
        self._spelling = spelling
        self._markup = markup

    def prompt(self, context: Context, rendered: RenderedPrompt) -> ChatPrompt:
        """Return the conversation of a prompt. Raises `ConfigError` for tools: the server would parse the calls."""
        messages = context.request.messages
        if context.request.tools or any(message.get("tool_calls") or message["role"] == "tool" for message in messages):
            raise ConfigError(
                "the server of the large model has chat completions alone, with which Glimp cannot use tools: leave "
                "them out, or use a server with /v1/completions (vLLM, SGLang, llama.cpp)"
            )
        plain = tuple({"role": message["role"], "content": message.get("content") or ""} for message in messages)
        return ChatPrompt(plain, len(rendered.token_ids), self._opened(rendered))

    def _opened(self, rendered: RenderedPrompt) -> str:
        """Return the beginning of the assistant's message in the prompt: an open or a closed thinking block, or ""."""
        if self._markup is None or rendered.thinking == "none":
            return ""
        tail, start = self._spelling.text(rendered.token_ids[-MARKUP_TOKENS:]), self._markup.start.strip()
        _, opened, rest = tail.rpartition(start)
        return opened + rest

    def broken_off(self) -> Iterator[tuple[CompletionRequest, str]]:
        """Yield test requests with the beginning of the reply of a server that continues the last message."""
        starts = ["", f"{self._markup.start.strip()}\n"] if self._markup else [""]
        for start in starts:
            for question, broken, end in BROKEN_OFF:
                chat = ChatPrompt(({"role": "user", "content": question},), 0, start + broken)
                yield CompletionRequest((), 8, chat=chat), end

    def body(self, body: Mapping[str, Any], request: CompletionRequest, heals: bool) -> tuple[dict[str, Any], str]:
        """Return a request as chat, and the blank end of its last message, which the server has to write again.

        The blank end is not sent, because templates strip the ends of messages, and some servers refuse blank messages.
        """
        prompt = body["prompt"]
        chat = request.chat or ChatPrompt(({"role": "user", "content": self._spelling.text(prompt)},), len(prompt))
        text = chat.opened + self._spelling.text(prompt[chat.size :])
        kept = text.rstrip() if heals else text
        worded = {name: value for name, value in body.items() if name not in ("prompt", "logprobs")}
        worded["max_tokens"] += len(text) - len(kept)
        if not kept:
            return {**worded, "messages": list(chat.messages)}, ""
        last = {"role": "assistant", "content": kept, **self._way.message}
        return {**worded, **self._way.request, "messages": [*chat.messages, last]}, text[len(kept) :]

    async def completions(self, lines: AsyncGenerator[Any, None]) -> AsyncGenerator[Any, None]:
        """Yield the lines of a chat's stream as those of a completion.

        A thought that stands apart gets its end, and the end of a thought comes in one piece.
        """
        end, thinking, held = self._markup.end if self._markup else "", False, ""
        async with aclosing(lines) as all_lines:
            async for line in all_lines:
                choice = (line.get("choices") or [None])[0] if isinstance(line, dict) else None
                delta = choice.get("delta") if isinstance(choice, dict) else None
                if isinstance(choice, dict) and isinstance(delta, dict):
                    thought = delta.get("reasoning_content") or delta.get("reasoning") or ""
                    said = delta.get("content") or ""
                    if not isinstance(thought, str) or not isinstance(said, str):
                        raise TransientError("a line that cannot be read: its delta holds no text")
                    text = f"{held}{thought}{end if thinking and said else ''}{said}"
                    thinking = bool(thought or thinking) and not said
                    kept = len(text) if choice.get("finish_reason") else len(text) - _begun(end, text)
                    choice["text"], held = text[:kept], text[kept:]
                yield line


def _begun(end: str, text: str) -> int:
    """Return how many characters at the end of a text may be the beginning of a tag."""
    return next((size for size in range(min(len(end) - 1, len(text)), 0, -1) if end.startswith(text[-size:])), 0)
