"""The metrics of an endpoint for Prometheus. No label contains text of a user."""

from collections import Counter as Tally

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from glimp_core.completion import Completion
from glimp_core.serve.request_queue import RequestQueue
from glimp_core.types import Phase, Role

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class ServiceMetrics:
    """The metrics of one endpoint, in their own registry, so that one process can have several endpoints."""

    def __init__(self, queue: RequestQueue):
        self.registry = CollectorRegistry()
        self.requests = self._counter("glimp_requests", "Chat requests by how they ended.", "model", "outcome")
        self.tokens = self._counter("glimp_tokens", "Tokens written.", "pair", "engine", "phase")
        self.prompt_tokens = self._counter("glimp_prompt_tokens", "Tokens of prompts.", "pair")
        self.cached_tokens = self._counter("glimp_cached_prompt_tokens", "Those found in a cache.", "pair")
        self.routed_steps = self._counter("glimp_routed_steps", "Routed steps.", "pair")
        self.interventions = self._counter("glimp_interventions", "Routed steps of the large model.", "pair")
        self.drafted_tokens = self._counter("glimp_drafted_tokens", "Tokens drafted by the small model.", "pair")
        self.accepted_tokens = self._counter(
            "glimp_accepted_draft_tokens", "Drafted tokens that were accepted.", "pair"
        )
        self.model_seconds = self._counter(
            "glimp_model_seconds", "Seconds in the forwards and the sampling of a model.", "pair", "engine", "part"
        )
        self.reply_seconds = self._histogram("glimp_reply_seconds", "From the request to the end of its reply.")
        self.first_token_seconds = self._histogram("glimp_first_token_seconds", "From the request to the first text.")
        self.queue_seconds = self._histogram("glimp_queue_seconds", "Spent waiting for a place.")
        self._gauge("glimp_requests_running", "Requests that are being answered.").set_function(lambda: queue.running)
        self._gauge("glimp_requests_waiting", "Requests that wait.").set_function(lambda: queue.waiting)

    def count_tokens(self, pair: str, written: Tally[tuple[Role, Phase]]) -> None:
        """Count the tokens of a reply, complete or not."""
        for (engine, phase), tokens in written.items():
            self.tokens.labels(pair, engine, phase).inc(tokens)

    def count_completion(self, pair: str, done: Completion) -> None:
        """Count the figures that only a complete reply has."""
        usage = done.usage
        self.prompt_tokens.labels(pair).inc(usage.prompt_tokens)
        self.cached_tokens.labels(pair).inc(usage.cached_tokens)
        self.routed_steps.labels(pair).inc(len(done.routed))
        self.interventions.labels(pair).inc(sum(routed.decision.intervene for routed in done.routed))
        for engine, used in (("small", usage.small), ("large", usage.large)):
            self.model_seconds.labels(pair, engine, "prefill").inc(max(0.0, used.prefill_seconds))
            self.model_seconds.labels(pair, engine, "decode").inc(max(0.0, used.decode_seconds))
        self.drafted_tokens.labels(pair).inc(usage.small.drafted_tokens + usage.large.drafted_tokens)
        self.accepted_tokens.labels(pair).inc(usage.small.accepted_tokens + usage.large.accepted_tokens)

    def _counter(self, name: str, says: str, *labels: str) -> Counter:
        return Counter(name, says, labels, registry=self.registry)

    def _gauge(self, name: str, says: str) -> Gauge:
        return Gauge(name, says, registry=self.registry)

    def _histogram(self, name: str, says: str) -> Histogram:
        return Histogram(name, says, ("pair",), registry=self.registry, buckets=SECONDS)
