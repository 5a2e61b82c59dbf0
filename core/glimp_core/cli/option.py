"""An option of the command line, in the form that all commands give theirs."""

from typing import Annotated, Any

import typer


def option(name: str, text: str, panel: str | None = None, **options: Any) -> Any:
    """Describe an option; its default is in the text, where there is one worth naming. `options` are typer's own."""
    return typer.Option(name, help=text, rich_help_panel=panel, show_default=False, **options)


Json = Annotated[bool, option("--json", "Print one JSON document as the last line of stdout.")]
"""The option that all commands have."""
