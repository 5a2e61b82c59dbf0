"""The settings of an endpoint, apart from those of its pairs."""

from dataclasses import dataclass, field, fields
from typing import Any

from glimp_core.errors import ConfigError
from glimp_core.options import SecretText

MEBIBYTE = 2**20
TEMPLATE_OPTIONS = ("enable_thinking", "thinking", "preserve_thinking", "clear_thinking", "reasoning_effort")
"""The default names in `chat_template_kwargs`: they say how much the model thinks, and which thinking is kept."""


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """The settings of an endpoint.

    - `api_key`: the bearer token that clients must send; with None no key is needed.
    - `max_running`: how many replies are written at once; `max_waiting`: how many further requests may wait.
    - `max_body_bytes`, `body_seconds`: the largest request, and the longest time that a client may take to send it.
    - `timeout`: the longest time of a reply in seconds, None for no limit.
    - `drain_seconds`: how long running replies may continue when the endpoint shuts down.
    - `template_options`: the names that a request may use in `chat_template_kwargs`.
    - `cors_origins`: the origins whose web pages may use the endpoint.
    - `allowed_hosts`: the accepted `Host` headers; empty means all.

    Raises `ConfigError` for invalid values.
    """

    api_key: str | None = field(default=None, repr=False)
    max_running: int = 32
    max_waiting: int = 128
    max_body_bytes: int = 4 * MEBIBYTE
    body_seconds: float = 30.0
    timeout: float | None = 600.0
    drain_seconds: float = 30.0
    template_options: tuple[str, ...] = TEMPLATE_OPTIONS
    cors_origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.api_key is not None and not self.api_key.strip():
            raise ConfigError("the API key is empty: set one, or none at all")
        if self.api_key is not None:
            object.__setattr__(self, "api_key", SecretText(self.api_key))
        limits = {"max_running": 1, "max_waiting": 0, "max_body_bytes": 1, "drain_seconds": 0}
        for name, least in limits.items():
            if not getattr(self, name) >= least:
                raise ConfigError(f"{name}={getattr(self, name)!r} cannot work: it must be {least} or more")
        if not self.body_seconds > 0 or not (self.timeout is None or self.timeout > 0):
            raise ConfigError(
                f"body_seconds={self.body_seconds!r}, timeout={self.timeout!r} cannot work: "
                "both are seconds, more than 0"
            )

    def __getstate__(self) -> Any:
        # a pickle contains no secret, and an endpoint that lost its key in a pickle would be open to everyone
        if self.api_key is not None:
            raise TypeError("settings with an api_key are not pickled: make them in the process that serves")
        return [getattr(self, field.name) for field in fields(self)]
