"""Models without weights: writers that take what a guide allows, by chance or by habit."""

import random
from collections.abc import Callable, Container, Sequence
from functools import cache
from typing import Any

import tiny
from glimp_core.chat.grammar.compiler import GrammarCompiler
from glimp_core.chat.output.constraints import GrammarConstraint
from glimp_core.chat.tokens.vocabulary import Vocabulary

MARKS = ("<tool_call>", "</tool_call>", "[TOOL_CALLS]", "[ARGS]", "<|python_tag|>")

Chooser = Callable[[list[int]], int]


@cache
def space(marked: bool = True) -> GrammarCompiler:
    """The space of a byte-level tokenizer, with the markers of some formats as control tokens or without any."""
    tokens = tiny.tokenizer(merges=[])
    if marked:
        tokens.add_special_tokens({"additional_special_tokens": list(MARKS)})
    assert tokens.eos_token_id is not None
    return GrammarCompiler(Vocabulary(tokens), tokens.get_added_vocab(), [tokens.eos_token_id])


def by_chance(seed: int, unwanted: Container[int] = ()) -> Chooser:
    """Choose any allowed token, all alike, and those that are `unwanted` where there are no others."""
    chance = random.Random(seed)
    return lambda ids: chance.choice([token_id for token_id in ids if token_id not in unwanted] or ids)


def by_habit(habit: Sequence[int]) -> Chooser:
    """Choose what comes first in a habit, else the first allowed: a model that goes in circles."""
    return lambda allowed: next((token_id for token_id in habit if token_id in allowed), allowed[0])


def allowed(guide: Any, size: int) -> list[int]:
    """The tokens that a guide lets pass; all of them where it has no say."""
    mask = guide.allowed()
    if mask is None:
        return list(range(size))
    bits = int.from_bytes(mask, "little")
    return [token_id for token_id in range(size) if bits >> token_id & 1]


def written(guide: GrammarConstraint, limit: int, choose: Chooser) -> list[int]:
    """Write a reply of at most `limit` tokens; the end-of-reply token is left out."""
    token_ids: list[int] = []
    for left in range(limit - 1, -1, -1):
        token_id = guide.advance(choose(allowed(guide, guide.compiler.size)), left)
        if token_id in guide.compiler.stop_ids:
            break
        token_ids.append(token_id)
        if guide.done:
            break
    return token_ids


def text_of(space: GrammarCompiler, token_ids: Sequence[int]) -> str:
    """The text of tokens, markers included."""
    return space.vocabulary.markup(token_ids)
