"""Engines on servers that speak OpenAI's /v1/completions: the only place in Glimp that knows HTTP."""

from glimp_core.remote.engine import RemoteEngine
from glimp_core.remote.findings import Findings
from glimp_core.remote.glimpser import RemoteGlimpser

__all__ = ["Findings", "RemoteEngine", "RemoteGlimpser"]
