"""Engines that wrap another engine and change how it is called."""

from collections.abc import Callable, Iterator

from glimp_core.context import Context, Span, ThinkingClosed
from glimp_core.engine import Engine, Glimpser
from glimp_core.types import Chunk, Entropy, GenerationParams, Glimpse, Prompt

TEXT = "text"
"""The vocabulary of a span that has no ids: every engine reads it as text."""


class Wrapped:
    """An engine that passes all calls to another one."""

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


class Rerendered(Wrapped):
    """Makes every call a separate request, in which the chain is text that is rendered and encoded again.

    The authors' code sends such requests to its servers: steps are cut at their blank line and joined by one, and a
    glimpse and its step are two requests. Caches are kept, as a server keeps its prefixes. `cut` removes the blank line
    from the text of a step.
    """

    def __init__(self, engine: Engine, cut: Callable[[str], str] = lambda text: text.rstrip("\n")):
        super().__init__(engine)
        self._cut = cut

    def glimpse(self, context: Context, definition: Entropy = "full") -> Glimpse:
        """Glimpse in a request of its own."""
        assert isinstance(self.engine, Glimpser)
        with self.anew(context) as request:
            return self.engine.glimpse(request, definition)

    def generate(self, context: Context, params: GenerationParams) -> Iterator[Chunk]:
        """Write in a request of its own."""
        with self.anew(context) as request:
            yield from self.engine.generate(request, params)

    def anew(self, context: Context) -> Context:
        """Return the request with its chain as one text."""
        request = Context(context.request, context.reasoning, context.cancelled)
        steps = [self._cut(link.text) for link in context.spans if isinstance(link, Span)]
        if text := "".join(f"{step}\n\n" for step in steps if step):
            request.append(Span(text, (), TEXT))
        if any(isinstance(link, ThinkingClosed) for link in context.spans):
            request.append(ThinkingClosed(written=False))
        return request
