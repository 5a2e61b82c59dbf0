"""GlimpLLM: a pair of models as one LlamaIndex LLM."""

try:
    from llama_index.core.llms.loading import RECOGNIZED_LLMS
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "llama_index":
        raise  # it is there, but something that it needs itself is not
    raise ImportError('glimp_llamaindex needs llama-index-core: pip install "glimp[llamaindex]"') from error

from glimp_llamaindex._calls import GlimpStepEvent
from glimp_llamaindex._structured import StructuredOutputError
from glimp_llamaindex.base import GlimpLLM

RECOGNIZED_LLMS[GlimpLLM.class_name()] = GlimpLLM
"""LlamaIndex finds the class of a saved LLM here, extractors among others."""

__all__ = ["GlimpLLM", "GlimpStepEvent", "StructuredOutputError"]
