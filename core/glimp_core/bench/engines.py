"""Engines made of another engine, which change how it is called."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from glimp_core.chain import Chain
from glimp_core.context import Context, Span, ThinkingClosed
from glimp_core.engine import Engine, Glimpser
from glimp_core.entropy import TokenMeasure
from glimp_core.errors import ConfigError
from glimp_core.types import Chunk, Entropy, GenerationParams, Glimpse, ModelUsage, Prompt

TEXT = "text"
"""The vocabulary of a span that has no ids: every engine reads it as text."""


class Wrapped:
    """An engine that passes everything on to another one."""

    def __init__(self, engine: Engine):
        self.engine = engine

    @property
    def name(self) -> str:
        """The inner engine's name."""
        return self.engine.name

    @property
    def vocabulary(self) -> str:
        """The inner engine's vocabulary."""
        return self.engine.vocabulary

    @property
    def window(self) -> int:
        """The inner engine's window."""
        return self.engine.window

    def load(self) -> None:
        """Load the inner engine."""
        self.engine.load()

    def prepare(self, context: Context) -> Prompt:
        """Have the inner engine render the request."""
        return self.engine.prepare(context)

    def generate(self, context: Context, params: GenerationParams) -> Iterator[Chunk]:
        """Have the inner engine write."""
        return self.engine.generate(context, params)


class Written(Wrapped):
    """Writes, as its next step, what the inner engine has written already: a draft that is to be kept."""

    def __init__(self, engine: Engine, chunks: Sequence[Chunk]):
        super().__init__(engine)
        self.chunks = tuple(chunks)

    @classmethod
    def by(cls, engine: Engine, chain: Chain, measured: bool = False) -> "Written":
        """Have `engine` write the next step of a chain, which does not take it yet.

        Raises `ConfigError` where tokens are to be `measured` by an engine that does not do so.
        """
        chunks = list(engine.generate(chain.context, replace(chain.params(), measured=measured)))
        if measured and all(chunk.measure is None for chunk in chunks):
            raise ConfigError(f"{engine.name!r} does not measure the tokens it writes: choose a local model for this")
        return cls(engine, chunks)

    @property
    def text(self) -> str:
        """The step."""
        return "".join(chunk.text for chunk in self.chunks)

    @property
    def tokens(self) -> int:
        """How many ids were written."""
        return sum(len(chunk.token_ids) for chunk in self.chunks)

    @property
    def usage(self) -> ModelUsage:
        """What writing it took."""
        return self.chunks[-1].usage

    @property
    def measure(self) -> TokenMeasure:
        """The measures of all its tokens, added up."""
        return sum((chunk.measure for chunk in self.chunks if chunk.measure), TokenMeasure())

    def generate(self, context: Context, params: GenerationParams) -> Iterator[Chunk]:
        """Say again what was written."""
        return iter(self.chunks)


class Rerendered(Wrapped):
    """Sees every call as a request of its own, of which the chain is text that is rendered and encoded anew.

    That is how the authors' code talks to its servers: steps cut off at their blank line and joined by one, a
    glimpse in one request, the step in another. Caches are kept as a server keeps its prefixes.
    """

    def glimpse(self, context: Context, definition: Entropy = "full") -> Glimpse:
        """Glimpse in a request of its own."""
        assert isinstance(self.engine, Glimpser)
        with self._anew(context) as request:
            return self.engine.glimpse(request, definition)

    def generate(self, context: Context, params: GenerationParams) -> Iterator[Chunk]:
        """Write in a request of its own."""
        with self._anew(context) as request:
            yield from self.engine.generate(request, params)

    @staticmethod
    def _anew(context: Context) -> Context:
        request = Context(context.request, context.reasoning, context.cancelled)
        steps = [link.text.rstrip("\n") for link in context.chain if isinstance(link, Span)]
        if text := "".join(f"{step}\n\n" for step in steps if step):
            request.append(Span(text, (), TEXT))
        if any(isinstance(link, ThinkingClosed) for link in context.chain):
            request.append(ThinkingClosed(written=False))
        return request
