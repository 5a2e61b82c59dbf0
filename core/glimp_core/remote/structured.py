"""Demanded answers (calls and JSON) of one served model."""

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
"""A word that no model would write after a list of numbers, unless the server enforces it."""


class StructuredOutput:
    """Converts requirements to parts of a reply that the server can enforce; `extra` is added to each request."""

    def __init__(self, server: Server, language: Language, extra: Mapping[str, Any]):
        self._server = server
        self._language = language
        self._extra = extra

    def held(self, requirements: OutputRequirements, context: Context) -> OutputRequirements:
        """Return requirements without the keywords that a grammar cannot enforce, if an answer is demanded."""
        if not requirements.structured:
            return requirements
        return compiled_requirements(self._language.compiler, self._language.renderer.format, requirements, context)

    def shortest(self, requirements: OutputRequirements) -> int:
        """Return the number of tokens of the shortest answer that meets the requirements, 0 without requirements."""
        return shortest(self._language.compiler, self._language.renderer.format, requirements)

    def parser(self, context: Context, requirements: OutputRequirements) -> ReplyParser:
        """Return the parser of a reply."""
        return ReplyParser(self._language.renderer.format, requirements, context.request.lenient_tool_calls)

    def check(self, requirements: OutputRequirements) -> TokenConstraint | None:
        """Return the check that closes a demanded answer before the token limit; None for free text."""
        compiler, format = self._language.compiler, self._language.renderer.format
        return server_check(compiler, format, requirements) if requirements.structured else None

    def parts(self, requirements: OutputRequirements, lead: str = "") -> list[Part]:
        """Return the parts of a demanded answer, after the fixed text `lead`.

        Raises `ConfigError` for a server that enforces no schemas, or not this one.
        """
        if self._binding is None:
            raise ConfigError(
                f"the server of {self._server.model!r} does not enforce a JSON schema: leave out response_format and "
                "the demand for a call, or serve it with structured outputs (vLLM, SGLang and llama.cpp have them)"
            )
        format, table = self._language.renderer.format, self._language.table
        parts = parts_of(format, requirements, self._server.profile, self._binding, table)
        return [LiteralPart(lead), *parts] if lead else parts

    @cached_property
    def _binding(self) -> Binding | None:
        """What the server enforces: tested at the first demanded answer, with a word that no model would write."""
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
