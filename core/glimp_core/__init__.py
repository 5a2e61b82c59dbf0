"""Glimp: a small and a large language model write one chain of thought, decided by glimpsing one token."""

from importlib.metadata import version

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

__version__ = version("glimp")

__all__ = [
    "AlwaysLarge",
    "AlwaysSmall",
    "Asked",
    "Cancelled",
    "Completion",
    "ConfigError",
    "Context",
    "ContextOverflowError",
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
    "ModelUsage",
    "OutputValidationError",
    "Policy",
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
