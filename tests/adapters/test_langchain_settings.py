"""What a ChatGlimp is made of: options, overrides, cache key, profile, copies, and what must not happen on import."""

import copy
import gc
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.chat_models import init_chat_model
from langchain_core.caches import InMemoryCache
from langchain_core.language_models.model_profile import ModelProfile
from langchain_core.load import dumpd
from langchain_core.messages import AIMessage
from langchain_core.runnables import ConfigurableField
from pydantic import ValidationError

from adapters.good_model import good_router
from glimp_core import AlwaysLarge, ConfigError, EntropyThreshold, RouterConfig
from glimp_core.testing import ScriptedEngine
from glimp_langchain import ChatGlimp, register
from glimp_langchain._errors import ModelInvalidRequestError

NAMES = {"small": "glimp-tiny-small", "large": "glimp-tiny-large"}


def writers(message: AIMessage) -> str:
    """Who wrote the steps of the thinking, a letter each."""
    steps = message.additional_kwargs["glimp"]["steps"]
    return "".join(step["model"][0] for step in steps if step["phase"] == "thinking")


def test_the_constructor_loads_and_imports_nothing_heavy() -> None:
    """Importing the adapter, and making a model of names, imports neither torch nor transformers."""
    code = (
        "import sys; from glimp_langchain import ChatGlimp; m = ChatGlimp(small='a/b', large='c/d'); m.profile, str(m);"
        "sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "small=None names no model"),
        ({"small": "a"}, "large=None names no model"),
        ({**NAMES, "temprature": 1}, "unknown option 'temprature': did you mean 'temperature'"),
        ({**NAMES, "temperature": -1}, "temperature=-1"),
        ({**NAMES, "threshold": -1}, "threshold=-1"),
        ({**NAMES, "threshold": 1.0, "policy": AlwaysLarge()}, "threshold=1.0 or policy=AlwaysLarge"),
        ({**NAMES, "router": good_router()}, "give a router, or small and large"),
        ({**NAMES, "reasoning": "maybe"}, "reasoning"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any], message: str) -> None:
    """A wrong option is an error where the model is made, which says what is wrong."""
    with pytest.raises(ValueError, match=message):
        ChatGlimp(**options)


def cache_key(llm: ChatGlimp) -> str:
    """What LangChain's response caches tell models apart by: they call a method that LangChain made private."""
    return llm._get_llm_string()


def tracing_params(llm: ChatGlimp, **options: Any) -> Any:
    """What LangSmith is told of a call: LangChain's method for that is private, too."""
    return llm._get_ls_params(**options)


def test_a_secret_shows_nowhere() -> None:
    """The access token is in no repr, no trace, no cache key, no error and no name of a model."""
    llm = ChatGlimp(**NAMES, api_key="hf_secret")
    shown = [repr(llm), str(dumpd(llm)), cache_key(llm), str(llm.asdict()), str(tracing_params(llm))]
    with pytest.raises(ValueError, match="unknown option") as error:
        ChatGlimp(api_key="hf_secret", nope=1)
    assert "hf_secret" not in "".join([*shown, str(error.value)])
    assert llm.pair.options["token"] == "hf_secret"


