"""The local data of a served model: its tokenizer, its chat template, and its sampling defaults."""

from dataclasses import replace
from functools import cached_property
from os import PathLike
from typing import Any

from glimp_core.chat.grammar.compiler import GrammarCompiler
from glimp_core.chat.prompt.renderer import Renderer
from glimp_core.chat.tokens.vocabulary import Vocabulary
from glimp_core.errors import ModelLoadError
from glimp_core.forking import Lock
from glimp_core.remote.spelling import Spelling
from glimp_core.remote.wire import Reader
from glimp_core.source import ModelSource, load_generation_config, load_tokenizer, sampling_defaults, stop_ids
from glimp_core.types import SamplingParams


class Language:
    """A tokenizer, and the generation config next to it, if there is one. Both load at first use.

    If the tokenizer was not `named` by the user, its name is the model's name on the server, which may be wrong.
    """

    def __init__(self, tokenizer: Any, name: str, named: bool = True):
        self._given = tokenizer
        self._named = named
        self._name = name
        self._loading = Lock()

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer itself."""
        with self._loading:
            try:
                return load_tokenizer(self._source) if self._source else self._given
            except ModelLoadError as error:
                if self._named:
                    raise
                raise ModelLoadError(
                    f"no tokenizer has the name {self._name!r}, which the model has on its server: pass the folder or "
                    f"hub id of the served model as tokenizer=... ({error})"
                ) from error

    @cached_property
    def table(self) -> Vocabulary:
        """The bytes of each token id."""
        return Vocabulary.of(self.tokenizer)

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """The ids that end a reply. The server may have others, which are not known here."""
        return stop_ids(self.tokenizer, self._generation_config)

    @cached_property
    def defaults(self) -> SamplingParams | None:
        """The model's own sampling parameters, None if only the server knows them."""
        config = self._generation_config
        return None if config is None else sampling_defaults(config)

    @cached_property
    def renderer(self) -> Renderer:
        """The chat template. Raises `ModelLoadError` if there is none."""
        try:
            return Renderer(self.tokenizer, self.table, self._name, self.stop_ids)
        except ModelLoadError as error:
            if self._source is None or not self._source.name.endswith(".gguf"):
                raise
            raise ModelLoadError(
                f"{error}. If it is one, and its .gguf file leaves the template out, name a tokenizer that has it: "
                "engine=LlamaCpp(tokenizers={'small': ..., 'large': ...}), with a folder or hub id for each model"
            ) from error

    @cached_property
    def reader(self) -> Reader:
        """The parser of its streams. Markers and end tokens become token ids, also if the server sends them as text."""
        markers = [self.table.markers[text] for text in self.renderer.format.markers if text in self.table.markers]
        ids = [*self.stop_ids, *self.thinking_end, *markers]
        return Reader(self.table, {self.tokenizer.convert_ids_to_tokens(i): i for i in ids})

    @property
    def thinking_end(self) -> frozenset[int]:
        """The id that closes the thinking, empty if the closing markup is not one token."""
        thinking = self.renderer.thinking
        end = self.table.markers.get(thinking.end) if thinking else None
        return frozenset(() if end is None else (end,))

    @property
    def end_ids(self) -> frozenset[int]:
        """The ids that end a reply or the thinking."""
        return self.stop_ids | self.thinking_end

    @cached_property
    def spelling(self) -> Spelling:
        """The conversion of its prompts to text."""
        return Spelling(self.tokenizer, self.table)

    @cached_property
    def compiler(self) -> GrammarCompiler:
        """The compiler of grammars over its tokens."""
        return GrammarCompiler.of(self.table, self.marks, self.stop_ids)

    @cached_property
    def marks(self) -> dict[str, int]:
        """The ids of the added tokens: control tokens, and markers of markup."""
        added: dict[str, int] = self.tokenizer.get_added_vocab()
        return added

    def spell(self, text: str, mark: bool = False) -> list[int]:
        """Return the ids of a text, or of a marker, which is its control token if there is one."""
        return self.table.encode_markup(text) if mark else self.table.encode(text)

    @cached_property
    def _source(self) -> ModelSource | None:
        if isinstance(self._given, ModelSource):
            return self._given
        return ModelSource.of(self._given) if isinstance(self._given, str | PathLike) else None

    @cached_property
    def _generation_config(self) -> Any:
        return load_generation_config(self._source) if self._source else None

    def resolved(self, sampling: SamplingParams, tempered: bool) -> SamplingParams:
        """Add the model's defaults to a request's sampling parameters.

        A server with `tempered` log-probabilities always gets a temperature, because it is needed to undo its effect.
        """
        resolved = sampling.over(self.defaults) if self.defaults else sampling
        if resolved.temperature is None and tempered:
            resolved = replace(resolved, temperature=1.0)
        return replace(resolved, max_tokens=None, stop=())
