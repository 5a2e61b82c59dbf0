"""What a file of one model family says: its ways to write calls, and its thoughts where no template shows them."""

from dataclasses import dataclass

from glimp_core.chat.formats.base import ToolCallFormat
from glimp_core.chat.formats.thinking import ThinkingMarkup


@dataclass(frozen=True, slots=True)
class Family:
    """The `calls` that a family writes, the likeliest first, and the `signs` it is known by.

    A family is tried if one of its signs stands in the template or is a token of the vocabulary. Which
    of its ways is right, and whether any is, the template's own rendering decides.
    """

    calls: tuple[ToolCallFormat, ...]
    signs: tuple[str, ...]
    thinking: ThinkingMarkup | None = None
