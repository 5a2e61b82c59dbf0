"""Between messages and tokens: templates, vocabularies, tool calls, grammars. No torch; tokenizers are passed in."""
