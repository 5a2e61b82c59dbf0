"""Errors as an HTTP status and a document in OpenAI's form."""

import json
from dataclasses import dataclass, field
from typing import Any

from glimp_core.errors import (
    Cancelled,
    ConfigError,
    ContextOverflowError,
    EngineError,
    EngineTimeoutError,
    GlimpError,
    ModelLoadError,
    OutputValidationError,
    RemoteEngineError,
    UnsupportedSchemaError,
)
from glimp_core.json_values import mended

LONGEST_MESSAGE = 1000


class Refused(ConfigError):
    """A request that is refused before a model runs; it has the HTTP status and the name of the wrong parameter."""

    def __init__(self, message: str, status: int = 400, param: str | None = None, code: str | None = None):
        super().__init__(message)
        self.status, self.param, self.code = status, param, code
        self.headers: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Failure:
    """An HTTP status, OpenAI's type, code and parameter of an error, and a message."""

    status: int
    kind: str
    code: str
    message: str
    param: str | None = None
    headers: dict[str, str] = field(default_factory=dict[str, str])

    @classmethod
    def of(cls, error: BaseException, draining: bool = False) -> "Failure":
        """Return what a client may see of an error. Messages of errors that are not Glimp's are not shown."""
        if isinstance(error, Refused):
            kind = KINDS.get(error.status, "invalid_request_error")
            return cls(error.status, kind, error.code or kind, _shown(error), error.param, error.headers)
        if isinstance(error, Cancelled) and draining:
            return cls(503, "server_error", "shutting_down", "the server shuts down: ask again")
        for known, status, kind, code in KNOWN:
            if isinstance(error, known):
                # OpenAI's client repeats a 504 by itself, and the repeated reply would take as long as this one
                headers = {"x-should-retry": "false"} if status == 504 else {}
                named = f" ({code})" if known is ContextOverflowError else ""  # which clients look for in the message
                return cls(status, kind, code, _shown(error) + named, None, headers)
        return cls(500, "server_error", "internal_error", "the server failed: its log has the reason")

    def document(self) -> dict[str, Any]:
        """Return the error in the form that OpenAI's clients read."""
        told = {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}
        return {"error": told}

    def body(self) -> bytes:
        """Return the document as JSON."""
        return json.dumps(self.document(), ensure_ascii=False).encode()


KINDS = {
    401: "authentication_error",
    404: "not_found_error",
    408: "timeout_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "server_error",
}
KNOWN: tuple[tuple[type[GlimpError], int, str, str], ...] = (
    (ContextOverflowError, 400, "invalid_request_error", "context_length_exceeded"),
    (UnsupportedSchemaError, 400, "invalid_request_error", "unsupported_schema"),
    (ConfigError, 400, "invalid_request_error", "invalid_request_error"),
    (OutputValidationError, 502, "server_error", "invalid_output"),
    (ModelLoadError, 503, "server_error", "model_not_loaded"),
    (EngineTimeoutError, 504, "timeout_error", "timeout"),
    (RemoteEngineError, 502, "server_error", "model_server_failed"),
    (EngineError, 500, "server_error", "model_failed"),
    (Cancelled, 499, "cancelled", "cancelled"),
)
"""Status, type and code of each error. A subclass is listed before its base class."""


def _shown(error: BaseException) -> str:
    text = mended(str(error))
    return text if len(text) <= LONGEST_MESSAGE else text[:LONGEST_MESSAGE] + " ..."
