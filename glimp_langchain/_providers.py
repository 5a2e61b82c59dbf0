"""Support for `init_chat_model("glimp:...")` and `create_agent("glimp:...")`."""

import warnings
from typing import Any

from glimp_langchain.chat_models import ChatGlimp


def register() -> bool:
    """Make LangChain know the provider "glimp"; returns whether it does now.

    Afterwards `init_chat_model("glimp:small+large")` makes a `ChatGlimp` of the two models named. LangChain has
    no public way to add a provider; where the private table is not as expected, this warns and changes nothing.
    """
    try:
        from langchain.chat_models import base

        base._BUILTIN_PROVIDERS["glimp"] = ("glimp_langchain", "ChatGlimp", _create)
        base._get_chat_model_creator.cache_clear()
        return base._get_chat_model_creator("glimp") is not None
    except Exception as error:
        warnings.warn(f"LangChain cannot learn the provider 'glimp' ({error}): use ChatGlimp(...)", stacklevel=2)
        return False


def _create(cls: type[ChatGlimp], model: str, **options: Any) -> ChatGlimp:
    return cls(**{"model": model, **options})