def test_a_pickle_holds_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pickled model asks for gated weights with the token of whoever reads it; a copy keeps its own."""
    llm = ChatGlimp(**NAMES, api_key="hf_secret", threshold=0.7)
    pickled = pickle.dumps(llm)
    assert b"hf_secret" not in pickled
    read = pickle.loads(pickled)
    assert (read.threshold, read.hf_token) == (0.7, None)
    assert read.pair == ChatGlimp(**NAMES).pair
    assert copy.copy(llm).pair == copy.deepcopy(llm).pair == llm.pair


def test_what_is_no_token_is_not_shown() -> None:
    """A token of the wrong type is refused by its type."""
    with pytest.raises(ValueError, match="hf_token is a text, not of type list") as error:
        ChatGlimp(**NAMES, hf_token=["hf_secret"])  # type: ignore[arg-type]
    assert "hf_secret" not in str(error.value)
    with pytest.raises(ValidationError) as invalid:
        ChatGlimp(**NAMES, api_key="hf_secret", temprature=1)  # type: ignore[call-arg]
    assert "hf_secret" not in f"{invalid.value} {invalid.value.errors()} {invalid.value.json()}"


def test_a_token_in_the_environment_is_left_to_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """With HF_TOKEN set, a model is the same one as without: its weights are shared."""
    plain = ChatGlimp(**NAMES).pair
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    llm = ChatGlimp(**NAMES)
    assert llm.hf_token is not None
    assert llm.pair == plain


def test_limits_reach_the_models() -> None:
    """How many requests are served at once is said where the models are named."""
    engine = ChatGlimp(**NAMES, max_batch=3, max_cached_tokens=512, prepacked=True).active_router.large
    assert engine.source.options == {"max_batch": 3, "max_cached_tokens": 512, "prepacked": True}  # type: ignore[attr-defined]


CONFIGURATIONS: list[dict[str, Any]] = [
    {},
    {"small": "other"},
    {"large": "other"},
    {"dtype": "float32"},
    {"revision": "main"},
    {"quantization_config": {"bits": 4}},
    {"threshold": 2.0},
    {"policy": AlwaysLarge()},
    {"reasoning": False},
    {"reasoning": "inline"},
    {"max_reasoning_tokens": 5},
    {"config": RouterConfig(answer_by="small")},
    {"temperature": 0.5},
    {"top_p": 0.5},
    {"top_k": 5},
    {"max_tokens": 5},
    {"stop": ["a"]},
    {"seed": 5},
    {"chat_template_kwargs": {"preserve_thinking": True}},
]


def test_no_two_configurations_share_a_cache_key() -> None:
    """Whatever changes a reply changes the key of LangChain's response caches; the same model has the same key."""
    keys = [cache_key(ChatGlimp(**{**NAMES, **options})) for options in CONFIGURATIONS]
    assert len(set(keys)) == len(keys)
    assert keys == [cache_key(ChatGlimp(**{**NAMES, **options})) for options in CONFIGURATIONS]
    assert cache_key(ChatGlimp(router=good_router())) != cache_key(ChatGlimp(router=good_router()))


@pytest.mark.parametrize("options", CONFIGURATIONS)
def test_identifying_params_are_json(options: dict[str, Any]) -> None:
    """What goes to traces can be written as JSON."""
    params = ChatGlimp(**{**NAMES, **options})._identifying_params  # LangChain's name for what traces are told
    assert json.loads(json.dumps(params))["model_name"].count("+") == 1


def test_a_cached_reply_is_the_reply() -> None:
    """The second of two equal questions is answered by the cache, and another temperature is another question."""
    router = good_router()
    llm = ChatGlimp(router=router, cache=InMemoryCache())
    first, calls = llm.invoke("Hello"), len(router.large.history)
    again = llm.invoke("Hello")
    assert (again.content, again.additional_kwargs) == (first.content, first.additional_kwargs)
    assert len(router.large.history) == calls
    llm.invoke("Hello", temperature=0.1)
    assert len(router.large.history) == 2 * calls


def test_warming_up_loads_both_and_learns_the_window() -> None:
    """`warm_up` loads the weights, and a profile without a window then has one."""
    llm = ChatGlimp(router=good_router(window=7000))
    del llm.profile["max_input_tokens"]
    assert llm.warm_up() is llm
    assert llm.profile["max_input_tokens"] == 7000


def test_a_call_overrules_the_model() -> None:
    """Sampling, threshold, policy, reasoning and template options of a call win over those of the model."""
    llm = ChatGlimp(router=good_router(), threshold=1.0, chat_template_kwargs={"a": 1})
    assert writers(llm.invoke("Hello")) == "sls"
    assert writers(llm.invoke("Hello", threshold=0.3)) == "sll"
    assert writers(llm.invoke("Hello", policy=AlwaysLarge())) == "lll"
    assert writers(llm.invoke("Hello", reasoning=False)) == ""
    assert llm.invoke("Hello", max_tokens=3).content == "You"
    assert writers(llm.invoke("Hello")) == "sls"


