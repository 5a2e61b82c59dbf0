"""The values that the parts of Glimp exchange: requests, the output of engines, and steps.

All of them are immutable and import no torch. Counts are in tokens, durations in seconds, entropies in nats.
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
    """An invalid tool call: its raw `arguments`, and the `error` as text."""

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
"""One chat message in OpenAI's form: `role`, `content`, and optionally `name`, `tool_calls`, `tool_call_id` and
`reasoning_content`."""

Role = Literal["small", "large"]
"""Which of the two models. Decisions, deltas and steps have it as the attribute `engine`."""

Phase = Literal["thinking", "inline", "answer"]
"""The part of the reply that a step belongs to: the chain of thought, a routed visible reply, or the answer."""

ThinkingStyle = Literal["open", "closed", "none"]
"""Thinking in a rendered prompt: the prompt ends inside an open tag, after a closed tag, or the model has no tag."""

FinishReason = Literal["stop", "length", "tool_calls"]
StepEnd = Literal["break", "close", "eos", "length", "stop", "failure"]
"""What ended one engine call: a blank line, the closing think tag, an end-of-sequence token, the token limit, a stop
string, or a failure after which the other model continues."""

ThinkingEnd = Literal["close", "eos", "budget", "repetition"]
"""What ended the routed steps: the closing tag, the end of the sequence, the token budget, or repeated steps."""

Entropy = Literal["full", "top20"]
"""Which quantity an entropy is: of the whole vocabulary, or of the 20 likeliest tokens renormalised."""


TEMPERATURES = "0 (greedy) or a number of 1e-10 or more, and no infinite one"
LONGEST_STOP = 1_000_000
"""The most characters of all stop strings together: they use memory."""


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
    """Sampling parameters. A field that is None has the value of the router, or else of the model's generation_config.

    `max_tokens` limits the answer, not the thinking; `max_completion_tokens` limits both together. `temperature=0` is
    greedy. A `seed` makes sampling deterministic, independent of other requests. Raises `ConfigError` for invalid
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
    """One request to the pair: messages, and the requirements for the reply.

    `parallel_tool_calls` None means one call if a call is demanded, and any number otherwise. With
    `lenient_tool_calls`, a reply that contains only calls counts as calls if the markers of the model's markup are
    missing. `left_out` names parts of the messages that no model can read.
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
    """The rendered request of one engine: its number of tokens, the context window, and the state of thinking.

    `shortest_answer` returns the least number of tokens of a demanded answer. It is called only for the model that
    writes the answer, because it can be slow. `can_think` says that thinking is closed or missing in the prompt, and
    can be switched on.
    """

    tokens: int
    window: int
    thinking: ThinkingStyle
    shortest_answer: Callable[[], int] = zero
    can_think: bool = False


@dataclass(frozen=True, slots=True)
class ModelUsage:
    """The usage of one model: forwards, tokens by kind, and seconds by part. Two usages are added with `+`.

    `prefill_tokens` were read in chunks, `decode_tokens` one in each forward. `drafted_tokens` were proposed by the
    other model, or by a server's own drafter, and `accepted_tokens` of them were accepted. `cached_tokens` of the
    prompt were in the cache. `sent_tokens` are the tokens of all prompts that were sent to a server, each prompt in
    full, and `sent_cached_tokens` those of them that the server reports as cached. Both are 0 for a local model.
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
        """Seconds in this model's forwards and sampling."""
        return self.prefill_seconds + self.decode_seconds

    def __add__(self, other: "ModelUsage") -> "ModelUsage":
        return ModelUsage(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


@dataclass(frozen=True, slots=True)
class Glimpse:
    """The small model's prediction of a step's first token: its `entropy` in nats, by a `definition`.

    `text` is the likeliest first token, with its `probability`; `margin` is its probability less that of the second.
    """

    entropy: float
    definition: Entropy = "full"
    text: str = ""
    probability: float = 0.0
    margin: float = 0.0
    usage: ModelUsage = ModelUsage()


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision of a policy: which model writes the step, and a short reason.

    `threshold` is the entropy in nats with which the glimpse was compared, None if it was not compared.
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
    """What one engine call has to write: one step (`stepwise`, up to a blank line), or the whole rest."""

    phase: Phase
    max_tokens: int
    stepwise: bool = True
    sampling: SamplingParams = SamplingParams()
    index: int = 0
    """The number of this step in its request. It is part of the seed, so that each step has other random numbers."""
    logprobs: bool = False
    """Whether chunks have log-probabilities. Only a local engine that writes alone supports this."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of text with its token ids, and the usage of the call so far.

    `drafting` is the usage of the drafting model, `measure` has log-probabilities if they were requested. The last
    chunk of a call has its `end`. Ids of control tokens have no text. Ids of a tool call have no text either: its
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
    """The text is thinking inside the answer; it is reported as thinking."""


@dataclass(frozen=True, slots=True)
class Step:
    """One finished step. The last step of a reply is the answer. `tokens` counts all written ids."""

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
    """The usage of the small model as the drafter of this step."""


History: TypeAlias = Sequence[Step]
"""The steps of this request so far, oldest first."""
