"""The tree of errors."""

import inspect

import pytest

from glimp_core import ConfigError, EngineError, EngineTimeoutError, GlimpError, RemoteEngineError, errors
from glimp_core.errors import unknown_name


def test_every_error_is_in_the_drawn_tree_under_one_root() -> None:
    """Every class of the module is a GlimpError, hence a ValueError, and appears in the drawing."""
    classes = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__]
    assert len(classes) >= 9
    for kind in classes:
        assert issubclass(kind, GlimpError)
        assert issubclass(kind, ValueError)
        assert kind.__name__ in (errors.__doc__ or "")


@pytest.mark.parametrize("kind", [RemoteEngineError, EngineTimeoutError])
def test_what_fails_while_running_is_an_engine_error(kind: type[Exception]) -> None:
    """Catching EngineError catches the remote ones too."""
    assert issubclass(kind, EngineError)


def test_unknown_names_suggest() -> None:
    """A near name is suggested, a far one lists the choices."""
    assert str(unknown_name("option", "dtipe", ["dtype", "device"])) == "unknown option 'dtipe': did you mean 'dtype'?"
    error = unknown_name("option", "zzz", ["dtype", "device"])
    assert isinstance(error, ConfigError)
    assert str(error) == "unknown option 'zzz': choose from device, dtype"
