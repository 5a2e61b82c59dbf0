"""A conformance suite for LlamaIndex LLM classes: LlamaIndex has none.

Subclass `LLMConformance`, give it an LLM, and run pytest:

    class TestMine(LLMConformance):
        def llm(self) -> LLM:
            return MyLLM(...)

Everything that needs no more than some answer is checked with that. Each further hook (`Hooks`) opens more checks:
`scripted` for tools, structured output, agents and reasoning, `slow` for cancelling and the event loop, `failing` for
errors, `weights` for copies. A check whose hook is missing is skipped. LlamaIndex's own `MockFunctionCallingLLM`,
`TokenCountingHandler`, engines, programs and agents are the oracles. Needs pytest-asyncio with `asyncio_mode = auto`.
"""

from adapters.llamaindex_checks.agents import Agents
from adapters.llamaindex_checks.concurrency import Concurrency
from adapters.llamaindex_checks.copies import Copies
from adapters.llamaindex_checks.endpoints import Endpoints
from adapters.llamaindex_checks.hooks import Hooks, Reply
from adapters.llamaindex_checks.observation import Observation
from adapters.llamaindex_checks.pipelines import Pipelines
from adapters.llamaindex_checks.structured import Structured
from adapters.llamaindex_checks.thinking import Thinking
from adapters.llamaindex_checks.tools import Tools


class LLMConformance(Endpoints, Observation, Copies, Tools, Thinking, Structured, Pipelines, Agents, Concurrency):
    """All checks. Override the hooks."""


__all__ = ["Hooks", "LLMConformance", "Reply"]
