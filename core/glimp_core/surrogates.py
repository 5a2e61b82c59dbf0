"""Text that holds half a character, as JSON, PDF readers and argument lists leave it."""

from typing import Any


def mended(text: str) -> str:
    """Return a text with halves of surrogate pairs joined, and those without another half replaced by U+FFFD."""
    if text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def mended_values(value: Any) -> Any:
    """Return JSON with all its texts mended."""
    if isinstance(value, str):
        return mended(value)
    if isinstance(value, dict):
        return {mended_values(key): mended_values(part) for key, part in value.items()}
    return [mended_values(part) for part in value] if isinstance(value, list) else value
