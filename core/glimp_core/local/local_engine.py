"""LocalEngine: a transformers model in this process. It can glimpse, so it can be the small model."""

from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from functools import cached_property, partial
from operator import attrgetter
from typing import Any

import torch

from glimp_core.chat.formats.reader import ReplyParser
from glimp_core.chat.grammar.compiler import GrammarCompiler
from glimp_core.chat.output.constraints import (
    GrammarConstraint,
    compiled_requirements,
    constraint_for,
    required_grammar,
)
from glimp_core.chat.output.processor import OutputProcessor
from glimp_core.chat.prompt.renderer import Renderer, check_length
from glimp_core.chat.request.requirements import OutputRequirements
from glimp_core.chat.tokens.vocabulary import Vocabulary
from glimp_core.context import Context
from glimp_core.engine import Engine
from glimp_core.errors import ContextOverflowError
from glimp_core.forking import Lock
from glimp_core.local.admission import Admission, Visit
from glimp_core.local.conversation import Conversation
from glimp_core.local.forward import ModelForward
from glimp_core.local.inspection import footprint_of, path_in_words
from glimp_core.local.loading import (
    check_fits,
    context_window,
    device_memory,
    load_config,
    load_model,
    weight_bytes,
)
from glimp_core.local.meter import Meter
from glimp_core.local.pool import SessionPool
from glimp_core.local.proof import TEXT, prove
from glimp_core.local.sampling import DrawingRule, Sampler, glimpse_of
from glimp_core.local.scheduler import Scheduler, Task
from glimp_core.local.session import CacheUse, Forward, KVSession
from glimp_core.local.speculative import SpeculativeEngine
from glimp_core.local.writer import write
from glimp_core.model_facts import ModelFacts
from glimp_core.source import ModelSource, load_generation_config, load_tokenizer, stop_ids
from glimp_core.types import Chunk, Entropy, GenerationParams, Glimpse, Prompt

MAX_BATCH = 32
"""The default number of requests that a model serves at once."""

CACHE_SHARE = 0.05
"""The share of the device's memory for cached tokens of finished requests, if `max_cached_tokens` is not set."""


