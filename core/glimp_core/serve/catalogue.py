"""What an endpoint serves: pairs of models by name, and each model of a pair on its own."""

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
"""After so many failed replies in a row a pair counts as failing, until one succeeds."""

log = logging.getLogger("glimp.serve")


class ServedPair:
    """A router under the name that clients ask for, and how it is: warming up, loaded, or failing.

    Raises `ConfigError` for a name that cannot be told from that of a model on its own.
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
        """How the pair is."""
        if not self.loaded:
            return "failing" if self.error else "warming"
        return "failing" if self._failed >= FAILURES else "loaded"

    def load(self) -> None:
        """Load the weights. A failure is logged and kept as `error`."""
        try:
            self.router.load()
        except GlimpError as error:
            self.error = error
            log.error("pair %r does not load: %s", self.name, error)
        else:
            self.loaded = True

    def note_outcome(self, error: BaseException | None) -> None:
        """Remember whether a reply came to its end; what the client did wrong counts as neither."""
        if error is None:
            self.loaded, self._failed, self.error = True, 0, None
        elif isinstance(error, EngineError) or not isinstance(error, GlimpError):
            self._failed += 1
            self.error = error if isinstance(error, GlimpError) else None

    def models(self) -> Sequence["ServedModel"]:
        """Return what clients may ask for: the pair, and each of its models alone."""
        return [ServedModel(self), ServedModel(self, "small"), ServedModel(self, "large")]


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A pair, or the model of a pair that writes `alone`, as one entry of the list of models."""

    pair: ServedPair
    alone: Role | None = None

    @property
    def id(self) -> str:
        """The name that a request gives: NAME, NAME:small or NAME:large."""
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
    """All that is served, by name. Raises `ConfigError` if nothing is, or a name stands twice."""

    def __init__(self, pairs: Iterable[ServedPair]):
        self.pairs = list(pairs)
        self._models = {model.id: model for pair in self.pairs for model in pair.models()}
        if not self.pairs or len(self._models) != 3 * len(self.pairs):
            names = [pair.name for pair in self.pairs]
            raise ConfigError(f"the pairs {names} cannot be served: name one at least, and each by a name of its own")

    def find(self, name: str) -> "ServedModel":
        """Return a model by its id. Raises `Refused` (404) with the nearest name for one that is not served."""
        if name not in self._models:
            raise Refused(str(unknown_name("model", name[:100], self._models)), 404, "model", "model_not_found")
        return self._models[name]

    def documents(self) -> list[dict[str, Any]]:
        """Return the list of models."""
        return [model.document() for model in self._models.values()]

    def status(self) -> Status:
        """Return how the endpoint is: as its worst pair."""
        all_of = {pair.status for pair in self.pairs}
        return "failing" if "failing" in all_of else "warming" if "warming" in all_of else "loaded"

    def warm_up(self) -> threading.Thread:
        """Load all pairs in a thread of its own, which is returned."""
        thread = threading.Thread(target=self._load, name="glimp warm-up", daemon=True)
        thread.start()
        return thread

    def _load(self) -> None:
        for pair in self.pairs:
            pair.load()
