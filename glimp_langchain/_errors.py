"""Glimp's errors as LangChain's: each has both classes, so that code that catches either one works.

Retry and summarisation middleware tell errors apart by LangChain's types.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from langchain_core import exceptions
from pydantic import ValidationError

import glimp_core


class ContextOverflowError(exceptions.ContextOverflowError, glimp_core.ContextOverflowError):
    """The prompt leaves no room in a model's context window."""


class ModelTimeoutError(exceptions.ModelTimeoutError, glimp_core.EngineTimeoutError):
    """The reply took longer than `timeout` seconds, or a server did not answer in time."""


class ModelAPIError(exceptions.ModelAPIError, glimp_core.RemoteEngineError):
    """The server of a remote engine refused, closed the connection or sent an invalid reply."""


class ModelError(exceptions.ModelError, glimp_core.EngineError):
    """An engine failed while it ran; a retry would fail again."""


class ModelNotFoundError(exceptions.ModelNotFoundError, glimp_core.ModelLoadError):
    """A model cannot be found, read, or used in its role."""


class UnsupportedSchemaError(exceptions.ModelInvalidRequestError, glimp_core.UnsupportedSchemaError):
    """A JSON schema cannot be used, or not in the requested way."""


class OutputValidationError(exceptions.OutputParserException, glimp_core.OutputValidationError):
    """An answer breaks a keyword of its schema that a grammar cannot enforce."""


class ModelInvalidRequestError(exceptions.ModelInvalidRequestError, glimp_core.ConfigError):
    """An option, a message or a combination of them cannot work."""


BOTH = (
    ContextOverflowError,
    ModelTimeoutError,
    ModelAPIError,
    ModelError,
    ModelNotFoundError,
    UnsupportedSchemaError,
    OutputValidationError,
    ModelInvalidRequestError,
)
"""The classes above. If two fit, the subclass comes first."""


@contextmanager
def langchain_errors() -> Iterator[None]:
    """Raise Glimp's errors as LangChain's."""
    try:
        yield
    except glimp_core.GlimpError as error:
        for kind in BOTH:
            if isinstance(error, kind.__bases__[1]) and not isinstance(error, kind):
                raise kind(str(error)) from error
        raise


def what_is_wrong(error: ValidationError, given: Mapping[str, Any]) -> str:
    """Return a message with the invalid options, their values and the reasons."""
    problems: dict[str, list[str]] = {}
    for problem in error.errors():
        name = str(problem["loc"][0]) if problem["loc"] else ""
        option = f"{name}={given[name]!r}: " if name in given else ""
        problems.setdefault(option, []).append(problem["msg"].removeprefix("Value error, "))
    return "; ".join(option + ", or: ".join(messages) for option, messages in problems.items())
