"""GlimpRouter: a small and a large model that answer chat requests together."""

import threading
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial, reduce
from os import PathLike
from time import perf_counter
from typing import Any, TypedDict, TypeVar, Unpack, cast

from glimp_core.algorithm import route, write_alone
from glimp_core.chain import Chain
from glimp_core.chat.formats.template import check_template_options
from glimp_core.chat.prompt.messages import read_request
from glimp_core.chat.request.requirements import OutputRequirements
from glimp_core.completion import Completion
from glimp_core.config import RouterConfig
from glimp_core.context import Context, Reasoning, ReasoningEffort
from glimp_core.engine import Draftable, Engine, Glimpser, TokenCounting
from glimp_core.errors import ConfigError, EngineError, check_kind, shown, unknown_name
from glimp_core.events import Event, Finish, Start
from glimp_core.json_values import in_json_types
from glimp_core.options import ModelOptions
from glimp_core.plan import Plan, settle, to_be_switched_on
from glimp_core.policy import AlwaysLarge, AlwaysSmall, EntropyThreshold, Policy
from glimp_core.policy.threshold import model_identity
from glimp_core.tap import Asked, Tap, tapped
from glimp_core.types import Message, Prompt, Request, Role, SamplingParams

E = TypeVar("E")


class StreamOptions(TypedDict, total=False):
    """The keyword arguments of `GlimpRouter.stream` and `generate`."""

    tools: Sequence[Mapping[str, Any]] | None
    tool_choice: str | bool | Mapping[str, Any] | None
    parallel_tool_calls: bool | None
    response_format: Mapping[str, Any] | None
    sampling: SamplingParams | None
    policy: Policy | None
    reasoning: Reasoning | None
    reasoning_effort: ReasoningEffort | None
    chat_template_kwargs: Mapping[str, Any] | None
    logprobs: bool
    alone: Role | None
    cancelled: threading.Event | None


