"""What a server reports about itself and its models."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from glimp_core.errors import ConfigError, EngineError, ModelLoadError, unknown_name
from glimp_core.remote.server import Server
from glimp_core.remote.wire import LLAMACPP, PROFILES, SGLANG, VLLM, ServerProfile, whole


@dataclass(frozen=True, slots=True)
class Listing:
    """The software that serves a model ("" if unknown), its profile, and the context window in tokens.

    `slots` is how many requests it processes at once, `slot_context` how many tokens each may have; None if unknown.
    """

    owner: str
    profile: ServerProfile
    window: int
    slots: int | None = None
    slot_context: int | None = None


def read_listing(server: Server, window: int | None) -> Listing:
    """Look up a model. Raises `ConfigError` if it is not served, `ModelLoadError` if its window is not known."""
    models = _models(server)
    entry = _entry(server, models)
    owner = str(entry.get("owned_by") or "")
    slots, slot_context = _slots(server) if owner == LLAMACPP.name else (None, None)
    found = window or _window(entry) or _window(models.get(str(entry.get("parent")), {})) or slot_context
    if not found:
        raise ModelLoadError(
            f"{server.client.base_url} does not say how long the context of {server.model!r} may be: pass window=..."
        )
    return Listing(owner, PROFILES.get(owner, VLLM), found, slots, slot_context or found)


def _models(server: Server) -> dict[str, Mapping[str, Any]]:
    listing = server.get("/models")
    entries = listing.get("data") if isinstance(listing, dict) else None
    listed = entries if isinstance(entries, list) else ()
    return {str(entry.get("id")): entry for entry in listed if isinstance(entry, dict)}


def _entry(server: Server, models: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    asked_as = {_asked_as(name, entry): entry for name, entry in models.items()}
    if server.model in asked_as or not models:
        return asked_as.get(server.model, {})
    if server.model in models:
        raise ConfigError(
            f"{server.client.base_url} would answer for {server.model!r} with its base model: "
            f"ask for {_asked_as(server.model, models[server.model])!r}"
        )
    only = next(iter(models.values()))
    if only.get("owned_by") == LLAMACPP.name:  # it serves one model, and accepts any name for it
        return only
    raise unknown_name(f"model at {server.client.base_url}", server.model, asked_as)


def _asked_as(name: str, entry: Mapping[str, Any]) -> str:
    """Return the name to request. SGLang lists a LoRA adapter by its name, but requires `base:adapter`."""
    adapter = entry.get("owned_by") == SGLANG.name and entry.get("parent")
    return f"{entry['parent']}:{name}" if adapter else name


def _window(entry: Mapping[str, Any]) -> int | None:
    """Return the window in an entry of the list: the field of vLLM and SGLang, or that of llama.cpp."""
    meta = entry.get("meta")
    return whole(entry.get("max_model_len")) or whole(meta.get("n_ctx") if isinstance(meta, dict) else None)


def _slots(server: Server) -> tuple[int | None, int | None]:
    """Return the number of llama.cpp's slots and the context of each, from /props, which is outside of the API."""
    try:
        properties = server.get(f"{server.client.root}/props")
        slots, context = properties.get("total_slots"), properties["default_generation_settings"]["n_ctx"]
    except (EngineError, KeyError, TypeError, AttributeError):
        return None, None
    return whole(slots) or None, whole(context) or None
