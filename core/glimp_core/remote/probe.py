"""Tests of a server with a few short requests, when it is first used."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from time import perf_counter, sleep

from glimp_core.errors import EngineError, ModelLoadError, RemoteEngineError
from glimp_core.remote.capabilities import LogprobScale, ServerCapabilities
from glimp_core.remote.chat_form import BROKEN_OFF, CONTINUATIONS, ChatForm
from glimp_core.remote.client import RequestRejected, TransientError
from glimp_core.remote.language import Language
from glimp_core.remote.server import Server
from glimp_core.remote.wire import PLAIN, CompletionChunk, CompletionRequest, Top
from glimp_core.types import SamplingParams

NO_COMPLETIONS = (400, 404, 405)
"""The statuses with which servers refuse completions, if they have only chat completions, or only for this model."""

TEXT = "Count: 1, 2, 3, 4, 5, 6, 7,"
LENGTH = 12
"""The number of tokens of a test reply."""

TOP = 20
"""The number of likeliest tokens of a glimpse."""

HOT = 2.0
"""A temperature at which log-probabilities that depend on it differ clearly from the raw ones."""

NARROW = 0.01
"""A top-p that leaves one token of a distribution, or a few tokens."""

IMPOSSIBLE = -100.0
"""No token that can be drawn has a lower log-probability. A token that top-p removed has -9999 or -inf."""

TOLERANCE = 0.2
"""How much log-probabilities at one position may differ between two runs of a server in bfloat16."""

LEAVING = 0.5
"""Seconds that a fast server has to stop after its stream was closed."""

GAUGES = ("vllm:num_requests_running", "sglang:num_running_reqs", "llamacpp:requests_processing")
"""The metrics of servers with the number of running requests."""


class Probe:
    """Tests one server, and sets how requests are sent to it: `server.profile`, `server.spelling`, `server.chat`."""

    def __init__(self, server: Server, language: Language):
        self._server = server
        self._reader = language.reader
        self._vocabulary = language.table
        self._language = language
        self._against_ids = ""
        self._question = CompletionRequest(tuple(language.table.encode(TEXT)), LENGTH)

    def examine(self, glimpses: bool) -> ServerCapabilities:
        """Test what writing and glimpsing need. Raises `ModelLoadError` if the server cannot do what its role needs."""
        answer = self._settle(glimpses)
        findings = ServerCapabilities(
            self._server.spelling is None,
            self._keeps_stop(answer),
            self._in_one_piece(answer),
            chats=self._server.chat is not None,
        )
        if not glimpses:
            return findings
        if not findings.ids:
            raise self._unfit(f"it gives no token ids (vLLM from 0.10, SGLang and llama.cpp do){self._against_ids}")
        scale, by_id = self._scale()
        return replace(findings, scale=scale, by_id=by_id, aborts=self._aborts())

    def _settle(self, glimpses: bool) -> "Answer":
        """Find a form of request that the server accepts: token ids if possible, else text, else messages."""
        told = self._server.profile
        for profile in (told, replace(told, ids={**told.ids, "logprobs": 1})):
            self._server.profile = profile
            try:
                answer = self._ask(self._question)
            except RequestRejected as error:
                self._against_ids = f": {error}"
                continue
            except RemoteEngineError as error:
                if not (isinstance(error.__cause__, TransientError) and error.__cause__.status == 500):
                    raise
                self._against_ids = f": {error}"  # some gateways fail with 500 if the prompt is a list of ids
                break
            if answer.by_id and answer.prompt_tokens in (None, len(self._question.token_ids)):
                self._check_tokenizer(answer)
                return answer
        self._server.profile, self._server.spelling = PLAIN, self._language.spelling
        try:
            return self._ask(self._question)
        except RequestRejected as error:
            if glimpses or error.status not in NO_COMPLETIONS:
                raise
            return self._settle_chat(error)

    def _settle_chat(self, refusal: RequestRejected) -> "Answer":
        """Find a way to have a message continued, also one with an open thinking block if the model thinks."""
        wrote = ""
        for way in CONTINUATIONS:
            self._server.chat = form = ChatForm(way, self._language.spelling, self._language.renderer.thinking)
            try:
                found = [(self._ask(ask), end) for ask, end in form.broken_off()]
            except RequestRejected as error:
                refusal = refusal if error.status in NO_COMPLETIONS else error
                continue
            others = [answer.text for answer, end in found if not answer.text.startswith(end)]
            if not others:
                return found[-1][0]
            wrote = others[0]
        self._server.chat = None
        if not wrote:
            raise refusal
        raise self._unfit(
            "it has chat completions alone and does not continue a message that the assistant has begun (after "
            f"{BROKEN_OFF[0][1]!r} it wrote {wrote[:40]!r}): serve it with /v1/completions (vLLM, SGLang, llama.cpp)"
        )

    def _check_tokenizer(self, answer: "Answer") -> None:
        """Check that the ids of a reply have the same text here. The server's text may lack the end of it."""
        means = self._vocabulary.decode(answer.token_ids).decode(errors="replace").strip()
        if not answer.text.strip() or not means.startswith(answer.text.strip()):
            raise self._unfit(
                f"it reads {answer.text!r} where the tokenizer reads {means!r}: "
                "pass the folder or hub id of the served model as tokenizer=..."
            )

    def _keeps_stop(self, answer: "Answer") -> bool:
        """Return whether a reply ends with the token that completes a stop string, and includes that token."""
        if self._server.profile.keep_stop is None:
            return False
        for at, token_id in enumerate(answer.token_ids[1:], 1):
            text, before = self._decode([token_id]), self._decode(answer.token_ids[:at])
            if text.strip() and text not in before:
                stopped = self._ask(replace(self._question, stop=(text,)))
                return stopped.finish == "stop" and stopped.token_ids == answer.token_ids[: at + 1]
        return False

    def _in_one_piece(self, answer: "Answer") -> bool:
        """Return whether two replies arrived in one piece: a single reply may do so for another reason."""
        return answer.in_one_piece and self._ask(self._question).in_one_piece

    def _scale(self) -> tuple[LogprobScale, bool]:
        """Find the scale of log-probabilities from those of one position at two temperatures."""
        try:
            cold, hot = (
                self._ask(replace(self._question, max_tokens=1, logprobs=TOP, sampling=sampling))
                for sampling in (SamplingParams(0.0), SamplingParams(HOT, NARROW))
            )
        except RequestRejected as error:
            raise self._unfit(f"it shows fewer than {TOP} log-probabilities (vLLM: --max-logprobs {TOP})") from error
        raw, heated = dict(cold.top), {key: lp for key, lp in hot.top if lp > IMPOSSIBLE}
        by_id = all(isinstance(key, int) for key in raw)
        if len(raw) < (TOP if by_id else TOP // 2):  # by text, tokens with the same text are one entry
            raise self._unfit(f"it shows {len(raw)} log-probabilities where {TOP} were asked for")
        if len(heated) < TOP // 2:
            raise self._unfit("its log-probabilities are cut by top-p and top-k (vLLM: --logprobs-mode raw_logprobs)")
        shared = [key for key in raw if key in heated][:5]
        best = shared[0]
        if all(abs(raw[key] - heated[key]) < TOLERANCE for key in shared):
            return "raw", by_id
        if all(abs(HOT * (heated[key] - heated[best]) - (raw[key] - raw[best])) < TOLERANCE for key in shared):
            return "tempered", by_id
        raise self._unfit("its log-probabilities are neither raw nor tempered (vLLM: --logprobs-mode raw_logprobs)")

    def _aborts(self) -> bool | None:
        """Close a long stream and test whether the server stops writing it.

        Requests of other clients can make the result wrong. A server checks for closed streams after a forward, so a
        server with slow forwards gets more time.
        """
        before = self._running()
        if before is None:
            return None
        asked = perf_counter()
        stream = self._server.ask(replace(self._question, max_tokens=400), self._reader)
        next(stream, None)
        first_token = perf_counter() - asked
        stream.close()
        until = perf_counter() + max(LEAVING, 3 * first_token)
        while perf_counter() < until:
            sleep(0.05)
            if (now := self._running()) is None or now <= before:
                return None if now is None else True
        return False

    def _running(self) -> float | None:
        """Return the number of running requests of the server, None if it has no such metric."""
        try:
            text = str(self._server.get(f"{self._server.client.root}/metrics", str))
        except EngineError:
            return None
        lines = [line.split() for line in text.splitlines() if line.startswith(GAUGES)]
        try:
            return sum(float(words[-1]) for words in lines) if lines else None
        except ValueError:
            return None

    def _decode(self, token_ids: Sequence[int]) -> str:
        return self._vocabulary.decode(token_ids).decode(errors="replace")

    def _ask(self, question: CompletionRequest) -> "Answer":
        return Answer.of(self._server.ask(question, self._reader))

    def _unfit(self, why: str) -> ModelLoadError:
        return ModelLoadError(f"{self._server.model!r} at {self._server.client.base_url} cannot serve here: {why}")


@dataclass(frozen=True, slots=True)
class Answer:
    """A short complete reply, and the arrival times of its chunks in seconds after the request."""

    chunks: tuple[CompletionChunk, ...]
    times: tuple[float, ...]

    @classmethod
    def of(cls, stream: Iterator[CompletionChunk]) -> "Answer":
        """Read a stream to its end."""
        started = perf_counter()
        found = [(chunk, (chunk.at or perf_counter()) - started) for chunk in stream]
        return cls(tuple(chunk for chunk, _ in found), tuple(time for _, time in found))

    @property
    def token_ids(self) -> tuple[int, ...]:
        """All ids."""
        return tuple(i for chunk in self.chunks for i in chunk.token_ids)

    @property
    def text(self) -> str:
        """All text."""
        return "".join(chunk.text for chunk in self.chunks)

    @property
    def by_id(self) -> bool:
        """Whether the ids are the server's own."""
        return all(chunk.by_id for chunk in self.chunks)

    @property
    def finish(self) -> str | None:
        """The finish reason."""
        return self.chunks[-1].finish

    @property
    def prompt_tokens(self) -> int | None:
        """The number of prompt tokens that the server reports."""
        return self.chunks[-1].prompt_tokens

    @property
    def top(self) -> Top:
        """The likeliest first tokens."""
        return next((chunk.top for chunk in self.chunks if chunk.token_ids), ())

    @property
    def in_one_piece(self) -> bool:
        """Whether a long reply arrived all at once after a wait: no model writes its tokens so fast."""
        wait, spread = self.times[0], self.times[-1] - self.times[0]
        return len(self.token_ids) > LENGTH // 2 and wait > 0.05 and spread < 0.02 * wait
