"""Every error Glimp raises.

GlimpError (a ValueError)
├── ConfigError              an option, a threshold, a pair or a request that cannot work
├── ModelLoadError           a model that cannot be found, read, or used in its role
├── ContextOverflowError     a prompt that leaves no room in a model's context window
├── UnsupportedSchemaError   a JSON schema that cannot be used, or not in the way that was asked for
├── OutputValidationError    an answer that breaks what of its schema a grammar cannot hold
├── EngineError              an engine failed while it ran
│   ├── RemoteEngineError    a server refused, broke off or answered nonsense
│   └── EngineTimeoutError   an engine did not answer in time
└── Cancelled                the caller stopped the request

A message says what is wrong, shows the value, and says what to do.
"""

import difflib
import reprlib
from collections.abc import Iterable
from typing import Any

LISTED, LONGEST = 50, 100
"""The most names in a message, and the most characters of each."""


class GlimpError(ValueError):
    """Anything that Glimp raises on purpose."""


class ConfigError(GlimpError):
    """An option, a threshold, a pair or a request that cannot work."""


class ModelLoadError(GlimpError):
    """A model that cannot be found, read, or used in its role."""


class ContextOverflowError(GlimpError):
    """A prompt that leaves no room in a model's context window."""


class UnsupportedSchemaError(GlimpError):
    """A JSON schema that cannot be used, or not in the way that was asked for."""


class OutputValidationError(GlimpError):
    """An answer that breaks what of its schema a grammar cannot hold; `text` is the answer."""

    def __init__(self, message: str, text: str = ""):
        super().__init__(message)
        self.text = text

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (str(self), self.text)


class EngineError(GlimpError):
    """An engine failed while it ran."""


class RemoteEngineError(EngineError):
    """A server refused, broke off or answered nonsense."""


class EngineTimeoutError(EngineError):
    """An engine did not answer in time."""


class Cancelled(GlimpError):
    """The caller stopped the request."""


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 100
_SHORT.maxdict = _SHORT.maxlist = _SHORT.maxtuple = 8


def shown(value: Any) -> str:
    """Return a value as text for an error, shortened if it is long or deep. Never raises."""
    return _SHORT.repr(value)[:400]


def unknown_name(what: str, name: object, known: Iterable[str]) -> ConfigError:
    """Return the error for a name that is not in `known`. It suggests the nearest name."""
    names = sorted(known)
    close = difflib.get_close_matches(name[:200], names, n=1) if isinstance(name, str) else []
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    listed = ", ".join(one if len(one) <= LONGEST else f"{one[:LONGEST]}..." for one in names[:LISTED])
    hint = f"did you mean {shown(close[0])}?" if close else f"choose from {listed}{more}"
    return ConfigError(f"unknown {what} {shown(name)}: {hint}")


def check_kind(name: str, value: object, kind: type, wanted: str) -> None:
    """Raise `ConfigError` for an argument of a wrong type."""
    missing = value is None and name == "messages"
    if missing or isinstance(value, bytes) or not isinstance(value, (kind, type(None))):
        raise ConfigError(f"{name}={shown(value)} cannot work: pass {wanted}")
