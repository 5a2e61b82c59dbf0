"""Glimp: a small and a large language model write one chain of thought. The first token of a step decides its writer.

A name is imported at its first use: the command `glimp` must handle Ctrl-C before a slow import begins.
"""

TYPE_CHECKING = False  # type checkers take it for true; typing's own would be the slowest import of all
if TYPE_CHECKING:
    from glimp_core.completion import Completion
    from glimp_core.config import RouterConfig
    from glimp_core.context import Context
    from glimp_core.engine import Engine, Glimpser
    from glimp_core.errors import (
        Cancelled,
        ConfigError,
        ContextOverflowError,
        EngineError,
        EngineTimeoutError,
        GlimpError,
        ModelLoadError,
        OutputValidationError,
        RemoteEngineError,
        UnsupportedSchemaError,
    )
    from glimp_core.events import Delta, Event, Finish, Routed, Start
    from glimp_core.figures import Summary, Usage
    from glimp_core.policy import (
        AlwaysLarge,
        AlwaysSmall,
        EntropyThreshold,
        Margin,
        MaxConsecutive,
        Policy,
        Priming,
        RandomRate,
        SkipLayoutTokens,
        TargetRate,
        TokenBudget,
    )
    from glimp_core.prices import Cost, ModelPrice, Prices
    from glimp_core.profile import Profile, load_profile
    from glimp_core.router import GlimpRouter
    from glimp_core.tap import Asked, Tap
    from glimp_core.types import (
        Decision,
        Glimpse,
        InvalidToolCall,
        ModelUsage,
        Request,
        SamplingParams,
        Step,
        ToolCall,
        ToolCallDelta,
    )

    __version__: str

_NAMES = {
    "completion": "Completion",
    "config": "RouterConfig",
    "context": "Context",
    "engine": "Engine Glimpser",
    "errors": "Cancelled ConfigError ContextOverflowError EngineError EngineTimeoutError GlimpError ModelLoadError "
    "OutputValidationError RemoteEngineError UnsupportedSchemaError",
    "events": "Delta Event Finish Routed Start",
    "figures": "Summary Usage",
    "policy": "AlwaysLarge AlwaysSmall EntropyThreshold Margin MaxConsecutive Policy Priming RandomRate "
    "SkipLayoutTokens TargetRate TokenBudget",
    "prices": "Cost ModelPrice Prices",
    "profile": "Profile load_profile",
    "router": "GlimpRouter",
    "tap": "Asked Tap",
    "types": "Decision Glimpse InvalidToolCall ModelUsage Request SamplingParams Step ToolCall ToolCallDelta",
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = [
    "AlwaysLarge",
    "AlwaysSmall",
    "Asked",
    "Cancelled",
    "Completion",
    "ConfigError",
    "Context",
    "ContextOverflowError",
    "Cost",
    "Decision",
    "Delta",
    "Engine",
    "EngineError",
    "EngineTimeoutError",
    "EntropyThreshold",
    "Event",
    "Finish",
    "GlimpError",
    "GlimpRouter",
    "Glimpse",
    "Glimpser",
    "InvalidToolCall",
    "Margin",
    "MaxConsecutive",
    "ModelLoadError",
    "ModelPrice",
    "ModelUsage",
    "OutputValidationError",
    "Policy",
    "Prices",
    "Priming",
    "Profile",
    "RandomRate",
    "RemoteEngineError",
    "Request",
    "Routed",
    "RouterConfig",
    "SamplingParams",
    "SkipLayoutTokens",
    "Start",
    "Step",
    "Summary",
    "Tap",
    "TargetRate",
    "TokenBudget",
    "ToolCall",
    "ToolCallDelta",
    "UnsupportedSchemaError",
    "Usage",
    "load_profile",
]


if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name == "__version__":
            from importlib.metadata import version

            found = version("glimp")
        elif name in _MODULES:
            from importlib import import_module

            found = getattr(import_module(f"glimp_core.{_MODULES[name]}"), name)
        else:
            raise AttributeError(f"module 'glimp_core' has no attribute {name!r}")
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
