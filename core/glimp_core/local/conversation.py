"""One request inside one engine: its ids in this model's vocabulary, and the session that serves it."""

from glimp_core.chat.rendering import RenderedPrompt, Renderer
from glimp_core.context import Context, Span
from glimp_core.local.pool import SessionPool
from glimp_core.local.session import KVSession


class Conversation:
    """Follows a context: prompt and chain are encoded once, link by link, and never again."""

    def __init__(self, context: Context, renderer: Renderer):
        self.prompt: RenderedPrompt = renderer.prompt(context)
        self._context = context
        self._renderer = renderer
        self._token_ids = list(self.prompt.token_ids)
        self._links = 0
        self._read = False
        self._text = ""
        self._session: KVSession | None = None

    def token_ids(self) -> list[int]:
        """Return the ids of the prompt and of the chain so far; the caller may extend the list."""
        for link in self._context.chain[self._links :]:
            self._token_ids += self._renderer.link(link, self._text)
            self._text = link.text if isinstance(link, Span) else self._text
        self._links = len(self._context.chain)
        return list(self._token_ids)

    def newly_cached(self, shared: int) -> int:
        """Return how many tokens of the prompt the cache held when it was first looked at, 0 after that."""
        first, self._read = not self._read, True
        return min(shared, len(self.prompt.token_ids)) if first else 0

    def session(self, pool: SessionPool) -> KVSession:
        """Return the session of this request, leased from the pool until the context closes."""
        if self._session is None:
            session = self._session = pool.take(self._token_ids)
            self._context.on_close(lambda: pool.give_back(session))
        return self._session