class LocalEngine:
    """An engine for one causal language model. Weights load at `load()` or at the first call that needs them.

    It can be used from several threads at once. The thread that owns the device runs all forwards, and packs them if
    that is faster. Raises `ModelLoadError` for a model that cannot be read or used.
    """

    def __init__(self, source: ModelSource):
        self.source = source
        self._loading = Lock()
        self._use: CacheUse | None = None

    @classmethod
    def from_pretrained(cls, name: str, **options: Any) -> "LocalEngine":
        """Make an engine from a hub id, a folder, a `.gguf` file or a bundled model; `ModelSource` has the options."""
        return cls(ModelSource.of(name, **options))

    def __repr__(self) -> str:
        return f"LocalEngine({self.name!r})"

    @property
    def name(self) -> str:
        """The model's name as it was passed."""
        return self.source.name

    @property
    def vocabulary(self) -> str:
        """The identity of the tokenizer's table from ids to bytes."""
        return self.table.key

    @cached_property
    def window(self) -> int:
        """The context window in tokens, from the model's config."""
        return context_window(load_config(self.source))

    def load(self) -> None:
        """Load the weights and test the model's cache, unless this is done.

        Raises `ModelLoadError` for a model that cannot continue correctly from a cache.
        """
        with self._loading:
            if self._use is None:
                # since Python 3.12 cached_property has no lock, and two threads would make two objects
                self.admission, self._renderer, self._compiler  # noqa: B018
                (use,) = self.scheduler.submit(Task(self._prove, lambda: False)).results()
                self._use = use

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text without control tokens. It needs only the tokenizer."""
        return self.table.encode(text)

    def prepare(self, context: Context) -> Prompt:
        """Render the request with the model's template. It needs only the tokenizer."""
        check_length(context, self.encode, self.window)
        conversation = self.conversation(context)
        prompt = conversation.prompt
        shortest = partial(self.shortest_answer, context)
        return Prompt(len(prompt.token_ids), self.window, prompt.thinking, shortest, prompt.can_think)

    def count_chain(self, context: Context) -> int:
        """Return the number of tokens of the prompt and the chain so far. It needs only the tokenizer."""
        return len(self.conversation(context).token_ids())

    def glimpse(self, context: Context, definition: Entropy = "full") -> Glimpse:
        """Measure the next token. The logits are kept, so a step that begins with it needs no other forward."""
        (glimpse,) = self.run(context, lambda task: self._glimpse(task, context, definition))
        return glimpse  # type: ignore[no-any-return]

    def generate(self, context: Context, params: GenerationParams) -> Iterator[Chunk]:
        """Continue the context, token by token."""
        self.make_grammars(context, params)
        yield from self.run(context, lambda task: self._generate(task, context, params))

    def prewarm(self, context: Context, beside: Engine | None = None) -> None:
        """Start to prefill the chain so far and return at once, except on the device of the engine `beside`."""
        if isinstance(beside, LocalEngine) and beside.device == self.device:
            return
        conversation = self.conversation(context)
        token_ids = conversation.token_ids()
        task = Task(lambda _: self._read(conversation, token_ids), context.cancelled.is_set)
        if not conversation.reads and self.admission.enters_at_once(context, task):
            conversation.read_ahead(self.scheduler.submit(task))

    def run(self, context: Context, work: Callable[[Task], Generator[Forward, None, None]]) -> Iterator[Any]:
        """Run work in the scheduler of this model's device, and yield its results."""
        self.load()
        for note in (*self.cache_use.notes, *ModelForward.of(self._model).notes):
            context.note(note)
        conversation = self.conversation(context)
        conversation.finish_reading()
        if self.cache_use.rollback == "snapshot":
            conversation.opening  # noqa: B018 - rendered here, and not in the thread that owns the device
        task = Task(work, context.cancelled.is_set)
        self.admission.enter(context, task)
        return self.scheduler.submit(task).results()

    def chain(self, context: Context) -> tuple[KVSession, list[int]]:
        """Return the session of a request, and the ids of its prompt and chain so far."""
        conversation = self.conversation(context)
        token_ids = conversation.token_ids()
        if len(token_ids) >= self.window:
            raise ContextOverflowError(
                f"the chain has {len(token_ids)} tokens and {self.name!r} a window of {self.window}: "
                "lower max_reasoning_tokens or shorten the prompt"
            )
        return conversation.session(self.pool), token_ids

    def drafted_by(self, draft: Engine) -> Engine | None:
        """Return an engine with this one's output and another's drafts, None if that is not possible."""
        return SpeculativeEngine(self, draft) if isinstance(draft, LocalEngine) and draft is not self else None

    def inspect(self) -> ModelFacts:
        """Return the facts of the model and its memory, from its config and tokenizer."""
        footprint = footprint_of(self.source, load_config(self.source))
        footprint = replace(footprint, loaded=self._use is not None or self.source.loaded is not None)
        place = f"this process, on {footprint.device}"
        return self._renderer.facts(place, self.window, footprint)

    def path(self) -> str:
        """Load the model, and return in words how its cache is used."""
        return path_in_words(self.cache_use, ModelForward.of(self._model).packable)

    def forget(self) -> None:
        """Drop the cached tokens of finished requests. The next request starts without a cache."""
        if "pool" in self.__dict__:
            self.pool.clear()

    def sampler(self, params: GenerationParams) -> Sampler:
        """Return the sampler of one call."""
        rule = DrawingRule.of(params.sampling, self._model.generation_config)
        return Sampler(rule, params.sampling.seed, params.index, self.device)

    def output_processor(self, context: Context, params: GenerationParams, room: int) -> OutputProcessor:
        """Return the output processor of one call."""
        if params.phase == "thinking":
            thinking = self._renderer.thinking
            return OutputProcessor(self.table, self.stop_ids, params, room, thinking=thinking)
        requirements, lenient = self.conversation(context).requirements, context.request.lenient_tool_calls
        constraint = None
        if requirements.bound:
            constraint = constraint_for(self._compiler, self._renderer.format, requirements, lenient)
        parser = ReplyParser(self._renderer.format, requirements, lenient)
        return OutputProcessor(self.table, self.stop_ids, params, room, parser, constraint, note=context.note)

    def make_grammars(self, context: Context, params: GenerationParams | None = None) -> OutputRequirements:
        """Compile the grammars of an answer in the calling thread: the device's thread must not wait for them."""
        conversation = self.conversation(context)
        if conversation.requirements.bound and (params is None or params.phase != "thinking"):
            conversation.requirements = compiled_requirements(
                self._compiler, self._renderer.format, conversation.requirements, context
            )
        return conversation.requirements

    def shortest_answer(self, context: Context) -> int:
        """Return the number of tokens of the shortest answer that a request allows, 0 if it demands no form."""
        requirements = self.make_grammars(context)
        if not requirements.structured:
            return 0
        return GrammarConstraint(self._compiler, required_grammar(self._renderer.format, requirements)).shortest

    def _prove(self, task: Task) -> Generator[Forward, None, None]:
        task.put((yield from prove(self._model, self.encode(TEXT))))

    def _glimpse(self, task: Task, context: Context, definition: Entropy) -> Generator[Forward, None, None]:
        meter = Meter(glimpses=1)
        session, _ = yield from self._synced(context, meter)
        assert session.logits is not None
        with meter.decoding():
            glimpse = glimpse_of(session.logits[-1], definition, self.table)
        task.put(replace(glimpse, usage=meter.usage()))

    def _generate(self, task: Task, context: Context, params: GenerationParams) -> Generator[Forward, None, None]:
        meter = self.conversation(context).take_meter()
        session, room = yield from self._synced(context, meter)
        yield from write(task, session, self.sampler(params), self.output_processor(context, params, room), meter)

    def _read(self, conversation: Conversation, token_ids: list[int]) -> Generator[Forward, None, None]:
        shared = yield from conversation.meter.forwards(conversation.session(self.pool).sync(token_ids))
        conversation.meter.cached_tokens += conversation.newly_cached(shared)

    def _synced(self, context: Context, meter: Meter) -> Generator[Forward, None, tuple[KVSession, int]]:
        """Read the steps that the other model wrote into the session. Also returns the free tokens of the window."""
        session, token_ids = self.chain(context)
        shared = yield from meter.forwards(session.sync(token_ids))
        meter.cached_tokens += self.conversation(context).newly_cached(shared)
        return session, self.window - len(token_ids)

    def conversation(self, context: Context) -> Conversation:
        """Return this engine's state of a request."""
        if self not in context.engine_state:
            context.engine_state[self] = conversation = Conversation(context, self._renderer)
            Visit.of(context).leases.append(conversation.give_back)
        known: Conversation = context.engine_state[self]
        return known

    @cached_property
    def _tokenizer(self) -> Any:
        return load_tokenizer(self.source)

    @cached_property
    def table(self) -> Vocabulary:
        """The tokenizer's ids as bytes."""
        return Vocabulary.of(self._tokenizer)

    @cached_property
    def _renderer(self) -> Renderer:
        return Renderer(self._tokenizer, self.table, self.name, self.stop_ids)

    @cached_property
    def _compiler(self) -> GrammarCompiler:
        return GrammarCompiler.of(self.table, self._tokenizer.get_added_vocab(), self.stop_ids)

    @cached_property
    def _model(self) -> Any:
        bounded = self.source.options.get("max_memory_bytes") is not None
        if bounded and self.source.loaded is None:  # before the memory is taken
            check_fits(self.source, footprint_of(self.source, load_config(self.source)).weight_bytes)
        model = load_model(self.source)
        if bounded:
            check_fits(self.source, weight_bytes(model))
        return model

    @cached_property
    def pool(self) -> SessionPool:
        """The sessions of this model."""

        def make() -> KVSession:
            return KVSession(self._model, self._use)

        if most := self.source.options.get("max_cached_tokens"):
            pool = SessionPool(make, most, wake=self.scheduler.wake, bound=self._cache_bound)
        else:
            most = int(CACHE_SHARE * device_memory(self.device))
            pool = SessionPool(make, most, attrgetter("bytes"), wake=self.scheduler.wake, bound=self._cache_bound)
        self.scheduler.pools.add(pool)
        return pool

    @property
    def _cache_bound(self) -> int | None:
        """The bytes that `max_memory_bytes` leaves for caches."""
        most = self.source.options.get("max_memory_bytes")
        return None if most is None else most - weight_bytes(self._model)

    @cached_property
    def admission(self) -> Admission:
        """The admission of requests."""
        return Admission(self.source.options.get("max_batch", MAX_BATCH))

    @cached_property
    def scheduler(self) -> Scheduler:
        """The thread of this model's device."""
        return Scheduler.of(self.device)

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """The ids that end a reply."""
        config = self._model.generation_config if self.source.loaded else load_generation_config(self.source)
        whole = load_config(self.source)
        return stop_ids(self._tokenizer, config, whole, whole.get_text_config(decoder=True))

    @property
    def cache_use(self) -> CacheUse:
        """How this model's cache is used, as it was tested when the model was loaded."""
        self.load()
        assert self._use is not None
        return self._use

    @property
    def loaded(self) -> tuple[Any, Any]:
        """The model and the tokenizer of transformers."""
        return self._model, self._tokenizer

    @property
    def device(self) -> torch.device:
        """The device of the model's input tokens."""
        device: torch.device = self._model.device
        return device
