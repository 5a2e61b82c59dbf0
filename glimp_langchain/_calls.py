"""What one call asks for: messages and keyword arguments as demands on a router."""

import threading
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import dispatch_custom_event
from langchain_core.messages import BaseMessage

from glimp_core import Event, Routed
from glimp_core.deadline import deadline
from glimp_core.errors import unknown_name
from glimp_langchain._errors import langchain_errors
from glimp_langchain._messages import core_messages
from glimp_langchain._tools import response_format, tool_specs

if TYPE_CHECKING:
    from glimp_langchain.chat_models import ChatGlimp

FIELDS = (
    "model",
    "temperature",
    "top_p",
    "top_k",
    "max_tokens",
    "max_completion_tokens",
    "seed",
    "threshold",
    "policy",
    "reasoning",
    "reasoning_effort",
    "max_reasoning_tokens",
    "chat_template_kwargs",
    "logprobs",
    "timeout",
)
"""Fields of the model that a call may change."""

DEMANDS = ("tools", "tool_choice", "parallel_tool_calls", "response_format")
MEANINGLESS = ("stream", "stream_usage", "strict", "max_retries")
"""What LangChain sends to any model; `strict` goes along with tools and schemas."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call, checked: its keyword arguments win over the model's fields. Raises `ModelInvalidRequestError`."""

    model: "ChatGlimp"
    messages: list[dict[str, Any]]
    options: dict[str, Any]

    @classmethod
    def of(
        cls, model: "ChatGlimp", messages: Sequence[BaseMessage], stop: list[str] | None, given: Mapping[str, Any]
    ) -> "Call":
        """Read what LangChain passes to `_generate` and `_stream`."""
        with langchain_errors():
            for name in given:
                if name not in (*FIELDS, *DEMANDS, *MEANINGLESS):
                    raise unknown_name("option", name, (*FIELDS, *DEMANDS))
            model = model.with_options({name: given[name] for name in FIELDS if name in given})
            demands = {name: given[name] for name in DEMANDS if given.get(name) is not None}
            if "tools" in demands:
                demands["tools"] = tool_specs(demands["tools"], given.get("strict"))
            if "response_format" in demands:
                demands["response_format"] = response_format(demands["response_format"], given.get("strict"))
            return cls(model, core_messages(messages), {**demands, **_routing(model, stop)})

    def events(self, cancelled: threading.Event) -> Generator[Event, None, None]:
        """Run the call; the models stop within a token when this is closed, `cancelled` is set or time is over."""
        with langchain_errors(), deadline(self.model.timeout, cancelled):
            stream = self.model.active_router.stream(self.messages, **self.options, cancelled=cancelled)
            with closing(stream):
                yield from _told(stream) if self.model.step_events else stream


def _routing(model: "ChatGlimp", stop: list[str] | None) -> dict[str, Any]:
    """Return what a router's `stream` is to be told besides what is asked."""
    return {
        "sampling": model.sampling(stop or ()),
        "policy": model.routing_policy(),
        "chat_template_kwargs": model.chat_template_kwargs,
        "logprobs": model.logprobs,
    }


def _told(events: Iterable[Event]) -> Iterator[Event]:
    """Tell the run that the model is called in of each routed step, when it is decided; pass all events on."""
    for event in events:
        if isinstance(event, Routed):
            step = {"step": event.index, "model": event.decision.engine, "entropy": event.glimpse.entropy}
            with suppress(RuntimeError):  # LangChain's answer where there is no such run
                dispatch_custom_event("glimp_step", step)
        yield event
