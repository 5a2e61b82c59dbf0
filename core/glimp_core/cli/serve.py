"""`glimp serve`: the pair as an OpenAI-compatible endpoint."""

import os
import sys
import webbrowser
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from glimp_core.cli.command import takes_settings
from glimp_core.cli.exits import say
from glimp_core.cli.reply import start
from glimp_core.cli.run import TINY
from glimp_core.cli.settings import Settings, option
from glimp_core.errors import ConfigError
from glimp_core.options import SERVER_OPTIONS

if TYPE_CHECKING:
    from glimp_core.serve import ServiceSettings

EVERYWHERE = ("0.0.0.0", "::")
"""Addresses to listen on that a browser cannot open."""


def _serving(name: str, text: str) -> Any:
    return typer.Option(name, rich_help_panel="Serving", help=text)


Host = Annotated[str, _serving("--host", "The address to listen on; 0.0.0.0 means all addresses of this machine.")]
Port = Annotated[int, _serving("--port", "The port to listen on; 0 selects a free one.")]
Name = Annotated[
    str | None, _serving("--name", "The pair's name in the list of models. Default: as in --config, or glimp.")
]
KeyVariable = Annotated[
    str | None, _serving("--api-key-env", "The environment variable with the key that clients must send.")
]
MaxRunning = Annotated[int, _serving("--max-running", "Replies that are written at once.")]
Waiting = Annotated[int, _serving("--max-waiting", "Requests that may wait; further ones are refused (429).")]
Seconds = Annotated[float, _serving("--timeout", "The longest time of a reply in seconds.")]
Drain = Annotated[float, _serving("--drain", "Seconds for running replies at shutdown.")]
Origins = Annotated[list[str] | None, _serving("--cors-origin", "An origin whose pages may use it (repeatable).")]
Hosts = Annotated[list[str] | None, _serving("--allowed-host", "One more accepted Host header (repeatable).")]
Templates = Annotated[
    list[str] | None, _serving("--template-option", "One more name for chat_template_kwargs of requests (repeatable).")
]
InBrowser = Annotated[bool, _serving("--open", "Open the page in a browser, if there is one.")]


@dataclass(frozen=True, kw_only=True)
class ServedSettings(Settings):
    """The shared options, where `--model-key-env` names the key of model servers: `--api-key-env` is for clients."""

    api_key_env: Annotated[str | None, option("--model-key-env", SERVER_OPTIONS["api_key_env"], "Models")] = None


@takes_settings
def command(
    settings: ServedSettings,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    name: Name = None,
    client_key_env: KeyVariable = None,
    max_running: MaxRunning = 32,
    max_waiting: Waiting = 128,
    timeout: Seconds = 600.0,
    drain: Drain = 30.0,
    cors_origin: Origins = None,
    allowed_host: Hosts = None,
    template_option: Templates = None,
    in_browser: InBrowser = False,
) -> None:
    """Serve the pair through OpenAI's API, with a page for the browser."""
    try:
        from glimp_core.serve import listening
        from glimp_core.serve.service_settings import TEMPLATE_OPTIONS, ServiceSettings
    except ImportError as error:
        raise ConfigError(f"glimp serve needs more packages: {error}") from error
    _refuse_unused(settings)
    key = _key(client_key_env)
    if key is not None:
        say(f"clients must send the key that {client_key_env} holds")
    service = ServiceSettings(
        api_key=key,
        max_running=max_running,
        max_waiting=max_waiting,
        timeout=timeout,
        drain_seconds=drain,
        template_options=(*TEMPLATE_OPTIONS, *(template_option or ())),
        cors_origins=tuple(cors_origin or ()),
        allowed_hosts=listening.hosts_for(host, allowed_host or ()),
    )
    _serve(settings, service, host, port, name, in_browser)


def _serve(
    settings: Settings, service: "ServiceSettings", host: str, port: int, name: str | None, in_browser: bool
) -> None:
    from glimp_core.serve import ServedPair, listening

    with listening.listen(host, port) as sock:
        bound = sock.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        pairs: list[ServedPair] = []
        for called, pair in _named(settings, name):
            if pair.is_bundled:
                say(f"note: {TINY}")
            pairs.append(ServedPair(called, start(pair)))
            say(f"serving {called} ({' + '.join(pair.pair)}) at http://{shown}:{bound}/v1 (Ctrl-C ends it)")
        say(f"the page is http://{shown}:{bound}/")
        if service.api_key is None and host not in listening.LOOPBACK:
            say(f"warning: everyone who reaches {host}:{bound} can use it: set --api-key-env, or --host 127.0.0.1")
        if in_browser:
            _open(f"http://{shown if host not in EVERYWHERE else 'localhost'}:{bound}/")
        with listening.logged_to_stderr():
            listening.run_endpoint(pairs, service, sock)


def _open(address: str) -> None:
    """Open a browser in its own window. A browser in this terminal would block the server."""
    if sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        webbrowser.open(address)


def _named(settings: Settings, name: str | None) -> list[tuple[str, Settings]]:
    """Return the pairs to serve by name: all pairs of a pair file, each with the other options of the command."""
    if settings.config is None:
        return [(name or "glimp", settings)]
    from glimp_core.pair_file import read_pairs

    whole = Path(settings.config).expanduser().exists()  # and not pair.toml#NAME
    if not whole or len(pairs := read_pairs(settings.config)) == 1:
        assert settings.file, "it was read"
        return [(name or settings.file.name or "glimp", settings)]
    if name is not None:
        raise ConfigError(f"--name {name}: {settings.config} has {len(pairs)} pairs, which are served by their names")
    return [(called, replace(settings, config=f"{settings.config}#{called}")) for called in pairs]


def _key(variable: str | None) -> str | None:
    if variable is None:
        return None
    if not (key := os.environ.get(variable, "").strip()):
        raise ConfigError(f"--api-key-env {variable}: this environment variable is not set, or is empty")
    return key


def _refuse_unused(settings: Settings) -> None:
    """Raise `ConfigError` for options of other commands that a server cannot use."""
    if settings.json or settings.system:
        given = "--json" if settings.json else "--system"
        raise ConfigError(f"glimp serve has no {given}: each request sets this itself")
    on_servers = settings.config or any("://" in str(model) for model in settings.models)
    if settings.api_key_env and not on_servers:
        raise ConfigError(
            f"--model-key-env {settings.api_key_env} is the key of servers that run the models, and neither model is "
            "on one: --api-key-env names the key that clients must send"
        )
