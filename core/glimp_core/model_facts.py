"""The facts of a model that are known before its weights load."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

ThinkingDefault = Literal["none", "on", "off", "free"]
"""Whether a model can think, and whether it does if nobody says; "free": it chooses itself."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """The memory that a model in this process takes, in bytes, and the memory of its `device`.

    A request takes `state_bytes` and `bytes_per_token` in the cache. `free` is what is left now; of a model that is
    `loaded` already it does not contain the weights. None if the model's code does not run without weights.
    """

    device: str
    dtype: str
    parameters: int
    weight_bytes: int
    state_bytes: int | None
    bytes_per_token: float | None
    total: int
    free: int
    loaded: bool = False

    def request_bytes(self, tokens: int) -> int:
        """Return what a request of some tokens takes in the cache, 0 if that is not known."""
        return (self.state_bytes or 0) + round((self.bytes_per_token or 0) * tokens)


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """One model of a pair: where it runs, how it thinks and calls tools, and what it takes.

    `markup` is what stands around its thoughts, `switches` the template's settings that turn them on. `calls` names
    the format of its tool calls, which is `proved` where what the template writes was read back. `token_bytes` is its
    table from ids to bytes. `footprint` is None for a model at a server, `server` says how that one behaves.
    """

    name: str
    place: str
    window: int
    thinking: ThinkingDefault
    markup: tuple[str, str] | None
    switches: tuple[str, ...]
    calls: str
    proved: bool
    notes: tuple[str, ...]
    token_bytes: Sequence[bytes | None]
    footprint: Footprint | None = None
    server: str | None = None

    def document(self) -> dict[str, Any]:
        """Return the facts as JSON has them: of the table its size alone."""
        told = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "token_bytes"}
        footprint = None if self.footprint is None else asdict(self.footprint)
        return {**told, "vocabulary": len(self.token_bytes), "footprint": footprint}
