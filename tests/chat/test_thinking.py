"""Thoughts of every kind of template: opened by whom, closed by what, switched how, and how much of them."""

from typing import Any

import pytest

from glimp_core import Completion, GlimpRouter, RouterConfig, SamplingParams
from glimp_core.chat.formats.template import Template
from glimp_core.chat.formats.thinking import effort_options, thinking_of
from glimp_core.errors import ConfigError
from reciting import reciting, tokenizer

TURNS = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}{% if m.reasoning_content %}"
SHOWN = "{{ START + m.reasoning_content + END }}{% endif %}{{ m.content + '<|im_end|>\\n' }}{% endfor %}"
ASKED = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}TAIL{% endif %}"
OFF_BY_DEFAULT = "{% if enable_thinking %}{{ '<think>\\n' }}{% else %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}"
ON_BY_DEFAULT = (
    "{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\\n\\n</think>\\n\\n' }}"
    "{% else %}{{ '<think>\\n' }}{% endif %}"
)


def template(tail: str = "", start: str = "<think>\\n", end: str = "\\n</think>\\n\\n") -> str:
    """A template that shows thoughts between two texts, and ends its prompts with `tail`."""
    shown = SHOWN.replace("START", f"'{start}'").replace("END", f"'{end}'")
    return TURNS + shown + ASKED.replace("TAIL", tail)


def answered(small: str, large: str, text: str, **options: Any) -> Completion:
    """What a pair with these templates makes of a reply, whichever of the two writes it."""
    pair: Any = [reciting(tokenizer(source), text) for source in (small, large)]
    config = RouterConfig(speculate=False, max_reasoning_tokens=options.pop("most", 200))
    sampling = SamplingParams(temperature=0.0, max_tokens=100)
    return GlimpRouter.from_pretrained(*pair, config=config).generate("Hello?", sampling=sampling, **options)


@pytest.mark.parametrize(
    ("start", "end", "written"),
    [
        ("<think>\\n", "\\n</think>\\n\\n", "<think>\nOne.\n\nTwo.\n</think>\n\nYes."),
        ("[THINK]", "[/THINK]", "[THINK]One.\n\nTwo.[/THINK]Yes."),
        ("Thoughts:\\n", "\\n[FINAL]\\n", "Thoughts:\nOne.\n\nTwo.\n[FINAL]\nYes."),
        ("<|channel>thought\\n", "<channel|>", "<|channel>thought\nOne.\n\nTwo.<channel|>Yes."),
        ("<|c|>a<|m|>", "<|e|><|s|>f<|m|>", "<|c|>a<|m|>One.\n\nTwo.<|e|><|s|>f<|m|>Yes."),
    ],
)
def test_thinking_is_routed_in_any_markup(start: str, end: str, written: str) -> None:
    """Law: whatever stands around thoughts, tokens or text, they are routed by steps and are no part of the answer."""
    source = template("", start, end)
    done = answered(source, source, written)
    assert done.start.mode == "thinking"
    assert (done.reasoning.strip(), done.answer) == ("One.\n\nTwo.", "Yes.")
    assert done.finish.thinking_end == "close"
    assert len(done.routed) >= 2


def test_a_pair_of_which_one_is_off_by_default_is_switched_on() -> None:
    """Law: two sizes of one family whose defaults differ think together, and it is said."""
    for small, large in ((OFF_BY_DEFAULT, ON_BY_DEFAULT), (ON_BY_DEFAULT, OFF_BY_DEFAULT)):
        done = answered(template(small), template(large), "One.\n</think>\n\nYes.")
        assert done.start.mode == "thinking"
        assert (done.reasoning.strip(), done.answer) == ("One.", "Yes.")
        assert any("was switched on" in note for note in done.summary().notes)


