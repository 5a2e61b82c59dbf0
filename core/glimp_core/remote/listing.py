"""What a server says of itself and its models."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from glimp_core.errors import EngineError, ModelLoadError, unknown_name
from glimp_core.remote.server import Server
from glimp_core.remote.wire import LLAMACPP, PROFILES, VLLM, ServerProfile


@dataclass(frozen=True, slots=True)
class Listing:
    """Who serves a model, "" where the server does not say, how to speak to it, and its window in tokens."""

    owner: str
    profile: ServerProfile
    window: int


def read_listing(server: Server, window: int | None) -> Listing:
    """Look a model up. Raises `ConfigError` for one that is not served, `ModelLoadError` where no window is known."""
    entry = _entry(server)
    owner = str(entry.get("owned_by") or "")
    found = window or _window(entry) or (_slot(server) if owner == LLAMACPP.name else None)
    if not found:
        raise ModelLoadError(
            f"{server.client.base_url} does not say how long the context of {server.model!r} may be: pass window=..."
        )
    return Listing(owner, PROFILES.get(owner, VLLM), found)


def _entry(server: Server) -> Mapping[str, Any]:
    listing = server.get("/models")
    entries = listing.get("data") if isinstance(listing, dict) else None
    models = {str(entry.get("id")): entry for entry in entries or () if isinstance(entry, dict)}
    if server.model in models or not models:
        return models.get(server.model, {})
    only = next(iter(models.values()))
    if only.get("owned_by") == LLAMACPP.name:  # it serves one model, whatever it is called
        return only
    raise unknown_name(f"model at {server.client.base_url}", server.model, models)


def _window(entry: Mapping[str, Any]) -> int | None:
    """The length that the listing itself has: vLLM's and SGLang's, or llama.cpp's."""
    window = entry.get("max_model_len") or (entry.get("meta") or {}).get("n_ctx")
    return window if isinstance(window, int) else None


def _slot(server: Server) -> int | None:
    """llama.cpp shares its context among its slots, and says how beside the API."""
    try:
        properties = server.get(f"{server.client.root}/props")
        window = properties["default_generation_settings"]["n_ctx"]
    except (EngineError, KeyError, TypeError):
        return None
    return window if isinstance(window, int) else None
