"""Policies by name, as in pair files and requests: {"name": "target_rate", "rate": 0.25}."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from glimp_core.config import RouterConfig
from glimp_core.errors import ConfigError, unknown_name
from glimp_core.policy.baselines import AlwaysLarge, AlwaysSmall, RandomRate
from glimp_core.policy.interface import Policy
from glimp_core.policy.limits import MaxConsecutive, SkipLayoutTokens, TokenBudget
from glimp_core.policy.rate import TargetRate
from glimp_core.policy.threshold import EntropyThreshold, Margin

NAMED_POLICIES: Mapping[str, type] = {
    "always_large": AlwaysLarge,
    "always_small": AlwaysSmall,
    "entropy_threshold": EntropyThreshold,
    "margin": Margin,
    "max_consecutive": MaxConsecutive,
    "random_rate": RandomRate,
    "skip_layout_tokens": SkipLayoutTokens,
    "target_rate": TargetRate,
    "token_budget": TokenBudget,
}
"""Every policy by its name in pair files and requests."""

INNER = ("policy", "otherwise")
"""The parameters of wrappers that are policies themselves."""


def policy_named(given: str | Mapping[str, Any], config: RouterConfig) -> Policy:
    """Return the policy that a name, or a mapping of `name` and parameters, describes.

    A policy that compares entropies gets the kind of entropy and the tie rule of `config`, unless the mapping has them.
    A policy that counts money gets the prices of `config`. The inner policy of a wrapper is a threshold of 1 nat by
    default. Raises `ConfigError`.
    """
    options = {"name": given} if isinstance(given, str) else dict(given)
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise ConfigError(f"policy={given!r} has no name: write name = {min(NAMED_POLICIES)!r} or another one")
    if name not in NAMED_POLICIES:
        raise unknown_name("policy", name, NAMED_POLICIES)
    kind = NAMED_POLICIES[name]
    known = parameters(kind)
    for option in options:
        if option not in known:
            raise unknown_name(f"parameter of {name}", option, known)
    if "policy" in known:
        options.setdefault("policy", "entropy_threshold")
    defaults = {"entropy": config.entropy, "on_tie": config.intervene_on_tie, "prices": config.prices}
    inner = {option: policy_named(options[option], config) for option in INNER if option in options}
    takes = {field.name for field in fields(kind)}
    values = {**{option: value for option, value in defaults.items() if option in takes}, **options, **inner}
    try:
        made: Policy = kind(**values)
    except TypeError as error:
        raise ConfigError(f"policy={given!r} cannot work: {error}") from error
    return made


def parameters(kind: type) -> dict[str, Any]:
    """Return the parameters of a policy by name, as dataclass fields, without the prices of the router's settings."""
    return {field.name: field for field in fields(kind) if field.init and field.name != "prices"}
