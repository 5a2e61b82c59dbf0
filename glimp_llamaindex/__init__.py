"""GlimpLLM: a pair of models as one LlamaIndex LLM."""
