"""What a model's template and tokenizer tell of it."""

from glimp_core.chat.prompt.renderer import Renderer
from glimp_core.chat.tokens.vocabulary import Vocabulary
from glimp_core.model_facts import Footprint, ModelFacts


def facts_of(
    renderer: Renderer,
    table: Vocabulary,
    name: str,
    place: str,
    window: int,
    footprint: Footprint | None = None,
    server: str | None = None,
) -> ModelFacts:
    """Return the facts of a model with the formats that its template was found to have."""
    format, thinking = renderer.format, renderer.format.thinking
    return ModelFacts(
        name=name,
        place=place,
        window=window,
        thinking=thinking.default if thinking else "none",
        markup=(thinking.markup.start.strip(), thinking.markup.end) if thinking else None,
        switches=tuple(f"{key}={value!r}" for key, value in (thinking.on or {}).items()) if thinking else (),
        calls=format.calls.name,
        proved=format.native,
        notes=format.notes,
        token_bytes=table.token_bytes,
        footprint=footprint,
        server=server,
    )
