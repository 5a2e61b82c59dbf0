"""One request in one model's ids: its prompt, and the chain as it grows."""

from glimp_core.chat.demands import Demands
from glimp_core.chat.rendering import RenderedPrompt, Renderer
from glimp_core.context import Context, Span


class Transcript:
    """Follows a context: prompt and chain are encoded once, link by link, and never again."""

    def __init__(self, context: Context, renderer: Renderer):
        self.demands = Demands.of(context.request)
        self.prompt: RenderedPrompt = renderer.prompt(context)
        self._context = context
        self._renderer = renderer
        self._token_ids = list(self.prompt.token_ids)
        self._links = 0
        self._text = ""

    def token_ids(self) -> list[int]:
        """Return the ids of the prompt and of the chain so far; the caller may extend the list."""
        for link in self._context.chain[self._links :]:
            self._token_ids += self._renderer.link(link, self._text)
            self._text = link.text if isinstance(link, Span) else self._text
        self._links = len(self._context.chain)
        return list(self._token_ids)
