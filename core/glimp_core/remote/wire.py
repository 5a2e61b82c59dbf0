"""The protocol as values: requests to /v1/completions, and the lines of their streams."""

import re
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from glimp_core.chat.tokens.vocabulary import Vocabulary
from glimp_core.errors import RemoteEngineError
from glimp_core.types import Message, SamplingParams

ID_PREFIX = "token_id:"
"""The prefix of a token id in vLLM, in fields where other servers have a token's text."""

MOST = 0.01
"""The highest log-probability that is accepted: 0, and some room for rounding."""

SHOWN = 200
"""The number of characters of an invalid line in an error."""


@dataclass(frozen=True, slots=True)
class ServerProfile:
    """The fields with which one kind of server returns token ids, keeps stop strings in the text, and enforces schemas.

    `keep_stop` is None for servers that always remove the stop string. `schema_field` is "" if a schema is passed as
    `response_format`. `lark` says that the server supports llguidance's Lark grammars. `hangs_up` says that the server
    closes the connection after a stream, although its headers say keep-alive: such a connection is not used again.
    """

    name: str
    ids: Mapping[str, Any] = field(default_factory=dict[str, Any])
    keep_stop: Mapping[str, Any] | None = None
    stop_token_ids: bool = False
    schema_field: str = ""
    lark: bool = False
    hangs_up: bool = False

    def schema(self, schema: Any) -> dict[str, Any]:
        """Return the fields that constrain a reply to a JSON schema."""
        if self.schema_field:
            return {self.schema_field: schema}
        form = {"name": "reply", "schema": schema, "strict": True}
        return {"response_format": {"type": "json_schema", "json_schema": form}}


def lark_grammar(grammar: str) -> dict[str, Any]:
    """Return the fields that constrain a reply to a Lark grammar."""
    return {"structured_outputs": {"grammar": grammar}}


VLLM = ServerProfile(
    "vllm",
    {"return_token_ids": True, "return_tokens_as_token_ids": True},
    {"include_stop_str_in_output": True},
    stop_token_ids=True,
    lark=True,
)
SGLANG = ServerProfile("sglang", {"return_token_ids": True}, {"no_stop_trim": True}, True)
LLAMACPP = ServerProfile(
    "llamacpp", {"logprobs": 1, "timings_per_token": True}, schema_field="json_schema", hangs_up=True
)
PLAIN = ServerProfile("openai")
PROFILES = {profile.name: profile for profile in (VLLM, SGLANG, LLAMACPP)}
"""Profiles by the owner that a server reports for its models. Unknown servers are treated as vLLM, as most gateways
are in front of it."""


Top: TypeAlias = tuple[tuple[int | str, float], ...]
"""The likeliest tokens at one position, by id or by text, with their log-probabilities, likeliest first."""

GREEDY = SamplingParams(temperature=0)


