"""Look at the forwards of a real model, or break some, through torch's own hooks: nothing of Glimp is replaced."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from glimp_core import GlimpRouter
from glimp_core.local import LocalEngine
from glimp_core.local.packing import PackedCache


@contextmanager
def before_forwards(models: Any, call: Callable[[Any], object]) -> Iterator[None]:
    """Call something with the arguments of every forward of these models, before it; what that raises ends it."""

    def before(_: Any, args: Any, kwargs: Any) -> None:
        call(kwargs)

    with _hooked([model.register_forward_pre_hook(before, with_kwargs=True) for model in models]):
        yield


@contextmanager
def after_forwards(models: Any, call: Callable[[Any, Any], object]) -> Iterator[None]:
    """Call something with the arguments and the output of every forward, which it may change."""

    def after(_: Any, args: Any, kwargs: Any, output: Any) -> None:
        call(kwargs, output)

    with _hooked([model.register_forward_hook(after, with_kwargs=True) for model in models]):
        yield


@contextmanager
def _hooked(handles: list[torch.utils.hooks.RemovableHandle]) -> Iterator[None]:
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def local_engines(router: GlimpRouter) -> tuple[LocalEngine, LocalEngine]:
    """The small and the large engine of a local pair, with all that a LocalEngine shows."""
    small, large = router.small, router.large
    assert isinstance(small, LocalEngine)
    assert isinstance(large, LocalEngine)
    return small, large


def models_of(router: GlimpRouter) -> list[Any]:
    """The models of a local pair."""
    return [engine.loaded[0] for engine in local_engines(router)]


def packed_sessions(arguments: Any) -> int:
    """How many sessions a forward feeds together, by its arguments; 0 for one that feeds a session alone."""
    caches = [value for value in arguments.values() if isinstance(value, PackedCache)]
    return len(caches[0].sessions) if caches else 0
