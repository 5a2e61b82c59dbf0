"""Between ids and text: a tokenizer as a table of bytes, and its stream as whole characters."""
