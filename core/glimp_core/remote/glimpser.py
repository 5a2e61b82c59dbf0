"""RemoteGlimpser: a served model that can be the small one. A glimpse and its step are one streamed request."""

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
"""What is asked for with a glimpse, in tokens; a longer step goes on with a further request."""

WHOLE = 0.999
"""A whole vocabulary has at least this probability."""


class RemoteGlimpser(RemoteEngine):
    """A remote engine that shows how sure it is of the next token.

    `glimpse` opens the stream of the step and reads its first chunk; `generate` reads on, and where another model
    writes the step the stream is closed. Definition "top20" needs a server that shows 20 log-probabilities. "full"
    needs one that shows the whole vocabulary, sends megabytes for each glimpse, and costs a second request a step.
    """

    _glimpses = True

    def glimpse(self, context: Context, definition: Entropy = "full") -> Glimpse:
        """Measure the first token that would follow. Raises `ConfigError` for a definition this server cannot give."""
        conversation = self._conversation(context)
        conversation.withdraw()
        index = sum(isinstance(link, Span) for link in context.spans)
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
        """Undo a temperature: what is left is known up to a factor, so that it is made to sum to one."""
        if self.findings.scale != "tempered":
            return top
        heated = [lp * (request.sampling.temperature or 1.0) for _, lp in top]
        total = math.log(sum(map(math.exp, heated)))
        return tuple((key, lp - total) for (key, _), lp in zip(top, heated, strict=True))

    def _label(self, key: int | str) -> str:
        """The text of a token; control tokens, which have none, are told apart by their number."""
        spelled = (
            self._language.table.token_bytes[key]
            if isinstance(key, int) and key < len(self._language.table.token_bytes)
            else None
        )
        return key if isinstance(key, str) else f"<{key}>" if spelled is None else spelled.decode(errors="replace")

    @property
    def _all(self) -> int:
        """How this server is asked for the whole vocabulary."""
        return -1 if self._server.profile.keep_stop == VLLM.keep_stop else len(self._language.table.token_bytes)

    def _cannot(self, why: str) -> ConfigError:
        return ConfigError(
            f"the server of {self.name!r} does not show the whole vocabulary ({why}): "
            "start it with --max-logprobs -1 (vLLM), or measure RouterConfig(entropy='top20')"
        )
