"""What one call asks for: LlamaIndex's keyword arguments as demands on the core."""

import difflib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from glimp_core import AlwaysLarge, AlwaysSmall, EntropyThreshold, GlimpRouter, Policy, SamplingParams
from glimp_core.errors import unknown_name
from glimp_core.types import Writer
from glimp_llamaindex._tools import settled_choice, tool_specs

logger = logging.getLogger(__name__)

SAMPLING = ("temperature", "top_p", "top_k", "max_tokens", "stop", "seed")
ALIASES = {"max_new_tokens": "max_tokens", "allow_parallel_tool_calls": "parallel_tool_calls"}
OTHERS = (
    "tools",
    "tool_choice",
    "tool_required",
    "call_required",
    "tool_names",
    "parallel_tool_calls",
    "response_format",
    "thinking",
    "threshold",
    "writer",
    "policy",
    "chat_template_kwargs",
    "timeout",
)


@dataclass(frozen=True, slots=True)
class Demands:
    """One call's keyword arguments, checked: they win over the fields of the LLM, which win over the router's.

    - the sampling parameters `temperature`, `top_p`, `top_k`, `max_tokens` (or `max_new_tokens`), `stop`, `seed`
    - `tools`, `tool_choice`, `tool_required`, `parallel_tool_calls`, `response_format`
    - `thinking`: False switches it off; `chat_template_kwargs` go to the model's template
    - `timeout`, in seconds
    - `threshold`, or `writer="small"` / `"large"` (who writes every step), or a whole `policy`

    Other arguments are ignored with a debug log, as LlamaIndex sends some that are meant for servers
    (`extra_headers`); one that looks like a misspelt known one raises `ConfigError`.
    """

    sampling: SamplingParams = field(default_factory=SamplingParams)
    policy: Policy | None = None
    threshold: float | None = None
    thinking: bool | None = None
    timeout: float | None = None
    tool_names: Mapping[str, str] = field(default_factory=dict[str, str])
    parallel_tool_calls: bool = True
    others: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "Demands":
        """Read keyword arguments; those that are None are as good as absent."""
        known = _known(given)
        tools = tool_specs(known.get("tools") or ())
        required = bool(known.get("tool_required") or known.get("call_required"))
        names = [str(tool.get("function", tool).get("name")) for tool in tools]
        return cls(
            sampling=SamplingParams(**{name: known[name] for name in SAMPLING if name in known}),
            policy=known.get("policy") or _policy(known.get("writer")),
            threshold=known.get("threshold"),
            thinking=known.get("thinking"),
            timeout=known.get("timeout"),
            tool_names=known.get("tool_names", {}),
            parallel_tool_calls=known.get("parallel_tool_calls", True),
            others={
                "tools": tools,
                "tool_choice": settled_choice(known.get("tool_choice"), required, names),
                "response_format": known.get("response_format"),
                "chat_template_kwargs": known.get("chat_template_kwargs"),
            },
        )

    def options(self, router: GlimpRouter) -> dict[str, Any]:
        """Return the keyword arguments for `router.stream`."""
        policy = self.policy
        if policy is None and self.threshold is not None:
            policy = EntropyThreshold.of(self.threshold, router.config)
        options = {
            **self.others,
            "sampling": self.sampling,
            "policy": policy,
            "parallel_tool_calls": self.parallel_tool_calls,
        }
        if self.thinking is not None:
            options["reasoning"] = "auto" if self.thinking else "off"
        return options


def _known(given: Mapping[str, Any]) -> dict[str, Any]:
    names = (*SAMPLING, *OTHERS)
    known: dict[str, Any] = {}
    for name, value in given.items():
        name = ALIASES.get(name, name)
        if name in names:
            known |= {} if value is None else {name: value}
        elif difflib.get_close_matches(name, (*names, *ALIASES), n=1, cutoff=0.85):
            raise unknown_name("option", name, (*names, *ALIASES))
        else:
            logger.debug("GlimpLLM ignores the option %s: it means nothing to a model in this process", name)
    return known


def _policy(writer: Writer | None) -> Policy | None:
    if writer is None:
        return None
    if writer not in get_args(Writer):
        raise unknown_name("writer", str(writer), get_args(Writer))
    return AlwaysSmall() if writer == "small" else AlwaysLarge()
