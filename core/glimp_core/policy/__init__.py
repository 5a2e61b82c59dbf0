"""The policies, which decide which model writes a step, and their interface."""

from glimp_core.policy.baselines import AlwaysLarge, AlwaysSmall, Priming, RandomRate
from glimp_core.policy.interface import Policy
from glimp_core.policy.limits import MaxConsecutive, SkipLayoutTokens, TokenBudget
from glimp_core.policy.rate import TargetRate
from glimp_core.policy.threshold import CalibratedThreshold, EntropyThreshold, Margin

__all__ = [
    "AlwaysLarge",
    "AlwaysSmall",
    "CalibratedThreshold",
    "EntropyThreshold",
    "Margin",
    "MaxConsecutive",
    "Policy",
    "Priming",
    "RandomRate",
    "SkipLayoutTokens",
    "TargetRate",
    "TokenBudget",
]
