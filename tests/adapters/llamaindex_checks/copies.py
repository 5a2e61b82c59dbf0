"""Copies: written down, pickled, deeply copied, set as LlamaIndex's default."""

import copy
import json
import pickle

from llama_index.core import Settings
from llama_index.core.callbacks import CallbackManager
from llama_index.core.llms.loading import load_llm
from llama_index.core.llms.mock import MockLLM

from adapters.llamaindex_checks.hooks import QUESTION, Hooks


class Copies(Hooks):
    """Checks of what happens to an LLM as a component."""

    def test_dict_round_trip(self) -> None:
        """from_dict(to_dict()) is the same LLM; what is written down is the same each time."""
        llm = self.llm()
        data = llm.to_dict()
        assert data == llm.to_dict()
        assert data["class_name"] == llm.class_name() != "base_component"
        again = type(llm).from_dict(data)
        assert again.to_dict() == data
        assert again.chat(QUESTION).message.content == llm.chat(QUESTION).message.content

    def test_json_round_trip(self) -> None:
        """The same in JSON."""
        llm = self.llm()
        assert type(llm).from_json(llm.to_json()).to_dict() == llm.to_dict()
        assert json.loads(llm.model_dump_json())

    def test_load_llm(self) -> None:
        """LlamaIndex's loader knows the class: saved extractors go through it."""
        llm = self.llm()
        assert isinstance(load_llm(llm.to_dict()), type(llm))

    def test_deepcopy_shares_the_weights(self) -> None:
        """A deep copy is another LLM over the same weights."""
        llm = self.llm()
        llm.chat(QUESTION)
        for copied in (copy.deepcopy(llm), copy.copy(llm)):
            assert copied is not llm
            assert self.weights(copied) is self.weights(llm)
            assert copied.chat(QUESTION).message.content

    def test_pickle(self) -> None:
        """An LLM comes back from a pickle, and the pickled one is as it was."""
        llm = self.llm()
        llm.chat(QUESTION)
        before = dict(llm.__dict__)
        again = pickle.loads(pickle.dumps(llm))
        assert again.chat(QUESTION).message.content == llm.chat(QUESTION).message.content
        assert llm.__dict__ == before

    def test_settings(self) -> None:
        """It can be LlamaIndex's default LLM, and have its callbacks replaced."""
        llm = self.llm()
        try:
            Settings.llm = llm
            assert Settings.llm is llm
            manager = CallbackManager([])
            llm.callback_manager = manager
            assert llm.callback_manager is manager
        finally:
            Settings.llm = MockLLM()
