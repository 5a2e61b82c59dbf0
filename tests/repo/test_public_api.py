"""The names that users rely on."""

import glimp_core
from glimp_core import testing

PUBLIC = """
AlwaysLarge AlwaysSmall Asked Cancelled Completion ConfigError Context ContextOverflowError Cost Decision Delta Engine
EngineError EngineTimeoutError EntropyThreshold Event Finish GlimpError GlimpRouter Glimpse Glimpser InvalidToolCall
Margin MaxConsecutive ModelLoadError ModelPrice ModelUsage OutputValidationError Policy Prices Priming Profile
RandomRate RemoteEngineError Request Routed RouterConfig SamplingParams SkipLayoutTokens Start Step Summary Tap
TargetRate TokenBudget ToolCall ToolCallDelta UnsupportedSchemaError Usage load_profile
""".split()  # noqa: SIM905


def test_the_public_names_are_these() -> None:
    """A name is added to or taken from the public API on purpose only."""
    assert sorted(glimp_core.__all__) == sorted(PUBLIC)


def test_every_public_name_is_there_and_explained() -> None:
    """Each name can be imported, and each class says what it is."""
    for name in glimp_core.__all__:
        thing = getattr(glimp_core, name)
        assert not isinstance(thing, type) or (thing.__doc__ and not thing.__doc__.startswith(f"{name}("))


def test_the_scripted_engine_ships() -> None:
    """Users can test their own code without weights."""
    assert testing.ScriptedEngine().name == "scripted"
