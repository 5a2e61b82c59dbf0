"""What a model must be able to do for Glimp. Capabilities are types: only a Glimpser can be the small model."""

from collections.abc import Iterator
from inspect import getattr_static
from typing import Protocol, runtime_checkable

from glimp_core.context import Context
from glimp_core.model_facts import ModelFacts
from glimp_core.types import Chunk, Entropy, GenerationParams, Glimpse, Prompt


class _ByNames(type(Protocol)):  # type: ignore[misc]
    """Makes isinstance compare names. Up to Python 3.11 it reads the properties, which would load or send requests."""

    def __instancecheck__(cls, instance: object) -> bool:
        if not cls.__dict__.get("_is_protocol"):
            return bool(super().__instancecheck__(instance))
        names = {name for base in cls.__mro__ for name in vars(base) if not name.startswith("_")}
        return all(getattr_static(instance, name, None) is not None for name in names)


@runtime_checkable
class Engine(Protocol, metaclass=_ByNames):
    """A model that can continue a context.

    `vocabulary` identifies the table from ids to bytes. Engines with an equal vocabulary exchange ids, others text.
    Methods may be called from any thread. They raise `EngineError`, `Cancelled` (the context was cancelled) or
    `ModelLoadError`.
    """

    @property
    def name(self) -> str:
        """The model's name as the user passed it."""
        ...

    @property
    def vocabulary(self) -> str:
        """The identity of the table from token ids to bytes."""
        ...

    @property
    def window(self) -> int:
        """The context window in tokens, known without loading weights."""
        ...

    def load(self) -> None:
        """Make the model ready to run. The first call may take long."""
        ...

    def prepare(self, context: Context) -> Prompt:
        """Render the request, and return its size and the state of thinking. It needs no weights."""
        ...

    def generate(self, context: Context, params: GenerationParams) -> Iterator[Chunk]:
        """Continue the context. The last chunk has an `end`. Closing the iterator stops the model."""
        ...


@runtime_checkable
class Glimpser(Engine, Protocol):
    """An engine that can return the distribution of the next token. The small model has to be one."""

    def glimpse(self, context: Context, definition: Entropy = "full") -> Glimpse:
        """Measure the distribution of the next token. The context does not change."""
        ...


@runtime_checkable
class Prewarmable(Engine, Protocol):
    """An engine that can prefill a chain before it has to write."""

    def prewarm(self, context: Context, beside: Engine | None = None) -> None:
        """Start to prefill the chain so far and return at once, unless it would slow down the engine `beside`."""
        ...


@runtime_checkable
class Draftable(Engine, Protocol):
    """An engine that another engine can draft for (speculative decoding). Drafts do not change its output."""

    def drafted_by(self, draft: Engine) -> Engine | None:
        """Return an engine with this one's output and the other's drafts, None if that is not possible."""
        ...


@runtime_checkable
class TokenCounting(Engine, Protocol):
    """An engine that can count a chain in its own tokens. A pair with two vocabularies needs this."""

    def count_chain(self, context: Context) -> int:
        """Return the number of tokens of the prompt and the chain so far. It runs no model."""
        ...


@runtime_checkable
class Inspectable(Engine, Protocol):
    """An engine that can describe its model, for `glimp check`."""

    def inspect(self) -> ModelFacts:
        """Return the facts that need no weights; a server gets requests. Raises `ModelLoadError`, `EngineError`."""
        ...

    def path(self) -> str:
        """Load the model, and return in words how its cache or its server is used. Raises `ModelLoadError`."""
        ...
