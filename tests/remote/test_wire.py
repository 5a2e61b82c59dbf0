"""Requests and lines as real servers write them."""

import json
from typing import Any

import pytest

from glimp_core import RemoteEngineError, SamplingParams
from glimp_core.remote.wire import LLAMACPP, PLAIN, SGLANG, VLLM, CompletionRequest, ProtocolError, Reader
from remote.kit import TABLE

READER = Reader(TABLE, {"</think>": TABLE.markers["</think>"]})
TWO = TABLE.encode("ab")


def line(**choice: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "finish_reason": None, **choice}]}


def test_a_line_of_vllm() -> None:
    """vLLM names ids in a list of their own, and keys the likeliest tokens by id where it is asked to."""
    top = [{"token_id:5": -1.5, "token_id:7": -0.5}, {"token_id:1": -0.1}]
    piece = READER.read(
        line(text="ab", token_ids=TWO, logprobs={"tokens": ["token_id:5", "token_id:1"], "top_logprobs": top})
    )
    assert (piece.token_ids, piece.by_id) == (tuple(TWO), True)
    assert piece.top == ((7, -0.5), (5, -1.5))


def test_the_end_of_a_stream() -> None:
    """The last line with tokens says what ended it, one without tokens says what was used."""
    last = READER.read(line(text="\n", token_ids=[TWO[0]], finish_reason="stop", stop_reason="\n\n"))
    assert (last.finish, last.stop_reason) == ("stop", "\n\n")
    usage = READER.read({"choices": [], "usage": {"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}}})
    assert (usage.token_ids, usage.prompt_tokens, usage.cached_tokens) == ((), 5, 4)
    assert READER.read(line(text="", finish_reason="stop", matched_stop=9)).stop_reason == 9
    assert READER.read({**line(text=""), "timings": {"cache_n": 3}}).cached_tokens == 3


def test_half_a_character_has_ids_and_no_text() -> None:
    """vLLM shows no text until a character is whole; the ids are right, and they count."""
    first, second = TABLE.encode("ü")
    assert READER.read(line(text="", token_ids=[first])).token_ids == (first,)
    assert READER.read(line(text="ü", token_ids=[second])).token_ids == (second,)


def test_a_line_of_an_older_vllm() -> None:
    """Without a list of ids, the names of the tokens are read."""
    piece = READER.read(line(text="ab", logprobs={"tokens": [f"token_id:{i}" for i in TWO], "top_logprobs": None}))
    assert (piece.token_ids, piece.by_id) == (tuple(TWO), True)


def test_a_line_of_sglang() -> None:
    """SGLang keys the likeliest tokens by text."""
    piece = READER.read(line(text="a", token_ids=TWO[:1], logprobs={"tokens": ["a"], "top_logprobs": [{"a": -0.1}]}))
    assert piece.top == (("a", -0.1),)


def test_a_line_of_llamacpp() -> None:
    """llama.cpp names ids with the log-probabilities."""
    top = [{"id": 3, "token": "x", "logprob": -2.0}, {"id": TWO[0], "token": "a", "logprob": -0.2}]
    piece = READER.read(line(text="a", logprobs={"content": [{"id": TWO[0], "top_logprobs": top}]}))
    assert (piece.token_ids, piece.top, piece.by_id) == ((TWO[0],), ((TWO[0], -0.2), (3, -2.0)), True)


def test_a_character_that_llamacpp_held_back() -> None:
    """It shows a character once it is whole and names its last token alone: the text says what the others were."""
    ids = TABLE.encode("😀")
    assert len(ids) > 1
    piece = READER.read(line(text="😀", logprobs={"content": [{"id": ids[-1], "top_logprobs": []}]}))
    assert piece.token_ids == tuple(ids)


def test_a_control_token_of_llamacpp_has_no_text() -> None:
    """An id without text is taken as it is."""
    close = TABLE.markers["</think>"]
    piece = READER.read(line(text="", logprobs={"content": [{"id": close, "top_logprobs": []}]}))
    assert piece.token_ids == (close,)


def test_text_alone() -> None:
    """A server that shows no ids has its text encoded; think tags in it are tags."""
    piece = READER.read(line(text="a</think>b"))
    assert (piece.token_ids, piece.by_id) == ((TWO[0], TABLE.markers["</think>"], TWO[1]), False)
    assert READER.read(line(text="")).by_id


@pytest.mark.parametrize("bad", [42, None, [], {"choices": 3}, line(text=3), line(text="a", token_ids="b"), "x"])
def test_nonsense(bad: Any) -> None:
    """What no server sends is named, whatever its shape."""
    with pytest.raises(ProtocolError):
        READER.read(bad)


def test_an_id_beyond_the_tokenizer() -> None:
    """A token that the tokenizer does not have means that it is another model's, and the error says what to do."""
    with pytest.raises(RemoteEngineError, match="as tokenizer="):
        READER.read(line(text="a", token_ids=[70_000]))


def test_a_request_to_vllm() -> None:
    """Ids go as the prompt, the end of a step as a stop string that is kept, and the law of drawing as it was given."""
    law = SamplingParams(temperature=0.6, top_p=0.9, top_k=4)
    ask = CompletionRequest([1, 2], 50, law, stop=("\n\n",), stop_token_ids=(9,), logprobs=20)
    body = ask.body("m", VLLM)
    assert body == {
        "model": "m", "prompt": [1, 2], "max_tokens": 50, "stream": True, "stream_options": {"include_usage": True},
        "return_token_ids": True, "return_tokens_as_token_ids": True, "temperature": 0.6, "top_p": 0.9, "top_k": 4,
        "logprobs": 20, "stop": ["\n\n"], "include_stop_str_in_output": True, "stop_token_ids": [9],
    }  # fmt: skip
    assert json.loads(json.dumps(body)) == body


def test_each_server_is_asked_in_its_way() -> None:
    """A stop string goes only to servers that do not cut it off, ids are asked for as each server gives them."""
    ask = CompletionRequest([1], 5, stop=("\n\n",), stop_token_ids=(9,))
    assert ask.body("m", SGLANG)["no_stop_trim"] is True
    assert "stop" not in ask.body("m", LLAMACPP)
    assert ask.body("m", LLAMACPP)["logprobs"] == 1
    assert not {"stop", "stop_token_ids", "logprobs", "return_token_ids"} & set(ask.body("m", PLAIN))


def test_a_request_that_goes_on() -> None:
    """After tokens have arrived the prompt is longer, the limit lower and the seed another one, yet a fixed one."""
    ask = CompletionRequest([1, 2], 50, SamplingParams(temperature=1, seed=7), index=3)
    first, second = ask.body("m", VLLM), ask.body("m", VLLM, [3, 4])
    assert (second["prompt"], second["max_tokens"]) == ([1, 2, 3, 4], 48)
    assert first["seed"] != second["seed"] == ask.body("m", VLLM, [5, 6])["seed"]
    assert 0 <= second["seed"] < 2**31


def test_a_bound_request_starts_anew() -> None:
    """A grammar begins with the first token: a bound reply is asked for again as a whole."""
    schema = {"type": "object"}
    ask = CompletionRequest([1, 2], 50, bound=SGLANG.schema(schema))
    body = ask.body("m", SGLANG, [3, 4])
    assert (body["prompt"], body["max_tokens"]) == ([1, 2], 50)
    assert body["response_format"]["json_schema"]["schema"] == schema
    assert LLAMACPP.schema(schema) == {"json_schema": schema}
