"""The values that travel through Glimp: what is asked, what an engine says, what happened.

All of them are frozen and free of torch. Counts are tokens, durations are seconds, entropies are nats.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from typing import Any, Literal, TypeAlias

from glimp_core.entropy import TokenMeasure
from glimp_core.errors import ConfigError, shown


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of an offered tool, with its arguments decoded."""

    id: str
    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class InvalidToolCall:
    """What was meant as a tool call and cannot be one: its raw `arguments`, and the `error` in words."""

    id: str
    name: str
    arguments: str
    error: str


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of tool call number `index` of a reply.

    The first piece has the `id` and the `name`, the following ones fragments of the `arguments` as JSON text,
    the last one the finished `call`.
    """

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""
    call: ToolCall | InvalidToolCall | None = None


Message: TypeAlias = Mapping[str, Any]
"""One chat message, OpenAI-shaped: `role`, `content`, and where they apply `name`, `tool_calls`,
`tool_call_id` and `reasoning_content`."""

Role = Literal["small", "large"]
"""Which of the two models: a type here, the attribute `engine` of decisions, deltas and steps."""

Phase = Literal["thinking", "inline", "answer"]
"""What a step is part of: the chain of thought, a visible reply that is routed, or the answer."""

ThinkingStyle = Literal["open", "closed", "none"]
"""How a rendered prompt stands to thinking: it ends inside an open tag, past a closed one, or the
model has no such tag."""

FinishReason = Literal["stop", "length", "tool_calls"]
StepEnd = Literal["break", "close", "eos", "length", "stop", "failure"]
"""What ended one engine call: a paragraph break, the closing think tag, an end-of-sequence token,
the token limit, a stop string, or a failure after which the other model goes on."""

ThinkingEnd = Literal["close", "eos", "budget", "repetition"]
"""What ended the routed steps: the models themselves (`close`, `eos`), the token budget, or a chain
that went in circles."""

Entropy = Literal["full", "top20"]
"""Which quantity an entropy is: of the whole vocabulary, or of the 20 likeliest tokens renormalised."""


TEMPERATURES = "0 (greedy) or a number of 1e-10 or more, and no infinite one"
LONGEST_STOP = 1_000_000
"""How many characters stop strings may have together: each takes some memory."""


def _stop_strings(stop: object) -> tuple[str, ...]:
    """Return stop strings as a tuple, empty ones left out. Raises `ConfigError` for anything else."""
    listed = (stop,) if isinstance(stop, str) else () if stop is None else stop
    if not isinstance(listed, list | tuple | set | frozenset) or not all(isinstance(text, str) for text in listed):
        raise ConfigError(f"stop={shown(stop)} cannot work: it must be a string or a list of strings")
    if (size := sum(map(len, listed))) > LONGEST_STOP:
        raise ConfigError(f"stop has {size} characters: give at most {LONGEST_STOP} together")
    return tuple(text for text in listed if text)


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How to draw tokens; `None` leaves a field to the router, then to the model's generation_config.

    `max_tokens` bounds the answer, not the thinking; `max_completion_tokens` bounds both together. `temperature=0` is
    greedy. A `seed` makes sampling deterministic, whatever else runs beside it. Raises `ConfigError` on impossible
    values.
    """

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    max_completion_tokens: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "stop", _stop_strings(self.stop))
        self._require("temperature", Real, lambda value: value == 0 or 1e-10 <= value <= 1e10, TEMPERATURES)
        self._require("top_p", Real, lambda value: 1e-10 <= value <= 1, "a number over 0 (from 1e-10 on) and at most 1")
        self._require("top_k", Integral, lambda value: value >= 0, "a whole number, 0 (off) or more")
        self._require("max_tokens", Integral, lambda value: value > 0, "a whole number, 1 or more")
        self._require("max_completion_tokens", Integral, lambda value: value > 0, "a whole number, 1 or more")
        self._require("seed", Integral, lambda value: True, "a whole number")

    def over(self, below: "SamplingParams") -> "SamplingParams":
        """Return these parameters with the unset ones taken from `below`."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return SamplingParams(**{k: getattr(below, k) if v in (None, ()) else v for k, v in values.items()})

    def _require(self, name: str, kind: type, fine: Callable[[Any], bool], rule: str) -> None:
        value = getattr(self, name)
        wrong = isinstance(value, bool) or not (isinstance(value, kind) and fine(value))
        if value is not None and wrong:
            raise ConfigError(f"{name}={shown(value)} cannot work: it must be {rule}")


@dataclass(frozen=True, slots=True)
class Request:
    """One question to the pair: messages, and what is demanded of the reply.

    `parallel_tool_calls` None means one call where a call is demanded, any number else; `lenient_tool_calls` lets a
    reply count as calls that is nothing but calls, but lacks the marks of the model's own markup. `left_out` names what
    stood in the messages and no model can read.
    """

    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...] = ()
    tool_choice: str | bool | Mapping[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: Mapping[str, Any] | None = None
    sampling: SamplingParams = SamplingParams()
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    logprobs: bool = False
    lenient_tool_calls: bool = True
    left_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.messages:
            raise ConfigError("messages is empty: pass at least one message with a role and a content")
        for message in self.messages:
            if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
                raise ConfigError(f"a message must be a dict with a 'role' and a 'content', got {shown(message)}")


def zero() -> int:
    """Return the length of an answer that may be empty."""
    return 0


@dataclass(frozen=True, slots=True)
class Prompt:
    """What an engine makes of a request: its size in this model's tokens, and where thinking stands.

    `shortest_answer` tells how many tokens the answer needs at least where its form is demanded; it is asked of the
    model that writes the answer alone, for finding out takes time. `can_think` says that thinking is closed or left
    out in the prompt, and could be switched on.
    """

    tokens: int
    window: int
    thinking: ThinkingStyle
    shortest_answer: Callable[[], int] = zero
    can_think: bool = False


@dataclass(frozen=True, slots=True)
class ModelUsage:
    """What one model did: forwards, tokens by kind and seconds by part. Adds up with `+`.

    `prefill_tokens` were read in chunks, `decode_tokens` one a forward; `drafted_tokens` were proposed by the other
    model, or by a server's own drafter, and `accepted_tokens` of them kept; `cached_tokens` of the prompt were found in
    the cache. `sent_tokens` are those of all prompts that a server was sent, each time anew, and `sent_cached_tokens`
    what it says to have found of them in its cache; both are 0 for a model in this process.
    """

    forwards: int = 0
    glimpses: int = 0
    cached_tokens: int = 0
    prefill_tokens: int = 0
    decode_tokens: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0
    sent_tokens: int = 0
    sent_cached_tokens: int = 0

    @property
    def seconds(self) -> float:
        """Time inside this model's forwards and sampling."""
        return self.prefill_seconds + self.decode_seconds

    def __add__(self, other: "ModelUsage") -> "ModelUsage":
        return ModelUsage(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


@dataclass(frozen=True, slots=True)
class Glimpse:
    """The small model's view of one step's first token: `entropy` in nats, of which `definition`.

    `text` is the likeliest first token, with its `probability`; `margin` is its lead over the second.
    """

    entropy: float
    definition: Entropy = "full"
    text: str = ""
    probability: float = 0.0
    margin: float = 0.0
    usage: ModelUsage = ModelUsage()


@dataclass(frozen=True, slots=True)
class Decision:
    """What a policy makes of a glimpse: who writes the step, and why in a few words.

    `threshold` is the entropy that the glimpse was compared with, in nats, None where it was not.
    """

    intervene: bool
    reason: str = ""
    threshold: float | None = None

    @property
    def engine(self) -> Role:
        """The model that writes the step."""
        return "large" if self.intervene else "small"

    @property
    def writer(self) -> Role:
        """The same, by its earlier name."""
        return self.engine


@dataclass(frozen=True, slots=True)
class GenerationParams:
    """What one engine call writes: one step (`stepwise`, up to a paragraph break) or all that is left."""

    phase: Phase
    max_tokens: int
    stepwise: bool = True
    sampling: SamplingParams = SamplingParams()
    index: int = 0
    """The number of this step in its request: part of the seed, so that every step has its own draws."""
    logprobs: bool = False
    """Have chunks say how sure the model was of their tokens; a local engine that writes alone can."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of text with the ids that spell it, and what the call has used so far.

    `drafting` is what a drafting model has used for it, `measure` is there where it was asked for. The last chunk of
    a call says what `end`ed it. Ids of control tokens come with no text, and so do those of a tool call, whose
    pieces are in `tool_call`.
    """

    text: str
    token_ids: tuple[int, ...] = ()
    usage: ModelUsage = ModelUsage()
    end: StepEnd | None = None
    tool_call: ToolCallDelta | None = None
    drafting: ModelUsage = ModelUsage()
    measure: TokenMeasure | None = None
    thought: bool = False
    """The text is part of a thought that stands in the answer; it is reported with the thinking."""


@dataclass(frozen=True, slots=True)
class Step:
    """One finished step: the routed steps and, last, the answer. `tokens` counts every id written."""

    index: int
    phase: Phase
    engine: Role
    text: str
    tokens: int
    seconds: float
    end: StepEnd
    entropy: float | None = None
    usage: ModelUsage = ModelUsage()
    drafting: ModelUsage = ModelUsage()
    """What the small model used to draft for this step."""


History: TypeAlias = Sequence[Step]
"""The steps written so far in this request, oldest first."""
