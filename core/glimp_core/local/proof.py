"""The test of a model's cache when it loads: a few short forwards.

transformers changes, and so do the cache classes of models. A wrong cache causes no error, so each model is tested
once: is the result of two chunks that of one chunk, does the cache hold the tokens that were fed, and are removed
tokens as if they had never been read? A feature that fails is not used, or the model is refused with its name.
"""

import logging
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch

from glimp_core.errors import ModelLoadError
from glimp_core.local.cache import held_lengths
from glimp_core.local.forward import ModelForward, distance, tolerance
from glimp_core.local.session import CacheUse, Forward, KVSession

log = logging.getLogger("glimp.local")

TEXT = "The proof of the pudding is in the eating, they say; 17 times 23 is 391, and 391 - 17 = 374. So it is.\n\n"
"""The text that is fed: common words, digits and a blank line, tokenised by the model's own tokenizer."""

LENGTH, LONGEST = 24, 96
"""The number of its tokens that are read, and the most for a model with a short window."""

ENDING = 4
"""The number of last tokens that are compared: some are fed together after a state, the last one alone."""


@dataclass(slots=True)
class ProofForward(Forward):
    """A forward that runs alone and keeps its error."""

    alone: bool = True
    error: Exception | None = None

    def run(self) -> None:
        """Run it and keep its error, except for too little memory."""
        try:
            Forward.run(self)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # any error that a model's code raises with another cache than its own
            self.error = error
        self.done = True


def prove(model: Any, token_ids: Sequence[int]) -> Generator[Forward, None, CacheUse]:
    """Test a model's cache with at most 8 forwards, and return how sessions can use it.

    `token_ids` is any text. The caller runs the forwards. A model is tested once in a process. Raises `ModelLoadError`
    for a model that cannot continue correctly from a cache in any way.
    """
    if model not in _proved:
        token_ids = _stretched(token_ids, _length(model))
        use = yield from _Proof(model, token_ids).run()
        for note in use.notes:
            log.warning(note)
        _proved[model] = use
    return _proved[model]


class _Proof:
    """The test of one model; `whole` are the logits of the last tokens from a single forward."""

    def __init__(self, model: Any, token_ids: Sequence[int]):
        self._model = model
        self._name = type(model).__name__
        self._token_ids = list(token_ids)
        self._start = len(token_ids) - ENDING
        self._tolerance = tolerance(model)

    def run(self) -> Generator[Forward, None, CacheUse]:
        whole = KVSession(self._model)
        yield from self._must(whole, self._token_ids, ENDING)
        assert whole.logits is not None
        self._said = whole.logits
        parts = KVSession(self._model)
        yield from self._must(parts, self._token_ids[: self._start])
        self._check_length(parts)
        parts.keep_state()
        if not (yield from self._says_the_same(parts, ENDING - 1)):
            return (yield from self._token_by_token(whole))
        yield from self._interrupt(whole)
        if not (yield from self._says_the_same(parts, 1)):
            raise self._refusal()
        if (yield from self._rolls_back(parts, self._start, ENDING)):
            return CacheUse(parts.rollback)
        return CacheUse("refill", notes=(self._note("cannot be restored to an earlier state: tokens are read again"),))

    def _token_by_token(self, other: KVSession) -> Generator[Forward, None, CacheUse]:
        """Test whether a model that reads several tokens incorrectly after a state reads single tokens correctly."""
        session, start = KVSession(self._model), len(self._token_ids) - 2
        yield from self._must(session, self._token_ids[:start])
        session.keep_state()
        yield from self._interrupt(other)
        for _ in range(2):
            if not (yield from self._says_the_same(session, 1)):
                raise self._refusal()
        back = yield from self._rolls_back(session, start, 1)
        note = self._note("is right for one token at a time only: what follows a prompt is read token by token")
        return CacheUse("snapshot" if back and session.rollback == "snapshot" else "refill", False, (note,))

    def _interrupt(self, other: KVSession) -> Generator[Forward, None, None]:
        """Feed another session: if a model keeps state outside of its caches, the next result is wrong."""
        yield from self._must(other, self._token_ids[:1])

    def _refusal(self) -> ModelLoadError:
        return ModelLoadError(
            f"{self._name} cannot serve: with its own cache the results differ from those of a single forward. This "
            "version of transformers computes them incorrectly: try another version, or choose another model"
        )

    def _rolls_back(self, session: KVSession, start: int, tokens: int) -> Generator[Forward, None, bool]:
        """Remove tokens of a session, and test whether the next tokens are read as if these had never been read."""
        session.trim(start)
        return len(session.token_ids) == start and (yield from self._says_the_same(session, tokens))

    def _says_the_same(self, session: KVSession, tokens: int) -> Generator[Forward, None, bool]:
        """Feed the next tokens, and compare their logits with those of one chunk."""
        start = len(session.token_ids)
        trial = ProofForward(session, self._token_ids[start : start + tokens], tokens)
        yield trial
        if trial.error is not None or session.logits is None:
            log.info("%s on its cache: %r", self._name, trial.error)
            return False
        said = self._said[start - self._start :][:tokens]
        return distance(session.logits, said) <= self._tolerance

    def _must(self, session: KVSession, token_ids: list[int], keep: int = 1) -> Generator[Forward, None, None]:
        trial = ProofForward(session, token_ids, keep)
        yield trial
        if isinstance(trial.error, ModelLoadError):
            raise trial.error
        if trial.error is not None:
            said = (str(trial.error).strip() or type(trial.error).__name__).splitlines()[0]
            raise ModelLoadError(
                f"{self._name} cannot serve: it does not run on the cache of transformers ({said}). "
                "Choose a causal language model that takes a DynamicCache"
            ) from trial.error

    def _check_length(self, session: KVSession) -> None:
        lengths = held_lengths(session.cache)
        if lengths is not None and lengths != {self._start}:
            held = " and ".join(map(str, sorted(lengths))) or "none"
            raise ModelLoadError(
                f"{self._name} cannot serve: of {self._start} tokens that were fed its cache holds {held}. "
                f"Its forward takes {ModelForward.of(self._model).cache_argument!r}, and seems not to use it"
            )

    def _note(self, what: str) -> str:
        return f"the cache of {self._name} {what}"


def _length(model: Any) -> int:
    """Return how many tokens to read: more than a short window or chunk of the attention."""
    config = model.config.get_text_config(decoder=True)
    spans = [
        getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size", "attention_window_size")
    ]
    reach = [2 * span + ENDING for span in spans if isinstance(span, int)]
    return max([LENGTH, *(length for length in reach if length <= LONGEST)])


def _stretched(token_ids: Sequence[int], length: int) -> list[int]:
    return (list(token_ids) * length)[:length]


_proved: WeakKeyDictionary[Any, CacheUse] = WeakKeyDictionary()
