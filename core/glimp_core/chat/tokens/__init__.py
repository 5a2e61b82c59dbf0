"""Tokens and text: a tokenizer as a table of bytes, and streams of complete characters."""