def test_a_router_keeps_its_own_ways() -> None:
    """Of a router that is given, policy, settings and sampling stay as they are unless the model says otherwise."""
    router = good_router(config=RouterConfig(max_answer_tokens=3))
    router.policy = AlwaysLarge()
    llm = ChatGlimp(router=router)
    assert (writers(llm.invoke("Hello")), llm.invoke("Hello").content) == ("lll", "You")
    assert writers(llm.invoke("Hello", threshold=1.0)) == "sls"
    assert writers(ChatGlimp(router=router, threshold=5.0).invoke("Hello")) == "sss"
    assert ChatGlimp(router=router, max_reasoning_tokens=4).invoke("Hello").content == "You"


def test_another_model_in_a_call_is_another_large_model() -> None:
    """`model=` names the large model of one call; the current one's name changes nothing."""
    llm = ChatGlimp(small=ScriptedEngine(name="s"), large=ScriptedEngine(name="a"), temperature=0.5)
    other = llm.with_options({"model": "b"})
    assert (other.small, other.large, other.temperature) == (llm.small, "b", 0.5)
    assert other.profile["name"] == "s+b"
    assert llm.with_options({"model": "a"}) is llm is llm.with_options({"model": "s+a"})
    assert ChatGlimp(router=good_router()).with_options({"model": "b"}).model_name == "good-small+b"


def test_an_unknown_option_of_a_call_is_an_error() -> None:
    """A misspelt argument of a call is not dropped unsaid."""
    llm = ChatGlimp(router=good_router())
    with pytest.raises(ModelInvalidRequestError, match="did you mean 'temperature'"):
        llm.invoke("Hello", temprature=0.5)
    for options, message in (
        ({"temperature": -1}, r"^temperature=-1\.0 cannot work"),
        ({"threshold": "x"}, "^threshold='x': Input should be a valid number"),
        ({"reasoning": "maybe"}, "^reasoning='maybe': Input should be 'auto', 'inline' or 'off', or: "),
    ):
        with pytest.raises(ModelInvalidRequestError, match=message):
            llm.invoke("Hello", **options)


def test_tracing_parameters_follow_the_call() -> None:
    """LangSmith is told provider, names, sampling and stop strings as the call has them."""
    llm = ChatGlimp(**NAMES, temperature=0.5, stop=["a"])
    params = tracing_params(llm, stop=["b"], max_tokens=7, temperature=0.1)
    assert params["ls_provider"] == "glimp"
    assert params["ls_model_name"] == "glimp-tiny-small+glimp-tiny-large"
    assert (params["ls_temperature"], params["ls_max_tokens"], params["ls_stop"]) == (0.1, 7, ["a", "b"])
    assert llm.metadata["lc_versions"]["glimp"]


def test_the_profile_says_what_the_pair_can_do(tmp_path: Path) -> None:
    """The window is read from the models' configs; a profile that is given stays as it is."""
    for name, window in (("s", 4096), ("l", 2048)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps({"max_position_embeddings": window}))
    llm = ChatGlimp(small=str(tmp_path / "s"), large=str(tmp_path / "l"), max_tokens=100)
    assert (llm.profile["max_input_tokens"], llm.profile["max_output_tokens"]) == (2048, 100)
    assert llm.profile["structured_output"]
    assert llm.profile["reasoning_output"]
    assert not ChatGlimp(router=good_router(), reasoning=False).profile["reasoning_output"]
    assert ChatGlimp(**NAMES, profile={"max_input_tokens": 7}).profile == {"max_input_tokens": 7}


def test_each_effort_of_the_profile_is_one_that_a_call_takes() -> None:
    """The levels are there if the pair may think, and the default is what the model was made with."""
    llm = ChatGlimp(router=good_router(), reasoning_effort="low")
    assert llm.profile["reasoning_effort_default"] == "low"
    assert {"low", "high"} <= set(llm.profile["reasoning_effort_levels"])
    for level in llm.profile["reasoning_effort_levels"]:
        assert llm.invoke("Hello", reasoning_effort=level).content == "You said: Hello"
    assert "reasoning_effort_default" not in ChatGlimp(router=good_router()).profile
    assert "reasoning_effort_levels" not in ChatGlimp(router=good_router(), reasoning=False).profile


