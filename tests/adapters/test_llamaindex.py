"""GlimpLLM as a LlamaIndex LLM: the conformance suite on scripted models."""

from adapters.llamaindex_conformance import LLMConformance
from adapters.llamaindex_glimp import GlimpHooks


class TestGlimpLLM(GlimpHooks, LLMConformance):
    """Every check."""
