"""Engines on transformers, in this process: the only place in Glimp that imports torch."""

from glimp_core.local.local_engine import LocalEngine
from glimp_core.local.registry import engine_from
from glimp_core.local.speculative import SpeculativeEngine

__all__ = ["LocalEngine", "SpeculativeEngine", "engine_from"]
