"""What is said of an address, a name or a network that does not fit, and of adapters."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from glimp_core import ConfigError, ModelLoadError, RemoteEngineError
from glimp_core.remote import RemoteEngine
from remote.kit import TOKENS, engine, glimpser, script
from remote.served import ScriptedServer


def test_a_dead_proxy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the variable that names it and what to set; its password stays out."""
    for name in ("HTTP_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    with ScriptedServer(script()) as served:
        for name in ("http_proxy", "all_proxy"):
            monkeypatch.setenv(name, "http://me:secret@127.0.0.1:9")
            with pytest.raises(RemoteEngineError) as told:
                engine(served, retries=0).load()
            assert f"the proxy 127.0.0.1:9 of the variable {name.upper()}" in str(told.value)
            assert "NO_PROXY=127.0.0.1" in str(told.value)
            assert "secret" not in str(told.value)
            monkeypatch.delenv(name)
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        engine(served, retries=0).load()


def test_tls_where_there_is_none() -> None:
    """https:// for a port that speaks http is told at once, with what to write."""
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(RemoteEngineError, match="does not speak TLS: write http://"):
            RemoteEngine(f"https://127.0.0.1:{server.server_port}/v1", "scripted", tokenizer=TOKENS).load()
        server.shutdown()


def test_a_server_with_chat_alone() -> None:
    """One that lists its models and has no completions is told from a wrong address."""
    with ScriptedServer(script(), only_chat=True) as served:
        for made in (engine, glimpser):
            with pytest.raises(RemoteEngineError, match="chat completions alone cannot be the small model"):
                made(served).load()


def test_a_served_name_is_no_tokenizer() -> None:
    """Without tokenizer= the name at the server is tried as one, and the error says what to pass."""
    with ScriptedServer(script()) as served, pytest.raises(ModelLoadError, match=r"'scripted'.* as tokenizer="):
        engine(served, tokenizer=None).load()


def _adapter(owner: str) -> list[dict[str, Any]]:
    return [
        {"id": "base", "owned_by": owner, "max_model_len": 777, "parent": None},
        {"id": "poems", "owned_by": owner, "max_model_len": None, "parent": "base"},
    ]


def test_an_adapter_has_the_window_of_its_base() -> None:
    """vLLM lists a LoRA adapter without a window, and the model that it belongs to."""
    with ScriptedServer(script(), listing=_adapter("vllm")) as served:
        served_as = RemoteEngine(served.url, "poems", tokenizer=TOKENS)
        served_as.load()
        assert served_as.window == 777


def test_an_adapter_of_sglang_is_asked_for_with_its_base() -> None:
    """SGLang answers for the name alone with its base model: that is refused, with the name that is meant."""
    with ScriptedServer(script(), "sglang", listing=_adapter("sglang")) as served:
        right = RemoteEngine(served.url, "base:poems", tokenizer=TOKENS)
        right.load()
        assert right.window == 777
        for wrong in ("poems", "base:poem"):
            with pytest.raises(ConfigError, match="'base:poems'"):
                RemoteEngine(served.url, wrong, tokenizer=TOKENS).load()
        assert RemoteEngine(served.url, "base", tokenizer=TOKENS).window == 777
