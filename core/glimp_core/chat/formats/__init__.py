"""How model families write thoughts and tool calls, one file a family."""
