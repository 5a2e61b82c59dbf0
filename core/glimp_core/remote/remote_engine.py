"""RemoteEngine: a model on a server with OpenAI's /v1/completions."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

from glimp_core.chat.output.processor import LONGEST_CHARACTER, OutputProcessor
from glimp_core.chat.prompt.renderer import check_length
from glimp_core.context import Context, ThinkingClosed
from glimp_core.engine import Engine
from glimp_core.errors import ConfigError, ContextOverflowError, EngineError, RemoteEngineError
from glimp_core.forking import Lock
from glimp_core.model_facts import ModelFacts
from glimp_core.remote.bridge import AsyncBridge
from glimp_core.remote.capabilities import ServerCapabilities
from glimp_core.remote.client import Client, ManagedProcess
from glimp_core.remote.form import ConstrainedPart
from glimp_core.remote.language import Language
from glimp_core.remote.listing import Listing, read_listing
from glimp_core.remote.probe import Probe
from glimp_core.remote.server import Server
from glimp_core.remote.server_request import BegunStream, PrefillRequest, ServerRequest
from glimp_core.remote.stream_processor import StreamProcessor
from glimp_core.remote.stream_usage import StreamUsage
from glimp_core.remote.structured import StructuredOutput
from glimp_core.remote.wire import CompletionChunk, CompletionRequest
from glimp_core.stopping import BREAK
from glimp_core.types import Chunk, GenerationParams, Prompt, SamplingParams

log = logging.getLogger("glimp.remote")

TOKEN_TIMEOUT = 30.0
"""The default of the longest silence between two tokens, in seconds."""


class RemoteEngine:
    """An engine for a model on a server with /v1/completions, such as vLLM, SGLang or llama.cpp.

    - `tokenizer`: that of the served model: a folder, a hub id (`model` by default) or a loaded one. Prompts are
      rendered and tokenised here. Sampling parameters that a request leaves open come from the generation config next
      to it; if there is none, the server's defaults apply.
    - `window`: the context window in tokens, if the server does not report it.
    - `timeout`: the longest wait for a first token, in seconds; `token_timeout`: that for each later token (30, or
      `timeout` if it is less); `connect_timeout`: that for a connection.
    - `retries`: how often in a row a request is sent again. A stream that breaks continues after its last token.
    - `extra_body`: fields that are added to every request.
    - `managed`: the server's process, if Glimp starts it.

    At first use the server is tested with a few short requests. Raises `ConfigError` for invalid options, and at first
    use `ModelLoadError` for a server that cannot do what is needed.
    """

    _glimpses = False

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        tokenizer: Any = None,
        api_key: str | None = None,
        window: int | None = None,
        timeout: float = 120.0,
        token_timeout: float | None = None,
        connect_timeout: float = 5.0,
        retries: int = 3,
        extra_body: Mapping[str, Any] | None = None,
        managed: ManagedProcess | None = None,
    ):
        silence = min(timeout, TOKEN_TIMEOUT) if token_timeout is None else token_timeout
        if min(timeout, silence, connect_timeout) <= 0 or retries < 0:
            raise ConfigError(
                f"{timeout=}, {token_timeout=}, {connect_timeout=}, {retries=} cannot work: "
                "the timeouts are seconds over 0, the last one is 0 or more"
            )
        client = Client(base_url, api_key, timeout, connect_timeout, managed)
        self._server = Server(client, model, retries, silence)
        self._language = Language(tokenizer if tokenizer is not None else model, model, named=tokenizer is not None)
        self._window = window
        self._extra = dict(extra_body or {})
        self._structured = StructuredOutput(self._server, self._language, self._extra)
        self._examining = Lock()
        self._findings: ServerCapabilities | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._server.client.base_url!r}, {self.name!r})"

    @property
    def name(self) -> str:
        """The model's name on its server."""
        return self._server.model

    @property
    def managed(self) -> ManagedProcess | None:
        """The server's process, if Glimp starts it."""
        return self._server.client.managed

    @property
    def vocabulary(self) -> str:
        """The identity of the tokenizer's table from ids to bytes."""
        return self._language.table.key

    @property
    def window(self) -> int:
        """The context window in tokens, as passed, or as the server reports it."""
        return self._window or self._listing.window

    @property
    def findings(self) -> ServerCapabilities:
        """How the server behaves. The first access tests the server."""
        with self._examining:
            if self._findings is None:
                self._server.profile = self._listing.profile
                self._server.slots, self._server.slot_context = self._listing.slots, self._listing.slot_context
                self._findings = Probe(self._server, self._language).examine(self._glimpses)
                log.info("%r (%s): %s", self, self._listing.owner or "unnamed server", self._findings)
                for cost in self._findings.costs:
                    log.warning("%r %s", self, cost)
            return self._findings

    def load(self) -> None:
        """Test the server, unless this is done."""
        self.findings  # noqa: B018

    def inspect(self) -> ModelFacts:
        """Return the facts of the model, from its tokenizer and its server."""
        findings, place = str(self.findings), f"the server {self._server.client.base_url}"
        return self._language.renderer.facts(place, self.window, server=findings)

    def path(self) -> str:
        """Return in words how the server behaves."""
        return str(self.findings)

    def prepare(self, context: Context) -> Prompt:
        """Render the request with the model's template."""
        self._server.start(context.cancelled.is_set)
        check_length(context, self._language.table.encode, self.window)
        conversation = self._conversation(context)
        prompt = conversation.prompt
        shortest = partial(self._shortest_answer, context)
        return Prompt(len(prompt.token_ids), self.window, prompt.thinking, shortest, prompt.can_think)

    def _shortest_answer(self, context: Context) -> int:
        conversation = self._conversation(context)
        conversation.requirements = self._structured.held(conversation.requirements, context)
        return self._structured.shortest(conversation.requirements)

    def generate(self, context: Context, params: GenerationParams) -> Iterator[Chunk]:
        """Continue the context. Closing the iterator, or `context.cancelled`, closes the stream at once.

        Raises `ConfigError` for a demanded answer that this server cannot enforce.
        """
        conversation = self._conversation(context)
        request = self._ask(context, params.sampling, params.index, params.max_tokens, stepwise=params.stepwise)
        begun = conversation.take(request)
        sent, spent = len(request.token_ids), conversation.take_spent()
        meter = StreamUsage(sent, conversation.send(sent), before=begun.known if begun and not begun.counted else None)
        output = self._output_processor(context, params, self.window - sent)
        if params.phase != "thinking":
            conversation.requirements = self._structured.held(conversation.requirements, context)
        demanded = params.phase != "thinking" and conversation.requirements.structured
        fill = self._fill if demanded else self._write
        try:
            for chunk in fill(context, output, request, begun, meter):
                yield replace(chunk, usage=spent + meter.usage())
        finally:
            conversation.hold(sent + meter.usage().decode_tokens)
            conversation.report()

    def _output_processor(self, context: Context, params: GenerationParams, room: int) -> OutputProcessor:
        """Return the output processor of one call."""
        table, stop_ids, note = self._language.table, self._language.stop_ids, context.note
        if params.phase == "thinking":
            return OutputProcessor(table, stop_ids, params, room, thinking=self._language.renderer.thinking)
        requirements = self._conversation(context).requirements
        parser, check = self._structured.parser(context, requirements), self._structured.check(requirements)
        return OutputProcessor(table, stop_ids, params, room, parser, check, note=note)

    def prewarm(self, context: Context, beside: Engine | None = None) -> None:
        """Make the server read the chain so far, by a request for one token. Not the default: it may be billed."""
        conversation = self._conversation(context)
        if beside is not None or conversation.reads:
            return
        with suppress(EngineError, ContextOverflowError):  # the next request of this model meets the same error
            request = self._ask(context, SamplingParams(temperature=0.0), index=0, max_tokens=1, stepwise=False)
            sent = len(request.token_ids)
            if not conversation.has_news(sent):
                return
            meter = StreamUsage(sent, conversation.send(sent))
            meter.begin_stream(sent)
            conversation.read_ahead(PrefillRequest(self._feed(context, request), meter))

    def _write(
        self,
        context: Context,
        output: OutputProcessor,
        request: CompletionRequest,
        begun: BegunStream | None,
        meter: StreamUsage,
    ) -> Iterator[Chunk]:
        """Fill an output from one stream, and from further streams if the server ended one too early."""
        while True:
            begun = begun or self._begin(context, request)
            writer = StreamProcessor(output, self._language.table, self._language.end_ids, begun.request.max_tokens)
            yield from self._read(begun, writer, meter)
            if output.end:
                return
            if not (writer.written or request.stop):
                raise RemoteEngineError(f"the server of {self.name!r} ended a reply again and again without a token")
            request = replace(
                request,
                token_ids=[*request.token_ids, *writer.written],
                max_tokens=max(output.left, LONGEST_CHARACTER),
                stop=request.stop if writer.written else (),  # else it could stop at the same place again
            )
            begun = None

    def _fill(
        self,
        context: Context,
        output: OutputProcessor,
        request: CompletionRequest,
        begun: BegunStream | None,
        meter: StreamUsage,
    ) -> Iterator[Chunk]:
        """Write a demanded answer in parts: fixed text here, JSON on the server."""
        if begun:
            begun.close()  # the stream of the glimpse is not constrained
        closed = context.spans and context.spans[-1] == ThinkingClosed(written=True)
        for part in self._structured.parts(self._conversation(context).requirements, lead="\n\n" if closed else ""):
            writer = StreamProcessor(output, self._language.table, self._language.end_ids, part=True)
            if isinstance(part, ConstrainedPart):
                bound = replace(request, bound=part.fields, max_tokens=output.left, stop=(), stop_token_ids=())
                yield from self._read(self._begin(context, bound), writer, meter)
            else:
                yield from writer.put(*self._language.spell(part.text, part.mark))
            if output.end:
                return
            request = replace(request, token_ids=[*request.token_ids, *writer.written])
        yield from writer.put(min(self._language.stop_ids))

    def _read(self, begun: BegunStream, writer: StreamProcessor, meter: StreamUsage) -> Iterator[Chunk]:
        """Read one stream to its end, or to the end of the output."""
        meter.begin_stream(begun.sent, begun.counted)
        with closing(begun):
            for chunk in begun:
                meter.take(chunk)
                yield from writer.take(chunk)
                if writer.ended:
                    return

    def _begin(self, context: Context, request: CompletionRequest, known: int | None = None) -> BegunStream:
        return BegunStream(request, self._feed(context, request), known)

    def count_chain(self, context: Context) -> int:
        """Return the number of tokens of the prompt and the chain so far, without a request."""
        return len(self._conversation(context).token_ids())

    def _feed(self, context: Context, request: CompletionRequest) -> AsyncBridge[CompletionChunk]:
        conversation = self._conversation(context)
        return self._server.ask(
            request, self._language.reader, context.cancelled.is_set, conversation.fault, conversation.drift
        )

    def _ask(
        self,
        context: Context,
        sampling: SamplingParams,
        index: int,
        max_tokens: int,
        stepwise: bool = True,
        logprobs: int | None = None,
    ) -> CompletionRequest:
        """Return the request for the tokens after the chain. Raises `ContextOverflowError` if the window is full."""
        conversation = self._conversation(context)
        token_ids = conversation.token_ids()
        if (room := self.window - len(token_ids)) <= 0:
            raise ContextOverflowError(
                f"the chain has {len(token_ids)} tokens and {self.name!r} a window of {self.window}: "
                "lower max_reasoning_tokens or shorten the prompt"
            )
        for cost in (*self.findings.costs, *self._server.costs, *self._server.draws(sampling)):
            context.note(f"the server of {self.name!r} {cost}")
        thinks = conversation.prompt.thinking == "open" and not conversation.closed
        return CompletionRequest(
            token_ids,
            min(max_tokens, room),
            self._language.resolved(sampling, tempered=self.findings.scale == "tempered"),
            index,
            stop=(BREAK.decode(),) if stepwise and self.findings.keeps_stop else (),
            stop_token_ids=tuple(self._language.thinking_end) if thinks else (),
            logprobs=logprobs,
            extra=self._extra,
            chat=self._server.chat.prompt(context, conversation.prompt) if self._server.chat else None,
        )

    def _conversation(self, context: Context) -> ServerRequest:
        if self not in context.engine_state:
            conversation = context.engine_state[self] = ServerRequest(context, self._language.renderer, self.name)
            context.on_close(conversation.withdraw)
            context.on_close(conversation.finish_reading)
        known: ServerRequest = context.engine_state[self]
        return known

    @cached_property
    def _listing(self) -> Listing:
        return read_listing(self._server, self._window)
