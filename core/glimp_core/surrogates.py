"""Text that holds half a character, as JSON, PDF readers and argument lists leave it."""

from collections.abc import Callable
from typing import Any


def mended(text: str) -> str:
    """Return a text with halves of surrogate pairs joined, and those without another half replaced by U+FFFD."""
    if text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def mended_values(value: Any) -> Any:
    """Return JSON with all its texts mended."""
    return with_texts(value, mended, mended)


def with_texts(value: Any, change: Callable[[str], str], change_name: Callable[[str], str]) -> Any:
    """Return a copy of JSON with every text changed, and every name of a property; JSON may be nested as it likes."""
    whole: list[Any] = [value]
    left: list[tuple[Any, Any]] = [(whole, 0)]
    made: Any
    while left:
        holder, place = left.pop()
        part = holder[place]
        if isinstance(part, str):
            holder[place] = change(part)
        elif isinstance(part, dict):
            holder[place] = made = {change_name(name): inner for name, inner in part.items()}
            left += [(made, name) for name in made]
        elif isinstance(part, list):
            holder[place] = made = list(part)
            left += [(made, at) for at in range(len(made))]
    return whole[0]