@dataclass(frozen=True, slots=True)
class ChatPrompt:
    """The conversation from which a prompt of `size` tokens was rendered, for a server that accepts only messages.

    `opened` is the beginning of the assistant's message in that prompt.
    """

    messages: tuple[Message, ...]
    size: int
    opened: str = ""


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """A request for at most `max_tokens` tokens after `token_ids`. `stop` or one of `stop_token_ids` ends it earlier.

    `logprobs` is the number of likeliest tokens to return, -1 for all. `bound` are the fields that constrain the reply;
    a constrained reply cannot be continued from its middle. `extra` is added to the request. `chat` is the
    conversation, for a server with chat completions only.
    """

    token_ids: Sequence[int]
    max_tokens: int
    sampling: SamplingParams = GREEDY
    index: int = 0
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    logprobs: int | None = None
    bound: Mapping[str, Any] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])
    chat: ChatPrompt | None = None

    def body(self, model: str, profile: ServerProfile, written: Sequence[int] = ()) -> dict[str, Any]:
        """Return the body of the request that continues after `written`, the tokens of an earlier attempt."""
        if self.bound:
            written = ()
        body: dict[str, Any] = {
            "model": model,
            "prompt": [*self.token_ids, *written],
            "max_tokens": self.max_tokens - len(written),
            "stream": True,
            "stream_options": {"include_usage": True},
            **profile.ids,
            **self._sampling_fields(len(written)),
            **(self.bound or {}),
            **self.extra,
        }
        if self.logprobs is not None:
            body["logprobs"] = self.logprobs
        if self.stop and profile.keep_stop is not None:
            body |= {"stop": list(self.stop), **profile.keep_stop}
        if self.stop_token_ids and profile.stop_token_ids:
            body["stop_token_ids"] = list(self.stop_token_ids)
        return body

    def _sampling_fields(self, written: int) -> dict[str, Any]:
        """Return the set sampling parameters. Each request of a reply has its own seed, else its draws would repeat."""
        sampling = self.sampling
        drawing = {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": sampling.top_k}
        if sampling.seed is not None:
            drawing["seed"] = (sampling.seed * 1_000_003 + self.index * 65_537 + written) % 2**31
        return {name: value for name, value in drawing.items() if value is not None}


@dataclass(frozen=True, slots=True)
class CompletionChunk:
    """One line of a stream: tokens, their text, and the finish reason, if it is the last one.

    `top` are the likeliest tokens at the position of the first token. `cached_tokens` of the prompt came from the
    server's prefix cache, None if the server does not report it. The server's own drafter has proposed `drafted_tokens`
    in this stream so far, of which `accepted_tokens` were accepted. `by_id` says that the ids are the server's own.
    `at` is the time of arrival (`time.perf_counter`).
    """

    token_ids: tuple[int, ...] = ()
    text: str = ""
    top: Top = ()
    finish: str | None = None
    stop_reason: int | str | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    by_id: bool = True
    at: float = 0.0
    drafted_tokens: int = 0
    accepted_tokens: int = 0


class ProtocolError(ValueError):
    """A line that violates the protocol."""


class Reader:
    """Parses the lines of one model's streams; `vocabulary` is its tokenizer's table.

    `tags` are the ids of control tokens that a server may send as text.
    """

    def __init__(self, vocabulary: Vocabulary, tags: Mapping[str, int] | None = None):
        self._vocabulary = vocabulary
        self._tags = tags or {}
        self._tag = re.compile(f"({'|'.join(map(re.escape, self._tags))})" if tags else "(?!)")

    def read(self, line: Any, top: bool = True) -> CompletionChunk:
        """Parse a line, with its likeliest tokens if `top`. Raises `ProtocolError` for an invalid line."""
        try:
            return self._read(line, top)
        except RemoteEngineError:
            raise
        except Exception as error:  # of any type: a line may contain any JSON
            raise ProtocolError(f"{type(error).__name__}: {str(error)[:SHOWN]} in {_shown(line)}") from error

    def _read(self, line: Mapping[str, Any], top: bool) -> CompletionChunk:
        usage, timings = line.get("usage") or {}, line.get("timings") or {}
        details = usage.get("prompt_tokens_details") or {}
        counts = (whole(usage.get("prompt_tokens")), whole(details.get("cached_tokens", timings.get("cache_n"))))
        choice = (line.get("choices") or [{}])[0]
        text, finish = choice.get("text") or "", choice.get("finish_reason")
        if not isinstance(text, str) or not isinstance(finish, str | None):
            raise TypeError(f"text and finish_reason are texts, not {type(text).__name__}, {type(finish).__name__}")
        ids, by_id = self._token_ids(choice, text)
        reason = choice.get("stop_reason", choice.get("matched_stop"))
        shown = _top(choice) if top else ()
        stop_reason = reason if isinstance(reason, str | int) else None
        drafted, accepted = whole(timings.get("draft_n")) or 0, whole(timings.get("draft_n_accepted")) or 0
        return CompletionChunk(
            ids, text, shown, finish, stop_reason, *counts, by_id, drafted_tokens=drafted, accepted_tokens=accepted
        )

    def _token_ids(self, choice: Mapping[str, Any], text: str) -> tuple[tuple[int, ...], bool]:
        """Return the ids of a line, from the field that this server uses, or else the ids of its text."""
        logprobs = choice.get("logprobs") or {}
        spelled = logprobs.get("tokens") or ()
        if choice.get("token_ids") is not None:
            return self._known(choice["token_ids"]), True
        if spelled and all(token.startswith(ID_PREFIX) for token in spelled):
            return self._known([int(token.removeprefix(ID_PREFIX)) for token in spelled]), True
        if content := logprobs.get("content"):
            return self._of_content(self._known([token["id"] for token in content]), text), True
        return self._encode(text), not text

    def _encode(self, text: str) -> tuple[int, ...]:
        """Return the ids of a text, for a server that sends only text."""
        ids: list[int] = []
        for part in self._tag.split(text):
            ids += [self._tags[part]] if part in self._tags else self._vocabulary.encode(part)
        return tuple(ids)

    def _of_content(self, ids: tuple[int, ...], text: str) -> tuple[int, ...]:
        """Return the ids of a line of llama.cpp, which omits the ids of tokens that end inside a character."""
        pieces = [self._vocabulary.token_bytes[i] for i in ids]
        if None in pieces or b"".join(piece or b"" for piece in pieces) == text.encode():
            return ids
        return tuple(self._vocabulary.encode(text))

    def _known(self, ids: Sequence[int]) -> tuple[int, ...]:
        for token_id in ids:
            if type(token_id) is not int:
                raise TypeError(f"a token id is a whole number, not {type(token_id).__name__}")
            if not 0 <= token_id < len(self._vocabulary.token_bytes):
                raise RemoteEngineError(
                    f"the server wrote token {_shown(token_id)}, which the tokenizer does not have: "
                    "pass the folder or hub id of the served model as tokenizer=..."
                )
        return tuple(ids)


def _top(choice: Mapping[str, Any]) -> Top:
    """Return the likeliest tokens at the position of a line's first token, likeliest first."""
    logprobs = choice.get("logprobs") or {}
    if content := logprobs.get("content"):
        shown = content[0].get("top_logprobs") or ()
        found: list[tuple[int | str, float]] = [(int(token["id"]), float(token["logprob"])) for token in shown]
    else:
        first = (logprobs.get("top_logprobs") or [None])[0] or {}
        found = [(_key(token), float(value)) for token, value in first.items()]
    for _, value in found:
        if not value <= MOST:  # neither is NaN
            raise ValueError(f"{value} is no log-probability")
    return tuple(sorted(found, key=lambda entry: -entry[1]))


def _key(token: str) -> int | str:
    return int(token.removeprefix(ID_PREFIX)) if token.startswith(ID_PREFIX) else token


def whole(value: Any) -> int | None:
    """Return a count that a server reports, None for an invalid one."""
    return value if type(value) is int and 0 <= value < 2**53 else None


def _shown(value: Any) -> str:
    """Return the beginning of a value as text. `reprlib` does not write out long numbers and deep lists for it."""
    return reprlib.repr(value)[:SHOWN]
