"""The rows of `glimp bench speed` on grammars measure what they say."""

import json
from collections.abc import Iterator

import tiny
from glimp_core import RouterConfig
from glimp_core.bench.speed.grammar import SCHEMAS, TOKENS, new_schema, token_with_grammar
from glimp_core.bench.speed.measuring import Bench
from glimp_core.context import Context
from glimp_core.local import LocalEngine
from glimp_core.source import ModelSource
from glimp_core.types import Chunk, GenerationParams


class Watched(LocalEngine):
    """Keeps the text of every call by its phase, and the schemas whose grammars were made."""

    def generate(self, context: Context, params: GenerationParams) -> Iterator[Chunk]:
        text = ""
        for chunk in super().generate(context, params):
            text += chunk.text
            yield chunk
        self.__dict__.setdefault("texts", []).append((params.phase, text))

    def shortest_answer(self, context: Context) -> int:
        self.__dict__.setdefault("schemas", []).append(json.dumps(context.request.response_format))
        return super().shortest_answer(context)


def bench() -> Bench:
    engine = Watched(ModelSource.of((tiny.model(), tiny.tokenizer())))
    return Bench(engine, engine, "Why?", RouterConfig(reasoning="off"), rounds=1)


def test_a_token_is_timed_with_a_grammar_and_without() -> None:
    """One of each pair of calls is held to the schema, the other one is free, after the same prompt."""
    made = bench()
    row = token_with_grammar(made, "tokens")
    phases, texts = zip(*made.large.texts, strict=True)  # type: ignore[attr-defined]
    assert phases == ("answer", "thinking") * 2
    assert [text.lstrip().startswith('{"title"') for text in texts] == [True, False] * 2
    assert row.value > 0
    assert f"{TOKENS} tokens with" in row.note


def test_every_schema_that_is_timed_is_a_new_one() -> None:
    """No grammar comes out of the cache."""
    made = bench()
    assert new_schema(made, "schemas").value > 0
    assert len(set(made.large.schemas)) == len(made.large.schemas) == 1 + SCHEMAS  # type: ignore[attr-defined]