class GlimpRouter:
    """Answers chat requests with a small and a large model. The policy decides which model writes each step.

    It can be used from several threads at once. The events of each request pass through the `taps` (a `TraceFile`, a
    `SpanTap`), in their order. Raises `ConfigError` for an engine that cannot be used in its role, and for a policy
    that needs another kind of entropy than that of `config`, or that was calibrated on another pair.
    """

    def __init__(
        self,
        small: Glimpser,
        large: Engine,
        policy: Policy | None = None,
        config: RouterConfig | None = None,
        sampling: SamplingParams | None = None,
        taps: Sequence[Tap] = (),
    ):
        self.config = config or RouterConfig()
        self.sampling = sampling or SamplingParams()
        self.small = small
        self.large = large
        self.taps = list(taps)
        if not isinstance(small, Glimpser):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError(f"{small!r} cannot be the small model: it has no glimpse() of the next token")
        self.policy = self._checked(policy or EntropyThreshold.of(1.0, self.config))

    def __repr__(self) -> str:
        return f"GlimpRouter(small={self.small.name!r}, large={self.large.name!r}, policy={self.policy!r})"

    @classmethod
    def from_pretrained(
        cls,
        small: Any,
        large: Any,
        policy: Policy | None = None,
        config: RouterConfig | None = None,
        sampling: SamplingParams | None = None,
        taps: Sequence[Tap] = (),
        **options: Unpack[ModelOptions],
    ) -> "GlimpRouter":
        """Make a router from two models, by name or loaded. Weights load at the first request.

        `small` and `large` are a Hugging Face id, a folder, a `.gguf` file, a `(model, tokenizer)` pair, an
        engine, a model on a server ("http://host:8001/v1#name"), or "glimp-tiny-small" and "glimp-tiny-large". A dict
        of `model` and its own options is the same as a table in a pair file. `options` are for both models;
        `ModelOptions` describes them. With engine="vllm" or "llama.cpp" Glimp starts a server for each model. Without
        a `config`, glimpses then measure "top20". Raises `ConfigError` for an unknown option, or one that neither
        model can use.
        """
        from glimp_core.pair import Pair  # the composition root: only here the router imports engines

        pair = Pair(small, large, options)
        return cls(*pair.engines(), policy, config or pair.default_config(policy), sampling, taps)

    @classmethod
    def from_file(
        cls,
        path: str | PathLike[str],
        policy: Policy | None = None,
        config: RouterConfig | None = None,
        sampling: SamplingParams | None = None,
        taps: Sequence[Tap] = (),
    ) -> "GlimpRouter":
        """Make a router from a pair file: "pair.toml", or "pair.toml#NAME" for one of several (docs/pair-file.md).

        The arguments override the file, `sampling` value by value. Raises `ConfigError` for a file that cannot be
        read, an unknown key, or an invalid value.
        """
        from glimp_core.pair_file import read_pair

        file = read_pair(path)
        drawn = (sampling or SamplingParams()).over(file.sampling)
        config = config and replace(config, prices=config.prices or file.config.prices)
        return cls(*file.pair.engines(), policy or file.policy, config or file.config, drawn, taps)

    def generate(self, messages: Sequence[Message] | str, **options: Unpack[StreamOptions]) -> Completion:
        """Answer a request and return the complete reply. The options and errors are those of `stream`."""
        return Completion.fold(self.stream(messages, **options))

    def stream(
        self,
        messages: Sequence[Message] | str,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        tool_choice: str | bool | Mapping[str, Any] | None = None,
        parallel_tool_calls: bool | None = None,
        response_format: Mapping[str, Any] | None = None,
        sampling: SamplingParams | None = None,
        policy: Policy | None = None,
        reasoning: Reasoning | None = None,
        reasoning_effort: ReasoningEffort | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        logprobs: bool = False,
        alone: Role | None = None,
        cancelled: threading.Event | None = None,
    ) -> Generator[Event, None, None]:
        """Answer a request as events. Closing the generator, or setting `cancelled`, stops the models within one token.

        The arguments override the settings of the router. With `logprobs`, deltas have log-probabilities, if the engine
        supports it. With `alone`, one model writes everything, without glimpses and drafts. The request is checked at
        once; the models start at the first event. Raises any `GlimpError` except `OutputValidationError`.
        """
        _check_options(policy, cancelled)
        request = self._request(
            messages,
            sampling,
            tools=tools,
            tool_choice=tool_choice,
            parallel_tool_calls=parallel_tool_calls,
            response_format=response_format,
            chat_template_kwargs=chat_template_kwargs,
            logprobs=logprobs,
        )
        chosen = _only(alone) if alone else self._checked(policy or self.policy)
        loop = partial(write_alone, writer=alone) if alone else partial(route, policy=chosen)
        config = self._config(reasoning, reasoning_effort, alone)
        events = self.run(read_request(request), loop, config, cancelled)
        asked = Asked(uuid.uuid4().hex, self.small.name, self.large.name, chosen, config, request)
        return reduce(lambda passed, tap: tapped(tap, asked, passed), self.taps, events)

    def count_tokens(
        self,
        messages: Sequence[Message] | str,
        tools: Sequence[Mapping[str, Any]] | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
    ) -> int:
        """Return the number of the large model's tokens in a prompt, including its template and its tools."""
        asked = self._request(messages, None, chat_template_kwargs, tools=tools)
        with Context(read_request(asked), self.config.reasoning) as context:
            context.counted = True
            return self.large.prepare(context).tokens

    def load(self) -> None:
        """Load the weights of both models now, and not at the first request."""
        self.small.load()
        self.large.load()

    @property
    def window(self) -> int:
        """The context window of the pair, in tokens: the smaller of the two."""
        return min(self.small.window, self.large.window)

    def large_for(self, plan: Plan, config: RouterConfig) -> Engine:
        """Return the large model, with the small model as its drafter if that is requested and possible.

        Raises `ConfigError` if `config` requires drafts and they are not possible.
        """
        wanted = plan.mode == "large_only" if config.speculate is None else config.speculate
        drafted = self.large.drafted_by(self.small) if wanted and isinstance(self.large, Draftable) else None
        if config.speculate and drafted is None:
            raise ConfigError("speculate=True needs two different local models: leave it out for this pair")
        return drafted or self.large

    def _room_of(self, context: Context) -> Callable[[], int] | None:
        """Return a function that counts the tokens left in the fuller window; None if both models count the same."""
        if self.small.vocabulary == self.large.vocabulary:
            return None

        def room() -> int:
            engines = [self.small] if context.large_lost else [self.small, self.large]
            rooms = [each.window - each.count_chain(context) for each in engines if isinstance(each, TokenCounting)]
            return min(rooms, default=min(each.window for each in engines))

        return room

    def _request(
        self,
        messages: Sequence[Message] | str,
        sampling: SamplingParams | None,
        chat_template_kwargs: Mapping[str, Any] | None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        response_format: Mapping[str, Any] | None = None,
        tool_choice: str | bool | Mapping[str, Any] | None = None,
        **demands: Any,
    ) -> Request:
        if isinstance(messages, str):
            messages = [{"role": "user", "content": messages}]
        check_kind("messages", messages, Iterable, "a text or a list of messages")
        check_kind("sampling", sampling, SamplingParams, "SamplingParams(...)")
        check_kind("tools", tools, Sequence, "a list of tools")
        check_kind("response_format", response_format, Mapping, "a dict such as {'type': 'json_object'}")
        options = in_json_types("chat_template_kwargs", {} if chat_template_kwargs is None else chat_template_kwargs)
        check_template_options(options)
        return Request(
            tuple(in_json_types("messages", list(messages))),
            tools=tuple(in_json_types("tools", tools or ())),
            tool_choice=in_json_types("tool_choice", tool_choice),
            response_format=in_json_types("response_format", response_format),
            sampling=(sampling or SamplingParams()).over(self.sampling),
            chat_template_kwargs=options,
            lenient_tool_calls=self.config.lenient_tool_calls,
            **demands,
        )

    def run(
        self,
        request: Request,
        loop: Callable[[Chain, Glimpser, Engine], Iterator[E]],
        config: RouterConfig | None = None,
        cancelled: threading.Event | None = None,
    ) -> Generator[Start | E | Finish, None, None]:
        """Write the reply to a request with `loop`; yield Start, the events of the loop, and Finish.

        `stream` runs `route`, and the benchmarks run other loops with the same code around them. `config` is the
        router's own by default. Raises the errors of `stream`.
        """
        config = (config or self.config).with_effort()
        with Context(request, config.reasoning, cancelled, config.reasoning_effort) as context:
            if request.left_out:
                context.note(f"parts of messages that no model can read are left out: {', '.join(request.left_out)}")
            plan, prompt_tokens = self._settled(context, config)
            self.small.load()
            with _may_fail(context, config):
                if not context.large_lost:
                    self.large.load()
            started = perf_counter()
            chain = Chain(context, plan, config, request.sampling, self._room_of(context))
            said = tuple(context.notes)
            yield Start(plan.mode, prompt_tokens, (*plan.notes, *said), config.prices)
            events = loop(chain, self.small, self.large_for(plan, config))
            with closing(cast("Generator[E, None, None]", events)):
                yield from events
            if not chain.tool_calls:
                chain.requirements.check_answer("".join(step.text for step in chain.steps if step.phase != "thinking"))
            later = tuple(note for note in context.notes if note not in said)
            yield Finish(chain.finish_reason, chain.thinking_end, perf_counter() - started, later)

    def _config(self, reasoning: Reasoning | None, effort: ReasoningEffort | None, alone: Role | None) -> RouterConfig:
        """Return the settings of one request."""
        config = replace(
            self.config,
            reasoning=reasoning or self.config.reasoning,
            reasoning_effort=effort or self.config.reasoning_effort,
        )
        return replace(config, speculate=False, prewarm=False) if alone else config

    def plan(self, messages: Sequence[Message] | str) -> Plan:
        """Return how a request would be answered, before any weights load: the mode, the budgets, and notes.

        Raises `ConfigError` for a pair that cannot share a chain of thought, `ContextOverflowError` for a long prompt.
        """
        config = self.config.with_effort()
        request = self._request(messages, None, None)
        with Context(read_request(request), config.reasoning, reasoning_effort=config.reasoning_effort) as context:
            plan, _ = self._settled(context, config)
            return replace(plan, notes=(*plan.notes, *context.notes))

    def _settled(self, context: Context, config: RouterConfig) -> tuple[Plan, int]:
        """Return the plan for a request, and the size of its prompt in the large model's tokens."""
        requirements = OutputRequirements.of_context(context)  # what cannot be read is refused before anything renders
        small, large = self._prepared(context, config)
        sampling = context.request.sampling
        limits = sampling.max_tokens, requirements.bound, sampling.max_completion_tokens
        return settle(small, large, config, *limits), large.tokens

    def _prepared(self, context: Context, config: RouterConfig) -> tuple[Prompt, Prompt]:
        """Render the request for both models. If only one of them leaves thinking off by default, switch it on."""
        small = large = self.small.prepare(context)
        with _may_fail(context, config):
            large = self.large.prepare(context)
        if config.reasoning == "auto" and to_be_switched_on(small, large):
            role, other = ("small", self.small) if small.thinking != "open" else ("large", self.large)
            context.switch_thinking_on(other)
            context.note(f"the thinking of the {role} model was switched on, which its template leaves off by default")
            prompt = other.prepare(context)
            small, large = (prompt, large) if role == "small" else (small, prompt)
        return small, large

    def _checked(self, policy: Policy) -> Policy:
        """Raise `ConfigError` for a threshold on another kind of entropy, or for another pair."""
        definition = getattr(policy, "entropy", self.config.entropy)
        if definition != self.config.entropy:
            raise ConfigError(
                f"the policy is meant for entropy {definition!r} but the router measures {self.config.entropy!r}: "
                f"make it with entropy={self.config.entropy!r}, or pass RouterConfig(entropy={definition!r})"
            )
        pair = (model_identity(self.small.name), model_identity(self.large.name))
        if (calibrated := getattr(policy, "pair", pair)) != pair:
            raise ConfigError(
                f"the policy was calibrated on {' + '.join(calibrated)} but the router's pair is {' + '.join(pair)}: "
                "run `glimp calibrate` on this pair"
            )
        return policy


def _check_options(policy: Any, cancelled: Any) -> None:
    """Raise `ConfigError` for an option of a wrong type, which would otherwise fail later with an unclear error."""
    check_kind("policy", policy, Policy, "a policy such as EntropyThreshold(1.0)")
    if cancelled is not None and not hasattr(cancelled, "is_set"):
        raise ConfigError(f"cancelled={shown(cancelled)} cannot work: pass a threading.Event()")


def _only(writer: Role) -> Policy:
    """Return the policy that is recorded for a reply by one model alone."""
    policies: dict[str, Policy] = {"small": AlwaysSmall(), "large": AlwaysLarge()}
    if writer not in list(policies):
        raise unknown_name("alone", writer, policies)
    return policies[writer]


@contextmanager
def _may_fail(context: Context, config: RouterConfig) -> Iterator[None]:
    """If the large model cannot be reached, continue without it, or raise its error, as `config` says."""
    try:
        yield
    except EngineError as error:
        if config.on_large_failure == "raise":
            raise
        context.lose_large(error)
