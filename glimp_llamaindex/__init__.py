"""GlimpLLM: a pair of models as one LlamaIndex LLM."""

from llama_index.core.llms.loading import RECOGNIZED_LLMS

from glimp_llamaindex._instrumentation import GlimpStepEvent
from glimp_llamaindex._structured import StructuredOutputError
from glimp_llamaindex.base import GlimpLLM

RECOGNIZED_LLMS[GlimpLLM.class_name()] = GlimpLLM
"""LlamaIndex finds the class of a saved LLM here, extractors among others."""

__all__ = ["GlimpLLM", "GlimpStepEvent", "StructuredOutputError"]
