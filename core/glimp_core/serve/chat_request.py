"""Parsing of the body of a chat completion. A field is used, has no effect by its definition, or is an error."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from glimp_core.errors import unknown_name
from glimp_core.json_values import mended, with_texts
from glimp_core.policy import EntropyThreshold, Policy
from glimp_core.policy.named import policy_named
from glimp_core.router import GlimpRouter, StreamOptions
from glimp_core.serve.catalogue import Catalogue, ServedModel
from glimp_core.serve.failures import Refused
from glimp_core.types import Message, SamplingParams

SAMPLING = ("temperature", "top_p", "top_k", "max_tokens", "max_completion_tokens", "stop", "seed")
DEMANDS = (
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "response_format",
    "reasoning",
    "reasoning_effort",
    "logprobs",
)
"""Fields with the names of the keyword arguments of `GlimpRouter.stream` that they become."""

OWN = ("model", "messages", "stream", "stream_options", "threshold", "policy", "chat_template_kwargs", "glimp")
LABELS = ("user", "metadata", "safety_identifier", "prompt_cache_key", "prompt_cache_retention")
"""Fields that do not change the reply: they are accepted and not used."""

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "repetition_penalty": (1,),
    "min_p": (0,),
    "logit_bias": ({},),
    "top_logprobs": (0,),
    "store": (False,),
    "service_tier": ("auto", "default"),
    "modalities": (["text"],),
    "verbosity": ("medium",),
    "functions": ([],),
    "function_call": ("none",),
    "audio": (),
    "prediction": (),
    "web_search_options": (),
}
"""Fields that are not supported, with the values that change nothing and are therefore accepted."""

INSTEAD = {
    "n": "send the request as often as you want replies",
    "functions": "use tools",
    "function_call": "use tool_choice",
    "top_logprobs": "logprobs=true tells the log-probability of each token that was written, and of no other",
}
LONGEST_OPTION = 100


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One request, with all checks that need no model."""

    model: ServedModel
    messages: list[Message]
    options: StreamOptions
    stream: bool
    include_usage: bool
    trace: bool

    @classmethod
    def of(cls, body: bytes, catalogue: Catalogue, template_options: tuple[str, ...]) -> "ChatRequest":
        """Parse a body. Raises `Refused` with the name of the wrong field, or `ConfigError` for an invalid value."""
        given = {name: value for name, value in _document(body).items() if value is not None}
        _check_names(given)
        for name, values in NEUTRAL.items():
            if name in given and not any(_same(given[name], value) for value in values):
                hint = INSTEAD.get(name, "leave it out")
                raise Refused(f"{name}={given[name]!r:.100} is not supported: {hint}", param=name, code="unsupported")
        model = _model(given, catalogue)
        stream_options = _mapping(given, "stream_options", ("include_usage", "include_obfuscation"))
        return cls(
            model=model,
            messages=_messages(given),
            options=_options(given, model, template_options),
            stream=_flag(given, "stream"),
            include_usage=_flag(stream_options, "include_usage"),
            trace=_flag(_mapping(given, "glimp", ("trace",)), "trace"),
        )


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = with_texts(json.loads(body, parse_constant=_no_number), mended, mended)
    except (ValueError, RecursionError) as error:
        raise Refused(f"the body is no JSON: {error}", code="invalid_json") from error
    if not isinstance(document, dict):
        raise Refused("the body must be a JSON object with model and messages", code="invalid_json")
    return document


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _check_names(given: Mapping[str, Any]) -> None:
    known = {*SAMPLING, *DEMANDS, *OWN, *LABELS, *NEUTRAL}
    for name in given:
        if name not in known:
            raise Refused(str(unknown_name("field", name[:LONGEST_OPTION], known)), param=name[:LONGEST_OPTION])


def _same(value: Any, neutral: Any) -> bool:
    return bool(value == neutral) and isinstance(value, bool) == isinstance(neutral, bool)  # True == 1 in Python


def _model(given: Mapping[str, Any], catalogue: Catalogue) -> ServedModel:
    name = given.get("model")
    if not isinstance(name, str):
        raise Refused(f"model must be the name of a model, got {name!r:.100}", param="model")
    return catalogue.find(name)


def _messages(given: Mapping[str, Any]) -> list[Message]:
    messages = given.get("messages")
    if not isinstance(messages, list):
        raise Refused(f"messages must be a list of messages, got {messages!r:.100}", param="messages")
    return messages


def _options(given: Mapping[str, Any], model: ServedModel, template_options: tuple[str, ...]) -> StreamOptions:
    options: dict[str, Any] = {name: given[name] for name in DEMANDS if name in given}
    _check_kinds(options)
    options["sampling"] = SamplingParams(**{name: given[name] for name in SAMPLING if name in given})
    options["chat_template_kwargs"] = _template_options(given, template_options)
    options["policy"] = _policy(given, model.pair.router)
    options["alone"] = model.alone
    return cast(StreamOptions, options)


def _check_kinds(options: Mapping[str, Any]) -> None:
    """Refuse values of a wrong type that would fail only inside the router, with an unclear error."""
    for name in ("parallel_tool_calls", "logprobs"):
        _flag(options, name)
    for name in ("reasoning", "reasoning_effort"):
        if not isinstance(options.get(name, ""), str):
            raise Refused(f"{name}={options[name]!r:.100} cannot be read: give a word", param=name)
    if not isinstance(options.get("tool_choice", ""), str | Mapping):
        raise Refused(f"tool_choice={options['tool_choice']!r:.100} cannot be read", param="tool_choice")


def _policy(given: Mapping[str, Any], router: GlimpRouter) -> Policy | None:
    threshold, named = given.get("threshold"), given.get("policy")
    if threshold is not None and named is not None:
        raise Refused("threshold and policy say two things: give one of them", param="threshold")
    if named is not None:
        if not isinstance(named, str | Mapping):
            raise Refused(f"policy={named!r:.100} cannot be read: give a name or an object with a name", param="policy")
        return policy_named(named, router.config)
    if threshold is None:
        return None
    if isinstance(threshold, bool) or not isinstance(threshold, int | float):
        raise Refused(f"threshold={threshold!r:.100} cannot be read: it is an entropy in nats", param="threshold")
    return EntropyThreshold.of(threshold, router.config)


def _template_options(given: Mapping[str, Any], allowed: tuple[str, ...]) -> Mapping[str, Any]:
    options = _mapping(given, "chat_template_kwargs", allowed)
    for name, value in options.items():
        short = isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= LONGEST_OPTION)
        if not short:
            raise Refused(
                f"chat_template_kwargs: {name}={value!r:.100} cannot work: give a boolean, a number or a short text",
                param="chat_template_kwargs",
            )
    return options


def _mapping(given: Mapping[str, Any], field: str, known: tuple[str, ...]) -> dict[str, Any]:
    options = given.get(field, {})
    if not isinstance(options, dict):
        raise Refused(f"{field}={options!r:.100} cannot be read: give an object", param=field)
    for name in options:
        if name not in known:
            raise Refused(str(unknown_name(f"option in {field}", name[:LONGEST_OPTION], known)), param=field)
    return {name: value for name, value in options.items() if value is not None}


def _flag(given: Mapping[str, Any], name: str) -> bool:
    value = given.get(name, False)
    if not isinstance(value, bool):
        raise Refused(f"{name}={value!r:.100} cannot be read: give true or false", param=name)
    return value
