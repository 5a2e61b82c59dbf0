"""LangChain's standard suites, everything switched on, on a scripted pair that replies like a good model."""

from typing import Any

from langchain_core.messages import AIMessage
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from adapters.good_model import good_router
from glimp_langchain import ChatGlimp


class TestUnit(ChatModelUnitTests):
    """The standard unit tests."""

    @property
    def chat_model_class(self) -> type[ChatGlimp]:
        return ChatGlimp

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"small": "glimp-tiny-small", "large": "glimp-tiny-large"}

    @property
    def init_from_env_params(self) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        return {"HF_TOKEN": "a-token"}, self.chat_model_params, {"hf_token": "a-token"}


class Integration(ChatModelIntegrationTests):
    """The standard integration tests, with all that a model of texts can have."""

    method = "json_schema"
    reasoning: bool | None = None

    @property
    def chat_model_class(self) -> type[ChatGlimp]:
        return ChatGlimp

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"router": good_router(), "reasoning": self.reasoning}

    @property
    def structured_output_kwargs(self) -> dict[str, Any]:
        return {"method": self.method}

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def supports_anthropic_inputs(self) -> bool:
        return True

    @property
    def model_override_value(self) -> str:
        return "good-large"

    @property
    def supported_usage_metadata_details(self) -> dict[str, list[str]]:
        return {way: ["reasoning_output", "cache_read_input", "cache_creation_input"] for way in ("invoke", "stream")}

    def invoke_with_reasoning_output(self, *, stream: bool = False) -> AIMessage:
        return self._invoke(stream)

    def invoke_with_cache_read_input(self, *, stream: bool = False) -> AIMessage:
        return self._invoke(stream)

    def invoke_with_cache_creation_input(self, *, stream: bool = False) -> AIMessage:
        return self._invoke(stream)

    def _invoke(self, stream: bool) -> AIMessage:
        model = ChatGlimp(**self.chat_model_params)
        if not stream:
            return model.invoke("Hello there")
        first, *others = model.stream("Hello there")
        return first + others


class TestJsonSchema(Integration):
    """Structured output as the text of the answer."""


class TestFunctionCalling(Integration):
    """Structured output as a forced tool call."""

    method = "function_calling"


class TestJsonMode(Integration):
    """Structured output by JSON mode."""

    method = "json_mode"


class TestJsonSchemaWithoutThinking(TestJsonSchema):
    """The same with thinking switched off."""

    reasoning = False


class TestFunctionCallingWithoutThinking(TestFunctionCalling):
    """The same with thinking switched off."""

    reasoning = False


class TestJsonModeWithoutThinking(TestJsonMode):
    """The same with thinking switched off."""

    reasoning = False
