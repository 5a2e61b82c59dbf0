"""JSON schemas and call markup as grammars that hold a reply, token by token."""
