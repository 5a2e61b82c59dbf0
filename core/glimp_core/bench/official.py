"""The loop of the authors' code (github.com/Zengwh02/GlimpRouter, commit 686838e), by its own rules.

A retelling from its behaviour. Every glimpse, step and answer is a request of its own. The chain is text, of steps that
are cut at their blank line and joined by one. The first token of a step is drawn anew after the glimpse. The rules:

- the entropy is that of the 20 likeliest texts, and a tie is an intervention (`RouterConfig.paper_code`);
- the small model writes step 0 whatever it measures: their templates open no thought, so that the first token there is
  the opening tag itself, with an entropy of 8e-6 in a published trace;
- a step may have 512 tokens however few are left of the budget, which ends the thinking once it is reached;
- the thinking ends with the closing tag, or when there are more than two steps and the last two are equal;
- the end of the sequence inside the thinking ends nothing;
- the large model writes the answer.

What differs, since no template is changed here:

- the thought opens once, by the model's own template, where their later prompts open it twice;
- the text of the chain is not read for control tokens;
- a step that begins with blank lines goes on to its first visible word, where theirs would be empty;
- a step ends at its closing tag, where theirs may hold what follows up to a blank line;
- tokens are drawn by other random numbers.
"""

from collections.abc import Iterator
from dataclasses import replace

from glimp_core.bench.engines import Rerendered
from glimp_core.bench.loops import Happening
from glimp_core.chain import Chain, Clock, write
from glimp_core.engine import Engine, Glimpser
from glimp_core.events import Routed
from glimp_core.policy import Policy
from glimp_core.types import Decision, GenerationParams, Role, Step, ThinkingEnd

FIRST = Decision(False, "step 0: their glimpse sees the opening tag")


class OfficialChain(Chain):
    """A chain that ends, and bounds its steps, as the authors' code does; it shares the context of `chain`."""

    def __init__(self, chain: Chain):
        super().__init__(chain.context, chain.plan, chain.config, chain.sampling)

    def params(self) -> GenerationParams:
        """Let a step of thinking be as long as any, whatever is left of the budget."""
        params = super().params()
        return replace(params, max_tokens=self.config.max_step_tokens) if self.phase == "thinking" else params

    def ending(self, step: Step) -> ThinkingEnd | None:
        """Name the budget before the closing tag, as they do where both hold; an end of the sequence is none."""
        if self.phase != "thinking":
            return super().ending(step)
        thought = [earlier for earlier in self.steps if earlier.phase == "thinking"]
        if sum(each.tokens for each in thought) >= self.plan.reasoning_tokens:
            return "budget"
        if step.end == "close":
            return "close"
        texts = [cut(each.text) for each in thought[-2:]]
        return "repetition" if len(thought) > 2 and texts[0] == texts[1] else None


def cut(text: str) -> str:
    r"""Return a step as their server returns it: up to the first blank line after something visible.

    >>> cut("Add 2.\n\n"), cut("a\nb"), cut("\n\na\n\n\n")
    ('Add 2.', 'a\nb', '\n\na')
    """
    visible = len(text) - len(text.lstrip())
    return text[:visible] + text[visible:].partition("\n\n")[0]


def official(chain: Chain, small: Glimpser, large: Engine, policy: Policy) -> Iterator[Happening]:
    """Write one reply as the authors' code does; the policy decides from step 1 on."""
    theirs = OfficialChain(chain)
    reader = Rerendered(small, cut)
    engines: dict[Role, Engine] = {"small": reader, "large": Rerendered(large, cut)}
    try:
        while theirs.routed:
            with Clock() as clock:
                glimpse = reader.glimpse(theirs.context, theirs.config.entropy)
            decision = policy.decide(glimpse, theirs.steps) if theirs.steps else FIRST
            yield Routed(len(theirs.steps), glimpse, decision)
            yield from write(theirs, engines, decision.engine, clock, glimpse.entropy)
        while not theirs.complete:
            yield from write(theirs, engines, theirs.answer_by, Clock())
    finally:
        chain.steps, chain.phase, chain.thinking_end = theirs.steps, theirs.phase, theirs.thinking_end
        chain.complete, chain.tool_calls = theirs.complete, theirs.tool_calls
