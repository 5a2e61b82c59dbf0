"""The `glimp` command with a scripted pair in place of models: for tests that need a process of their own."""

import time
from collections.abc import Iterator
from typing import Any

from glimp_core import Context, GlimpRouter
from glimp_core.cli import main
from glimp_core.testing import ScriptedEngine
from glimp_core.types import Chunk, GenerationParams
from pairs import ENTROPIES, STEPS

SECONDS_A_TOKEN = 0.01


class Slow(ScriptedEngine):
    """Takes its time, as models do."""

    def generate(self, context: Context, params: GenerationParams) -> Iterator[Chunk]:
        """Write a character every hundredth of a second."""
        for chunk in super().generate(context, params):
            time.sleep(SECONDS_A_TOKEN)
            yield chunk


def scripted(small: Any, large: Any, *settings: Any, **options: Any) -> GlimpRouter:
    """Stand in for GlimpRouter.from_pretrained."""
    pair = (Slow(STEPS, "It is 4.", entropies) for entropies in (ENTROPIES, (0.0,)))
    return GlimpRouter(*pair, *settings)


if __name__ == "__main__":
    GlimpRouter.from_pretrained = scripted  # type: ignore[method-assign,assignment]
    main()
