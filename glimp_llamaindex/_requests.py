"""What one call asks for: LlamaIndex's keyword arguments as demands on the core."""

import difflib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from llama_index.core.bridge.pydantic import BaseModel

from glimp_core import AlwaysLarge, AlwaysSmall, ConfigError, EntropyThreshold, GlimpRouter, Policy, SamplingParams
from glimp_core.context import Reasoning
from glimp_core.errors import unknown_name
from glimp_core.types import Role
from glimp_llamaindex._tools import tool_specs

logger = logging.getLogger(__name__)

ALIASES = {"max_new_tokens": "max_tokens", "allow_parallel_tool_calls": "parallel_tool_calls"}
SAMPLING = ("temperature", "top_p", "top_k", "max_tokens", "max_completion_tokens", "stop", "seed")
PASSED_ON = ("tool_choice", "parallel_tool_calls", "response_format", "chat_template_kwargs", "reasoning_effort")
CALLING = ("tools", "tool_required", "call_required")
ROUTING = ("reasoning", "threshold", "writer", "policy", "timeout")
NAMES = (*SAMPLING, *PASSED_ON, *CALLING, *ROUTING, *ALIASES)


@dataclass(frozen=True, slots=True)
class Demands:
    """One call's keyword arguments, checked: they win over the fields of the LLM, which win over the router's.

    - the sampling parameters `temperature`, `top_p`, `top_k`, `max_tokens` (or `max_new_tokens`),
      `max_completion_tokens`, `stop`, `seed`
    - `tools`, `tool_choice`, `tool_required`, `parallel_tool_calls`
    - `response_format`: a Pydantic class, or OpenAI's dict
    - `reasoning`: "auto" (or True), "inline", "off" (or False); `reasoning_effort`: "none" to "xhigh", how much is
      thought; `chat_template_kwargs` go to the models' templates
    - `threshold`, or `writer="small"` / `"large"` (who writes every step), or a whole `policy`
    - `timeout`, in seconds

    Other arguments are ignored with a debug log, as LlamaIndex sends some that are meant for servers
    (`extra_headers`); one that looks like a misspelt known one raises `ConfigError`.
    """

    sampling: SamplingParams
    policy: Policy | None
    threshold: float | None
    timeout: float | None
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "Demands":
        """Read keyword arguments. None is the same as absent."""
        known = _known(given)
        options = {name: known[name] for name in PASSED_ON if name in known}
        if tools := tool_specs(known.get("tools", ())):
            options["tools"] = tools
        if known.get("tool_required") or known.get("call_required"):
            options.setdefault("tool_choice", "required")
        if not isinstance(options.get("response_format", {}), Mapping):
            options["response_format"] = response_format(options["response_format"])
        if "reasoning" in known:
            options["reasoning"] = _reasoning(known["reasoning"])
        return cls(
            sampling=SamplingParams(**{name: known[name] for name in SAMPLING if name in known}),
            policy=known.get("policy") or _policy(known.get("writer")),
            threshold=known.get("threshold"),
            timeout=known.get("timeout"),
            options=options,
        )

    @property
    def one_call(self) -> bool:
        """Whether the reply may have at most one tool call."""
        return self.options.get("parallel_tool_calls") is False

    def options_for(self, router: GlimpRouter) -> dict[str, Any]:
        """Return the keyword arguments for `router.stream`."""
        policy = self.policy
        if policy is None and self.threshold is not None:
            policy = EntropyThreshold.of(self.threshold, router.config)
        return {**self.options, "sampling": self.sampling, "policy": policy}


def response_format(output_cls: Any) -> dict[str, Any]:
    """Return a Pydantic class as OpenAI's `response_format`. Raises `ConfigError` for anything else."""
    if not (isinstance(output_cls, type) and issubclass(output_cls, BaseModel)):
        raise ConfigError(f"{output_cls!r} is no Pydantic class: make one of pydantic.BaseModel, with a field for it")
    schema = {"name": output_cls.__name__, "schema": output_cls.model_json_schema()}
    return {"type": "json_schema", "json_schema": schema}


def _known(given: Mapping[str, Any]) -> dict[str, Any]:
    known: dict[str, Any] = {}
    for name, value in given.items():
        if name in NAMES:
            known |= {} if value is None else {ALIASES.get(name, name): value}
        elif difflib.get_close_matches(name, NAMES, n=1, cutoff=0.85):
            raise unknown_name("option", name, NAMES)
        else:
            logger.debug("GlimpLLM ignores the option %s: it means nothing to a model in this process", name)
    return known


def _reasoning(given: object) -> str:
    if isinstance(given, bool):
        return "auto" if given else "off"
    if given not in get_args(Reasoning):
        raise unknown_name("reasoning", str(given), get_args(Reasoning))
    return str(given)


def _policy(writer: Role | None) -> Policy | None:
    if writer is None:
        return None
    if writer not in get_args(Role):
        raise unknown_name("writer", str(writer), get_args(Role))
    return AlwaysSmall() if writer == "small" else AlwaysLarge()
