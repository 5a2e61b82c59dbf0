"""JSON schemas and call markup as grammars that constrain a reply, token by token."""
