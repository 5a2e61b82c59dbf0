"""The options of the command line, in one form for all commands."""

from typing import Annotated, Any

import typer


def option(name: str, text: str, panel: str | None = None, **options: Any) -> Any:
    """Return an option. Its default is part of the text, not shown by typer. `options` are typer's own."""
    return typer.Option(name, help=text, rich_help_panel=panel, show_default=False, **options)


Json = Annotated[bool, option("--json", "Print one JSON document as the last line of stdout.")]
"""The option that all commands have."""
