"""What makes a function of `Settings` a command that takes the shared options."""

import functools
import inspect
import traceback
from collections.abc import Callable
from dataclasses import fields
from typing import Any, Concatenate, ParamSpec

from glimp_core.cli.settings import Settings

P = ParamSpec("P")


def takes_settings(command: Callable[Concatenate[Settings, P], None]) -> Callable[..., None]:
    """Give a command the shared options after its own; typer reads them off the signature."""

    @functools.wraps(command)
    def called(**values: Any) -> None:
        settings = Settings(**{field.name: values.pop(field.name) for field in fields(Settings)})
        try:
            command(settings, **values)  # type: ignore[call-arg]
        except Exception:
            if settings.debug:
                traceback.print_exc()
            raise

    _, *own = inspect.signature(command).parameters.values()
    parameters = [p.replace(kind=p.KEYWORD_ONLY) for p in [*own, *inspect.signature(Settings).parameters.values()]]
    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return called
