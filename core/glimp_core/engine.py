"""What a model must be able to do for Glimp. Capabilities are types: only a Glimpser can be the small model."""

from collections.abc import Iterator
from inspect import getattr_static
from typing import Protocol, runtime_checkable

from glimp_core.context import Context
from glimp_core.model_facts import ModelFacts
from glimp_core.types import Chunk, Entropy, GenerationParams, Glimpse, Prompt


class _ByNames(type(Protocol)):  # type: ignore[misc]
    """Has isinstance look for names. Up to Python 3.11 it would read the properties, which load, or ask a server."""

    def __instancecheck__(cls, instance: object) -> bool:
        if not cls.__dict__.get("_is_protocol"):
            return bool(super().__instancecheck__(instance))
        names = {name for base in cls.__mro__ for name in vars(base) if not name.startswith("_")}
        return all(getattr_static(instance, name, None) is not None for name in names)


@runtime_checkable
class Engine(Protocol, metaclass=_ByNames):
    """A model that can continue a context.

    `vocabulary` names the table from ids to bytes: spans of an equal vocabulary are passed on as ids,
    others as text. Methods may be called from any thread and raise `EngineError`, `Cancelled` (the
    context was cancelled) or `ModelLoadError`.
    """

    @property
    def name(self) -> str:
        """The model's name as the user gave it."""
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
        """Make sure that the model is ready to run; the first call may take long."""
        ...

    def prepare(self, context: Context) -> Prompt:
        """Render the request and tell its size and where thinking stands, without weights."""
        ...

    def generate(self, context: Context, params: GenerationParams) -> Iterator[Chunk]:
        """Continue the context; the last chunk has an `end`. Closing the iterator stops the model."""
        ...


@runtime_checkable
class Glimpser(Engine, Protocol):
    """An engine that can show the distribution of the next token."""

    def glimpse(self, context: Context, definition: Entropy = "full") -> Glimpse:
        """Measure the first token that would follow the context; the context stays as it is."""
        ...


@runtime_checkable
class Prewarmable(Engine, Protocol):
    """An engine that can read a chain before it is its turn."""

    def prewarm(self, context: Context, beside: Engine | None = None) -> None:
        """Begin to read the chain so far and return at once; not where that would slow the engine `beside` down."""
        ...


@runtime_checkable
class Draftable(Engine, Protocol):
    """An engine that another one can draft for: speculative decoding, which leaves its words as they are."""

    def drafted_by(self, draft: Engine) -> Engine | None:
        """Return an engine that writes this one's words with the other's drafts, None if that cannot be."""
        ...


@runtime_checkable
class TokenCounting(Engine, Protocol):
    """An engine that counts a chain in tokens of its own, which two models of different vocabularies need."""

    def count_chain(self, context: Context) -> int:
        """Return how many tokens the prompt and the chain so far have; runs no model."""
        ...


@runtime_checkable
class Inspectable(Engine, Protocol):
    """An engine that can say what its model is, for `glimp check`."""

    def inspect(self) -> ModelFacts:
        """Tell what is known without weights; a server is asked. Raises `ModelLoadError`, `EngineError`."""
        ...

    def path(self) -> str:
        """Load the model, and say in words how its cache or its server is used. Raises `ModelLoadError`."""
        ...
