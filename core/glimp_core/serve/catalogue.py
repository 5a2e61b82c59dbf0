"""The models that an endpoint serves: pairs by name, and each model of a pair alone."""

import logging
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from time import time
from typing import Any, Literal

from glimp_core.errors import ConfigError, EngineError, GlimpError, unknown_name
from glimp_core.router import GlimpRouter
from glimp_core.serve.failures import Refused
from glimp_core.types import Role

Status = Literal["loaded", "warming", "failing"]
FAILURES = 3
"""After this many consecutive failed replies a pair counts as failing, until a reply succeeds."""

log = logging.getLogger("glimp.serve")


class ServedPair:
    """A router, the name that clients use for it, and its state: warming up, loaded, or failing.

    Raises `ConfigError` for a name with a colon, which could be the name of a model alone, and for an empty name.
    """

    def __init__(self, name: str, router: GlimpRouter):
        if not name or ":" in name or not name.isprintable():
            raise ConfigError(f"a pair cannot be served as {name!r}: give it a name without a colon")
        self.name = name
        self.router = router
        self.created = int(time())
        self.loaded = False
        self.error: GlimpError | None = None
        self._failed = 0

    @property
    def status(self) -> Status:
        """The state of the pair."""
        if not self.loaded:
            return "failing" if self.error else "warming"
        return "failing" if self._failed >= FAILURES else "loaded"

    def load(self) -> None:
        """Load the weights. An error is logged and kept as `error`."""
        try:
            self.router.load()
        except GlimpError as error:
            self.error = error
            log.error("pair %r does not load: %s", self.name, error)
        else:
            self.loaded = True

    def note_outcome(self, error: BaseException | None) -> None:
        """Count a reply as completed or failed. An error of the client counts as neither."""
        if error is None:
            self.loaded, self._failed, self.error = True, 0, None
        elif isinstance(error, EngineError) or not isinstance(error, GlimpError):
            self._failed += 1
            self.error = error if isinstance(error, GlimpError) else None

    def models(self) -> Sequence["ServedModel"]:
        """Return the models that clients may use: the pair, and each of its models alone."""
        return [ServedModel(self), ServedModel(self, "small"), ServedModel(self, "large")]


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One entry of the list of models: a pair, or the model of a pair that writes `alone`."""

    pair: ServedPair
    alone: Role | None = None

    @property
    def id(self) -> str:
        """The name in a request: NAME, NAME:small or NAME:large."""
        return f"{self.pair.name}:{self.alone}" if self.alone else self.pair.name

    def document(self) -> dict[str, Any]:
        """Return the entry of the list of models."""
        router = self.pair.router
        return {
            "id": self.id,
            "object": "model",
            "created": self.pair.created,
            "owned_by": "glimp",
            "glimp": {
                "kind": self.alone or "pair",
                "pair": self.pair.name,
                "small": router.small.name,
                "large": router.large.name,
                "policy": repr(router.policy),
                "threshold": getattr(router.policy, "threshold", None),
                "entropy": router.config.entropy,
            },
        }


class Catalogue:
    """All served models, by name. Raises `ConfigError` if there are none, or if two pairs have the same name."""

    def __init__(self, pairs: Iterable[ServedPair]):
        self.pairs = list(pairs)
        self._models = {model.id: model for pair in self.pairs for model in pair.models()}
        if not self.pairs or len(self._models) != 3 * len(self.pairs):
            names = [pair.name for pair in self.pairs]
            raise ConfigError(f"the pairs {names} cannot be served: name one at least, and each by a name of its own")

    def find(self, name: str) -> "ServedModel":
        """Return a model by its id. Raises `Refused` (404), with the nearest name, for an unknown id."""
        if name not in self._models:
            raise Refused(str(unknown_name("model", name[:100], self._models)), 404, "model", "model_not_found")
        return self._models[name]

    def documents(self) -> list[dict[str, Any]]:
        """Return the list of models."""
        return [model.document() for model in self._models.values()]

    def status(self) -> Status:
        """Return the state of the endpoint, which is that of its worst pair."""
        all_of = {pair.status for pair in self.pairs}
        return "failing" if "failing" in all_of else "warming" if "warming" in all_of else "loaded"

    def warm_up(self) -> threading.Thread:
        """Start a thread that loads all pairs, and return it."""
        thread = threading.Thread(target=self._load, name="glimp warm-up", daemon=True)
        thread.start()
        return thread

    def _load(self) -> None:
        for pair in self.pairs:
            pair.load()