def test_a_pair_that_is_off_by_default_says_so_and_an_effort_switches_it_on() -> None:
    """Law: nothing is thought unasked, the summary says what to do, and that works."""
    source = template(OFF_BY_DEFAULT)
    done = answered(source, source, "Yes.")
    assert (done.start.mode, done.answer) == ("off", "Yes.")
    assert any("reasoning_effort" in note for note in done.summary().notes)
    thought = answered(source, source, "One.\n</think>\n\nYes.", reasoning_effort="low")
    assert (thought.start.mode, thought.reasoning.strip(), thought.answer) == ("thinking", "One.", "Yes.")


@pytest.mark.parametrize("effort", ["low", "high"])
def test_the_effort_bounds_the_thinking(effort: Any) -> None:
    """Law: a low effort may take an eighth of the budget, a high one all of it."""
    source = template(ON_BY_DEFAULT)
    done = answered(source, source, "Word. " * 60, reasoning_effort=effort, most=160)
    assert done.usage.reasoning_tokens == {"low": 20, "high": 160}[effort]


def test_no_effort_is_no_thinking_and_an_unknown_one_an_error() -> None:
    """Law: "none" closes the thinking; what is no effort is refused with the nearest word."""
    source = template(ON_BY_DEFAULT)
    assert answered(source, source, "Yes.", reasoning_effort="none").start.mode == "off"
    with pytest.raises(ConfigError, match="reasoning_effort"):
        answered(source, source, "Yes.", reasoning_effort="hihg")


@pytest.mark.parametrize("words", [("low", "high"), ("no_think", "low", "high", "max")])
def test_a_templates_own_levels_are_told(words: tuple[str, ...]) -> None:
    """Law: a template that compares its effort with words is given the one that is meant."""
    compare = "".join(f"{{% if reasoning_effort == '{word}' %}}<level {word}>{{% endif %}}" for word in words)
    asked = Template(tokenizer(compare + template()))
    assert effort_options(asked, "low") == {"reasoning_effort": "low"}
    assert effort_options(asked, "xhigh") == {"reasoning_effort": "max" if "max" in words else "high"}
    assert effort_options(Template(tokenizer(template())), "low") == {}


def test_thoughts_that_nobody_asked_for_are_kept_apart() -> None:
    """Law: a model that thinks with thinking off, or without a template that knows of it, leaks nothing."""
    for source in (template(ON_BY_DEFAULT), template("", "<x>", "</x>").replace("m.reasoning_content", "m.nothing")):
        for reasoning in ("off", "auto"):
            done = answered(source, source, "<think>\nSECRET\n</think>\n\nYes.", reasoning=reasoning)
            assert (done.reasoning.strip(), done.answer.strip()) == ("SECRET", "Yes."), (source, reasoning)


def test_switches_are_found_whatever_they_are_called() -> None:
    """Law: a setting that opens or closes the thinking is found by rendering, by any name that speaks of it."""
    for name in ("enable_thinking", "use_reasoning", "thinking_enabled"):
        source = template(OFF_BY_DEFAULT.replace("enable_thinking", name))
        thinking = thinking_of(Template(tokenizer(source)), ())
        assert thinking is not None
        assert (thinking.default, thinking.on) == ("off", {name: True})
    words = "{% if thinking_mode == 'disabled' %}{{ '</think>' }}{% else %}{{ '<think>\\n' }}{% endif %}"
    thinking = thinking_of(Template(tokenizer(template(words))), ())
    assert thinking is not None
    assert (thinking.default, thinking.off) == ("on", {"thinking_mode": "disabled"})


def test_unknown_control_tokens_stay_visible_and_are_said() -> None:
    """Law: markup that nobody knows is never cut out in silence."""
    source = template("").replace("m.reasoning_content", "m.nothing") + "{# <|unheard_of|> #}"
    done = answered(source, source, "So <|unheard_of|>it is.")
    assert done.answer == "So <|unheard_of|>it is."
    assert any("<|unheard_of|>" in note for note in done.summary().notes)
