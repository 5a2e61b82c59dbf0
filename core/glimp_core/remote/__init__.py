"""Engines on servers with OpenAI's /v1/completions. Only this package uses an HTTP client."""

from glimp_core.remote.capabilities import ServerCapabilities
from glimp_core.remote.glimpser import RemoteGlimpser
from glimp_core.remote.managed import LlamaCpp, Vllm
from glimp_core.remote.remote_engine import RemoteEngine

__all__ = ["LlamaCpp", "RemoteEngine", "RemoteGlimpser", "ServerCapabilities", "Vllm"]
