"""What holds the answers of one served model to what is demanded of them."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from glimp_core.chat.formats.reader import ReplyParser
from glimp_core.chat.output.constraints import TokenConstraint, compiled_requirements
from glimp_core.chat.request.requirements import OutputRequirements
from glimp_core.context import Context
from glimp_core.errors import ConfigError
from glimp_core.remote.client import RequestRejected
from glimp_core.remote.form import Binding, LiteralPart, Part, parts_of, server_check, shortest
from glimp_core.remote.language import Language
from glimp_core.remote.probe import TEXT
from glimp_core.remote.server import Server
from glimp_core.remote.wire import CompletionRequest, lark_grammar

WORD = "glimp"
"""What no model would say of itself where numbers are to be counted."""


class StructuredOutput:
    """Turns requirements into parts of a reply, in the way that a server keeps to; `extra` goes into each request."""

    def __init__(self, server: Server, language: Language, extra: Mapping[str, Any]):
        self._server = server
        self._language = language
        self._extra = extra

    def held(self, requirements: OutputRequirements, context: Context) -> OutputRequirements:
        """Return requirements, loosened to what a grammar can hold, where one is demanded."""
        if not requirements.structured:
            return requirements
        return compiled_requirements(self._language.space, self._language.renderer.format, requirements, context)

    def shortest(self, requirements: OutputRequirements) -> int:
        """Return how many tokens the shortest answer has that meets some requirements, 0 if none are made."""
        return shortest(self._language.space, self._language.renderer.format, requirements)

    def parser(self, context: Context, requirements: OutputRequirements) -> ReplyParser:
        """Return what reads thoughts and calls out of a reply."""
        return ReplyParser(self._language.renderer.format, requirements, context.request.lenient_tool_calls)

    def check(self, requirements: OutputRequirements) -> TokenConstraint | None:
        """Return what completes a demanded reply in time; None for free text."""
        space, format = self._language.space, self._language.renderer.format
        return server_check(space, format, requirements) if requirements.structured else None

    def parts(self, requirements: OutputRequirements, lead: str = "") -> list[Part]:
        """Return the parts of a demanded answer, after a `lead` that stands fast.

        Raises `ConfigError` for a server that keeps to no form, or not to this one.
        """
        if self._binding is None:
            raise ConfigError(
                f"the server of {self._server.model!r} does not keep to a JSON schema: leave response_format and the "
                "demand for a call out, or serve it with structured outputs (vLLM, SGLang and llama.cpp have them)"
            )
        format, table = self._language.renderer.format, self._language.table
        parts = parts_of(format, requirements, self._server.profile, self._binding, table)
        return [LiteralPart(lead), *parts] if lead else parts

    @cached_property
    def _binding(self) -> Binding | None:
        """What the server keeps to: it is asked for a word that it would not say, when a form is first demanded."""
        schema = self._server.profile.schema({"type": "string", "enum": [WORD]})
        if self._server.profile.lark and self._obeys(lark_grammar(f'start: "\\"{WORD}\\""')):
            return "lark"
        return "schema" if self._obeys(schema) else None

    def _obeys(self, bound: Mapping[str, Any]) -> bool:
        request = CompletionRequest(self._language.table.encode(TEXT), 12, bound=bound, extra=self._extra)
        try:
            chunks = self._server.ask(request, self._language.reader)
            return "".join(chunk.text for chunk in chunks).strip() == f'"{WORD}"'
        except RequestRejected:
            return False