def test_the_profile_has_no_field_that_the_installed_langchain_lacks() -> None:
    """Newer fields are there where langchain-core has them; one that it does not know would be a warning."""
    profile, fields = ChatGlimp(**NAMES).profile, set(ModelProfile.__annotations__)
    assert set(profile) <= fields
    assert profile.get("mid_conversation_system_messages", False) is ("mid_conversation_system_messages" in fields)


@pytest.mark.parametrize("clone", [copy.copy, copy.deepcopy, lambda llm: llm.model_copy(deep=True)])
@pytest.mark.parametrize("clone_too", [lambda llm: pickle.loads(pickle.dumps(llm)), copy.deepcopy])
def test_copies_share_the_models(clone: Any, clone_too: Any) -> None:
    """Copies and unpickled models answer, and run on the very engines of the original."""
    router = good_router()
    for llm in (ChatGlimp(router=router, threshold=2.5), ChatGlimp(small=router.small, large=router.large)):
        other = clone_too(clone(llm))
        assert other.active_router.large is router.large
        assert cache_key(other) == cache_key(llm)
        assert other.invoke("Hello").content == "You said: Hello"


def test_a_router_that_is_gone_cannot_be_unpickled() -> None:
    """Where its router is no more, as in another process, a pickle says what to do instead."""
    pickled = pickle.dumps(ChatGlimp(router=good_router()))
    gc.collect()
    with pytest.raises(ConfigError, match="name the models"):
        pickle.loads(pickled)


def test_a_model_of_names_is_pickled_by_its_names() -> None:
    """What is pickled of a model made of names fits another process: names and options alone."""
    llm = ChatGlimp(**NAMES, policy=EntropyThreshold(0.5), seed=3)
    assert pickle.loads(pickle.dumps(llm)) == llm


def test_configurable_fields_keep_the_models_and_streaming() -> None:
    """A model rebuilt for one call uses the same engines, and still streams."""
    llm = ChatGlimp(router=good_router()).configurable_fields(threshold=ConfigurableField(id="threshold"))
    config = {"configurable": {"threshold": 5.0}}
    assert writers(llm.invoke("Hello", config)) == "sss"
    assert writers(llm.invoke("Hello")) == "sls"
    assert len(list(llm.stream("Hello", config))) > 10


def test_streaming_can_be_asked_for_and_forbidden() -> None:
    """`streaming=True` makes invoke stream, `False` makes stream one piece, unset leaves it to the caller."""
    assert len(list(ChatGlimp(router=good_router(), streaming=False).stream("Hello"))) <= 2
    assert len(list(ChatGlimp(router=good_router()).stream("Hello"))) > 10
    assert ChatGlimp(router=good_router(), streaming=True).invoke("Hello").content == "You said: Hello"
    assert ChatGlimp(router=good_router()).invoke("Hello", stream=True).content == "You said: Hello"


def test_the_provider_is_known_once_registered() -> None:
    """After `register()`, a name makes a model in init_chat_model and in create_agent; importing alone does not."""
    code = (
        "import glimp_langchain; from langchain.chat_models import base; assert 'glimp' not in base._BUILTIN_PROVIDERS"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    assert register()
    llm = init_chat_model("glimp:a+org/b", temperature=0.5)
    assert isinstance(llm, ChatGlimp)
    assert (llm.small, llm.large, llm.temperature) == ("a", "org/b", 0.5)
    assert create_agent("glimp:a+org/b", [])


def test_a_langchain_without_the_table_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where LangChain's private table has moved, `register()` warns and says so."""
    monkeypatch.delattr("langchain.chat_models.base._BUILTIN_PROVIDERS")
    with pytest.warns(UserWarning, match="cannot learn the provider"):
        assert not register()
