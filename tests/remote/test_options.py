"""What a remote engine refuses before any server is asked."""

import sys
from typing import Any

import pytest

from glimp_core import ConfigError, ContextOverflowError, GlimpRouter
from glimp_core.context import Context, Span
from glimp_core.remote import RemoteEngine
from glimp_core.types import GenerationParams, Request
from remote.kit import TABLE, engine, script
from remote.served import ScriptedServer


def test_a_chain_over_the_window_is_refused() -> None:
    """The error tells the lengths, and what to do."""
    with ScriptedServer(script()) as served, Context(Request(({"role": "user", "content": "?"},))) as context:
        large = engine(served, window=100)
        context.append(Span("x" * 200, tuple(TABLE.encode("x" * 200)), TABLE.key))
        with pytest.raises(ContextOverflowError, match="window of 100"):
            list(large.generate(context, GenerationParams("thinking", 10)))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"base_url": "localhost:8000/v1"}, "no address"),
        ({"base_url": "http://me:secret@host/v1"}, "pass a key as api_key"),
        ({"base_url": "http://host/v1?key=secret"}, "pass a key as api_key"),
        ({"timeout": 0}, "timeout=0"),
        ({"retries": -1}, "retries=-1"),
    ],
)
def test_options_that_cannot_work(options: dict[str, Any], says: str) -> None:
    """They are refused when the engine is made, and a secret in an address is not shown."""
    with pytest.raises(ConfigError, match=says) as caught:
        RemoteEngine(**{"base_url": "http://host/v1", "model": "m", **options})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("https://me:secret@host/v1#m", "more than the address of a server"),
        ("https://host/v1?key=secret#m", "more than the address of a server"),
        ("https://host/v1", r"names no model there: write it after #"),
    ],
)
def test_addresses_that_cannot_work(address: str, says: str) -> None:
    """An address names one model at a server, and a secret in it is not shown."""
    with pytest.raises(ConfigError, match=says) as caught:
        GlimpRouter.from_pretrained(small=address, large="glimp-tiny-large")
    assert "secret" not in str(caught.value)


def test_without_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the openai package is missing, the error names what to install."""
    monkeypatch.setitem(sys.modules, "openai", None)  # as where it is not installed
    with pytest.raises(ConfigError, match=r'pip install "glimp\[remote\]"'):
        RemoteEngine("http://host/v1", "m")
    with pytest.raises(ConfigError, match=r'pip install "glimp\[remote\]"'):
        GlimpRouter.from_pretrained(small="glimp-tiny-small", large="http://host/v1#other")
