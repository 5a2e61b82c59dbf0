"""Glimp for LangChain: a pair of local models as one chat model."""

try:
    import langchain_core  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "langchain_core":
        raise  # the package is installed, but one of its own dependencies is not
    raise ImportError('glimp_langchain needs langchain-core: pip install "glimp[langchain]"') from error

from glimp_langchain._providers import register
from glimp_langchain.chat_models import ChatGlimp

__all__ = ["ChatGlimp", "register"]
