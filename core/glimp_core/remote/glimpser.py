"""RemoteGlimpser: a served model that can be the small model. A glimpse and its step are one streamed request."""

import math

from glimp_core.context import Context, Span
from glimp_core.entropy import paper_code_entropy, top_entropy
from glimp_core.errors import ConfigError, RemoteEngineError
from glimp_core.remote.client import RequestRejected
from glimp_core.remote.probe import TOP
from glimp_core.remote.remote_engine import RemoteEngine
from glimp_core.remote.stream_usage import StreamUsage
from glimp_core.remote.wire import VLLM, CompletionChunk, CompletionRequest, Top
from glimp_core.types import Entropy, Glimpse

STEP = 512
"""The tokens that are requested with a glimpse. A longer step continues with another request."""

WHOLE = 0.999
"""The sum of the probabilities of a whole vocabulary is at least this."""


class RemoteGlimpser(RemoteEngine):
    """A remote engine that returns the distribution of the next token.

    `glimpse` opens the stream of the step and reads its first chunk. `generate` reads the rest; if another model writes
    the step, the stream is closed. Definition "top20" needs a server that returns 20 log-probabilities. "full" needs a
    server that returns the whole vocabulary: each glimpse is several megabytes, and each step is a second request.
    """

    _glimpses = True

    def glimpse(self, context: Context, definition: Entropy = "full") -> Glimpse:
        """Measure the next token. Raises `ConfigError` for a definition that this server does not support."""
        conversation = self._conversation(context)
        conversation.withdraw()
        index = sum(isinstance(link, Span) for link in context.spans)
        # With "full" every chunk of the stream would have the whole vocabulary, so it is asked for one token only.
        limit, logprobs = (1, self._all) if definition == "full" else (STEP, TOP)
        request = self._ask(context, context.request.sampling, index, limit, logprobs=logprobs)
        known = conversation.send(len(request.token_ids))
        meter = StreamUsage(len(request.token_ids), known, glimpses=1)
        meter.begin_stream(len(request.token_ids))
        conversation.begun = self._begin(context, request, known)
        context.begin(self, conversation.withdraw)
        try:
            chunk = conversation.begun.peek()
        except RequestRejected as error:
            if definition == "full" and error.status in (400, 422):
                raise self._cannot(str(error)) from error
            raise
        finally:
            conversation.report()
        meter.see(chunk)
        return self._glimpse(request, chunk, definition, meter)

    def _glimpse(
        self, request: CompletionRequest, chunk: CompletionChunk, definition: Entropy, meter: StreamUsage
    ) -> Glimpse:
        if not chunk.top:
            raise RemoteEngineError(f"{self.name!r} at its server ended the reply and showed no log-probabilities")
        if definition == "full" and sum(math.exp(lp) for _, lp in chunk.top) < WHOLE:
            raise self._cannot(f"it showed {len(chunk.top)} tokens")
        top = self._raw(request, chunk.top)
        if definition == "full":
            measured = top_entropy(lp for _, lp in top)
        else:
            measured = paper_code_entropy((self._label(key), lp) for key, lp in top[:TOP])
        first, second = (math.exp(lp) for _, lp in (*top, (0, -math.inf))[:2])
        return Glimpse(measured, definition, self._label(top[0][0]), first, first - second, meter.usage())

    def _raw(self, request: CompletionRequest, top: Top) -> Top:
        """Return log-probabilities at temperature 1.

        Multiplied by the temperature, they are right up to a constant. The constant makes the shown tokens sum to one.
        """
        if self.findings.scale != "tempered":
            return top
        heated = [lp * (request.sampling.temperature or 1.0) for _, lp in top]
        total = math.log(sum(map(math.exp, heated)))
        return tuple((key, lp - total) for (key, _), lp in zip(top, heated, strict=True))

    def _label(self, key: int | str) -> str:
        """Return the text of a token, and the number of a control token, which has no text."""
        spelled = (
            self._language.table.token_bytes[key]
            if isinstance(key, int) and key < len(self._language.table.token_bytes)
            else None
        )
        return key if isinstance(key, str) else f"<{key}>" if spelled is None else spelled.decode(errors="replace")

    @property
    def _all(self) -> int:
        """The value of `logprobs` with which this server returns the whole vocabulary."""
        return -1 if self._server.profile.keep_stop == VLLM.keep_stop else len(self._language.table.token_bytes)

    def _cannot(self, why: str) -> ConfigError:
        return ConfigError(
            f"the server of {self.name!r} does not show the whole vocabulary ({why}): "
            "start it with --max-logprobs -1 (vLLM), or measure RouterConfig(entropy='top20')"
        )
