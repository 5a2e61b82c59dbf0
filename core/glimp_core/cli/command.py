"""A decorator that makes a function of `Settings` a command with the shared options."""

import functools
import inspect
import traceback
from collections.abc import Callable
from dataclasses import fields
from typing import Any, Concatenate, ParamSpec, TypeVar

from glimp_core.cli.settings import Settings

P = ParamSpec("P")
SettingsT = TypeVar("SettingsT", bound=Settings)


def takes_settings(command: Callable[Concatenate[SettingsT, P], None]) -> Callable[..., None]:
    """Add the shared options to a command, after its own. typer reads them from the signature.

    The annotation of its first parameter is the class with the options: `Settings` or a subclass.
    """
    first, *own = inspect.signature(command).parameters.values()
    kind: type[SettingsT] = first.annotation

    @functools.wraps(command)
    def called(**values: Any) -> None:
        settings = kind(**{field.name: values.pop(field.name) for field in fields(kind)})
        try:
            command(settings, **values)  # type: ignore[call-arg]
        except Exception:
            if settings.debug:
                traceback.print_exc()
            raise

    parameters = [p.replace(kind=p.KEYWORD_ONLY) for p in [*own, *inspect.signature(kind).parameters.values()]]
    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return called
